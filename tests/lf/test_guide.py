"""Constrained decoding: what the grammar lets through, batches, heads beyond the tokenizer, the recipe switch."""

import json
import os
import subprocess
import sys
from pathlib import Path

import jsonschema
import pytest
import torch
import yaml
from transformers import AutoModelForCausalLM, AutoTokenizer, LogitsProcessorList

from riskscribe import manifest
from riskscribe.errors import InputError
from riskscribe.lf import decode, guide
from riskscribe.report import Report

ROOT = Path(__file__).resolve().parents[2]
SCHEMA = "dataset_info/report.schema.json"
# an untrained model ends every answer of this one
SMALL = {
    "type": "object",
    "properties": {
        "zeta": {"enum": ["low", "moderate", "high"]},
        "alpha": {"type": "array", "items": {"type": "integer", "minimum": 0, "maximum": 99}, "maxItems": 3},
        "flag": {"type": "boolean"},
    },
    "required": ["zeta", "alpha", "flag"],
    "additionalProperties": False,
}


@pytest.fixture(scope="module")
def tokenizer(tiny_model):
    return AutoTokenizer.from_pretrained(tiny_model, padding_side="left")


@pytest.fixture
def model(tiny_model):
    decode.install()
    return AutoModelForCausalLM.from_pretrained(tiny_model, dtype=torch.float32).eval()


def compiled(tokenizer, schema) -> guide.Guide:
    return guide.Guide.compile(tokenizer, guide.grammar_of(schema))


def answers(model, tokenizer, schema, prompts, processor=None, **options) -> list[str]:
    given = tokenizer(prompts, return_tensors="pt", padding=True, return_token_type_ids=False)
    processor = processor or compiled(tokenizer, schema).processor()
    found = model.generate(
        **given,
        logits_processor=LogitsProcessorList([processor]),
        pad_token_id=tokenizer.pad_token_id,
        eos_token_id=tokenizer.eos_token_id,
        **{"max_new_tokens": 80, "do_sample": False, "repetition_penalty": 1.0} | options,
    )
    return tokenizer.batch_decode(found[:, given["input_ids"].shape[1] :], skip_special_tokens=True)


PROMPTS = [
    "Case",
    "limits of the desk and its positions",
    "a",
    "VaR 99% 1d",
    "b c",
    "Report",
    "x y z",
    "LIM-AA is over",
]


def test_every_gold_report_is_let_through_as_it_is_written(frozen, tokenizer):
    found = guide.Guide.read(tokenizer, str(ROOT / SCHEMA))
    rows = [[row for row in frozen("test") if row.case.language == one][:10] for one in ("en", "zh")]
    rows = rows[0] + rows[1]
    assert len(rows) == 20
    for row in rows:
        text = row.report.to_json()
        assert found.accepts(tokenizer(text)["input_ids"]), text
        # another order, other blanks, a field less: none is the report's form
        value = json.loads(text)
        for other in (
            json.dumps(value, ensure_ascii=False),
            json.dumps(dict(reversed(value.items())), ensure_ascii=False, separators=(",", ":")),
            json.dumps({k: v for k, v in value.items() if k != "escalate"}, separators=(",", ":")),
            text[:-1],
        ):
            assert not found.accepts(tokenizer(other)["input_ids"])


@pytest.mark.parametrize("sampling", [False, True], ids=["greedy", "sampling"])
def test_a_batch_of_eight_with_unequal_lengths(model, tokenizer, sampling):
    torch.manual_seed(1)
    options = {"do_sample": True, "temperature": 3.0, "top_k": 0, "top_p": 1.0} if sampling else {}
    found = answers(model, tokenizer, SMALL, PROMPTS, **options)
    assert len(found) == 8
    for text in found:
        value = json.loads(text)
        jsonschema.validate(value, SMALL)
        assert list(value) == ["zeta", "alpha", "flag"]
        assert text == json.dumps(value, separators=(",", ":"))
    if sampling:
        assert len(set(map(len, found))) > 1, "rows that end together test nothing"


def test_a_row_alone_answers_as_in_the_batch(model, tokenizer):
    together = answers(model, tokenizer, SMALL, PROMPTS)
    assert together == [answers(model, tokenizer, SMALL, [one])[0] for one in PROMPTS]


def test_our_loop_lets_rows_go_and_upstreams_does_not_and_both_answer_alike(model, tokenizer):
    from transformers import GenerationMixin

    kept = []

    class Spy(guide.SchemaProcessor):
        def keep(self, rows):
            kept.append(len(rows))
            super().keep(rows)

    # of one schema some rows end sooner: the array is free
    found = answers(model, tokenizer, SMALL, PROMPTS, Spy(compiled(tokenizer, SMALL)))
    ours = GenerationMixin._sample
    GenerationMixin._sample = ours.__wrapped__
    try:
        assert answers(model, tokenizer, SMALL, PROMPTS) == found
    finally:
        GenerationMixin._sample = ours


def test_finished_rows_get_padding_and_the_head_beyond_the_tokenizer_nothing(tokenizer):
    found = compiled(tokenizer, {"enum": ["a", "low, moderate and high"]})
    processor = found.processor()
    size = len(tokenizer) + 20
    ids = torch.tensor([[5], [5]])
    short = [*tokenizer('"a"')["input_ids"], tokenizer.eos_token_id]
    long = tokenizer('"low, moderate and high"')["input_ids"]
    assert len(long) > len(short)
    for step in range(len(long) + 1):
        allowed = processor(ids, torch.zeros(2, size)).isfinite()
        assert not allowed[:, len(tokenizer) :].any()
        assert allowed.any(dim=1).all()
        if step >= len(short):
            assert allowed[0].nonzero().flatten().tolist() == [tokenizer.pad_token_id]
        if step == len(long):
            assert allowed[1].nonzero().flatten().tolist() == [tokenizer.eos_token_id]
        else:
            assert allowed[1, long[step]]
            wanted = [short[step] if step < len(short) else tokenizer.pad_token_id, long[step]]
            ids = torch.cat([ids, torch.tensor(wanted)[:, None]], dim=1)


def test_rows_left_follow_their_own_grammar(tokenizer):
    found = compiled(tokenizer, {"enum": ["a", "bcd", "efg"]})
    processor = found.processor()
    rows = [tokenizer(f'"{one}"')["input_ids"] for one in ("a", "bcd", "efg")]
    processor(torch.tensor([[5], [5], [5]]), torch.zeros(3, len(tokenizer)))
    ids = torch.tensor([[5, row[0]] for row in rows])
    processor(ids, torch.zeros(3, len(tokenizer)))
    processor.keep([2])
    allowed = processor(torch.tensor([[5, *rows[2][:2]]]), torch.zeros(1, len(tokenizer))).isfinite()
    assert allowed[0, rows[2][2]]
    # another batch after this one starts anew
    allowed = processor(torch.tensor([[5]]), torch.zeros(1, len(tokenizer))).isfinite()
    assert allowed[0, rows[0][0]]


@pytest.mark.slow
def test_works_without_a_compiler(tiny_model, tmp_path):
    """No compiler on PATH and none in CXX: nothing is compiled at run time."""
    code = f"""
import json, torch
from transformers import AutoModelForCausalLM, AutoTokenizer
from riskscribe.lf import guide
t = AutoTokenizer.from_pretrained({str(tiny_model)!r}); m = AutoModelForCausalLM.from_pretrained({str(tiny_model)!r})
g = guide.Guide.compile(t, guide.grammar_of({SMALL!r}))
given = t("Case", return_tensors="pt", return_token_type_ids=False)
found = m.generate(**given, logits_processor=[g.processor()], do_sample=False, max_new_tokens=80)
print(json.dumps(json.loads(t.decode(found[0], skip_special_tokens=True)[4:])))
"""
    environment = {**os.environ, "PATH": str(tmp_path), "CXX": "/none", "CC": "/none"}
    run = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 0, run.stderr[-2000:]
    jsonschema.validate(json.loads(run.stdout), SMALL)


@pytest.mark.parametrize(
    ("schema", "reason"),
    [
        ({"type": "foo"}, "foo"),
        ({"$ref": "#/$defs/none"}, "none"),
        ({"type": "array", "uniqueItems": True}, "uniqueItems"),
        ({"type": "string", "pattern": "("}, "unclosed"),
        ({"$ref": "https://example.com/x.json"}, "example.com"),
        ({"type": "string", "minLength": 5, "maxLength": 2}, "minLength"),
    ],
)
def test_a_schema_that_cannot_be_says_why(schema, reason):
    with pytest.raises(InputError, match=reason):
        guide.grammar_of(schema)


# --- the recipe switch


def parsed(**more):
    from llamafactory.hparams import get_train_args

    recipe = yaml.safe_load((ROOT / "recipes" / "smollm2_135m" / "predict_tuned.yaml").read_text())
    recipe.pop("adapter_name_or_path")
    return get_train_args({**recipe, **more})


def test_the_parser_knows_the_switch_and_still_refuses_others(in_root, tmp_path):
    found = parsed(answer_schema=SCHEMA, output_dir=str(tmp_path))[-1]
    assert found.to_dict(obey_generation_config=True)["answer_schema"] == SCHEMA
    assert "answer_schema" not in parsed(answer_schema=None, output_dir=str(tmp_path))[-1].to_dict()
    with pytest.raises(ValueError, match="answer_schemas"):
        parsed(answer_schemas=SCHEMA, output_dir=str(tmp_path))


def test_bad_values_stop_before_a_model_is_loaded(in_root, tmp_path):
    bad = tmp_path / "bad.json"
    for text, reason in (("{", "Expecting"), ("[]", "no JSON object"), ('{"type": "foo"}', "foo")):
        bad.write_text(text)
        with pytest.raises(InputError, match=reason) as error:
            parsed(answer_schema=str(bad), output_dir=str(tmp_path))
        assert str(bad) in str(error.value)
    with pytest.raises(InputError, match="no_such_file"):
        parsed(answer_schema="no_such_file.json", output_dir=str(tmp_path))
    with pytest.raises(InputError, match="free_answers_dir: goes with answer_schema"):
        parsed(free_answers_dir=str(tmp_path / "free"), output_dir=str(tmp_path))
    with pytest.raises(InputError, match="num_beams"):
        parsed(answer_schema=SCHEMA, num_beams=2, output_dir=str(tmp_path))


def test_a_report_in_this_process_is_held_to_the_schema_unless_free(tiny_model, frozen, in_root, tmp_path):
    from riskscribe.lf.chat import ask

    recipe = yaml.safe_load((ROOT / "recipes" / "smollm2_135m" / "api.yaml").read_text())
    (tmp_path / "api.yaml").write_text(yaml.safe_dump(recipe | {"max_new_tokens": 24}))
    case = frozen("test")[0].case
    assert ask(case, tmp_path / "api.yaml", tiny_model).startswith('{"schema_version":"1","limit_breaches":[')
    assert not ask(case, tmp_path / "api.yaml", tiny_model, constrained=False).startswith("{")


@pytest.mark.slow
def test_predict_through_the_command_line(tiny_model, make_dataset, tmp_path):
    """Plain llamafactory-cli with the switch: every answer is a document of the schema."""
    data, out, schema = make_dataset(6), tmp_path / "out", tmp_path / "small.json"
    schema.write_text(json.dumps(SMALL))
    recipe = yaml.safe_load((ROOT / "recipes" / "smollm2_135m" / "predict_base.yaml").read_text())
    recipe |= {"model_name_or_path": str(tiny_model), "dataset_dir": str(data), "eval_dataset": "rows"}
    (tmp_path / "recipe.yaml").write_text(yaml.safe_dump(recipe | {"output_dir": str(out), "max_new_tokens": 64}))
    cli = Path(sys.executable).with_name("llamafactory-cli")
    run = subprocess.run(
        [str(cli), "train", str(tmp_path / "recipe.yaml"), f"answer_schema={schema}"],
        cwd=ROOT, capture_output=True, text=True, timeout=300,
    )  # fmt: skip
    assert run.returncode == 0, run.stderr[-3000:]
    lines = (out / "generated_predictions.jsonl").read_text(encoding="utf-8").splitlines()
    assert len(lines) == 6
    for line in lines:
        jsonschema.validate(json.loads(json.loads(line)["predict"]), SMALL)


@pytest.mark.slow
def test_free_answers_beside_constrained_ones_are_those_of_two_runs(tiny_model, make_dataset, tmp_path):
    folder = make_dataset(3)
    cli = Path(sys.executable).with_name("llamafactory-cli")
    recipe = yaml.safe_load((ROOT / "recipes" / "smollm2_135m" / "predict_base.yaml").read_text())
    recipe |= {"model_name_or_path": str(tiny_model), "dataset_dir": str(folder), "eval_dataset": "rows_few_shot"}
    recipe |= {"max_new_tokens": 40, "per_device_eval_batch_size": 2}
    schema = {"answer_schema": str(ROOT / "dataset_info" / "report.schema.json")}
    # an evaluation makes answers too: those of the prediction behind it are saved
    beside = {"free_answers_dir": str(tmp_path / "both_free"), "do_eval": True}
    runs = {"free": {}, "held": schema, "both": schema | beside}
    for name, more in runs.items():
        path = tmp_path / f"{name}.yaml"
        path.write_text(yaml.safe_dump(recipe | more | {"output_dir": str(tmp_path / name)}))
        subprocess.run([str(cli), "train", str(path)], cwd=ROOT, check=True, capture_output=True)
    told = {one: (tmp_path / one / "generated_predictions.jsonl").read_bytes()
            for one in ("free", "held", "both", "both_free")}  # fmt: skip
    assert told["both_free"] == told["free"] != told["held"] == told["both"]
    records = {one: manifest.load(tmp_path / one) for one in told}
    assert {one for one, record in records.items() if "answer_schema" in record.settings} == {"held", "both"}
    assert all(record.status == "complete" and "generated_predictions.jsonl" in record.outputs
               for record in records.values())  # fmt: skip


def test_the_schema_file_is_the_report():
    assert json.loads((ROOT / SCHEMA).read_text(encoding="utf-8")) == Report.model_json_schema()
