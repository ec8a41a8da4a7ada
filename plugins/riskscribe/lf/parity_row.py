"""Rows of the parity table, each in a process of its own: `python -m riskscribe.lf.parity_row`, job files in.

A process each, so that load time and peak memory are that row's; forked from one that has imported LLaMA-Factory,
which takes longer than most rows. Loaded by LLaMA-Factory's own loader, as predictions and the server load it. The
exit status of a row is a line of the output; what a row says goes to the error stream.

JOB: arguments (LLaMA-Factory's inference arguments), adapter (a folder: the scores are then of base and adapter apart,
in float32), cases, scored (how many of them; 0: none), positions, reference, write, compare (row name -> case id ->
token ids of its answer), answers (whether to generate), max_new_tokens, out.
"""

import gc
import json
import os
import sys
import time
import traceback
from pathlib import Path
from typing import Any

from riskscribe.lf import scorer, template
from riskscribe.lf.decode import install

# cases that the base alone is scored on: without its adapter it is ten times as far off
HELPED = 2


def _load(arguments: dict[str, Any]):
    """Model, tokenizer and template, as `llamafactory-cli` loads them for predictions."""
    from llamafactory.data import get_template_and_fix_tokenizer
    from llamafactory.hparams import get_infer_args
    from llamafactory.model import load_model, load_tokenizer

    model_args, data_args, finetuning_args, _ = get_infer_args({**arguments, "trust_remote_code": False})
    tokenizer = load_tokenizer(model_args)["tokenizer"]
    chat = get_template_and_fix_tokenizer(tokenizer, data_args)
    return load_model(tokenizer, model_args, finetuning_args).eval(), tokenizer, chat


def answers(model, tokenizer, chat, cases: list[dict], max_new_tokens: int) -> tuple[dict[str, list[int]], float]:
    """Greedy answers as token ids without the end of the turn, by case id; and new tokens a second."""
    import torch
    from transformers import GenerationConfig

    install()
    stops = chat.get_stop_token_ids(tokenizer)
    width = max(len(one["prompt"]) for one in cases)
    pad = tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(one["prompt"])) + one["prompt"] for one in cases], device=model.device)
    mask = torch.tensor(
        [[0] * (width - len(one["prompt"])) + [1] * len(one["prompt"]) for one in cases], device=model.device
    )
    # the model's own generation settings must not enter (obey_recipe_decoding)
    model.generation_config = GenerationConfig(pad_token_id=pad, eos_token_id=stops)
    begun = time.perf_counter()
    with torch.inference_mode():
        made = model.generate(
            input_ids=ids, attention_mask=mask, do_sample=False, num_beams=1, max_new_tokens=max_new_tokens
        )[:, width:].tolist()
    seconds = time.perf_counter() - begun
    found, count = {}, 0
    for one, new in zip(cases, made, strict=True):
        end = next((i for i, token in enumerate(new) if token in stops), len(new))
        found[one["case_id"]], count = new[:end], count + min(end + 1, len(new))
    return found, count / seconds


def divergence(model, prompt: list[int], own: list[int], other: list[int], tokenizer) -> dict[str, Any] | None:
    """Where another row's answer leaves this one's, None where it does not.

    `gap` is by how many nats this model prefers its own token there: near 0, both are as good and arithmetic decided.
    """
    import torch

    at = scorer.first_apart(own, other)
    if at is None:
        return None
    end = tokenizer.eos_token_id
    with torch.inference_mode():
        logits = model(torch.tensor([prompt + own[:at]], device=model.device), logits_to_keep=1).logits[0, -1].float()
    tokens = [one[at] if at < len(one) else end for one in (own, other)]
    gap = float(logits[tokens[0]] - logits[tokens[1]])
    return {"at": at, "tokens": tokenizer.convert_ids_to_tokens(tokens), "gap": gap}


def make(path: str) -> None:
    """Make the row the job file describes."""
    job = json.loads(Path(path).read_text(encoding="utf-8"))
    cases = json.loads(Path(job["cases"]).read_text(encoding="utf-8"))
    begun = time.perf_counter()
    model, tokenizer, chat = _load(job["arguments"])
    found: dict[str, Any] = {"load_seconds": time.perf_counter() - begun}
    found["dtype"] = str(next(model.parameters()).dtype).removeprefix("torch.")
    name = job["arguments"]["template"]
    found["prompts"] = [
        f"case {one['case_id']}: LLaMA-Factory's template gives other token ids"
        for one in cases
        if template.token_ids(name, tokenizer, one["messages"]) != one["prompt"]
    ]
    if job["own_template"]:
        found["prompts"] += scorer.other_prompts(tokenizer, cases)
    if job["answers"]:
        made, found["tokens_per_second"] = answers(model, tokenizer, chat, cases, job["max_new_tokens"])
        found["answers"] = {
            key: {"ids": ids, "text": tokenizer.decode(ids, skip_special_tokens=True)} for key, ids in made.items()
        }
        prompts = {one["case_id"]: one["prompt"] for one in cases}
        found["compared"] = {
            other: {
                key: divergence(model, prompts[key], made[key], _ids(given, tokenizer), tokenizer)
                for key, given in theirs.items()
            }
            for other, theirs in job["compare"].items()
        }
    if scored := cases[: job["scored"]]:
        if job["adapter"]:
            del model
            gc.collect()
            model = _apart(job["arguments"]["model_name_or_path"], job["adapter"])
        elif not getattr(model, "quantization_method", None):
            model = model.float()
        found |= scorer.score(model, scored, job["positions"], job["reference"], job["write"])
        found["perplexity"] = scorer.perplexity(found["cases"])
        if job["adapter"]:
            with model.disable_adapter():
                alone = scorer.score(model, scored[:HELPED], job["positions"])["cases"]
            own = {key: found["cases"][key] for key in alone}
            found["helped"] = {
                "cases": len(alone),
                "with": scorer.perplexity(own),
                "without": scorer.perplexity(alone),
            }
    found["peak_memory_gib"] = scorer.peak_gib()
    Path(job["out"]).write_text(json.dumps(found, ensure_ascii=False), encoding="utf-8")


def _apart(base: str, adapter: str):
    """Base and adapter, not merged, in float32."""
    import torch
    from peft import PeftModel
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(base, dtype=torch.float32, trust_remote_code=False)
    return PeftModel.from_pretrained(model, adapter, torch_device="cpu").eval()


def _ids(given: list[int] | str, tokenizer) -> list[int]:
    return tokenizer(given, add_special_tokens=False)["input_ids"] if isinstance(given, str) else given


def main() -> None:
    """Make the rows whose job files the input names, a line each, one after another."""
    import llamafactory.train.tuner  # noqa: F401

    told = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for line in sys.stdin:
        child = os.fork()
        if child == 0:
            status = 1
            try:
                make(line.strip())
                status = 0
            except BaseException:
                traceback.print_exc()
            finally:
                sys.stdout.flush()
                sys.stderr.flush()
                os._exit(status)
        _, status = os.waitpid(child, 0)
        print(os.waitstatus_to_exitcode(status), file=told, flush=True)


if __name__ == "__main__":
    main()
