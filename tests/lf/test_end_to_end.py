"""Train, predict and export for real: the SmolLM2 recipes through llamafactory-cli, on a tiny model and a few rows."""

import importlib.util
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from riskscribe.release import template

ROOT = Path(__file__).resolve().parents[2]
RECIPES = "recipes/smollm2_135m"


def start(command: str, recipe: str, *overrides: str, **environment: str) -> subprocess.Popen:
    """One llamafactory-cli process, as a user would type it from the repository root."""
    cli = Path(sys.executable).with_name("llamafactory-cli")
    return subprocess.Popen(
        [str(cli), command, f"{RECIPES}/{recipe}", *overrides],
        cwd=ROOT,
        env={**os.environ, "HF_HUB_OFFLINE": "1", **environment},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    )


def finish(process: subprocess.Popen) -> str:
    said, _ = process.communicate(timeout=300)
    assert process.returncode == 0, said[-4000:]
    return said


def test_train_predict_export(tiny_model, make_dataset, tmp_path):
    data, out = make_dataset(6), tmp_path / "out"
    model, adapter = f"model_name_or_path={tiny_model}", f"adapter_name_or_path={out}/adapter"
    said = finish(
        start(
            *("train", "sft_qlora.yaml", model),
            *(f"dataset_dir={data}", "dataset=rows", "max_steps=2", "logging_steps=1", f"output_dir={out}/adapter"),
        )
    )
    assert "riskscribe: " not in said
    assert json.loads((out / "adapter" / "train_results.json").read_text())["train_loss"] > 0
    assert (out / "adapter" / "adapter_model.safetensors").exists()
    assert (out / "adapter" / "training_loss.png").exists()

    # both need the adapter and neither the other: most of either is importing
    predicting = start(
        *("train", "predict_tuned.yaml", model, adapter, "max_new_tokens=48"),
        *(f"dataset_dir={data}", "eval_dataset=rows", f"output_dir={out}/predict"),
    )
    exporting = start("export", "export.yaml", model, adapter, f"export_dir={out}/merged")
    finish(exporting)
    said = finish(predicting)
    assert "riskscribe: " not in said

    wanted = {
        json.loads(json.loads(line)["case"])["case_id"] for line in (data / "rows.jsonl").read_text().splitlines()
    }
    rows = [json.loads(one) for one in (out / "predict" / "generated_predictions.jsonl").read_text().splitlines()]
    assert len(rows) == len(wanted) == 6
    for case_id in wanted:
        assert sum(f"Case {case_id} |" in row["prompt"] for row in rows) == 1
    # what was cut nowhere: the label is the whole report
    assert all(json.loads(row["label"])["schema_version"] for row in rows)
    results = json.loads((out / "predict" / "predict_results.json").read_text())
    assert "predict_rouge-1" in results
    assert results["predict_risk_cases"] == 6
    # an untrained model's babble is no report, and the rubric says so
    assert results["predict_risk_schema_valid"] == results["predict_risk_fatal_error_free"] == 0

    # upstream's Jinja takes an empty system message for one, its training does not
    assert template.differences(out / "merged", "smollm2") == []

    from safetensors.torch import load_file

    merged = load_file(out / "merged" / "model.safetensors")
    assert {str(one.dtype) for one in merged.values()} == {"torch.float32"}
    base = load_file(tiny_model / "model.safetensors")
    changed = "model.layers.0.mlp.down_proj.weight"
    assert (merged[changed] != base[changed].float()).any()


@pytest.mark.slow
def test_one_changed_signature_upstream_costs_one_attachment(tiny_model, make_dataset, tmp_path):
    """LLaMA-Factory itself, but for one renamed parameter that the plots' attachment relies on: training goes on."""
    (source,) = importlib.util.find_spec("llamafactory").submodule_search_locations
    copy = tmp_path / "changed" / "llamafactory"
    shutil.copytree(source, copy, ignore=shutil.ignore_patterns("__pycache__"))
    plots = copy / "extras" / "ploting.py"
    text = plots.read_text(encoding="utf-8")
    assert text.count("trainer_log") > 1
    plots.write_text(text.replace("trainer_log", "history"), encoding="utf-8")
    out = tmp_path / "out"
    given = f"model_name_or_path={tiny_model}", f"dataset_dir={make_dataset(2)}", "dataset=rows", f"output_dir={out}"
    path = os.pathsep.join(filter(None, (str(copy.parent), os.environ.get("PYTHONPATH"))))
    said = finish(start("train", "sft_lora.yaml", *given, "max_steps=2", "logging_steps=1", PYTHONPATH=path))
    (line,) = (one for one in said.splitlines() if one.startswith("riskscribe: "))
    assert line == (
        "riskscribe: not attached to llamafactory.extras.ploting: task curves in the plots "
        "(gen_loss_plot no longer takes trainer_log); LLaMA-Factory runs on without it"
    )
    assert (out / "adapter_model.safetensors").exists() and (out / "training_loss.png").exists()
