"""The releases that the repository ships: whole, small, passed, and of the embedded base."""

import re
from pathlib import Path

import pytest

from riskscribe import manifest
from riskscribe.files import read_json
from riskscribe.release import base, checkpoint, releases

ROOT = Path(__file__).resolve().parents[2]
SHIPPED = sorted(one.parent for one in (ROOT / releases.HOME).glob("*/manifest.json"))


def test_there_is_one_for_the_embedded_model(in_root):
    assert releases.of_model("smollm2_135m") in [one.relative_to(ROOT) for one in SHIPPED]


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda one: one.name)
def test_a_shipped_release_is_whole_and_small(folder):
    # what went in may have changed since; what came out may not
    assert manifest.altered(folder, manifest.load(folder)) == []
    assert {one.name for one in folder.iterdir()} >= {"README.md", "adapter", "metrics.json", "parity.json"}
    weights = folder / "adapter" / "adapter_model.safetensors"
    assert weights.stat().st_size <= 6_000_000
    assert {one["dtype"] for one in checkpoint.tensors_of(weights).values()} == {"BF16"}
    gate = read_json(folder / "parity.json")
    assert gate["passed"] and {"adapter", "merged"} <= {one["row"] for one in gate["rows"] if one["passed"]}
    trained = manifest.load(folder / "adapter")
    assert trained.status == "complete" and not trained.dirty and trained.command[0] == "llamafactory-cli"
    source = base.gguf_path()
    assert manifest.base_weights(folder / "adapter") == {source.name: manifest.sha256(source)}


@pytest.mark.parametrize("folder", SHIPPED, ids=lambda one: one.name)
def test_a_shipped_release_names_no_place_of_the_machine_that_made_it(folder):
    place = re.compile(r"(?<![\w.])/(work|home|root|tmp|Users)/")
    for path in folder.rglob("*"):
        if path.suffix in (".json", ".md", ".html", ".jinja"):
            assert place.search(path.read_text(encoding="utf-8")) is None, path
