"""Releases: a name, the bytes that were tested under it, what was measured on them, and which one is served.

A release is a folder exports/releases/<name>/ that is written once and never changed: adapter/, and where given
merged/ and awq_<engine>/, with parity.json, metrics.json, README.md (the model card) and manifest.json.
Rolling back is using an older one.
"""

import os
import re
import shutil
import tempfile
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from riskscribe import manifest
from riskscribe.errors import InputError
from riskscribe.evaluate.score import METRICS
from riskscribe.files import read_json, read_yaml, sha256, validate, write_json, write_text
from riskscribe.release import checkpoint

HOME = Path("exports/releases")
USED = "used.json"
_NAME = re.compile(r"(?P<line>[a-z][a-z0-9_]*(?:-[a-z0-9_.]+)+)-v(?P<version>(?:0|[1-9]\d*)(?:\.(?:0|[1-9]\d*)){2})")
# of a training run's folder: what its base does not have
_ADAPTER = ("adapter_model.safetensors", "adapter_config.json", "chat_template.jinja")


class Card(BaseModel):
    """recipes/<model>/card.yaml: what a model card says that no run can measure."""

    model_config = ConfigDict(extra="forbid")

    base: str
    base_licence: str
    owner: str
    task: str
    data: str
    permitted: list[str] = Field(min_length=1)
    prohibited: list[str] = Field(min_length=1)
    monitoring: list[str] = Field(min_length=1, description="what is watched, and from which value on one acts")
    revalidate_after_days: int = Field(gt=0)
    limitations: list[str] = Field(min_length=1)


def parse_name(name: str) -> tuple[str, tuple[int, int, int]]:
    """(line, version) of a release name. Raises InputError when it is none."""
    found = _NAME.fullmatch(name)
    if not found:
        raise InputError(
            f"release name {name!r}: write TASK-MODEL-vMAJOR.MINOR.PATCH, as risk_report-smollm2-135m-v1.0.0"
        )
    major, minor, patch = map(int, found["version"].split("."))
    return found["line"], (major, minor, patch)


def listed(home: Path = HOME) -> list[dict[str, Any]]:
    """Every release: name, created, status and whether it is used, in order of line and version."""
    used = _used(home)
    found = []
    for folder in Path(home).glob("*"):
        if folder.is_dir() and _NAME.fullmatch(folder.name) and (held := manifest.load(folder)):
            found.append(
                {"name": folder.name, "created": held.finished, "status": held.status, "used": folder.name == used}
            )
    return sorted(found, key=lambda one: parse_name(one["name"]))


def _used(home: Path) -> str | None:
    path = Path(home) / USED
    return read_json(path).get("name") if path.exists() else None


def folder_of(name: str, home: Path = HOME) -> Path:
    """The folder of a release, or of the used one for the name `used`; unaltered. Raises InputError otherwise."""
    if name == "used":
        name = _used(home) or ""
        if not name:
            raise InputError(
                "no release is used; `riskscribe release use NAME` says which, `riskscribe release list` lists"
            )
    parse_name(name)
    folder = Path(home) / name
    if manifest.load(folder) is None:
        there = ", ".join(one["name"] for one in listed(home)) or "none"
        raise InputError(f"{name}: no such release; there is: {there}")
    if faults := [one for one in manifest.verify(folder) if "when this was made" not in one]:
        raise InputError(f"{name}: {faults[0]}")
    return folder


def of_model(model: str, home: Path = HOME) -> Path | None:
    """The folder of a recipe folder's release: the used one, else the newest; None where it has none.

    Raises InputError when that release is altered.
    """
    line = f"risk_report-{model.replace('_', '-')}"
    names = [one["name"] for one in listed(home) if parse_name(one["name"])[0] == line]
    used = _used(home)
    return folder_of(used if used in names else names[-1], home) if names else None


def _same_bytes(parity: dict[str, Any], path: Path, row: str, folder: Path) -> None:
    """Raise InputError unless `folder` holds the weights that a row of the parity report was measured on."""
    found = next((one for one in parity["rows"] if one["row"] == row), None)
    if found is None:
        raise InputError(f"{path}: has no row {row}; run the gate on everything that is released")
    if found.get("weights") != manifest.weights(folder):
        raise InputError(f"{folder}: is not what {path} was measured on: other weights; run `riskscribe parity` again")


def create(
    name: str,
    *,
    adapter: Path,
    parity: Path,
    metrics: Path,
    card: Path,
    merged: Path | None = None,
    awq: tuple[Path, ...] = (),
    notes: str = "",
    home: Path = HOME,
) -> Path:
    """Write a release from artefacts that passed the gate; returns its folder.

    Args:
        name: TASK-MODEL-vMAJOR.MINOR.PATCH.
        adapter: The LoRA adapter; its manifest becomes the release's parent.
        parity: parity.json of the gate, passed, on these very bytes.
        metrics: metrics.json of `riskscribe score` on a test set.
        card: What the model card says that no run measures.
        merged, awq: Models to ship as well.
        notes: What changed, for the change log.
        home: Where releases lie.

    Raises:
        InputError: The name is taken or no later than the line's newest, the gate did not pass or measured something
            else, or an artefact was rejected or is not there. Nothing is left then.
    """
    line, version = parse_name(name)
    if (home / name).exists():
        raise InputError(f"{name}: is taken; a release never changes: give the next version")
    older = [one["name"] for one in listed(home) if parse_name(one["name"])[0] == line]
    if older and parse_name(older[-1])[1] > version:
        raise InputError(f"{name}: is older than {older[-1]}; a new release has a higher version")
    about = validate(Card, read_yaml(card), str(card))
    gate, scored = read_json(parity), read_json(metrics)
    if not gate.get("passed"):
        raise InputError(f"{parity}: the gate did not pass; what failed it is not released")
    if not isinstance(scored.get("languages"), dict):
        raise InputError(f"{metrics}: is no metrics.json of `riskscribe score`")
    parts = {"adapter": adapter} | ({"merged": merged} if merged else {}) | {f"awq_{one.name}": one for one in awq}
    for part, folder in parts.items():
        if why := manifest.rejection(folder):
            raise InputError(f"{folder}: rejected by the parity gate: {why}")
        if not list(folder.glob("*.safetensors")):
            raise InputError(f"{folder}: holds no weights")
        _same_bytes(gate, parity, part, folder)
    home.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(dir=home, prefix=f".{name}."))
    try:
        trained = manifest.holding(adapter)
        record = manifest.start(
            work,
            "release",
            inputs={str(one): sha256(one) for one in (parity, metrics, card)},
            settings={"name": name, "parts": sorted(parts), "notes": notes},
            parents=[str(adapter)],
            summary={"base_weights": manifest.base_weights(adapter) or {}},
        )
        for part, folder in parts.items():
            (work / part).mkdir()
            for path in sorted(folder.iterdir()):
                if path.is_file() and path.name != manifest.NAME and (part != "adapter" or path.name in _ADAPTER):
                    shutil.copy(path, work / part / path.name)
        if trained:
            # how the adapter was made stays with it: `manifest show RELEASE/adapter` reproduces it
            write_json(work / "adapter" / manifest.NAME, trained[1])
        write_json(work / "parity.json", gate)
        for path in (parity.with_suffix(".html"), parity.with_suffix(".zh.html")):
            if path.exists():
                shutil.copy(path, work / path.name)
        write_json(work / "metrics.json", scored)
        before = home / older[-1] if older else None
        write_text(work / "README.md", _card(name, about, gate, scored, notes, before))
        names = sorted(str(one.relative_to(work)) for one in work.rglob("*") if one.is_file())
        manifest.finish(work, record, [one for one in names if one != manifest.NAME])
        work.chmod(0o755)
        os.rename(work, home / name)
    except OSError as error:
        raise InputError(f"{home / name}: {(error.strerror or str(error)).lower()}") from None
    finally:
        shutil.rmtree(work, ignore_errors=True)
    return home / name


def use(name: str, home: Path = HOME) -> str | None:
    """Make a release the one that is served; returns the one before. Raises InputError and changes nothing when it is
    not there, altered or rejected."""
    folder, before = folder_of(name, home), _used(home)
    write_json(Path(home) / USED, {"name": folder.name, "before": before, "since": manifest.now()})
    return before


def model_of(folder: Path, base: Path) -> dict[str, Path]:
    """LLaMA-Factory's arguments for a release: its merged model, else its adapter on `base`, which must be its own."""
    if (folder / "merged").is_dir():
        return {"model_name_or_path": folder / "merged"}
    if faults := checkpoint.adapter_faults(folder / "adapter", base):
        raise InputError(faults[0])
    return {"model_name_or_path": base, "adapter_name_or_path": folder / "adapter"}


def diff(first: str, second: str, home: Path = HOME) -> dict[str, Any]:
    """Two releases: their metrics beside each other where an interval moved, and why they may differ."""
    folders = [folder_of(one, home) for one in (first, second)]
    one, other = (read_json(folder / "metrics.json")["languages"] for folder in folders)
    rows = []
    for language in one.keys() & other.keys():
        for key in one[language]["metrics"].keys() & other[language]["metrics"].keys():
            pair = [block[language]["metrics"][key] for block in (one, other)]
            if pair[0]["value"] != pair[1]["value"]:
                rows.append({"language": language, "metric": key, "first": pair[0], "second": pair[1]})
    rows.sort(key=lambda row: (row["language"], row["metric"]))
    runs = [folder / "adapter" for folder in folders]
    why = manifest.diff(*runs) if all(manifest.load(run) for run in runs) else None
    return {"first": folders[0].name, "second": folders[1].name, "metrics": rows, "training": why}


def _cell(one: dict[str, Any] | None) -> str:
    if not one or one.get("value") is None:
        return "–"
    ends = "" if one.get("low") is None else f" [{one['low']:.1f} to {one['high']:.1f}]"
    return f"{one['value']:.1f}{ends}, n {one['n']}"


def _number(value: float | None, form: str = ".3f") -> str:
    return "–" if value is None else format(value, form)


def _card(name: str, about: Card, gate: dict, scored: dict, notes: str, before: Path | None) -> str:
    """The model card, as Markdown."""
    due = (datetime.now(UTC) + timedelta(days=about.revalidate_after_days)).date()
    lines = [f"# {name}", "", about.task, ""]
    lines += ["|  |  |", "|---|---|", f"| base | {about.base} |", f"| licence of the base | {about.base_licence} |"]
    lines += [f"| owner | {about.owner} |", f"| re-validation due | {due} |", f"| data | {about.data} |", ""]
    blocks = (("Permitted use", about.permitted), ("Prohibited use", about.prohibited))
    blocks += (("Monitoring", about.monitoring), ("Known limitations", about.limitations))
    for title, points in blocks:
        lines += [f"## {title}", "", *(f"- {one}" for one in points), ""]
    names = {one.key: one.name for one in METRICS}
    languages = list(scored["languages"])
    lines += ["## Metrics", "", f"Rubric {scored.get('rubric')}, data {scored.get('data')} ", ""]
    lines[-2] += f"(sha256 {str(scored.get('data_sha256'))[:12]}); percent, 95 % intervals."
    lines += [f"| metric | {' | '.join(languages)} |", "|---" * (1 + len(languages)) + "|"]
    for key in scored["languages"][languages[0]]["metrics"]:
        cells = [_cell(scored["languages"][one]["metrics"].get(key)) for one in languages]
        lines.append(f"| {names.get(key, key)} | {' | '.join(cells)} |")
    lines += [
        "",
        "## Parity",
        "",
        "| row | type | perplexity | times the adapter's | mean KL | weights, MB | passed |",
    ]
    lines.append("|---|---|---|---|---|---|---|")
    for one in gate["rows"]:
        size = None if one["weights_bytes"] is None else one["weights_bytes"] / 1e6
        cells = [_number(one["perplexity"]), _number(one["perplexity_ratio"]), _number(one["kl"], ".1e")]
        passed = {True: "yes", False: "no", None: "reported"}[one["passed"]]
        lines.append(f"| {one['row']} | {one['dtype']} | {' | '.join(cells)} | {_number(size, '.0f')} | {passed} |")
    lines += ["", "## Changes", "", notes or "First release." if before is None else notes or "No notes given."]
    if before is not None:
        was = read_json(before / "metrics.json")["languages"]
        lines += ["", f"Against {before.name}:", ""]
        for language in languages:
            for key in ("total", "schema_valid", "fatal_error_free"):
                old, new = (x.get(language, {}).get("metrics", {}).get(key) for x in (was, scored["languages"]))
                lines.append(f"- {language}, {names.get(key, key)}: {_cell(old)} before, {_cell(new)} now")
    lines += [
        "",
        "`manifest.json` has the hash of every file; `adapter/manifest.json` how the adapter was trained.",
        "",
    ]
    return "\n".join(lines)
