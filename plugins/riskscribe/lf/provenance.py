"""A manifest of every training and prediction, under plain `llamafactory-cli` too: pending, then complete."""

import sys
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

from riskscribe import manifest
from riskscribe.files import sha256, sha256_text

# the arguments that decide a result; the rest are paths and logging
_DECIDE = (
    "seed", "data_seed", "learning_rate", "num_train_epochs", "max_steps", "per_device_train_batch_size",
    "gradient_accumulation_steps", "lr_scheduler_type", "warmup_ratio", "optim", "bf16", "fp16", "world_size",
    "finetuning_type", "lora_rank", "lora_alpha", "lora_dropout", "lora_target", "loraplus_lr_ratio", "template",
    "cutoff_len", "max_samples", "infer_dtype", "quantization_bit", "quantization_type", "double_quantization",
    "adapter_dtype", "do_sample", "max_new_tokens", "num_beams", "answer_schema",
)  # fmt: skip


def _settings(*groups: Any) -> dict[str, Any]:
    found = {}
    for name in _DECIDE:
        value = next((getattr(one, name) for one in groups if hasattr(one, name)), None)
        if value is not None:
            found[name] = value if isinstance(value, bool | int | float | str | list) else str(value)
    return found


def _inputs(model_args: Any, data_args: Any, template: str) -> dict[str, str]:
    """Content hashes of base, adapter, tokenizer, template, datasets and their registry."""
    found = {}
    places = [model_args.model_name_or_path, *(model_args.adapter_name_or_path or [])]
    for place in map(Path, places):
        names = [*sorted(place.glob("*.safetensors")), *(place / one for one in ("config.json", "tokenizer.json"))]
        found |= {str(one): sha256(one) for one in names if one.is_file()}
    registry = Path(data_args.dataset_dir) / "dataset_info.json" if isinstance(data_args.dataset_dir, str) else None
    if registry and registry.is_file():
        from riskscribe.files import read_json

        found[str(registry)] = sha256(registry)
        known = read_json(registry)
        for name in [*(data_args.dataset or []), *(data_args.eval_dataset or [])]:
            file = registry.parent / str(known.get(name, {}).get("file_name", ""))
            if file.is_file():
                found[str(file)] = sha256(file)
    return found | {"template": sha256_text(template)}


def record_runs(module: ModuleType) -> None:
    """Every run writes a manifest into its output_dir. Upstream: train/sft/workflow.py, run_sft."""
    upstream = module.run_sft

    @wraps(upstream)
    def run_sft(model_args, data_args, training_args, finetuning_args, generating_args, *rest, **options):
        given = (model_args, data_args, training_args, finetuning_args, generating_args)
        if not training_args.should_save:
            return upstream(*given, *rest, **options)
        from llamafactory.data.template import TEMPLATES

        out, stage = Path(training_args.output_dir), "train" if training_args.do_train else "predict"
        before = manifest.load(out)
        if before is not None and before.stage not in ("train", "predict"):
            return upstream(*given, *rest, **options)  # a stage of ours writes its own there
        base = Path(model_args.model_name_or_path)
        settings = _settings(training_args, finetuning_args, model_args, data_args, generating_args)
        runs = [(out, settings)]
        if free := getattr(generating_args, "free_answers_dir", None):
            runs.append((Path(free), {name: one for name, one in settings.items() if name != "answer_schema"}))
        about = {
            # the program by its name: where it lies is this machine's
            "command": [Path(sys.argv[0]).name, *sys.argv[1:]],
            "inputs": _inputs(model_args, data_args, repr(TEMPLATES.get(data_args.template))),
            "parents": [str(base), *(model_args.adapter_name_or_path or [])],
            "summary": {"base_weights": manifest.origin(base)},
        }
        records = [manifest.start(folder, stage, settings=own, **about) for folder, own in runs]
        result = upstream(*given, *rest, **options)
        for (folder, _), record in zip(runs, records, strict=True):
            kept = (one for one in folder.iterdir() if one.is_file() and one.name != manifest.NAME)
            manifest.finish(folder, record, sorted(one.name for one in kept))
        return result

    module.run_sft = run_sft
