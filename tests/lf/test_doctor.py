"""`riskscribe doctor`: exit codes, JSON, and what it says of recipes that would and would not run here."""

import json
import sys
from types import SimpleNamespace

import pytest
import yaml
from click.testing import CliRunner

from riskscribe.cli import main
from riskscribe.lf import attach, doctor, needs


@pytest.fixture
def machine(monkeypatch):
    """A machine on which nothing is missing: what the real one lacks is not this test's business."""
    monkeypatch.setattr(doctor, "_machine", lambda: [("Python", sys.version, "ok")])
    monkeypatch.setattr(needs.psutil, "virtual_memory", lambda: SimpleNamespace(available=16 * needs.GIB))


@pytest.fixture
def recipe(tiny_model, make_dataset, tmp_path):
    """Writes the SmolLM2 recipe for the tiny model with these changes (None: left out)."""
    data = make_dataset(2)

    def write(name="sft_lora", **changes):
        given = yaml.safe_load((doctor.Path("recipes/smollm2_135m") / f"{name}.yaml").read_text(encoding="utf-8"))
        given |= {"model_name_or_path": str(tiny_model), "dataset_dir": str(data), "output_dir": str(tmp_path / "out")}
        given |= {"dataset": "rows"} if "dataset" in given else {"eval_dataset": "rows"}
        path = tmp_path / "recipe.yaml"
        path.write_text(yaml.safe_dump({k: v for k, v in (given | changes).items() if v is not None}))
        return path

    return write


def ask(*arguments: str) -> tuple[int, list[dict]]:
    found = CliRunner().invoke(main, ["doctor", "--json", *arguments])
    return found.exit_code, json.loads(found.stdout)


def states(rows: list[dict], part: str) -> dict[str, str]:
    return {one["what"]: one["state"] for one in rows if one["part"] == part}


def test_this_machine_is_looked_at():
    rows = {what: (found, state) for what, found, state in doctor._machine()}
    assert {"processor", "memory", "GPU", "free disk", "AVX512_BF16 or AMX", "chromium", "Chinese font"} < rows.keys()
    assert rows["Python"][1] == "ok"
    assert {state for _, state in rows.values()} <= {"ok", "absent", "missing"}


def test_a_recipe_that_runs_here(in_root, machine, recipe):
    code, rows = ask("--recipe", str(recipe()))
    assert code == 0, [one for one in rows if one["state"] == "missing"]
    assert set(states(rows, "recipe").values()) == {"ok"}
    assert set(states(rows, "recipe")) == {"base", "dataset rows", "device", "arguments", "memory"}
    attached = [one for one in rows if one["part"] == "attachment"]
    assert len(attached) == len(attach.ATTACHMENTS)
    # an extra that is not installed is no fault
    assert states(rows, "package")["extra ore"] in ("ok", "absent")
    told = CliRunner().invoke(main, ["doctor"])
    assert told.exit_code == 0 and "ok       package: llamafactory: " in told.stdout


@pytest.mark.parametrize(
    ("changes", "what", "told"),
    [
        ({"model_name_or_path": "exports/base/nothing"}, "base", "`make data` makes it"),
        ({"model_name_or_path": "Somebody/No-Model"}, "base", "not in the hub's cache"),
        ({"dataset": "rows,rowz"}, "dataset rowz", "no such entry"),
        ({"dataset_dir": "nowhere"}, "dataset rows", "repository root"),
        ({"lora_rnak": 8}, "arguments", "lora_rnak"),
        ({"use_cpu": None, "bf16": True}, "device", "CUDA GPU"),
        ({"deepspeed": "nowhere.json", "use_cpu": None}, "deepspeed", "nowhere.json is not there"),
        ({"per_device_train_batch_size": 5000}, "memory", "GiB"),
    ],
    ids=lambda one: str(one)[:30],
)
def test_a_recipe_that_does_not_run_here(in_root, machine, recipe, monkeypatch, changes, what, told):
    monkeypatch.setattr("torch.cuda.device_count", lambda: 0)
    code, rows = ask("--recipe", str(recipe(**changes)))
    assert code == 1
    assert told in next(one["found"] for one in rows if one["what"] == what and one["state"] == "missing")


def test_a_missing_file_of_a_dataset(in_root, machine, recipe):
    path = recipe()
    next(path.parent.glob("data/rows.jsonl")).unlink()
    code, rows = ask("--recipe", str(path))
    assert code == 1 and states(rows, "recipe")["dataset rows"] == "missing"


def test_predictions_and_servers(in_root, machine, recipe, tmp_path):
    code, rows = ask("--recipe", str(recipe("predict_tuned", adapter_name_or_path=str(tmp_path / "none"))))
    assert code == 1 and states(rows, "recipe")["adapter_name_or_path"] == "missing"
    code, rows = ask("--recipe", str(recipe("predict_tuned", adapter_name_or_path=None)))
    assert code == 0 and "keys and values" in next(one["found"] for one in rows if one["what"] == "memory")
    code, rows = ask("--recipe", str(recipe("api", eval_dataset=None, dataset_dir=None, output_dir=None)))
    assert code == 0, [one for one in rows if one["state"] == "missing"]


def test_the_plugin_turned_off_is_missing(in_root, machine, monkeypatch):
    monkeypatch.setenv("RISKSCRIBE_PLUGIN", "0")
    code, rows = ask()
    assert code == 1 and states(rows, "attachment") == {"plugin": "missing"}


def test_a_failed_attachment_is_missing(in_root, machine, monkeypatch):
    monkeypatch.setitem(attach.FAILED, "add_metric", "ComputeSimilarity is gone")
    code, rows = ask()
    (row,) = (one for one in rows if one["part"] == "attachment" and one["state"] == "missing")
    assert code == 1 and "ComputeSimilarity is gone" in row["found"] and "train.sft.metric" in row["what"]


def test_an_unreadable_recipe_is_exit_code_2(in_root, machine, tmp_path):
    path = tmp_path / "recipe.yaml"
    path.write_text("- a list\n")
    found = CliRunner().invoke(main, ["doctor", "--recipe", str(path)])
    assert found.exit_code == 2 and "a recipe is a mapping" in found.stderr


def test_memory_grows_with_what_is_asked(recipe, in_root, tiny_model):
    """Arithmetic on the model's own layers: twice the rows, twice the activations; checkpointing keeps less."""

    def of(**changes):
        return needs.estimate(tiny_model, needs._parse(yaml.safe_load(recipe(**changes).read_text())))

    one, two, saved = of(), of(per_device_train_batch_size=2), of(disable_gradient_checkpointing=False)
    assert two["activations"] == pytest.approx(2 * one["activations"])
    assert two["logits"] == pytest.approx(2 * one["logits"]) and two["weights"] == one["weights"]
    assert saved["activations"] < one["activations"]
    assert of(lora_rank=32)["what is learned"] == pytest.approx(2 * one["what is learned"])
    assert of(finetuning_type="full", loraplus_lr_ratio=None)["what is learned"] > one["what is learned"]
