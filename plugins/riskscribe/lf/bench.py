"""`make bench`: one training step with logits for the answer only against logits for every token, paired."""

import resource
import statistics
import time
from types import SimpleNamespace

PAIRS = 4


def main() -> None:
    """Print tokens/s of both, pair by pair, their ratio, and the peak memory of the process."""
    import torch
    from llamafactory.train.sft import trainer  # the post-import hook has attached to it
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from riskscribe import prompt
    from riskscribe.data.splits import read_rows
    from riskscribe.lf.tasks import CASES

    file = "datasets/risk_report/v1/train_quick.jsonl"
    CASES.add(file)
    base = "exports/base/smollm2_135m"
    tokenizer = AutoTokenizer.from_pretrained(base)
    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, trust_remote_code=False)
    model = get_peft_model(model, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM")).train()
    step = trainer.CustomSeq2SeqTrainer.compute_loss
    loop = object.__new__(trainer.CustomSeq2SeqTrainer)  # the loss alone: no arguments, no data, no optimizer
    loop.finetuning_args = SimpleNamespace(use_asft_loss=False)
    loop.compute_loss_func = loop.label_smoother = None
    loop.model_accepts_loss_kwargs = True
    loop.args = SimpleNamespace(past_index=-1, average_tokens_across_devices=False)
    rates: dict[str, list[float]] = {"answer only": [], "every token": []}
    for row in read_rows(file)[:PAIRS]:
        turns = prompt.messages(row.case)
        asked = tokenizer.apply_chat_template(turns, add_generation_prompt=True)
        answer = tokenizer(row.report.to_json() + tokenizer.eos_token)["input_ids"]
        ids = torch.tensor([asked + answer])
        labels = torch.tensor([[-100] * len(asked) + answer])
        for name, run in (("answer only", step), ("every token", step.__wrapped__)):
            begun = time.perf_counter()
            run(loop, model, {"input_ids": ids, "labels": labels}).backward()
            rates[name].append(ids.numel() / (time.perf_counter() - begun))
    ratios = [a / b for a, b in zip(*rates.values(), strict=True)]
    for name, found in rates.items():
        print(f"{name}: {', '.join(f'{one:.0f}' for one in found)} tokens/s, median {statistics.median(found):.0f}")
    print(f"ratio: median {statistics.median(ratios):.2f}, from {min(ratios):.2f} to {max(ratios):.2f}")
    print(f"peak memory: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20:.1f} GiB")


if __name__ == "__main__":
    main()
