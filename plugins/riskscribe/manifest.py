"""The provenance record of a run or an artefact: written first as pending, completed at the end."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field

from riskscribe.files import read_json, sha256, validate, write_json

NAME = "manifest.json"
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
    """Whether `folder` holds a complete, unaltered run of `stage` on exactly these inputs and settings.

    Unaltered: every output still has the hash that was written when the run completed.
    """
    manifest = load(folder)
    return (
        manifest is not None
        and (manifest.stage, manifest.status) == (stage, "complete")
        and manifest.inputs == inputs
        and manifest.settings == settings
        and all(
            (Path(folder) / name).is_file() and sha256(Path(folder) / name) == frozen
            for name, frozen in manifest.outputs.items()
        )
    )
