"""The columns of the comparison, free and constrained, and what a stage keeps of an interrupted run of it."""

import json
from pathlib import Path

import pytest
import yaml

from riskscribe import manifest, stages
from riskscribe.files import write_text

ROOT = Path(__file__).parents[1]


@pytest.fixture
def job(tmp_path, monkeypatch, tiny_model, make_dataset) -> stages.Job:
    """A model folder with the embedded model's recipes, on a tiny model and three test cases, in a root of its own."""
    rows = make_dataset(3)
    monkeypatch.chdir(tmp_path)
    for name in ("dataset_info", "datasets"):
        (tmp_path / name).symlink_to(ROOT / name)
    folder = tmp_path / "recipes" / "tiny"
    for stage in ("predict_base", "predict_tuned"):
        recipe = yaml.safe_load((ROOT / "recipes" / "smollm2_135m" / f"{stage}.yaml").read_text())
        recipe |= {"model_name_or_path": str(tiny_model), "dataset_dir": str(rows), "max_new_tokens": 24}
        write_text(folder / f"{stage}.yaml", yaml.safe_dump(recipe))
    quick = {
        "test": str(rows / "rows.jsonl"),
        "baseline": {"eval_dataset": "rows_few_shot"},
        "eval": {"eval_dataset": "rows"},
        "train": {},
        "seconds": {},
    }
    write_text(folder / "profiles.yaml", yaml.safe_dump({"base": "tiny", "quick": quick}))
    return stages.Job("tiny", "quick")


def predictions(folder: Path) -> list[str]:
    lines = (folder / "predict" / "generated_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    return [json.loads(one)["predict"] for one in lines]


@pytest.mark.slow
def test_every_model_column_is_there_free_and_constrained(job, tiny_model):
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM

    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    get_peft_model(model, LoraConfig(task_type="CAUSAL_LM")).save_pretrained(job.out / "train" / "adapter")
    manifest.finish(job.out / "train", manifest.start(job.out / "train", "train"), [])
    assert stages.baseline(job) and not stages.baseline(job)
    assert stages.evaluate(job)
    for free in (job.out / "baseline" / "base_few_shot", job.out / "eval" / "tuned"):
        held = free.with_name(f"{free.name}_constrained")
        assert len(predictions(free)) == len(predictions(held)) == 3
        # an untrained model cannot end a report in 24 tokens, but begins one
        assert all(one.startswith('{"schema_version":"1","limit_breaches":[') for one in predictions(held))
        assert not any(one.startswith("{") for one in predictions(free))
    found = json.loads((job.out / "eval" / "comparison" / "comparison.json").read_text(encoding="utf-8"))
    assert [one["key"] for one in found["columns"]] == [
        "constant", "policy_template", "base_few_shot", "base_few_shot_constrained", "tuned", "tuned_constrained",
    ]  # fmt: skip
    assert found["pair"] == {"candidate": "tuned_constrained", "reference": "base_few_shot_constrained"}

    # what was altered is made anew
    altered = job.out / "baseline" / "base_few_shot" / "records.jsonl"
    was = altered.read_text(encoding="utf-8")
    altered.write_text(was.replace('"schema_valid": false', '"schema_valid": true'), encoding="utf-8")
    assert altered.read_text(encoding="utf-8") != was
    assert stages.baseline(job)
    assert altered.read_text(encoding="utf-8") == was


def test_an_interrupted_stage_keeps_its_folder_and_a_changed_one_does_not(job):
    made = []

    def work(folder, record):
        made.append(sorted(one.name for one in folder.iterdir()))
        write_text(folder / "half", "done")
        if len(made) == 1:
            raise KeyboardInterrupt
        return ["half"]

    with pytest.raises(KeyboardInterrupt):
        stages._staged(job, "baseline", ["predict_base.yaml"], work)
    assert stages._staged(job, "baseline", ["predict_base.yaml"], work)
    assert not stages._staged(job, "baseline", ["predict_base.yaml"], work)
    write_text(job.out / "baseline" / "half", "altered")
    assert stages._staged(job, "baseline", ["predict_base.yaml"], work)
    assert made == [["manifest.json"], ["half", "manifest.json"], ["manifest.json"]]
