"""AWQ by llm-compressor: `python worker.py JOB.json`, run by the python of requirements.lock. Imports nothing of
riskscribe.

JOB: model (a checkpoint folder), out (an empty folder), blocks (token ids, all of one length), bits, group_size, clip,
seed. Writes the weights and config.json of the quantized model (compressed-tensors, pack-quantized) into `out`.
"""

import json
import sys


def unpinned(cache) -> None:
    """Without a GPU there is no memory to pin, and torch raises: the cache keeps its tensors where they are.

    Upstream: llmcompressor/pipelines/cache.py, IntermediatesCache.pin_memory.
    """
    cache.pin_memory = lambda self, *names, **options: None


def main(path: str) -> None:
    """Quantize as the job file says."""
    import torch
    from datasets import Dataset
    from llmcompressor import oneshot
    from llmcompressor.modifiers.quantization import QuantizationModifier
    from llmcompressor.modifiers.transform.awq import AWQModifier
    from llmcompressor.pipelines.cache import IntermediatesCache
    from transformers import AutoModelForCausalLM

    with open(path, encoding="utf-8") as file:
        job = json.load(file)
    torch.manual_seed(job["seed"])
    gpu = torch.cuda.is_available()
    if not gpu:
        unpinned(IntermediatesCache)
    model = AutoModelForCausalLM.from_pretrained(
        job["model"],
        dtype=torch.float16 if gpu else torch.float32,
        device_map="auto" if gpu else None,
        trust_remote_code=False,
    )
    weights = {"num_bits": job["bits"], "type": "int", "symmetric": False, "strategy": "group"}
    weights |= {"group_size": job["group_size"], "observer": "mse" if job["clip"] else "minmax"}
    layers = {"targets": ["Linear"], "weights": weights}
    oneshot(
        model=model,
        dataset=Dataset.from_list([{"input_ids": one, "attention_mask": [1] * len(one)} for one in job["blocks"]]),
        recipe=[AWQModifier(), QuantizationModifier(ignore=["lm_head"], config_groups={"group_0": layers})],
        num_calibration_samples=len(job["blocks"]),
        max_seq_length=len(job["blocks"][0]),
        batch_size=len(job["blocks"]),
        shuffle_calibration_samples=False,
    )
    model.half()
    model.config.dtype = torch.float16
    model.save_pretrained(job["out"], save_compressed=True)


if __name__ == "__main__":
    main(sys.argv[1])
