"""The stages: what makes one run again, and that what they read comes with the package."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from riskscribe import manifest, stages
from riskscribe.evaluate import compare, metrics
from riskscribe.schema import SCHEMA_FILE

ROOT = Path(__file__).parents[1]
PACKAGE = Path(stages.__file__).parent


@pytest.fixture
def job(tmp_path, monkeypatch) -> stages.Job:
    """A job of one recipe, whose baseline and training are done."""
    monkeypatch.chdir(tmp_path)
    for name in ("recipes/own/predict.yaml", "test.jsonl"):
        Path(name).parent.mkdir(parents=True, exist_ok=True)
        Path(name).write_text(name)
    Path("recipes/own/profiles.yaml").write_text("base: own\nquick: {test: test.jsonl, seconds: {}}\n")
    found = stages.Job("own", "quick")
    for one in ("baseline", "train"):
        manifest.finish(found.out / one, manifest.start(found.out / one, one), [])
    return found


def runs(job: stages.Job, stage: str) -> bool:
    def work(folder: Path, record: manifest.Manifest) -> list[str]:
        (folder / "made.txt").write_text("x")
        return ["made.txt"]

    return stages._staged(job, stage, ["predict.yaml"], work)


@pytest.mark.parametrize(
    ("stage", "changed", "again"),
    [
        ("eval", None, False),
        ("eval", "recipes/own/predict.yaml", True),
        ("eval", "test.jsonl", True),
        ("eval", "decision.yaml", True),
        ("eval", "rubric.yaml", True),
        ("baseline", "rubric.yaml", True),
        ("baseline", "report.schema.json", True),
        ("baseline", "decision.yaml", False),
        ("export", "decision.yaml", False),
    ],
)
def test_a_stage_runs_again_when_what_decides_its_outputs_changed(job, monkeypatch, stage, changed, again):
    found = {one.name: one for one in (compare.DECISION, metrics.RUBRIC_FILE, ROOT / SCHEMA_FILE)}
    copies = {name: Path(shutil.copy(one, name)) for name, one in found.items()}
    monkeypatch.setattr(
        stages,
        "RULES",
        {name: tuple(copies[one.name] for one in rules) for name, rules in stages.RULES.items()},
    )
    needs = {one: [] for one in stages.NEEDS} | {"eval": ["baseline", "train"]}
    monkeypatch.setattr(stages, "NEEDS", needs)
    assert runs(job, stage) and not runs(job, stage)
    if changed:
        Path(changed).write_text(Path(changed).read_text(encoding="utf-8") + "\n# changed\n", encoding="utf-8")
    assert runs(job, stage) is again


INSTALLED = """
from riskscribe.evaluate import compare, metrics
from riskscribe.page.render import _environment
from riskscribe.policy import default_policy
assert compare.read_decision()[1]["file"] == "decision.yaml" and metrics.rubric() and default_policy()
assert all(_environment(True).get_template(f"{one}.html.j2") for one in ("report", "comparison"))
"""


def test_what_decides_comes_with_the_package(tmp_path):
    """As installed from a wheel: no checkout around it."""
    shutil.copytree(PACKAGE, tmp_path / "site" / "riskscribe", ignore=shutil.ignore_patterns("__pycache__"))
    subprocess.run(
        [sys.executable, "-c", INSTALLED],
        check=True,
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": str(tmp_path / "site")},
    )
