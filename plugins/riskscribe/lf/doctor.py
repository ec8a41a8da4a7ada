"""`riskscribe doctor`: what this machine can run, what is attached, what is missing."""

import importlib
import os
import shutil
import statistics
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from typing import Any

from riskscribe.errors import InputError
from riskscribe.files import read_yaml

PACKAGES = ("llamafactory", "transformers", "torch", "peft", "llguidance", "prometheus-client")
# free disk that a run of the embedded default takes
DISK_GIB = 5


def _machine() -> list[dict[str, Any]]:
    import torch

    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    free = shutil.disk_usage(".").free / 2**30
    gpus = [
        f"{torch.cuda.get_device_name(i)}, {torch.cuda.get_device_properties(i).total_memory / 2**30:.0f} GiB"
        for i in range(torch.cuda.device_count())
    ]
    found = [
        ("Python", sys.version.split()[0], sys.version_info >= (3, 11)),
        ("processor", f"{os.cpu_count()} cores, {memory:.0f} GiB of memory", memory > 6),
        ("GPU", "; ".join(gpus) or "none: the embedded default runs without one, 7B recipes do not", True),
        ("free disk", f"{free:.0f} GiB, {DISK_GIB} needed", free > DISK_GIB),
    ]
    cost = startup_ms()
    found.append(("start of any Python process", f"{cost:.2f} ms more, at most 1 wanted", 0 < cost < 1))
    return [{"what": what, "found": text, "ok": bool(ok)} for what, text, ok in found]


def startup_ms(runs: int = 7) -> float:
    """What the hook adds to the start of a Python process that has nothing to do with us: the median, milliseconds."""
    found = []
    for _ in range(runs):
        command = [sys.executable, "-X", "importtime", "-c", "pass"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        # self [us] | cumulative [us] | module
        found += [int(one.split("|")[1]) for one in said.splitlines() if one.endswith(" riskscribe_hook")]
    return statistics.median(found) / 1000 if found else 0.0


def _packages() -> list[dict[str, Any]]:
    found = []
    for name in PACKAGES:
        try:
            found.append({"what": name, "found": metadata.version(name), "ok": True})
        except metadata.PackageNotFoundError:
            found.append({"what": name, "found": "not installed; `make setup` installs it", "ok": False})
    return found


def _attachments() -> list[dict[str, Any]]:
    if os.environ.get("RISKSCRIBE_PLUGIN", "1") == "0":
        return [{"what": "plugin", "found": "turned off by RISKSCRIBE_PLUGIN=0", "ok": False}]
    from riskscribe.lf import attach

    if not any(hasattr(one, "riskscribe") for one in sys.meta_path):
        return [{"what": "plugin", "found": "the import hook is not loaded; install the package again", "ok": False}]
    found = []
    for one in attach.ATTACHMENTS:
        try:
            there = getattr(importlib.import_module(one.module), "riskscribe_attached", False)
            reason = attach.FAILED.get(one.name, "" if there else "the import hook did not see it")
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        text = f"NOT attached ({reason})" if reason else f"attached, tested with {', '.join(one.tested)}"
        found.append({"what": f"{one.module}: {one.adds}", "found": text, "ok": not reason})
    return found


def _recipe(path: Path) -> list[dict[str, Any]]:
    recipe = read_yaml(path)
    if not isinstance(recipe, dict):
        raise InputError(f"{path}: a recipe is a mapping of LLaMA-Factory's keys")
    found = []
    for key in ("model_name_or_path", "adapter_name_or_path", "dataset_dir", "answer_schema"):
        value = recipe.get(key)
        if not value:
            continue
        there = Path(str(value)).exists()
        if key == "model_name_or_path" and not there and not str(value).startswith((".", "/", "exports/")):
            from huggingface_hub import try_to_load_from_cache

            there = isinstance(try_to_load_from_cache(str(value), "config.json"), str)
        text = str(value) if there else f"{value} is not there"
        found.append({"what": f"{path}: {key}", "found": text, "ok": there})
    if recipe.get("quantization_bit") or recipe.get("bf16") or not recipe.get("use_cpu", True):
        import torch

        if not recipe.get("use_cpu") and not torch.cuda.is_available():
            found.append({"what": f"{path}: device", "found": "needs a CUDA GPU; this machine has none", "ok": False})
    return found


def examine(recipe: Path | None = None) -> list[dict[str, Any]]:
    """Rows {what, found, ok}. Raises InputError when the recipe cannot be read."""
    rows = _recipe(recipe) if recipe else []
    return [*_machine(), *_packages(), *_attachments(), *rows]
