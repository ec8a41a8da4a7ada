"""AWQ in four bits, by an engine in its own environment; calibrated on training prompts with their gold answers."""

import os
import random
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from riskscribe import manifest
from riskscribe.errors import InputError
from riskscribe.files import read_json, read_yaml, sha256, validate, write_json
from riskscribe.release import checkpoint, environments, template

GIB = 2**30


class Recipe(BaseModel):
    """recipes/<model>/awq.yaml."""

    model_config = ConfigDict(extra="forbid")

    model: Path
    template: str
    engine: Literal["autoawq", "llmcompressor"] = "autoawq"
    bits: Literal[4] = 4
    group_size: int = Field(gt=0, description="divides every layer's input width: 64 for SmolLM2, 128 for Qwen2.5")
    clip: bool = False
    data: Path
    rows: int = Field(gt=0)
    tokens: int = Field(ge=32, description="of each calibration row")
    seed: int = 42
    out: Path


def read_recipe(path: Path, **changed: Any) -> Recipe:
    """The recipe with what a caller changes. Raises InputError naming the field that is wrong."""
    found = read_yaml(path)
    if not isinstance(found, dict):
        raise InputError(f"{path}: a recipe is a mapping; recipes/smollm2_135m/awq.yaml is one")
    return validate(Recipe, found | {key: one for key, one in changed.items() if one is not None}, str(path))


def calibration(recipe: Recipe) -> tuple[list[str], list[list[int]]]:
    """Case ids and token blocks: of `rows` seeded training rows a seeded window each.

    Half of a window or more is gold answer, where that is as long: the weights are rounded for what they are to write,
    and of a whole row nine tenths are prompt. All blocks have `tokens` tokens.

    Raises InputError when too few rows are that long.
    """
    from riskscribe.data.rows import read_rows
    from riskscribe.lf import prompts

    tokenizer = prompts.tokenizer_of(recipe.model, recipe.template)
    rows, choice = read_rows(recipe.data), random.Random(recipe.seed)
    choice.shuffle(rows)
    found: list[tuple[str, list[int]]] = []
    for row in rows:
        one = prompts.encode([row], tokenizer, recipe.template)[0]
        ids = one.prompt + one.answer
        if len(ids) >= recipe.tokens:
            last = len(ids) - recipe.tokens
            start = choice.randint(max(0, min(len(one.prompt) - recipe.tokens // 2, last)), last)
            found.append((one.case_id, ids[start : start + recipe.tokens]))
        if len(found) == recipe.rows:
            break
    if len(found) < recipe.rows:
        raise InputError(
            f"{recipe.data}: {len(found)} rows of {recipe.tokens} tokens or more, the recipe asks for {recipe.rows}"
        )
    return [name for name, _ in found], [block for _, block in found]


def _check_source(recipe: Recipe) -> None:
    widths = {key: checkpoint.config(recipe.model).get(key) for key in ("hidden_size", "intermediate_size")}
    for key, width in widths.items():
        if width and width % recipe.group_size:
            raise InputError(f"group_size {recipe.group_size} does not divide the model's {key} {width}; 64 may")
    checkpoint.tensors(recipe.model)


def _stage(source: Path, folder: Path) -> Path:
    """`source` as the quantizer's own transformers reads it: converted JSON, linked weights."""
    folder.mkdir()
    for path in source.iterdir():
        if path.suffix == ".safetensors" or path.name == "model.safetensors.index.json":
            (folder / path.name).symlink_to(path.resolve())
    write_json(folder / "config.json", checkpoint.config(source))
    for name in ("generation_config.json", *checkpoint.TOKENIZER):
        if (source / name).exists():
            shutil.copy(source / name, folder / name)
    about = folder / "tokenizer_config.json"
    write_json(about, checkpoint.readable_tokenizer(read_json(about)))
    return folder


def _carry(source: Path, made: Path) -> None:
    """The source's tokenizer, template and generation settings, byte for byte; a config.json for either generation."""
    for name in ("generation_config.json", *checkpoint.TOKENIZER):
        if (source / name).exists():
            shutil.copy(source / name, made / name)
    own, was = checkpoint.config(made), checkpoint.config(source)
    # AutoAWQ's transformers writes its defaults for what it does not know
    kept = {key: was[key] for key in checkpoint.ARCHITECTURE if key in was}
    write_json(made / "config.json", own | kept)


@contextmanager
def _ending_cleanly() -> Iterator[None]:
    """SIGTERM ends the block as Ctrl-C does, so that what is half-made is removed."""

    def stop(number, frame):
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGTERM, stop)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


def _work(engine: str, job: Path, log: Path) -> None:
    """Run the engine's worker; its progress bars go to the terminal, everything it says to `log`."""
    worker = environments.lock(engine).with_name("worker.py")
    command = [environments.python(engine), worker, job]
    settings = {**os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", "TOKENIZERS_PARALLELISM": "false"}
    settings = {key: value for key, value in settings.items() if key != "PYTHONPATH"}  # nothing of ours leaks in
    with open(log, "wb") as file:
        process = subprocess.Popen(command, env=settings, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        try:
            while chunk := process.stdout.read1(8192):
                file.write(chunk)
                file.flush()
                sys.stderr.buffer.write(chunk)
                sys.stderr.flush()
            process.wait()
        finally:
            if process.poll() is None:
                process.kill()
                process.wait()
    if process.returncode < 0:
        raise InputError(
            f"{engine} was ended by signal {-process.returncode} (9: out of memory); its output is in {log}"
        )
    if process.returncode:
        lines = log.read_text(encoding="utf-8", errors="replace").strip().splitlines()
        why = lines[-1].strip()[:200] if lines else "no output"
        raise InputError(f"{engine} failed with exit code {process.returncode}: {why}; its output is in {log}")


def quantize(recipe: Recipe, source: str = "") -> Path:
    """Quantize the recipe's model into `out`/<engine>; returns that folder.

    An interrupted run leaves nothing but its log; a model that stood there before stays until the new one is whole.

    Args:
        recipe: What to do.
        source: Name of the recipe file, for the manifest.

    Raises:
        InputError: The environment is missing, the disk is too full, the model cannot be quantized so, or the engine
            failed or wrote something that is no whole model.
    """
    environments.python(recipe.engine)
    _check_source(recipe)
    names, blocks = calibration(recipe)
    lock, out = environments.lock(recipe.engine), recipe.out / recipe.engine
    inputs = {
        **manifest.weights(recipe.model),
        str(recipe.data): sha256(recipe.data),
        f"awq_{recipe.engine}/{lock.name}": sha256(lock),
    }
    settings = recipe.model_dump(mode="json") | {"recipe": source, "calibration": names}
    if manifest.is_current(out, "quantize", inputs, settings):
        return out
    needed = 2 * checkpoint.size(recipe.model)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        for stale in out.parent.glob(f".{out.name}.*"):
            shutil.rmtree(stale, ignore_errors=True)
        free = shutil.disk_usage(out.parent).free
    except OSError as error:
        raise InputError(f"{out}: {(error.strerror or str(error)).lower()}") from None
    if free < needed:
        raise InputError(f"{out.parent}: {free / GIB:.1f} GiB free, quantization needs {needed / GIB:.1f} GiB")
    layers, tokens = checkpoint.config(recipe.model).get("num_hidden_layers"), len(blocks) * len(blocks[0])
    print(f"{recipe.engine}: {layers} layers, {len(names)} rows of {recipe.tokens} tokens ({tokens})", file=sys.stderr)
    work = Path(tempfile.mkdtemp(dir=out.parent, prefix=f".{out.name}."))
    try:
        with _ending_cleanly():
            made = work / "made"
            made.mkdir()
            record = manifest.start(made, "quantize", inputs=inputs, settings=settings, parents=[str(recipe.model)])
            job = {"model": str(_stage(recipe.model, work / "model")), "out": str(made), "blocks": blocks}
            job |= recipe.model_dump(include={"bits", "group_size", "clip", "seed"})
            write_json(work / "job.json", job)
            _work(recipe.engine, work / "job.json", out.parent / f"{recipe.engine}.log")
            _carry(recipe.model, made)
            if faults := faults_of(made, recipe.model, recipe.template):
                raise InputError(f"{recipe.engine} wrote no sound model: {'; '.join(faults)}")
            for path in made.iterdir():
                path.chmod(0o644)
            manifest.finish(made, record, sorted(one.name for one in made.iterdir() if one.name != manifest.NAME))
            if out.exists():
                shutil.rmtree(out)
            os.replace(made, out)
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return out


def faults_of(made: Path, source: Path, name: str) -> list[str]:
    """What is wrong with a model made of `source`, without running it: one line a fault."""
    try:
        checkpoint.tensors(made)
        faults = checkpoint.altered_architecture(made, source) + checkpoint.missing_tensors(made, source)[:1]
        faults += [f"{one} is quantized; the head stays as it is" for one in checkpoint.quantized_head(made)[:1]]
        return faults + [f"chat template: {one}" for one in template.differences(made, name, source)[:1]]
    except InputError as error:
        return [str(error)]
