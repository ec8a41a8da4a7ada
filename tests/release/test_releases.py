"""A release holds the bytes that passed the gate, never changes, and an older one can be used again."""

import json
import shutil
from pathlib import Path

import pytest

from riskscribe import manifest
from riskscribe.errors import InputError
from riskscribe.files import write_json
from riskscribe.release import checkpoint, releases

ROOT = Path(__file__).resolve().parents[2]
CARD = ROOT / "recipes" / "smollm2_135m" / "card.yaml"
FIRST, SECOND = "risk_report-small-v1.0.0", "risk_report-small-v1.1.0"


@pytest.fixture
def given(small, tmp_path, scored_runs):
    """What `release create` is given: the small adapter, a passed gate on its bytes, metrics of a scored run."""
    adapter = Path(shutil.copytree(small.adapter, tmp_path / "adapter"))
    (adapter / "optimizer.pt").write_bytes(b"not needed to use it")
    row = {"row": "adapter", "dtype": "float32", "passed": True, "weights": manifest.weights(adapter)}
    row |= {"perplexity": 2.5, "perplexity_ratio": 1.0, "kl": None, "weights_bytes": 1000}
    merged = {**row, "row": "merged", "weights": manifest.weights(small.merged), "kl": 1e-8}
    write_json(tmp_path / "parity.json", {"passed": True, "rows": [row, merged], "checks": [], "sample": {}})
    return {
        "adapter": adapter,
        "parity": tmp_path / "parity.json",
        "metrics": scored_runs / "tuned" / "metrics.json",
        "card": CARD,
        "home": tmp_path / "releases",
    }


def test_a_release_holds_card_bytes_and_provenance(given, small):
    folder = releases.create(FIRST, **given, merged=small.merged)
    assert sorted(one.name for one in folder.iterdir()) == [
        "README.md", "adapter", "manifest.json", "merged", "metrics.json", "parity.json",
    ]  # fmt: skip
    assert not (folder / "adapter" / "optimizer.pt").exists()
    assert manifest.weights(folder / "adapter") == manifest.weights(given["adapter"])
    assert manifest.verify(folder) == []
    assert manifest.base_weights(folder / "adapter") == manifest.weights(small.base)
    card = (folder / "README.md").read_text(encoding="utf-8")
    for part in ("Permitted use", "Prohibited use", "Monitoring", "re-validation due", "licence of the base", "owner"):
        assert part in card
    metrics = json.loads(given["metrics"].read_text())["languages"]["en"]["metrics"]["schema_valid"]
    assert f"{metrics['value']:.1f} [{metrics['low']:.1f} to {metrics['high']:.1f}], n {metrics['n']}" in card
    assert "| merged | float32 | 2.500 | 1.000 | 1.0e-08 |" in card and "First release." in card


def test_a_name_is_taken_once_and_versions_rise(given):
    releases.create(SECOND, **given)
    with pytest.raises(InputError, match="is taken; a release never changes"):
        releases.create(SECOND, **given)
    with pytest.raises(InputError, match=r"is older than risk_report-small-v1\.1\.0"):
        releases.create(FIRST, **given)
    releases.create("risk_report-small-v1.10.0", **given, notes="Another seed.")
    card = (given["home"] / "risk_report-small-v1.10.0" / "README.md").read_text()
    assert "Another seed." in card and f"Against {SECOND}:" in card
    # 1.10 comes after 1.1
    assert [one["name"] for one in releases.listed(given["home"])] == [SECOND, "risk_report-small-v1.10.0"]


@pytest.mark.parametrize(
    "name", ["v1.0.0", "risk_report-small-v1.0", "risk_report-small-1.0.0", "../x-y-v1.0.0", "A-b-v1.0.0"]
)
def test_a_name_that_is_none(given, name):
    with pytest.raises(InputError, match="write TASK-MODEL-vMAJOR"):
        releases.create(name, **given)


def test_what_did_not_pass_is_not_released(given, small):
    gate = json.loads(given["parity"].read_text())
    write_json(given["parity"], gate | {"passed": False})
    with pytest.raises(InputError, match="the gate did not pass"):
        releases.create(FIRST, **given)
    write_json(given["parity"], gate)
    manifest.judge(given["adapter"], ["adapter: made worse"], given["parity"])
    with pytest.raises(InputError, match="rejected by the parity gate: adapter: made worse"):
        releases.create(FIRST, **given)
    assert not given["home"].exists() or list(given["home"].iterdir()) == []


def test_other_bytes_than_the_gate_saw_are_not_released(given, small, tmp_path):
    other = small.copy(small.merged, tmp_path / "merged", lambda tensors: tensors["model.norm.weight"].mul_(2))
    with pytest.raises(InputError, match=r"is not what .* was measured on: other weights"):
        releases.create(FIRST, **given, merged=other)
    with pytest.raises(InputError, match="has no row awq_autoawq"):
        releases.create(FIRST, **given, awq=(Path(shutil.copytree(small.merged, tmp_path / "autoawq")),))
    assert list(given["home"].iterdir()) == [] if given["home"].exists() else True


def test_using_and_rolling_back(given, small):
    home = given["home"]
    with pytest.raises(InputError, match="no release is used"):
        releases.folder_of("used", home)
    for name in (FIRST, SECOND):
        releases.create(name, **given)
    assert releases.of_model("small", home) == home / SECOND  # the newest, where none is used
    assert releases.use(SECOND, home) is None and releases.use(FIRST, home) == SECOND
    assert releases.folder_of("used", home) == home / FIRST == releases.of_model("small", home)
    assert releases.of_model("qwen2_5_7b", home) is None
    assert [one["used"] for one in releases.listed(home)] == [True, False]
    # an altered release is not used, and the one before stays
    (home / SECOND / "README.md").write_text("better")
    with pytest.raises(InputError, match=r"v1\.1\.0: .*README\.md: altered"):
        releases.use(SECOND, home)
    assert releases.folder_of("used", home) == home / FIRST
    with pytest.raises(InputError, match=r"no such release; there is: .*v1\.0\.0"):
        releases.use("risk_report-small-v9.0.0", home)


def test_an_adapter_is_served_on_its_own_base(given, small):
    folder = releases.create(FIRST, **given)
    found = releases.model_of(folder, small.base)
    assert found == {"model_name_or_path": small.base, "adapter_name_or_path": folder / "adapter"}
    with pytest.raises(InputError, match="was trained on another base"):
        releases.model_of(folder, small.other_base)
    whole = releases.create(SECOND, **given, merged=small.merged)
    assert releases.model_of(whole, small.other_base) == {"model_name_or_path": whole / "merged"}


def test_the_embedded_base_is_one_model_in_either_type(small, tmp_path):
    """Built from one GGUF, stored in another type on another machine: its adapter fits both."""
    for name in ("float32", "bfloat16"):
        folder = small.copy(small.base, tmp_path / name, (lambda tensors: None) if name == "float32" else halve)
        record = manifest.start(folder, "base", inputs={"model.gguf": "ab" * 32}, settings={"dtype": name})
        manifest.finish(folder, record, ["model.safetensors"])
    adapter = Path(shutil.copytree(small.adapter, tmp_path / "adapter"))
    record = manifest.load(adapter)
    record.summary["base_weights"] = manifest.origin(tmp_path / "bfloat16")
    write_json(adapter / manifest.NAME, record)
    assert checkpoint.adapter_faults(adapter, tmp_path / "float32") == []
    assert "was trained on another base: model.gguf" in checkpoint.adapter_faults(adapter, small.base)[0]


def halve(tensors) -> None:
    for name in tensors:
        tensors[name] = tensors[name].bfloat16()


def test_two_releases_side_by_side(given, scored_runs):
    releases.create(FIRST, **given)
    releases.create(SECOND, **{**given, "metrics": scored_runs / "seed1" / "metrics.json"})
    found = releases.diff(FIRST, SECOND, given["home"])
    rows = {(one["language"], one["metric"]): one for one in found["metrics"]}
    assert rows["en", "grounded"]["first"]["value"] > rows["en", "grounded"]["second"]["value"]
    assert found["training"]["answer"] == "The outputs are the same bytes."
