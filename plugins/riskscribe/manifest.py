"""The provenance record of a run or an artefact: written first as pending, completed at the end."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from riskscribe.errors import InputError
from riskscribe.files import read_json, rendered, sha256, sha256_text, validate, write_json

NAME = "manifest.json"
LOCK = Path(__file__).resolve().parents[2] / "requirements.lock"
PACKAGES = (
    "riskscribe",
    "llamafactory",
    "torch",
    "transformers",
    "peft",
    "bitsandbytes",
    "datasets",
    "pyarrow",
    "QuantLib",
    "arch",
    "skfolio",
)


class Manifest(BaseModel):
    """What made an artefact: code, environment, inputs by hash of content, outputs by hash of content."""

    model_config = ConfigDict(extra="forbid")

    schema_version: Literal["1"] = "1"
    stage: str
    status: Literal["pending", "complete", "rejected"] = "pending"
    started: str
    finished: str | None = None
    seconds: float | None = None
    commit: str | None = None
    dirty: bool | None = None
    packages: dict[str, str] = Field(default_factory=dict)
    lock: str | None = Field(default=None, description="sha256 of requirements.lock")
    machine: dict[str, Any] = Field(default_factory=dict)
    command: list[str] = Field(default_factory=list)
    settings: dict[str, Any] = Field(default_factory=dict)
    inputs: dict[str, str] = Field(default_factory=dict, description="path or name -> sha256 of its content")
    outputs: dict[str, str] = Field(default_factory=dict, description="path in this folder -> sha256 of its content")
    summary: dict[str, Any] = Field(default_factory=dict, description="what the outputs hold, counted")
    parents: list[str] = Field(default_factory=list, description="folders whose manifests this run builds on")


def now() -> str:
    """The present moment in UTC, ISO 8601 to the second."""
    return datetime.now(UTC).isoformat(timespec="seconds")


def _git(*arguments: str) -> str | None:
    try:
        return subprocess.run(["git", *arguments], capture_output=True, text=True, check=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return None


def _versions() -> dict[str, str]:
    found = {}
    for package in PACKAGES:
        try:
            found[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return found


def start(folder: Path, stage: str, **fields: Any) -> Manifest:
    """Write a pending manifest to `folder` and return it."""
    status = _git("status", "--porcelain")
    manifest = Manifest(
        stage=stage,
        started=now(),
        commit=_git("rev-parse", "HEAD"),
        dirty=None if status is None else bool(status),
        packages=_versions(),
        lock=sha256(LOCK) if LOCK.is_file() else None,
        machine={"system": platform.platform(), "python": platform.python_version(), "cores": os.cpu_count()},
        **fields,
    )
    write_json(Path(folder) / NAME, manifest)
    return manifest


def finish(folder: Path, manifest: Manifest, outputs: list[str]) -> None:
    """Complete `manifest` with the hashes of `outputs` (names inside `folder`)."""
    manifest.outputs = {name: sha256(Path(folder) / name) for name in outputs}
    manifest.status = "complete"
    manifest.finished = now()
    manifest.seconds = (
        datetime.fromisoformat(manifest.finished) - datetime.fromisoformat(manifest.started)
    ).total_seconds()
    write_json(Path(folder) / NAME, manifest)


def load(folder: Path) -> Manifest | None:
    """The manifest in `folder`, or None when there is none."""
    path = Path(folder) / NAME
    return validate(Manifest, read_json(path), str(path)) if path.exists() else None


def is_current(folder: Path, stage: str, inputs: dict[str, str], settings: dict[str, Any]) -> bool:
    """Whether `folder` holds a finished, unaltered run of `stage` on exactly these inputs and settings.

    Unaltered: every output still has the hash that was written when the run completed. A rejected run is finished too:
    doing it again would give the same.
    """
    manifest = load(folder)
    return (
        manifest is not None
        and manifest.stage == stage
        and manifest.status != "pending"
        and manifest.inputs == inputs
        and manifest.settings == settings
        and not altered(folder, manifest)
    )


def altered(folder: Path, manifest: Manifest) -> list[str]:
    """What no longer is as the manifest says: a line for every output that is gone or has another content."""
    found = []
    for name, frozen in manifest.outputs.items():
        path = Path(folder) / name
        if not path.is_file():
            found.append(f"{path}: is gone")
        elif (now := sha256(path)) != frozen:
            found.append(f"{path}: altered: its sha256 is {now[:12]}, the manifest says {frozen[:12]}")
    return found


def holding(artefact: Path) -> tuple[Path, Manifest] | None:
    """The folder and the manifest that speak of an artefact: its own, or its stage's in the folder above."""
    for folder in (Path(artefact), Path(artefact).resolve().parent):
        if found := load(folder):
            return folder, found
    return None


def judge(artefact: Path, failed: list[str], report: Path) -> None:
    """Write what the parity gate found into an artefact's manifest: `rejected` with the reasons, or `complete`."""
    found = holding(artefact)
    folder, manifest = found or (Path(artefact), Manifest(stage="artefact", started=now(), finished=now()))
    manifest.status = "rejected" if failed else "complete"
    manifest.summary["parity"] = {"report": str(report), "sha256": sha256(report), "failed": failed}
    write_json(folder / NAME, manifest)


def rejection(artefact: Path) -> str:
    """Why the parity gate rejected an artefact, in one line; empty where it did not."""
    found = holding(artefact)
    if found is None or found[1].status != "rejected":
        return ""
    told = found[1].summary.get("parity", {})
    failed = told.get("failed") or ["no reason recorded"]
    return f"{failed[0]}{f' (and {len(failed) - 1} more)' if len(failed) > 1 else ''}; see {told.get('report')}"


def identity(folder: Path) -> str:
    """What a manifest is known by to the runs that build on its artefact: its sha256 before the parity gate wrote its
    verdict into it.
    """
    path = Path(folder) / NAME
    found = load(folder)
    if found is None or "parity" not in found.summary:
        return sha256(path)
    found.status = "complete"
    del found.summary["parity"]
    return sha256_text(rendered(found))


def verify(folder: Path) -> list[str]:
    """What is wrong with an artefact, a line each: unfinished, rejected, altered, or its inputs have changed since.

    Raises InputError when the folder holds no manifest.
    """
    found = load(folder)
    if found is None:
        raise InputError(f"{folder}: holds no {NAME}")
    faults = [f"{folder}: is {found.status}; the run did not end"] if found.status == "pending" else []
    if found.status == "rejected":
        faults.append(f"{folder}: rejected by the parity gate: {rejection(folder)}")
    faults += altered(Path(folder), found)
    for name, frozen in found.inputs.items():
        path = Path(name)
        if path.name == NAME or not path.is_file():
            continue  # a name, or something that is elsewhere now
        if (there := sha256(path)) != frozen:
            faults.append(f"{path}: was {frozen[:12]} when this was made, is {there[:12]} now")
    return faults


# what explains another result, in the order in which to look for it: (title, how to read it from a manifest)
_CAUSES = (
    ("data, model, template and recipe", lambda one: {**one.inputs, **one.summary.get("base_weights", {})}),
    ("settings", lambda one: _flat(one.settings)),
    ("code", lambda one: {"commit": one.commit, "uncommitted changes": one.dirty}),
    ("packages", lambda one: {**one.packages, "lock": one.lock}),
    ("machine", lambda one: _flat({key: v for key, v in one.machine.items() if key != "peak_memory_gib"})),
)


# outputs that tell of the run: times in all of them, and in adapter_config.json a set that peft writes in any order
# (what it holds is among the settings)
_RECORDS = {
    "adapter_config.json", "all_results.json", "eval_results.json", "llamafactory.log", "predict_results.json",
    "train_results.json", "trainer_log.jsonl", "trainer_state.json", "training_args.bin",
}  # fmt: skip


def _flat(values: dict[str, Any], at: str = "") -> dict[str, Any]:
    found: dict[str, Any] = {}
    for key, one in values.items():
        found |= _flat(one, f"{at}{key}.") if isinstance(one, dict) else {f"{at}{key}": one}
    return found


def diff(first: Path, second: Path) -> dict[str, Any]:
    """Why two runs may have come out differently: causes by kind, then which outputs differ.

    Returns {"causes": [{kind, name, first, second}], "outputs": names that differ, "answer": one sentence}. Raises
    InputError when a folder holds no manifest.
    """
    runs = []
    for folder in (first, second):
        if (found := load(folder)) is None:
            raise InputError(f"{folder}: holds no {NAME}")
        runs.append(found)
    causes = []
    for kind, read in _CAUSES:
        one, other = map(read, runs)
        causes += [
            {"kind": kind, "name": name, "first": one.get(name), "second": other.get(name)}
            for name in {**one, **other}
            if one.get(name) != other.get(name)
        ]
    one, other = (run.outputs for run in runs)
    changed = sorted(name for name in {**one, **other} if one.get(name) != other.get(name))
    seeds = [name for name in ("seed", "data_seed") if any(x["name"].endswith(name) for x in causes)]
    if not changed:
        answer = "The outputs are the same bytes."
    elif _RECORDS.issuperset(changed):
        answer = "The outputs are the same bytes but for records of the run, which hold times."
    elif not causes:
        answer = (
            "Nothing recorded differs, yet the outputs do: the run itself is not deterministic (threads, hardware)."
        )
    else:
        kinds = ", ".join(dict.fromkeys(one["kind"] for one in causes))
        answer = f"The outputs differ; so do {kinds}{' (the seed among them)' if seeds else '; the seed does not'}."
    return {"causes": causes, "outputs": changed, "answer": answer}


def weights(folder: Path) -> dict[str, str]:
    """File name -> sha256 of every file of weights in a model folder."""
    return {path.name: sha256(path) for path in sorted(Path(folder).glob("*.safetensors"))}


def origin(base: Path) -> dict[str, str]:
    """What a base model is known by, name -> sha256: what it was built from where a manifest says so, for the embedded
    base is stored in another type on another machine and is the same model; else its weights.
    """
    found = load(base)
    return dict(found.inputs) if found and found.stage == "base" and found.inputs else weights(base)


def base_weights(adapter: Path) -> dict[str, str] | None:
    """The `origin` of the base an adapter was trained on, as its training recorded it; None where it did not."""
    found = holding(adapter)
    return found[1].summary.get("base_weights") if found else None
