"""LLaMA Board's page filled in from a recipe: keys as values of the page's elements, the rest as extra arguments."""

import json
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from riskscribe.errors import InputError
from riskscribe.files import read_yaml

RECIPES = Path("recipes")

# recipe key -> element of the page
_TOP = {
    "model_name_or_path": "top.model_name",
    "finetuning_type": "top.finetuning_type",
    "template": "top.template",
    "quantization_bit": "top.quantization_bit",
    "quantization_method": "top.quantization_method",
    "rope_scaling": "top.rope_scaling",
}
_TRAIN = {
    "stage": "training_stage",
    "dataset_dir": "dataset_dir",
    "dataset": "dataset",
    "learning_rate": "learning_rate",
    "num_train_epochs": "num_train_epochs",
    "max_grad_norm": "max_grad_norm",
    "max_samples": "max_samples",
    "cutoff_len": "cutoff_len",
    "per_device_train_batch_size": "batch_size",
    "gradient_accumulation_steps": "gradient_accumulation_steps",
    "lr_scheduler_type": "lr_scheduler_type",
    "logging_steps": "logging_steps",
    "save_steps": "save_steps",
    "warmup_steps": "warmup_steps",
    "neftune_noise_alpha": "neftune_alpha",
    "packing": "packing",
    "neat_packing": "neat_packing",
    "train_on_prompt": "train_on_prompt",
    "mask_history": "mask_history",
    "resize_vocab": "resize_vocab",
    "enable_thinking": "enable_thinking",
    "report_to": "report_to",
    "freeze_trainable_layers": "freeze_trainable_layers",
    "freeze_trainable_modules": "freeze_trainable_modules",
    "freeze_extra_modules": "freeze_extra_modules",
    "lora_rank": "lora_rank",
    "lora_alpha": "lora_alpha",
    "lora_dropout": "lora_dropout",
    "loraplus_lr_ratio": "loraplus_lr_ratio",
    "create_new_adapter": "create_new_adapter",
    "use_rslora": "use_rslora",
    "use_dora": "use_dora",
    "pissa_init": "use_pissa",
    "lora_target": "lora_target",
    "additional_target": "additional_target",
}
_EVAL = {
    "dataset_dir": "dataset_dir",
    "eval_dataset": "dataset",
    "cutoff_len": "cutoff_len",
    "max_samples": "max_samples",
    "per_device_eval_batch_size": "batch_size",
    "max_new_tokens": "max_new_tokens",
    "top_p": "top_p",
    "temperature": "temperature",
    "do_predict": "predict",
}
_INFER = {"infer_backend": "infer_backend", "infer_dtype": "infer_dtype", "max_new_tokens": "max_new_tokens"}
PAGES = {
    "train": _TOP | {key: f"train.{name}" for key, name in _TRAIN.items()},
    "eval": _TOP | {key: f"eval.{name}" for key, name in _EVAL.items()},
    "infer": {key: f"infer.{name}" for key, name in _INFER.items()},
}
# said by the page itself, or never: remote code
_OWN = {
    "train": {"do_train", "output_dir", "trust_remote_code", "plot_loss", "bf16", "fp16", "pure_bf16"},
    "eval": {"stage", "predict_with_generate", "report_to", "output_dir", "adapter_name_or_path", "trust_remote_code"},
    "infer": {*_TOP, "stage", "adapter_name_or_path", "trust_remote_code"},
}


@dataclass(frozen=True)
class Preset:
    """A recipe under the name the page lists it by; `page` is train, eval or infer."""

    name: str
    page: str
    folder: str
    recipe: Mapping[str, Any]


def presets(root: Path = RECIPES) -> Iterator[Preset]:
    """Every recipe of root/<model>/ that a page can hold, and what `make` runs of them by profile.

    A file that cannot be read is said on stderr and left out.
    """
    for profiles in sorted(root.glob("*/profiles.yaml")):
        folder, recipes = profiles.parent.name, {}
        for path in sorted(profiles.parent.glob("*.yaml")):
            try:
                recipes[path.stem] = read_yaml(path)
            except InputError as error:
                print(f"riskscribe: {error}; LLaMA Board has no preset of it", file=sys.stderr)
        for stem, recipe in recipes.items():
            page = "train" if "do_train" in recipe else "eval" if "do_predict" in recipe else ""
            page = "infer" if stem == "api" else page
            if page:
                yield Preset(f"{folder}-{stem}", page, folder, recipe)
        for name, profile in recipes.get("profiles", {}).items():
            if not isinstance(profile, dict):
                continue
            train = dict(profile.get("train", {}))
            stem = Path(train.pop("recipe", "sft_qlora.yaml")).stem
            if stem in recipes:
                yield Preset(f"{folder}-{name}", "train", folder, recipes[stem] | train)
            if "predict_tuned" in recipes:
                yield Preset(f"{folder}-{name}", "eval", folder, recipes["predict_tuned"] | profile.get("eval", {}))


def _shown(value: Any, element: Any) -> Any:
    """`value` as the element holds it. Raises ValueError when it cannot."""
    value = getattr(value, "value", value)  # an enum
    kind = element.get_block_name()
    if kind == "slider":
        if isinstance(value, str):
            value = float(value)
        if not element.minimum <= value <= element.maximum:
            raise ValueError(value)
        return int(value) if value == int(value) else value
    if kind == "checkbox":
        return bool(value)
    if kind == "dropdown" and element.multiselect:
        return [one.strip() for one in value.split(",")] if isinstance(value, str) else list(value)
    value = str(value)
    if kind == "dropdown" and value not in [one for _, one in element.choices]:
        raise ValueError(value)
    return value


def fill(preset: Preset, elements: Mapping[str, Any], defaults: Mapping[str, Any]) -> dict[str, Any]:
    """Element id -> value: a page in which nothing is left of what stood there before.

    Args:
        preset: its model and stage in the page's words (`top.model_name`, `train.training_stage`).
        elements: the page's components by id.
        defaults: what LLaMA-Factory's parser takes for a key that the recipe does not state; the page has others.
    """
    recipe, values, extra = preset.recipe, {}, {}
    for key, name in PAGES[preset.page].items():
        element = elements[name]
        value = recipe.get(key, defaults.get(key))
        try:
            values[name] = element.value if value is None else _shown(value, element)
        except ValueError:
            values[name], extra[key] = element.value, value
    known = PAGES[preset.page].keys() | _OWN[preset.page]
    extra |= {key: value for key, value in recipe.items() if key not in known}
    if preset.page == "train":
        given = [one for one in ("pure_bf16", "bf16", "fp16") if recipe.get(one)]
        values["train.compute_type"] = given[0] if given else "fp32"
        # the page would make its own evaluation settings of it
        values["train.val_size"] = 0
    values[f"{preset.page}.extra_args"] = json.dumps(extra)
    return values
