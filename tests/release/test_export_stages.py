"""`make export` on the small model: merge, gate, and what follows a rejection."""

import shutil
from pathlib import Path

import pytest
import yaml

from riskscribe import manifest, stages
from riskscribe.errors import InputError
from riskscribe.release import environments, releases, serve

ROOT = Path(__file__).resolve().parents[2]
RULE = {"metrics": ["schema_valid"], "margin_points": 60, "minimum_cases": 6, "when": ["bound"]}


@pytest.fixture
def job(small, tmp_path, monkeypatch):
    """A job whose base and adapter are the small ones, in a folder laid out as the repository."""
    for name in ("datasets", "dataset_info"):
        (tmp_path / name).symlink_to(ROOT / name)
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    (tmp_path / "plugins").symlink_to(ROOT / "plugins")
    path = tmp_path / "recipes" / "smollm2_135m" / "profiles.yaml"
    gate = {"data": str(small.data), "cases": {"en": 8}, "scored": 4, "positions": 8, "served": 0, "nf4": False}
    gate |= {"max_new_tokens": 12, "merged_no_worse": RULE, "awq_no_worse": RULE}
    profiles = yaml.safe_load(path.read_text(encoding="utf-8"))
    path.write_text(yaml.safe_dump(profiles | {"quick": profiles["quick"] | {"parity": gate}}), encoding="utf-8")
    monkeypatch.chdir(tmp_path)
    base = tmp_path / "exports" / "base" / "smollm2_135m"
    shutil.copytree(small.base, base)
    manifest.finish(base, manifest.start(base, "base", settings={"dtype": "float32"}), ["model.safetensors"])
    made = stages.Job("smollm2_135m", "quick", "0")
    shutil.copytree(small.adapter, made.out / "train" / "adapter")
    manifest.finish(made.out / "train", manifest.start(made.out / "train", "train"), [])
    return made


def test_engines_follow_what_is_installed_and_asked_for(tmp_path, monkeypatch, in_root):
    monkeypatch.setenv(environments.VARIABLE, str(tmp_path))
    made = environments.folder("llmcompressor") / "bin" / "python"
    made.parent.mkdir(parents=True)
    made.touch()
    chosen = {awq: stages.Job("smollm2_135m", "quick", awq).engines for awq in ("auto", "1", "0")}
    assert chosen == {"auto": ["llmcompressor"], "1": ["autoawq", "llmcompressor"], "0": []}


def test_a_release_answers_the_demo_where_nothing_was_exported(job, monkeypatch):
    name = "risk_report-smollm2-135m-v1.2.3"
    folder = releases.HOME / name
    shutil.copytree(job.out / "train" / "adapter", folder / "adapter")
    assert job.release is None  # without a manifest it is no release
    record = manifest.start(folder, "release", settings={"name": name})
    manifest.finish(folder, record, [str(one.relative_to(folder)) for one in (folder / "adapter").iterdir()])
    assert job.release == folder
    asked = []
    monkeypatch.setitem(stages.STAGES, "demo", lambda job: asked.append(job.release) or True)
    stages.run(job, "demo")  # no training, no export
    assert asked == [folder]
    call = job.serving(job.release)
    assert f"model_name_or_path={stages.BASE}" in call and f"adapter_name_or_path={folder / 'adapter'}" in call
    manifest.start(job.out / "export", "export")
    assert job.release is None


@pytest.mark.slow
def test_merge_gate_and_a_rejection(job):
    assert stages.export(job) and stages.quantize_merged(job) and stages.parity(job)
    merged = job.out / "export" / "merged"
    assert manifest.load(job.out / "export").status == "complete"
    assert (job.out / "parity" / "parity.zh.html").exists()
    # nothing is done twice, although the gate wrote into the manifest that the others build on
    assert not any(stage(job) for stage in (stages.export, stages.quantize_merged, stages.parity))
    # the weights change under the gate's eyes
    small_copy = (merged / "model.safetensors").read_bytes()
    (merged / "model.safetensors").write_bytes(small_copy[:-1000])
    shutil.rmtree(job.out / "parity")
    with pytest.raises(InputError, match="the parity gate rejected merged"):
        stages.parity(job)
    assert manifest.load(job.out / "export").status == "rejected"
    with pytest.raises(InputError, match=r"rejected by the parity gate: merged: .*cut off or altered"):
        serve.command("cli", Path("api.yaml"), merged)
    (merged / "model.safetensors").write_bytes(small_copy)
    # put right, and judged again: served again
    assert stages.parity(job)
    assert serve.command("cli", Path("api.yaml"), merged)
