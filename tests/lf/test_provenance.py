"""Every run under plain LLaMA-Factory writes a manifest: pending first, complete at the end."""

import sys
from pathlib import Path

import pytest
import torch
import yaml
from safetensors.torch import load_file

from riskscribe import manifest

ROOT = Path(__file__).resolve().parents[2]


def recipe(tiny_model: Path, data: Path, out: Path, **changed) -> dict:
    found = yaml.safe_load((ROOT / "recipes" / "smollm2_135m" / "sft_lora.yaml").read_text(encoding="utf-8"))
    here = {"model_name_or_path": str(tiny_model), "dataset_dir": str(data), "dataset": "rows", "output_dir": str(out)}
    return found | here | {"max_steps": 1, "plot_loss": False} | changed


def test_a_training_names_what_decides_its_result(tiny_model, make_dataset, tmp_path, monkeypatch):
    from llamafactory.train.tuner import run_exp

    data, out = make_dataset(4), tmp_path / "adapter"
    monkeypatch.setattr(sys, "argv", ["/somewhere/bin/llamafactory-cli", "recipes/own.yaml"])
    run_exp(recipe(tiny_model, data, out))
    found = manifest.load(out)
    assert found.command == ["llamafactory-cli", "recipes/own.yaml"]
    assert (found.stage, found.status) == ("train", "complete")
    assert found.settings["seed"] == 42 and found.settings["lora_rank"] == 16 and found.settings["max_steps"] == 1
    assert found.inputs[str(data / "rows.jsonl")] == manifest.sha256(data / "rows.jsonl")
    assert found.inputs[str(tiny_model / "model.safetensors")] == manifest.base_weights(out)["model.safetensors"]
    assert "template" in found.inputs and found.outputs["adapter_model.safetensors"]
    assert manifest.verify(out) == []
    # another seed: the diff of the two says so
    run_exp(recipe(tiny_model, data, tmp_path / "other", seed=7))
    told = manifest.diff(out, tmp_path / "other")
    assert {"seed"} <= {one["name"] for one in told["causes"]}
    assert "adapter_model.safetensors" in told["outputs"] and "the seed among them" in told["answer"]


def test_a_finished_adapter_is_stored_in_the_type_asked_for(tiny_model, make_dataset, tmp_path):
    from llamafactory.train.tuner import run_exp

    out = tmp_path / "adapter"
    asked = {"adapter_dtype": "bfloat16", "save_steps": 1, "save_strategy": "steps"}
    run_exp(recipe(tiny_model, make_dataset(4), out, **asked))
    finished = load_file(out / "adapter_model.safetensors")
    resumed = load_file(out / "checkpoint-1" / "adapter_model.safetensors")
    assert {one.dtype for one in finished.values()} == {torch.bfloat16}
    assert {one.dtype for one in resumed.values()} == {torch.float32}
    assert all(torch.equal(one, resumed[name].bfloat16()) for name, one in finished.items())
    found = manifest.load(out)
    assert found.settings["adapter_dtype"] == "bfloat16" and manifest.verify(out) == []


def test_a_run_that_fails_stays_pending(tiny_model, make_dataset, tmp_path, monkeypatch):
    from llamafactory.train.sft import trainer
    from llamafactory.train.tuner import run_exp

    def fail(self, *rest, **options):
        raise RuntimeError("out of memory")

    monkeypatch.setattr(trainer.CustomSeq2SeqTrainer, "train", fail)
    with pytest.raises(RuntimeError):
        run_exp(recipe(tiny_model, make_dataset(2), tmp_path / "adapter"))
    assert manifest.load(tmp_path / "adapter").status == "pending"
    assert manifest.verify(tmp_path / "adapter") == [f"{tmp_path / 'adapter'}: is pending; the run did not end"]
