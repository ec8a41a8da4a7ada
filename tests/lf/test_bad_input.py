"""What LLaMA-Factory is given that is wrong: each a message that names what and where. The server's: test_api.py."""

import json
import logging
from pathlib import Path

import pytest
import yaml

from riskscribe.errors import InputError

ROOT = Path(__file__).resolve().parents[2]


def load(name: str, tiny_model, data: Path, out: Path, **more):
    """The dataset module that a recipe's arguments give, by LLaMA-Factory's own functions."""
    from llamafactory.data import get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_tokenizer
    from llamafactory.train.sft import workflow

    assert workflow.riskscribe_attached
    recipe = yaml.safe_load((ROOT / "recipes" / "smollm2_135m" / f"{name}.yaml").read_text())
    recipe.pop("adapter_name_or_path", None)
    given = {"model_name_or_path": str(tiny_model), "dataset_dir": str(data), "output_dir": str(out)}
    key = "dataset" if name.startswith("sft") else "eval_dataset"
    model_args, data_args, training_args, _, _ = get_train_args(recipe | given | {key: "rows"} | more)
    loaded = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(loaded["tokenizer"], data_args)
    return get_dataset(template, model_args, data_args, training_args, stage="sft", **loaded), loaded["tokenizer"]


@pytest.mark.parametrize("key", ["lora_rnak", "answer_schemas", "live_evaluation"])
def test_an_unknown_recipe_key_is_named(key, tiny_model, make_dataset, tmp_path):
    with pytest.raises(ValueError, match=key):
        load("sft_lora", tiny_model, make_dataset(1), tmp_path / "out", **{key: 1})


def test_a_missing_dataset_and_a_missing_file_are_named(tiny_model, make_dataset, tmp_path):
    data = make_dataset(1)
    with pytest.raises(ValueError, match=r"no_such.*dataset_info\.json"):
        load("sft_lora", tiny_model, data, tmp_path / "out", dataset="no_such")
    (data / "rows.jsonl").unlink()
    with pytest.raises(ValueError, match=r"rows\.jsonl not found"):
        load("sft_lora", tiny_model, data, tmp_path / "out")


@pytest.mark.parametrize(
    ("row", "told"),
    [
        ({"case": "{}", "report": "{}"}, "field case"),
        ({"case": "{", "report": "{}"}, "not JSON"),
        ({"instruction": "Say hello", "output": "hello"}, "case and report"),
    ],
)
def test_a_row_that_is_no_case_is_named_by_file_and_number(row, told, tiny_model, make_dataset, tmp_path):
    data = make_dataset(3)
    lines = (data / "rows.jsonl").read_text(encoding="utf-8").splitlines()
    lines[1] = json.dumps(json.loads(lines[0]) | row if "case" in row else row)
    (data / "rows.jsonl").write_text("\n".join(lines) + "\n", encoding="utf-8")
    with pytest.raises(InputError, match=told) as error:
        load("sft_lora", tiny_model, data, tmp_path / "out")
    assert "rows.jsonl: row 2" in str(error.value)


@pytest.fixture
def said():
    """What the plugin says through LLaMA-Factory's logger."""
    lines = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())
    log = logging.getLogger("llamafactory.riskscribe")
    log.addHandler(handler)
    yield lines
    log.removeHandler(handler)


def test_an_over_long_case_is_named_and_its_answer_is_never_cut(tiny_model, make_dataset, tmp_path, said):
    data = make_dataset(3)
    cases = [
        json.loads(json.loads(line)["case"])["case_id"] for line in (data / "rows.jsonl").read_text().splitlines()
    ]
    whole, tokenizer = load("sft_lora", tiny_model, data, tmp_path / "out")
    rows = whole["train_dataset"]["input_ids"]
    assert said == []
    lengths = {next(one for one in cases if one in tokenizer.decode(row)): len(row) for row in rows}
    longest = max(lengths, key=lengths.get)
    limit = lengths[longest] - 1
    # told in every run, whatever is cached
    for _ in range(2):
        said.clear()
        cut, _ = load("sft_lora", tiny_model, data, tmp_path / "out", cutoff_len=limit)
        assert said == [f"case {longest}: left out, {limit + 1} tokens with its answer and cutoff_len is {limit}"]
        assert sorted(map(len, cut["train_dataset"]["input_ids"])) == sorted(lengths.values())[:-1]
    with pytest.raises(InputError, match="cutoff_len: 200"):
        load("sft_lora", tiny_model, data, tmp_path / "out", cutoff_len=200)
    # a prediction must be made of every case: it stays, and its cut prompt is told
    said.clear()
    asked, _ = load("predict_tuned", tiny_model, data, tmp_path / "out", cutoff_len=200)
    assert len(asked["eval_dataset"]) == 3
    assert [one.split(":")[0] for one in said] == [f"case {one}" for one in cases]
    assert all("its prompt has" in one for one in said)
