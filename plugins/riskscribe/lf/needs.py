"""What a recipe needs of a machine: keys LLaMA-Factory accepts, base, adapter, datasets, device, memory."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import psutil

from riskscribe.errors import InputError
from riskscribe.files import read_json, read_yaml
from riskscribe.lf.tasks import TASKS

GIB = 2**30
# Python, torch and LLaMA-Factory before a model is loaded
PROCESS_GIB = 0.9
# bytes a weight of a quantized layer takes: the bits and their scales
QUANTIZED = {4: 0.53, 8: 1.03}

Row = tuple[str, str, str]


def look_at(path: Path) -> list[Row]:
    """Rows (what, found, state) of a recipe: whether it would run here. Raises InputError when it cannot be read."""
    recipe = read_yaml(path)
    if not isinstance(recipe, dict):
        raise InputError(f"{path}: a recipe is a mapping of LLaMA-Factory's keys")
    rows = [*_files(recipe), *_datasets(recipe), *_device(recipe)]
    if any(state == "missing" for what, _, state in rows if what == "device"):
        return rows
    try:
        groups = _parse(recipe)
    except (ValueError, ImportError, OSError, RuntimeError) as error:
        return [*rows, ("arguments", f"LLaMA-Factory refuses them: {str(error).splitlines()[0]}", "missing")]
    return [*rows, ("arguments", "accepted by LLaMA-Factory", "ok"), *_memory(recipe, groups)]


def _parse(recipe: dict[str, Any]) -> dict[str, Any]:
    """The arguments by group. LLaMA-Factory's own parser raises what it does not accept."""
    from llamafactory.hparams import get_infer_args, get_train_args

    # launched by torchrun or Ray, which this process was not
    recipe = {key: value for key, value in recipe.items() if key != "deepspeed"}
    before = dict(os.environ)  # FSDP's settings are put into the environment
    logging.disable(logging.CRITICAL)  # LLaMA-Factory's log goes to stdout
    try:
        if recipe.get("do_train") or recipe.get("do_predict") or recipe.get("do_eval"):
            names = "model", "data", "training", "finetuning", "generating"
            return dict(zip(names, get_train_args(recipe), strict=True))
        names = "model", "data", "finetuning", "generating"
        return dict(zip(names, get_infer_args(recipe), strict=True))
    finally:
        logging.disable(logging.NOTSET)
        os.environ.clear()
        os.environ.update(before)


def base_folder(name: str) -> Path | None:
    """Where the checkpoint of a recipe is on this machine: a folder, or the hub's cache; None if nowhere."""
    if (Path(name) / "config.json").exists():
        return Path(name)
    from huggingface_hub import try_to_load_from_cache
    from huggingface_hub.errors import HFValidationError

    try:
        found = try_to_load_from_cache(name, "config.json")
    except HFValidationError:
        return None
    return Path(found).parent if isinstance(found, str) else None


def _files(recipe: dict[str, Any]) -> Iterator[Row]:
    name = str(recipe.get("model_name_or_path", ""))
    folder = base_folder(name) if name else None
    supply = "`make data` makes it" if name.startswith("exports/base") else "no such folder, not in the hub's cache"
    yield ("base", str(folder), "ok") if folder else ("base", f"{name or 'none named'}: {supply}", "missing")
    for key in ("adapter_name_or_path", "answer_schema", "deepspeed", "fsdp_config"):
        value = recipe.get(key)
        if isinstance(value, str) and value:
            there = Path(value).exists()
            yield key, value if there else f"{value} is not there", "ok" if there else "missing"


def _datasets(recipe: dict[str, Any]) -> Iterator[Row]:
    folder = Path(str(recipe.get("dataset_dir", "data")))
    for key in ("dataset", "eval_dataset"):
        value = recipe.get(key) or []
        for name in value.split(",") if isinstance(value, str) else value:
            what = f"{key} {name.strip()}"
            info = folder / "dataset_info.json"
            if not info.exists():
                yield what, f"{info} is not there; recipes run from the repository root", "missing"
                continue
            entry = read_json(info).get(name.strip())
            if entry is None:
                yield what, f"no such entry in {info}", "missing"
            elif "file_name" not in entry:
                yield what, "from a hub: needs a network", "absent"
            elif not (folder / entry["file_name"]).exists():
                yield what, f"{folder / entry['file_name']} is not there", "missing"
            else:
                known = entry.get("formatting") in TASKS
                yield what, f"{folder / entry['file_name']}{', metrics of the task' if known else ''}", "ok"


def _device(recipe: dict[str, Any]) -> Iterator[Row]:
    import torch

    gpus = torch.cuda.device_count()
    if recipe.get("use_cpu"):
        yield "device", "the processor" + (", though there is a GPU" if gpus else ""), "ok"
    elif gpus:
        yield "device", f"{gpus} GPU", "ok"
    elif recipe.get("bf16") or recipe.get("fp16") or recipe.get("quantization_bit") or recipe.get("deepspeed"):
        yield "device", "needs a CUDA GPU and this machine shows none (use_cpu: true is not set)", "missing"
    else:
        yield "device", "the processor: no GPU", "ok"
    if recipe.get("deepspeed"):
        from importlib.util import find_spec

        there = find_spec("deepspeed") is not None
        yield "deepspeed", "installed" if there else "not installed", "ok" if there else "missing"


def _memory(recipe: dict[str, Any], groups: dict[str, Any]) -> Iterator[Row]:
    import torch

    folder = base_folder(str(recipe.get("model_name_or_path", "")))
    if folder is None:
        yield "memory", "not known before the base is here", "absent"
        return
    parts = estimate(folder, groups)
    needed = sum(parts.values())
    if torch.cuda.is_available() and not recipe.get("use_cpu"):
        have, where = torch.cuda.get_device_properties(0).total_memory / GIB, "on the first GPU"
    else:
        have, where = psutil.virtual_memory().available / GIB, "available now"
    text = ", ".join(f"{name} {value:.1f}" for name, value in parts.items())
    yield (
        "memory",
        f"about {needed:.1f} GiB at most ({text}), {have:.1f} GiB {where}",
        "ok" if needed < have else "missing",
    )


def estimate(folder: Path, groups: dict[str, Any]) -> dict[str, float]:
    """GiB that a run takes at its peak, by part, with every row as long as cutoff_len.

    Counted from the model's own layers; what torch and its allocator add is within PROCESS_GIB. Arithmetic, not a
    measurement: shorter rows and the plugin's response-only logits take less.

    Args:
        folder: the base checkpoint; only its config is read.
        groups: arguments as LLaMA-Factory parsed them.
    """
    import torch
    from transformers import AutoConfig, AutoModelForCausalLM

    logging.disable(logging.CRITICAL)
    try:
        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        with torch.device("meta"):
            model = AutoModelForCausalLM.from_config(config, trust_remote_code=False)
    finally:
        logging.disable(logging.NOTSET)
    linear = [
        (name, module.in_features, module.out_features)
        for name, module in model.named_modules()
        if isinstance(module, torch.nn.Linear) and not name.endswith("lm_head")
    ]
    args, tuned, training = groups["model"], groups["finetuning"], groups.get("training")
    stored = str(getattr(config, "dtype", None) or "float32").removeprefix("torch.")
    wanted = stored if training is not None and training.do_train else args.infer_dtype
    size = 4 if (stored if wanted == "auto" else wanted) == "float32" else 2
    everything = sum(one.numel() for one in model.parameters())
    inner = sum(wide * high for _, wide, high in linear)
    weights = everything * size if not args.quantization_bit else (everything - inner) * size
    weights += inner * QUANTIZED.get(args.quantization_bit, 0) if args.quantization_bit else 0
    length, vocabulary = groups["data"].cutoff_len, config.vocab_size
    if training is not None and training.do_train:
        lora = tuned.finetuning_type == "lora"
        learned = sum(tuned.lora_rank * (wide + high) for _, wide, high in linear) if lora else everything
        tokens = training.per_device_train_batch_size * length
        layers = config.num_hidden_layers
        # what a layer keeps for the way back: its linear layers' inputs and outputs, with LoRA the inputs in float32
        kept = sum(size * (wide + high) + (4 * wide if lora else 0) for _, wide, high in linear) / layers
        ways = (layers if args.disable_gradient_checkpointing else 1) * kept + layers * config.hidden_size * size
        return {
            "process": PROCESS_GIB,
            "weights": weights / GIB,
            # the weight, its gradient and Adam's two moments, in float32
            "what is learned": 16 * learned / GIB,
            "activations": tokens * ways / GIB,
            # logits, their float32 copy, its softmax and gradient
            "logits": tokens * vocabulary * (size + 12) / GIB,
        }
    generated = groups["generating"].max_new_tokens
    rows = training.per_device_eval_batch_size if training is not None else 1
    heads = getattr(config, "num_key_value_heads", None) or config.num_attention_heads
    width = getattr(config, "head_dim", None) or config.hidden_size // config.num_attention_heads
    cache = rows * (length + generated) * config.num_hidden_layers * 2 * heads * width * size
    # merging an adapter makes one layer at a time anew
    return {"process": PROCESS_GIB, "weights": weights / GIB, "keys and values": cache / GIB}
