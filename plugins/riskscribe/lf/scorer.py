"""Scores one model on token ids: `python scorer.py JOB.json`. A plain file that imports nothing of riskscribe.

A quantized model is scored by the python of its quantizer's environment, every other one by parity_row.py in ours, all
from one file of token ids. Only weights are quantized by AWQ, so the quantizer's own code turns them back into dense
ones and a plain model multiplies them.

JOB: model, cases (the file of token ids), positions, reference (a .npy of log-probabilities) and whether to `write`
it, dense (a folder for the de-quantized weights, in `dtype`), out.
"""

import json
import math
import resource
import sys
import time
from pathlib import Path


def spaced(count: int, wanted: int) -> list[int]:
    """At most `wanted` positions of an answer of `count` tokens: the first, the last, and between them evenly."""
    if count <= wanted:
        return list(range(count))
    return sorted({round(i * (count - 1) / (wanted - 1)) for i in range(wanted)})


def score(model, cases: list[dict], positions: int, reference: str | None = None, write: bool = False) -> dict:
    """Teacher-forced scores of the gold answers, case by case.

    Args:
        model: A causal language model on the CPU, or wherever its parameters are.
        cases: {case_id, prompt, answer} with token ids.
        positions: Answer positions a case at which whole distributions are compared; the first token is one of them.
        reference: A .npy file of log-probabilities (positions of all cases, vocabulary), float32.
        write: Whether to write that file instead of comparing with it.

    Returns:
        Case id -> {nll (nats, summed over the answer), tokens, and with a reference kl_first, kl: nats from the
        reference to this model, of the first token and the mean over the positions}.
    """
    import numpy
    import torch
    from tqdm import tqdm

    chosen = [spaced(len(one["answer"]), positions) for one in cases]
    table, row, found = None, 0, {}
    device = next(model.parameters()).device
    begun, read = time.perf_counter(), 0
    for one, places in tqdm(list(zip(cases, chosen, strict=True)), desc="scoring", unit="case"):
        ids = torch.tensor([one["prompt"] + one["answer"]], device=device)
        with torch.inference_mode():
            kept = model(input_ids=ids, logits_to_keep=len(one["answer"]) + 1, use_cache=False).logits[0, :-1]
            logs = kept.float().log_softmax(dim=-1)
        read += ids.numel()
        gold = logs.gather(1, ids[0, len(one["prompt"]) :, None])
        found[one["case_id"]] = about = {"nll": -float(gold.sum()), "tokens": len(one["answer"])}
        if reference is None:
            continue
        at = logs[places].cpu()
        if table is None:
            shape = (sum(map(len, chosen)), at.shape[1])
            if write:
                table = numpy.lib.format.open_memmap(reference, mode="w+", dtype=numpy.float32, shape=shape)
            else:
                table = numpy.load(reference, mmap_mode="r")
                if table.shape != shape:
                    raise ValueError(f"another vocabulary or other cases: {shape}, the reference has {table.shape}")
        if write:
            table[row : row + len(places)] = at.numpy()
        else:
            right = torch.from_numpy(numpy.array(table[row : row + len(places)]))
            # 0 * inf where both give a token no probability at all
            apart = torch.where(right.isneginf(), 0.0, right.exp() * (right - at)).sum(dim=-1)
            about |= {"kl_first": float(apart[0]), "kl": float(apart.mean())}
        row += len(places)
    return {"cases": found, "read_tokens_per_second": read / (time.perf_counter() - begun)}


def perplexity(cases: dict) -> float:
    """Of the gold answers of all cases, a token at a time; infinite where a model gives one no probability."""
    nll, tokens = (sum(one[key] for one in cases.values()) for key in ("nll", "tokens"))
    return math.exp(nll / tokens) if nll / tokens < 700 else math.inf


def peak_gib() -> float:
    """Largest resident memory of this process so far, in GiB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20


def first_apart(ids: list[int], other: list[int]) -> int | None:
    """The first token at which two lists differ, None where they do not."""
    if ids == other:
        return None
    return next((i for i, (a, b) in enumerate(zip(ids, other, strict=False)) if a != b), min(len(ids), len(other)))


def other_prompts(tokenizer, cases: list[dict]) -> list[str]:
    """Cases whose messages this tokenizer and its chat template turn into other token ids than the shared file has."""
    found = []
    for one in cases:
        text = tokenizer.apply_chat_template(one["messages"], tokenize=False, add_generation_prompt=True)
        ids = tokenizer(text, add_special_tokens=False)["input_ids"]
        if (at := first_apart(ids, one["prompt"])) is not None:
            found.append(f"case {one['case_id']}: prompt token {at} differs ({len(ids)} tokens, {len(one['prompt'])})")
    return found


def dense_autoawq(folder: Path):
    """The model of an AutoAWQ checkpoint with its weights de-quantized by AutoAWQ's own code, float32."""
    import torch
    from awq.utils.packing_utils import dequantize_gemm
    from safetensors.torch import load_file
    from transformers import AutoConfig, AutoModelForCausalLM

    config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
    layout = config.quantization_config
    del config.quantization_config
    stored = {}
    for path in sorted(folder.glob("*.safetensors")):
        stored |= load_file(path)
    weights = {}
    for name, value in stored.items():
        if name.endswith(".qweight"):
            at = name.removesuffix("qweight")
            parts = (value, stored[at + "qzeros"], stored[at + "scales"].float())
            weights[at + "weight"] = dequantize_gemm(*parts, layout["bits"], layout["group_size"]).T.contiguous()
        elif not name.endswith((".qzeros", ".scales")):
            weights[name] = value.float()
    model = AutoModelForCausalLM.from_config(config, torch_dtype=torch.float32, trust_remote_code=False)
    missing, unknown = model.load_state_dict(weights, strict=False)
    if config.tie_word_embeddings:
        model.tie_weights()
        missing = [one for one in missing if one != "lm_head.weight"]
    if missing or unknown:
        raise ValueError(f"tensors missing: {missing[:3]}, unknown: {unknown[:3]}")
    return model.eval()


def dense_compressed(folder: Path):
    """The model of a compressed-tensors checkpoint, de-quantized by compressed-tensors, float32."""
    import torch
    from transformers import AutoModelForCausalLM
    from transformers.utils.quantization_config import CompressedTensorsConfig

    return AutoModelForCausalLM.from_pretrained(
        folder,
        dtype=torch.float32,
        quantization_config=CompressedTensorsConfig(run_compressed=False),
        trust_remote_code=False,
    ).eval()


def load(folder: Path):
    """A checkpoint of any kind as a dense float32 model; the kind is what its config.json says."""
    import torch
    from transformers import AutoModelForCausalLM

    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    method = config.get("quantization_config", {}).get("quant_method")
    if method == "awq":
        return dense_autoawq(folder)
    if method == "compressed-tensors":
        return dense_compressed(folder)
    return AutoModelForCausalLM.from_pretrained(folder, torch_dtype=torch.float32, trust_remote_code=False).eval()


def write_dense(model, folder: Path, dtype: str) -> None:
    """The weights of a plain model of this architecture, and nothing of how they were quantized."""
    import torch
    from safetensors.torch import save_file

    kept = {}
    for name, value in model.state_dict().items():
        if not name.endswith((".weight", ".bias")):
            continue  # scales and zero points that de-quantizing left behind
        if name != "lm_head.weight" or not model.config.tie_word_embeddings:
            kept[name] = value.detach().to(getattr(torch, dtype)).contiguous().clone()
    folder.mkdir(parents=True, exist_ok=True)
    save_file(kept, folder / "model.safetensors", metadata={"format": "pt"})


def main(path: str) -> None:
    """Score as the job file says."""
    from transformers import AutoTokenizer

    job = json.loads(Path(path).read_text(encoding="utf-8"))
    cases = json.loads(Path(job["cases"]).read_text(encoding="utf-8"))
    folder, begun = Path(job["model"]), time.perf_counter()
    model = load(folder)
    found = {"load_seconds": time.perf_counter() - begun}
    found["prompts"] = other_prompts(AutoTokenizer.from_pretrained(folder, trust_remote_code=False), cases)
    if job.get("dense"):
        write_dense(model, Path(job["dense"]), job["dtype"])
    found |= score(model, cases[: job["scored"]], job["positions"], job["reference"])
    found["perplexity"] = perplexity(found["cases"])
    found["peak_memory_gib"] = peak_gib()
    Path(job["out"]).write_text(json.dumps(found), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1])
