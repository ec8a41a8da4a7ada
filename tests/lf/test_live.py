"""Live evaluation: what is asked, that training does not notice, and where the metrics arrive."""

import json
import logging
import random
import shutil
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from transformers import GenerationMixin

from riskscribe.errors import InputError
from riskscribe.lf import decode, live

ROOT = Path(__file__).resolve().parents[2]
RECIPE = ROOT / "recipes" / "smollm2_135m" / "sft_lora_live.yaml"
LIVE = {"cases": 3, "max_new_tokens": 12}
HEADLINE = "eval_risk_fatal_error_free"


@pytest.fixture
def make_live(make_dataset):
    """A dataset folder of `count` rows whose entry `live` asks for live evaluation with these settings."""

    def make(count=6, file="rows.jsonl", formatting="risk_report", **settings) -> Path:
        folder = make_dataset(count)
        info = folder / "dataset_info.json"
        registry = json.loads(info.read_text())
        registry["live"] = {"file_name": file, "formatting": formatting, "live_evaluation": LIVE | settings}
        (folder / file).write_bytes((folder / "rows.jsonl").read_bytes())
        info.write_text(json.dumps(registry))
        return folder

    return make


@pytest.fixture
def run(tiny_model, tmp_path, in_root):
    """Trains the live recipe on the tiny model; returns its output folder."""
    import yaml
    from llamafactory.train.tuner import run_exp

    def go(data: Path, out: str = "run", drop: tuple = (), **overrides) -> Path:
        recipe = yaml.safe_load(RECIPE.read_text(encoding="utf-8"))
        recipe |= {
            "model_name_or_path": str(tiny_model),
            "dataset_dir": str(data),
            "dataset": "rows",
            "eval_dataset": "live",
            "output_dir": str(tmp_path / out),
            "max_steps": 4,
            "logging_steps": 1,
            "eval_steps": 2,
            "save_steps": 2,
            "gradient_accumulation_steps": 1,
            "per_device_eval_batch_size": 2,
        }
        recipe |= overrides
        run_exp({key: value for key, value in recipe.items() if key not in drop})
        return tmp_path / out

    return go


def lines(path: Path) -> list[dict]:
    return [json.loads(one) for one in path.read_text(encoding="utf-8").splitlines()]


def history(out: Path) -> list[dict]:
    return json.loads((out / "trainer_state.json").read_text())["log_history"]


def losses(out: Path) -> list[tuple]:
    return [(one["step"], one["loss"], one["grad_norm"]) for one in history(out) if "loss" in one]


def evaluations(out: Path) -> dict[int, dict]:
    return {one["step"]: one for one in history(out) if HEADLINE in one}


# --- the run


def test_metrics_arrive_everywhere(make_live, run, monkeypatch):
    asked, told_people = [], []
    handler = logging.Handler()
    handler.emit = lambda record: told_people.append(record.getMessage())
    monkeypatch.setattr(logging.getLogger("llamafactory"), "handlers", [handler])
    generate = live.generate

    def spy(trainer, prompts, budget):
        asked.append((len(prompts), budget, trainer.model.training))
        return generate(trainer, prompts, budget)

    monkeypatch.setattr(live, "generate", spy)
    out = run(make_live())
    # three cases in batches of two, at two evaluations, at the one after the run (the best model was loaded)
    assert asked == [(2, 12, False), (1, 12, False)] * 3
    assert evaluations(out).keys() == {2, 4}
    for step, found in evaluations(out).items():
        assert found["eval_risk_cases"] == 3 and found["eval_risk_seconds"] > 0 and found["eval_loss"] > 0
        assert found[HEADLINE] == 0  # a tiny model's babble
        told = [one for one in lines(out / "trainer_log.jsonl") if HEADLINE in one]
        assert {one["current_steps"] for one in told} == {2, 4}
        # upstream's keys and ours in one line
        mine = next(one for one in told if one["current_steps"] == step)
        assert mine["eval_loss"] == found["eval_loss"] and mine["percentage"] == 25 * step
        assert live.task_metrics(mine) == live.task_metrics(found)
        answers = lines(out / "live_evaluation" / f"eval-{step}.jsonl")
        assert len({one["case_id"] for one in answers}) == 3
        assert all(one["fatal"] for one in answers)
    assert [one for one in lines(out / "trainer_log.jsonl") if "loss" in one and live.task_metrics(one)] == []
    import matplotlib.image

    loss, plain = (matplotlib.image.imread(out / f"training_{one}.png") for one in ("loss", "eval_loss"))
    assert loss.shape[0] > plain.shape[0]  # a panel more
    state = json.loads((out / "trainer_state.json").read_text())
    assert state["best_metric"] == 0 and state["best_model_checkpoint"].endswith("checkpoint-2")
    assert json.loads((out / "eval_results.json").read_text())["eval_risk_cases"] == 3
    assert any(one.startswith("live evaluation at step 4, 3 cases, ") for one in told_people)


def test_training_does_not_notice(make_live, run):
    """Dropout draws from the random state that generation might have moved, and is off in eval mode."""
    data = make_live()
    same = {"lora_dropout": 0.5, "eval_steps": 1, "save_steps": 4, "max_steps": 5}
    same |= {"metric_for_best_model": "eval_loss", "load_best_model_at_end": False, "plot_loss": False}
    with_live = run(data, "with", **same)
    without = run(data, "without", eval_dataset="rows", **same)
    assert len(evaluations(with_live)) == 5 and not evaluations(without)
    assert losses(with_live) == losses(without)
    for one, other in zip(history(with_live), history(without), strict=True):
        assert one.get("eval_loss") == other.get("eval_loss")
    assert not (without / "live_evaluation").exists()


def test_early_stopping_and_best_model(make_live, run, monkeypatch):
    scores = iter([20.0, 60.0, 40.0, 50.0, 10.0, 0.0])

    def summary(records):
        return {"fatal_error_free": next(scores), "cases": float(len(records))}

    monkeypatch.setattr(live, "summary", summary)
    out = run(make_live(), eval_steps=1, save_steps=1, max_steps=9, early_stopping_steps=2, save_total_limit=9)
    state = json.loads((out / "trainer_state.json").read_text())
    assert state["global_step"] == 4
    assert state["best_metric"] == 60 and state["best_model_checkpoint"].endswith("checkpoint-2")
    from safetensors.torch import load_file

    best, last = (load_file(out / one / "adapter_model.safetensors") for one in ("checkpoint-2", "checkpoint-4"))
    kept = load_file(out / "adapter_model.safetensors")
    assert all(torch.equal(kept[name], best[name]) for name in best)
    assert any(not torch.equal(kept[name], last[name]) for name in last)


def test_a_resumed_run_keeps_its_curves(make_live, run):
    data = make_live()
    whole = run(data, "whole", max_steps=4)
    parted = whole.parent / "parted"
    shutil.copytree(whole, parted)
    # killed after checkpoint-2: step 4 was told, its checkpoint never written
    shutil.rmtree(parted / "checkpoint-4")
    again = run(data, "parted", max_steps=4)
    assert evaluations(again).keys() == {2, 4}
    assert losses(again) == losses(whole)
    log = lines(again / "trainer_log.jsonl")
    assert [one["current_steps"] for one in log if HEADLINE in one] == [2, 4, 4]
    assert [step for step, _ in live.curves(log)["Free of fatal errors"]] == [2, 4]
    seconds = {"eval_risk_seconds"}
    for step, one in evaluations(whole).items():
        found = live.task_metrics(evaluations(again)[step])
        assert {k: v for k, v in found.items() if k not in seconds} == {
            k: v for k, v in live.task_metrics(one).items() if k not in seconds
        }


@pytest.mark.parametrize("packing", [{"packing": True}, {"packing": True, "neat_packing": True}])
def test_packed_rows_and_held_out_ones(make_live, run, packing):
    """`val_size` holds rows out of a training file: only those are asked, and packing hides none of them."""
    if "neat_packing" in packing and metadata.version("llamafactory") == "0.9.4":
        pytest.skip("LLaMA-Factory 0.9.4 refuses neat_packing with transformers 4.53 and later")
    data = make_live(8, cases=8)
    sizes = {"cutoff_len": 8192, "val_size": 0.5, "max_steps": 1, "eval_steps": 1, "save_steps": 1}
    out = run(data, dataset="live", drop=("eval_dataset",), **packing, **sizes)
    found = evaluations(out)[1]
    assert 0 < found["eval_risk_cases"] < 8
    asked = {one["case_id"] for one in lines(out / "live_evaluation" / "eval-1.jsonl")}
    assert len(asked) == found["eval_risk_cases"]


def test_every_dataset_by_itself(make_live, run):
    data = make_live()
    best = {"metric_for_best_model": "eval_live_risk_fatal_error_free"}
    out = run(data, eval_dataset="live,rows", eval_on_each_dataset=True, max_steps=2, **best)
    named = {key for one in history(out) for key in live.task_metrics(one)}
    assert "eval_live_risk_fatal_error_free" in named and all(one.startswith("eval_live_risk_") for one in named)


# --- the sample and the settings


def data_args(folder, eval_dataset=("live",), dataset=("rows",), val_size=0.0):
    return SimpleNamespace(
        dataset_dir=str(folder) if isinstance(folder, Path) else folder,
        eval_dataset=list(eval_dataset),
        dataset=list(dataset),
        val_size=val_size,
    )


def test_sample_is_spread_and_independent_of_order():
    from riskscribe.data.rows import read_rows

    rows = read_rows(ROOT / "datasets" / "risk_report" / "v1" / "val.jsonl")
    chosen = live.choose(rows, 8)
    assert len({(one.language, one.level) for one in chosen}) == 8
    shuffled = list(rows)
    random.Random(1).shuffle(shuffled)
    assert [one.case.case_id for one in live.choose(shuffled, 8)] == [one.case.case_id for one in chosen]
    # a larger sample holds the smaller one
    assert live.choose(rows, 16)[:8] == chosen
    assert len(live.choose(rows[:3], 8)) == 3


def test_off_when_not_asked_for(make_live):
    folder = make_live()
    assert [one.name for one in live.sources(data_args(folder), 99)] == ["live"]
    assert live.sources(data_args(folder, ["rows"]), 99) == []
    # an entry asks in vain where it is only trained on
    assert live.sources(data_args(folder, [], ["live"]), 99) == []
    (held,) = live.sources(data_args(folder, [], ["live"], val_size=0.2), 99)
    assert held.held_out_only and held.sample(set()) == []
    assert live.sources(data_args("ONLINE", ["anything"]), 99) == []
    registry = json.loads((folder / "dataset_info.json").read_text())
    registry["live"]["file_name"] = str(folder / "rows.jsonl")
    assert len(live.sources(data_args(registry), 99)) == 1


def test_the_recipes_budget_is_the_default(make_live):
    (found,) = live.sources(data_args(make_live(max_new_tokens=None)), 99)
    assert found.settings.max_new_tokens == 99


@pytest.mark.parametrize(
    ("entry", "told"),
    [
        ({"cases": 0}, "live: live_evaluation: field cases"),
        ({"cases": "8"}, "field cases"),
        ({"case": 8}, "field case"),
        ({"language": "fr"}, "field language"),
        ({"language": "zh"}, "no case in 'zh'"),
        ({"formatting": "alpaca"}, "one of the formattings risk_report"),
        ({"file": "test_small.jsonl"}, "test_small.jsonl is a test set; use validation cases"),
    ],
)
def test_a_slip_in_the_settings_is_told(make_live, entry, told):
    with pytest.raises(InputError, match=told) as error:
        live.sources(data_args(make_live(**entry)), 99)
    assert "dataset_info.json" in str(error.value)


# --- generation


@pytest.fixture
def trainer(tiny_model):
    """What generation needs of a trainer: a LoRA model in training mode with one module frozen in eval mode."""
    from llamafactory.data.template import TEMPLATES
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(tiny_model)
    model = AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32)
    torch.manual_seed(1)
    model = get_peft_model(
        model, LoraConfig(r=4, lora_dropout=0.5, target_modules="all-linear", init_lora_weights=False)
    ).train()
    return SimpleNamespace(
        model=model,
        processing_class=tokenizer,
        data_collator=SimpleNamespace(template=TEMPLATES["qwen"]),
        args=SimpleNamespace(device=torch.device("cpu")),
    )


@pytest.mark.parametrize("ours", [True, False], ids=["our loop", "transformers' loop"])
def test_answers_are_those_of_each_prompt_alone(trainer, ours, monkeypatch):
    """Left padding, the adapter unmerged, greedy decoding: a batch is answered as its rows are, one token a pass."""
    tokenizer, model = trainer.processing_class, trainer.model
    decode.install()
    used, loop = [], decode._decode
    monkeypatch.setattr(decode, "_decode", lambda *given: used.append(1) or loop(*given))
    if not ours:
        monkeypatch.setattr(GenerationMixin, "_sample", GenerationMixin._sample.__wrapped__)
    prompts = [
        tokenizer(text)["input_ids"] for text in ("Case c-abcdef12 | 2024-06-25 | equity", "LIM", "VAR-AA 850k")
    ]
    with live.as_found(model, trainer.args.device):
        found = live.generate(trainer, prompts, 20)
        expected = []
        for prompt in prompts:
            ids = torch.tensor([prompt])
            for _ in range(20):
                token = model(input_ids=ids).logits[0, -1].argmax()
                if token in (tokenizer.eos_token_id,):
                    break
                ids = torch.cat([ids, token[None, None]], dim=1)
            expected.append(tokenizer.decode(ids[0, len(prompt) :], skip_special_tokens=True))
    assert found == expected and any(found)
    assert bool(used) == ours
    assert tokenizer.padding_side == "right"
    model.disable_adapter_layers()
    with live.as_found(model, trainer.args.device):
        assert live.generate(trainer, prompts, 20) != found


def test_model_and_random_state_are_left_as_found(trainer):
    model = trainer.model
    frozen = next(module for name, module in model.named_modules() if name.endswith("mlp"))
    frozen.eval()
    modes = [module.training for module in model.modules()]
    assert True in modes and False in modes
    ids = torch.tensor([trainer.processing_class("Case c-abcdef12")["input_ids"]])
    model(input_ids=ids, labels=ids).loss.backward()
    gradients = {name: one.grad.clone() for name, one in model.named_parameters() if one.grad is not None}
    wanted = [one.requires_grad for one in model.parameters()]
    states = torch.get_rng_state(), random.getstate(), np.random.get_state()[1].tolist()
    with live.as_found(model, trainer.args.device):
        assert not any(module.training for module in model.modules())
        live.generate(trainer, ids.tolist(), 4)
        torch.rand(3)
    assert [module.training for module in model.modules()] == modes
    assert torch.equal(torch.get_rng_state(), states[0])
    assert (random.getstate(), np.random.get_state()[1].tolist()) == states[1:]
    assert len(gradients) and all(torch.equal(dict(model.named_parameters())[k].grad, v) for k, v in gradients.items())
    assert [one.requires_grad for one in model.parameters()] == wanted
    with pytest.raises(RuntimeError), live.as_found(model, trainer.args.device):
        raise RuntimeError
    assert [module.training for module in model.modules()] == modes


# --- names and curves


def test_metrics_are_told_from_a_dataset_of_a_like_name():
    logs = {
        "eval_risk_report_val_loss": 1.0,  # the loss of a dataset named risk_report_val
        "eval_risk_total": 2.0,
        "eval_risk_report_val_risk_fatal_error_free_zh": 3.0,
        "eval_risk_seconds": 4.0,
        "predict_risk_total": 5.0,
        "risk_total": 6.0,
        "eval_loss": 7.0,
    }
    assert sorted(live.task_metrics(logs).values()) == [2.0, 3.0, 4.0]


def test_curves_take_the_later_of_two_and_keep_datasets_and_languages_apart():
    log = [
        {"current_steps": 4, "eval_risk_fatal_error_free": 10.0, "eval_risk_finding_free": 1.0},
        {"current_steps": 2, "eval_risk_fatal_error_free": 5.0, "eval_risk_schema_valid_zh": 50.0},
        {"current_steps": 4, "eval_risk_fatal_error_free": 20.0, "eval_live_risk_grounded": 70.0},
        {"current_steps": 3, "loss": 2.0},
    ]
    assert live.curves(log) == {
        "Schema valid zh": [(2, 50.0)],
        "Numbers found in the cited evidence live": [(4, 70.0)],
        "Free of fatal errors": [(2, 5.0), (4, 20.0)],
    }
    assert list(live.curves(log))[-1] == "Free of fatal errors"


def test_plots_gain_the_curves(tmp_path):
    from llamafactory.extras import ploting

    history = [{"step": step, "loss": 3.0 / step} for step in range(1, 9)]
    bare = ploting.gen_loss_plot([{**one, "current_steps": one["step"]} for one in history])
    assert len(bare.axes) == 1
    history += [
        {"step": step, "eval_loss": 1.0, "eval_risk_fatal_error_free": 10.0 * step, "eval_risk_schema_valid": 90.0}
        for step in (2, 4, 8)
    ]
    board = ploting.gen_loss_plot([{**one, "current_steps": one["step"]} for one in history])
    loss, panel = board.axes
    assert [line.get_label() for line in loss.lines] == ["original", "smoothed"]
    drawn = {line.get_label(): line.get_xydata().tolist() for line in panel.lines}
    assert drawn["Free of fatal errors"] == [[2, 20], [4, 40], [8, 80]] and len(drawn) == 2
    (tmp_path / "trainer_state.json").write_text(json.dumps({"log_history": history}))
    ploting.plot_loss(str(tmp_path), keys=["loss", "eval_loss"])
    import matplotlib.image

    plain, both = (matplotlib.image.imread(tmp_path / f"training_{one}.png") for one in ("eval_loss", "loss"))
    assert both.shape[0] > plain.shape[0]  # a panel below
    assert plain.shape[:2] == (480, 640)


def test_recipe_is_the_plain_one_with_evaluation():
    import yaml

    plain, watched = (
        yaml.safe_load((RECIPE.parent / name).read_text(encoding="utf-8"))
        for name in ("sft_lora.yaml", "sft_lora_live.yaml")
    )
    differ = {key for key in plain | watched if plain.get(key) != watched.get(key)}
    assert differ - {"output_dir", "save_steps"} == {
        "eval_dataset", "eval_strategy", "eval_steps", "per_device_eval_batch_size", "load_best_model_at_end",
        "metric_for_best_model",
    }  # fmt: skip
    registry = json.loads((ROOT / "dataset_info" / "dataset_info.json").read_text(encoding="utf-8"))
    assert registry[watched["eval_dataset"]][live.KEY]["cases"] == 8
    # one language: the metric has the plain name that the recipe chooses by
    assert registry[watched["eval_dataset"]][live.KEY]["language"] == "en"
    assert watched["metric_for_best_model"] == HEADLINE and watched["save_steps"] % watched["eval_steps"] == 0
