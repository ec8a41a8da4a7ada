"""Every recipe is parsed by LLaMA-Factory's own parser, and the Qwen recipes run on a tiny model.

One override makes the 24 GB GPU recipes parse and run here: `use_cpu=true`. Without it TrainingArguments refuses
`bf16: true` on a machine that has no such GPU.
"""

import json
import math
import os
from dataclasses import asdict
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[2]
# profiles.yaml holds overrides for the recipes beside it; awq.yaml and parity.yaml are stages of ours,
# serve_vllm.yaml is vLLM's
OWN = {"awq.yaml", "parity.yaml", "card.yaml", "serve_vllm.yaml"}
RECIPES = sorted(path for path in (ROOT / "recipes").rglob("*.yaml") if path.name not in OWN | {"profiles.yaml"})
PROFILES = sorted((ROOT / "recipes").rglob("profiles.yaml"))
MODELS = sorted({path.parent for path in RECIPES})
DATASETS = json.loads((ROOT / "dataset_info" / "dataset_info.json").read_text(encoding="utf-8"))
STAGES = {"sft_qlora", "sft_lora", "predict_base", "predict_tuned", "export", "api"}


def name_of(path: Path) -> str:
    return str(path.relative_to(ROOT / "recipes"))


def load(path: Path) -> dict[str, Any]:
    return yaml.safe_load(path.read_text(encoding="utf-8"))


def trains(recipe: dict[str, Any]) -> bool:
    """Whether `llamafactory-cli train` runs it (predictions are made by that command too)."""
    return bool(recipe.get("do_train") or recipe.get("do_predict"))


def parse(path: Path) -> dict[str, Any]:
    """The arguments LLaMA-Factory makes of a recipe, defaults included, by group. Unknown keys raise in its parser."""
    from llamafactory.hparams import get_infer_args, get_train_args

    recipe = load(path)
    if trains(recipe):
        recipe |= {"use_cpu": True}
        # refused in a process that torchrun did not start, and without its package
        recipe.pop("deepspeed", None)
        # FSDP's settings are put into the environment
        with patch.dict(os.environ):
            model, data, training, finetuning, generating = get_train_args(recipe)
    else:
        model, data, finetuning, generating = get_infer_args(recipe)
        training = None
    return {"model": model, "data": data, "training": training, "finetuning": finetuning, "generating": generating}


@pytest.fixture(scope="module")
def parsed() -> dict[Path, dict[str, Any]]:
    return {path: parse(path) for path in RECIPES}


each_recipe = pytest.mark.parametrize("path", RECIPES, ids=name_of)
each_model = pytest.mark.parametrize("folder", MODELS, ids=lambda one: one.name)


def test_walks_every_recipe():
    assert {"smollm2_135m", "qwen2_5_7b", "distributed"} <= {one.name for one in MODELS}
    assert {"sft_ddp_cpu", "sft_ray_cpu", "sft_zero2", "sft_zero3", "sft_fsdp"} <= {path.stem for path in RECIPES}
    for folder in MODELS:
        if folder.name in ("smollm2_135m", "qwen2_5_7b"):
            assert {path.stem for path in folder.glob("*.yaml")} >= STAGES
        assert (folder / "README.md").exists()


@each_recipe
def test_parses(path, parsed):
    found = parsed[path]
    recipe = load(path)
    for key, value in recipe.items():
        holders = [one for one in found.values() if one is not None and hasattr(one, key)]
        assert holders, f"{key} is in no argument group"
        # a key given twice or overridden in parsing would show here; lists and enums are LLaMA-Factory's conversions
        if isinstance(value, bool | int | float) and key != "use_cpu":
            assert getattr(holders[0], key) == value, key


def test_unknown_key_is_refused(in_root):
    from llamafactory.hparams import get_train_args

    recipe = load(ROOT / "recipes" / "smollm2_135m" / "sft_lora.yaml") | {"lora_rnak": 8}
    with pytest.raises(ValueError, match="lora_rnak"):
        get_train_args(recipe)


@each_recipe
def test_header_says_how_to_run_it(path):
    lines = path.read_text(encoding="utf-8").splitlines()
    heads = [line.split(":")[0] for line in lines[:4]]
    assert heads == ["# Prerequisite", "# Run", "# Override", "# Limitation"]
    recipe = load(path)
    command = "train" if trains(recipe) else "export" if "export_dir" in recipe else "api"
    for line in lines[1:3]:
        assert f"llamafactory-cli {command} {path.relative_to(ROOT)}" in line
    for override in lines[2].split(f"{path.name} ", 1)[1].split():
        assert override.split("=")[0] in recipe, f"{override}: overrides a key the recipe does not state"
    banners = [line for line in lines if line.startswith("### ")]
    assert banners[0] == "### model" and "### method" in banners


@each_recipe
def test_fixed_rules(path, parsed):
    recipe, found = load(path), parsed[path]
    # no code from a hub is ever executed, and the file says so itself
    assert recipe["trust_remote_code"] is False
    assert recipe["template"] == {"smollm2_135m": "smollm2", "qwen2_5_7b": "qwen"}.get(
        path.parent.name, found["data"].template
    )
    for key in ("dataset", "eval_dataset"):
        for name in filter(None, str(recipe.get(key, "")).split(",")):
            assert name in DATASETS
    if trains(recipe):
        assert recipe["seed"] == recipe["data_seed"] == 42
        assert recipe["report_to"] == "none"
        assert recipe["output_dir"].startswith(f"exports/{path.parent.name}/")
        assert found["data"].preprocessing_num_workers == 1
    if recipe.get("do_predict") or path.stem == "api":
        assert recipe["do_sample"] is False and found["generating"].do_sample is False
        assert found["generating"].num_beams == 1 and found["generating"].repetition_penalty == 1.0
    if not recipe.get("do_train"):
        assert found["model"].quantization_bit is None
        assert recipe["infer_dtype"] != "auto"
    if path.stem == "sft_qlora":
        assert (recipe["quantization_bit"], recipe["quantization_type"]) == (4, "nf4")
        assert recipe["double_quantization"] is True
    elif recipe.get("do_train"):
        assert found["model"].quantization_bit is None


def test_distributed_recipes_differ_from_the_plain_ones_where_they_say():
    """Two ranks make the optimizer steps of one; the rest is the recipe it is the variant of."""
    launching = {"output_dir", "gradient_accumulation_steps", "per_device_train_batch_size", "ddp_timeout"}
    launching |= {"ray_num_workers", "ray_init_kwargs", "deepspeed", "fsdp", "fsdp_config"}
    for path in RECIPES:
        if path.parent.name != "distributed":
            continue
        recipe = load(path)
        folder = "smollm2_135m" if recipe["template"] == "smollm2" else "qwen2_5_7b"
        plain = load(ROOT / "recipes" / folder / "sft_lora.yaml")
        assert {key for key in recipe | plain if recipe.get(key) != plain.get(key)} <= launching, path
        rows = [one["per_device_train_batch_size"] * one["gradient_accumulation_steps"] for one in (recipe, plain)]
        assert 2 * rows[0] == rows[1], path
        if "deepspeed" in recipe:
            stage = json.loads((ROOT / recipe["deepspeed"]).read_text())["zero_optimization"]["stage"]
            assert path.stem == f"sft_zero{stage}"
        if "fsdp_config" in recipe:
            assert json.loads((ROOT / recipe["fsdp_config"]).read_text())["state_dict_type"] == "FULL_STATE_DICT"


@each_model
def test_base_and_tuned_are_compared_under_the_same_decoding(folder, parsed):
    if not (folder / "predict_base.yaml").exists():
        pytest.skip("no predictions in this folder")
    base, tuned = (parsed[folder / f"predict_{one}.yaml"] for one in ("base", "tuned"))
    assert asdict(base["generating"]) == asdict(tuned["generating"])
    base_recipe, tuned_recipe = (load(folder / f"predict_{one}.yaml") for one in ("base", "tuned"))
    may_differ = {"adapter_name_or_path", "eval_dataset", "output_dir"}
    assert {k for k in base_recipe | tuned_recipe if base_recipe.get(k) != tuned_recipe.get(k)} == may_differ
    # the same cases in both, and the base gets the better prompt
    one, other = (DATASETS[recipe["eval_dataset"]] for recipe in (base_recipe, tuned_recipe))
    assert one["file_name"] == other["file_name"]
    assert (one["formatting"], other["formatting"]) == ("risk_report_few_shot", "risk_report")


@each_model
def test_tested_merged_and_served_are_one_model(folder, parsed):
    if not (folder / "export.yaml").exists():
        pytest.skip("nothing is exported in this folder")
    tuned, export, api = (load(folder / f"{one}.yaml") for one in ("predict_tuned", "export", "api"))
    assert tuned["infer_dtype"] == export["infer_dtype"] == api["infer_dtype"]
    assert tuned["model_name_or_path"] == export["model_name_or_path"]
    # typed by hand; the stages say which adapter is theirs
    trained = load(folder / load(folder / "profiles.yaml")["quick"]["train"].get("recipe", "sft_qlora.yaml"))
    assert tuned["adapter_name_or_path"] == export["adapter_name_or_path"] == trained["output_dir"]
    assert export["export_dir"] == api["model_name_or_path"]
    assert export["export_legacy_format"] is False
    assert tuned["template"] == export["template"] == api["template"]
    assert asdict(parsed[folder / "api.yaml"]["generating"]) == asdict(
        parsed[folder / "predict_tuned.yaml"]["generating"]
    )


@each_model
def test_lora_differs_from_qlora_only_in_quantization(folder):
    if not (folder / "sft_lora.yaml").exists():
        pytest.skip("no plain LoRA recipe in this folder")
    qlora, lora = (load(folder / f"{one}.yaml") for one in ("sft_qlora", "sft_lora"))
    quantization = {"quantization_method", "quantization_bit", "quantization_type", "double_quantization"}
    assert {k for k in qlora | lora if qlora.get(k) != lora.get(k)} == quantization | {"output_dir"} | (
        # on a CPU; recipes for a GPU keep NF4
        {"dequantize_once"} & qlora.keys()
    )


@pytest.mark.parametrize("path", PROFILES, ids=name_of)
def test_profiles_override_the_recipes_fairly(path):
    profiles = {key: value for key, value in load(path).items() if isinstance(value, dict)}
    assert profiles.keys() == {"quick", "full"}
    recipes = {"baseline": "predict_base", "train": "sft_qlora", "eval": "predict_tuned"}
    for name, profile in profiles.items():
        for stage, recipe in recipes.items():
            known = load(path.with_name(f"{recipe}.yaml")).keys() | {"max_samples", "recipe"}
            assert profile[stage].keys() <= known, f"{name}: {stage}"
        base, tuned = profile["baseline"], profile["eval"]
        assert base.get("max_new_tokens") == tuned.get("max_new_tokens")
        assert base.get("max_samples") == tuned.get("max_samples")
        files = {DATASETS[one["eval_dataset"]]["file_name"] for one in (base, tuned)}
        assert files == {f"../{profile['test']}"}


@pytest.mark.parametrize(
    "path", sorted((ROOT / "recipes").rglob("awq.yaml")) + sorted((ROOT / "recipes").rglob("parity.yaml")), ids=name_of
)
def test_our_own_stages_are_read_and_agree_with_their_neighbours(path, in_root):
    from riskscribe.release import parity, quantize

    export, name = load(path.with_name("export.yaml")), path.relative_to(ROOT)
    stage = "quantize" if path.stem == "awq" else "parity"
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [line.split(":")[0] for line in lines[:4]] == ["# Prerequisite", "# Run", "# Override", "# Limitation"]
    assert all(f"riskscribe {stage} --recipe {name}" in line for line in lines[1:3])
    found = (quantize if stage == "quantize" else parity).read_recipe(path)
    assert found.template == export["template"] and found.data.exists()
    if stage == "quantize":
        assert str(found.model) == export["export_dir"]
        return
    assert str(found.merged) == export["export_dir"] and str(found.adapter) == export["adapter_name_or_path"]
    assert found.max_new_tokens == load(path.with_name("api.yaml"))["max_new_tokens"] and found.api.exists()
    for profile in ("quick", "full"):
        changed = load(path.with_name("profiles.yaml"))[profile].get("parity", {})
        sized = parity.read_recipe(path, **changed)
        for rule in (sized.merged_no_worse, sized.awq_no_worse):
            # a sample that loses nothing must be able to pass: Tango's bound with no case lost is z^2 / (n + z^2)
            n, z = sized.cases[rule.language], 1.645
            assert n >= rule.minimum_cases and 100 * z**2 / (n + z**2) < rule.margin_points


QWEN = ROOT / "recipes" / "qwen2_5_7b"


@pytest.fixture(scope="module")
def qwen_runs(tiny_model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Output folder of two training steps by either recipe, both predictions and the export, on the tiny model.

    Changed: model and output paths, `max_steps=2`, `use_cpu=true`, and `max_samples`, because 600 rows
    take longer to convert than two steps to train. bf16, NF4, checkpointing and the rest are the recipes'.
    """
    from llamafactory.train.tuner import export_model, run_exp

    out = tmp_path_factory.mktemp("qwen")
    model = {"model_name_or_path": str(tiny_model)}
    adapter = {"adapter_name_or_path": str(out / "sft_qlora")}
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        for stage in ("sft_qlora", "sft_lora"):
            here = {"output_dir": str(out / stage), "use_cpu": True, "max_steps": 2, "max_samples": 16}
            run_exp(load(QWEN / f"{stage}.yaml") | model | here)
        for stage in ("predict_base", "predict_tuned"):
            recipe = load(QWEN / f"{stage}.yaml") | model
            if "adapter_name_or_path" in recipe:
                recipe |= adapter
            run_exp(recipe | {"output_dir": str(out / stage), "use_cpu": True, "max_samples": 2})
        export_model(load(QWEN / "export.yaml") | model | adapter | {"export_dir": str(out / "merged")})
    return out


@pytest.mark.parametrize("stage", ["sft_qlora", "sft_lora"])
def test_qwen_recipe_trains_a_tiny_model(qwen_runs, stage):
    result = json.loads((qwen_runs / stage / "train_results.json").read_text())
    assert 0 < result["train_loss"] < 20
    state = json.loads((qwen_runs / stage / "trainer_state.json").read_text())
    assert state["global_step"] == 2
    adapter = json.loads((qwen_runs / stage / "adapter_config.json").read_text())
    assert (adapter["r"], adapter["lora_alpha"]) == (16, 32)
    assert set(adapter["target_modules"]) == {
        "q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj",
    }  # fmt: skip


@pytest.mark.parametrize("stage", ["predict_base", "predict_tuned"])
def test_qwen_recipe_predicts_with_a_tiny_model(qwen_runs, stage):
    lines = (qwen_runs / stage / "generated_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 2
    # the few-shot prompt shows two worked examples before the case
    assert json.loads(lines[0])["prompt"].count("\nCase c-") == (3 if stage == "predict_base" else 1)
    results = json.loads((qwen_runs / stage / "predict_results.json").read_text())
    scored = [value for key, value in results.items() if key.startswith("predict_risk_cases")]
    assert sum(scored) == 2


def test_qwen_export_is_in_the_stated_type(qwen_runs, tiny_model):
    from safetensors.torch import load_file

    merged = load_file(qwen_runs / "merged" / "model.safetensors")
    base = load_file(tiny_model / "model.safetensors")
    assert {str(one.dtype) for one in merged.values()} == {"torch.bfloat16"}
    assert merged.keys() == base.keys()
    assert not (qwen_runs / "merged" / "quantization_config").exists()
    assert "quantization_config" not in json.loads((qwen_runs / "merged" / "config.json").read_text())


def test_a_stopped_run_goes_on_from_its_checkpoint(tiny_model, make_dataset, tmp_path):
    from llamafactory.train.tuner import run_exp

    recipe = load(ROOT / "recipes" / "smollm2_135m" / "sft_lora.yaml") | {
        "model_name_or_path": str(tiny_model),
        "dataset_dir": str(make_dataset(6)),
        "dataset": "rows",
        "output_dir": str(tmp_path / "adapter"),
        "logging_steps": 1,
        "save_steps": 1,
        "plot_loss": False,
    }
    run_exp(recipe | {"max_steps": 1})
    # a mark that only a run which reads the checkpoint can know of
    held = tmp_path / "adapter" / "checkpoint-1" / "trainer_state.json"
    state = json.loads(held.read_text())
    state["log_history"][0]["loss"] = 123.0
    held.write_text(json.dumps(state))
    run_exp(recipe | {"max_steps": 2})
    state = json.loads((tmp_path / "adapter" / "trainer_state.json").read_text())
    assert state["global_step"] == 2
    assert next(one["loss"] for one in state["log_history"] if "loss" in one) == 123.0


@pytest.mark.slow
def test_answers_have_room_for_the_longest_gold_and_a_fifth(tmp_path):
    from transformers import AutoTokenizer

    from riskscribe.data.rows import read_rows
    from riskscribe.release import base

    base.build(tmp_path / "base")
    tokenizer = AutoTokenizer.from_pretrained(tmp_path / "base", trust_remote_code=False)
    profiles = load(ROOT / "recipes" / "smollm2_135m" / "profiles.yaml")
    for name in ("quick", "full"):
        golds = [row.report.to_json() for row in read_rows(ROOT / profiles[name]["test"])]
        longest = max(len(one) for one in tokenizer(golds)["input_ids"])
        assert profiles[name]["eval"]["max_new_tokens"] == math.ceil(1.2 * longest)
    for recipe in ("predict_base", "predict_tuned", "api"):
        path = ROOT / "recipes" / "smollm2_135m" / f"{recipe}.yaml"
        assert load(path)["max_new_tokens"] == profiles["full"]["eval"]["max_new_tokens"]
