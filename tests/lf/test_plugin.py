"""What the plugin adds to LLaMA-Factory, and that it never breaks it."""

import importlib.util
import json
import os
import subprocess
import sys
from importlib import metadata
from pathlib import Path
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import yaml

from riskscribe import prompt
from riskscribe.data.rows import read_rows
from riskscribe.lf import attach, tasks

ROOT = Path(__file__).resolve().parents[2]
TEST_ROWS = ROOT / "datasets" / "risk_report" / "v1" / "test_quick.jsonl"
FORMATS = ["risk_report", "risk_report_few_shot"]


def python(code: str, **more: str) -> subprocess.CompletedProcess:
    """A fresh interpreter of this environment: the .pth at its start is part of what is tested."""
    return subprocess.run(
        [sys.executable, "-c", code], env={**os.environ, **more}, capture_output=True, text=True, timeout=300
    )


def ours(stderr: str) -> list[str]:
    return [line for line in stderr.splitlines() if line.startswith("riskscribe: ")]


# a package of the same name with the same module and nothing else: what is tested is our hook, and upstream's own
# import takes 15 seconds a process
CONVERTER = """
from dataclasses import dataclass
DATASET_CONVERTERS = {}
@dataclass
class DatasetConverter:
    dataset_attr: object
    data_args: object
def register_dataset_converter(name, converter):
    if name in DATASET_CONVERTERS:
        raise ValueError(f"Dataset converter {name} already exists.")
    DATASET_CONVERTERS[name] = converter
"""


@pytest.fixture
def stand_in(tmp_path: Path) -> str:
    """PYTHONPATH with a stand-in for llamafactory."""
    for folder in ("llamafactory", "llamafactory/data"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "__init__.py").write_text("")
    (tmp_path / "llamafactory" / "data" / "converter.py").write_text(CONVERTER)
    return str(tmp_path)


PRINT = "import llamafactory.data.converter as c; print(sorted(c.DATASET_CONVERTERS));"


def test_real_converter_knows_the_formats_once():
    """In the real package, through the .pth alone; a second attach changes and says nothing."""
    run = python(
        "import json, llamafactory.data.converter as c; first = dict(c.DATASET_CONVERTERS);"
        "from riskscribe.lf.attach import attach; attach(c); c.riskscribe_attached = False; attach(c);"
        "print(json.dumps([sorted(first), first == c.DATASET_CONVERTERS]))"
    )
    assert run.returncode == 0, run.stderr
    names, same = json.loads(run.stdout.splitlines()[-1])
    assert set(FORMATS) < set(names) and "alpaca" in names and same
    assert ours(run.stderr) == []


def test_installed_hook_is_the_one_in_the_repository():
    """An editable install copies the hook module: after a change, install again."""
    hook = importlib.import_module("riskscribe_hook")
    source = ROOT / "plugins" / "riskscribe_hook.py"
    assert Path(hook.__file__).read_text() == source.read_text(), "run: uv pip install --no-deps -e ."


def test_every_module_is_attached_in_process():
    hook = importlib.import_module("riskscribe_hook")
    for name in hook.MODULES:
        assert importlib.import_module(name).riskscribe_attached
    assert {one.module for one in attach.ATTACHMENTS} == hook.MODULES
    assert attach.FAILED == {}
    # the workflow must have bound the extended metric, not upstream's
    workflow, metric = (importlib.import_module(f"llamafactory.train.sft.{one}") for one in ("workflow", "metric"))
    assert workflow.ComputeSimilarity is metric.ComputeSimilarity
    assert workflow.ComputeSimilarity.__name__ == "ComputeReportMetrics"
    tuner = importlib.import_module("llamafactory.train.tuner")
    assert tuner.run_sft is workflow.run_sft and hasattr(tuner.run_sft, "__wrapped__")


def test_stand_in_is_extended(stand_in):
    run = python(PRINT, PYTHONPATH=stand_in)
    assert run.stdout.strip() == str(FORMATS), run.stderr
    assert run.stderr == ""


def test_off_switch(stand_in):
    run = python(PRINT + "import sys; print('riskscribe' in sys.modules)", PYTHONPATH=stand_in, RISKSCRIBE_PLUGIN="0")
    assert run.stdout.splitlines() == ["[]", "False"]
    assert run.stderr == ""


def test_hook_imports_nothing_before_it_is_needed():
    run = python(
        "import sys; print([one for one in sys.modules if one.startswith(('riskscribe.', 'numpy', 'torch'))])"
    )
    assert run.stdout.strip() == "[]"


def test_failing_attachment_leaves_llamafactory_working(stand_in):
    code = (
        "from riskscribe.lf import attach\n"
        "def fail(module): raise RuntimeError('signature changed')\n"
        "attach.ATTACHMENTS = (attach.Attachment('llamafactory.data.converter', 'formats', fail),)\n"
    )
    run = python(code + PRINT, PYTHONPATH=stand_in)
    assert (run.returncode, run.stdout.strip()) == (0, "[]")
    (line,) = run.stderr.splitlines()
    assert "llamafactory.data.converter" in line and "signature changed" in line


def test_broken_upstream_module_fails_with_its_own_error(stand_in):
    (Path(stand_in) / "llamafactory" / "data" / "converter.py").write_text("raise ImportError('upstream is broken')")
    run = python(PRINT, PYTHONPATH=stand_in)
    assert run.returncode == 1
    assert run.stderr.splitlines()[-1] == "ImportError: upstream is broken"
    assert ours(run.stderr) == []


def test_untested_version_is_said_once(monkeypatch, capsys):
    monkeypatch.setattr(metadata, "version", lambda name: "9.9.9")
    monkeypatch.setattr(attach, "_said", set())
    rows = tuple(attach.Attachment(name, "nothing", lambda module: None) for name in ("one", "two"))
    monkeypatch.setattr(attach, "ATTACHMENTS", rows)
    for name in ("one", "two", "one"):
        attach.attach(ModuleType(name))
    (line,) = capsys.readouterr().err.splitlines()
    assert "9.9.9" in line and attach.TESTED[0] in line


def test_other_ranks_are_silent(monkeypatch, capsys):
    monkeypatch.setenv("LOCAL_RANK", "1")
    monkeypatch.setattr(attach, "_said", set())
    attach.say_once("something")
    assert capsys.readouterr().err == ""


# --- the format


def converters(monkeypatch, table: dict[str, tasks.Task]) -> dict:
    """The converters a fresh copy of upstream's module would get for these tasks."""
    from llamafactory.data import converter

    fresh: dict = {}
    module = SimpleNamespace(
        DatasetConverter=converter.DatasetConverter,
        DATASET_CONVERTERS=fresh,
        register_dataset_converter=fresh.__setitem__,
    )
    monkeypatch.setattr(attach, "TASKS", table)
    attach.add_formats(module)
    return fresh


def dataset_args(name: str):
    from llamafactory.data.parser import DatasetAttr
    from llamafactory.hparams import DataArguments

    attr = DatasetAttr("file", dataset_name="../datasets/risk_report/v1/test_quick.jsonl", formatting=name)
    return attr, DataArguments(template="qwen", dataset_dir=str(ROOT / "dataset_info"))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("changes", ["prompt", "policy", "examples"])
def test_what_changes_a_prompt_is_not_served_from_the_old_cache(name, changes, monkeypatch, tmp_path):
    from datasets import Dataset

    examples = tmp_path / "examples.jsonl"
    examples.write_bytes((TEST_ROWS.parent / "examples.jsonl").read_bytes())
    monkeypatch.setattr(tasks, "_examples", lambda file: examples)

    def fingerprint() -> str:
        one = converters(monkeypatch, tasks.TASKS)[name](*dataset_args(name))
        rows = [json.loads(line) for line in TEST_ROWS.read_text(encoding="utf-8").splitlines()[:1]]
        return Dataset.from_list(rows).map(one, remove_columns=list(rows[0]))._fingerprint

    before = fingerprint()
    assert fingerprint() == before, "the cache would never be used"
    if changes == "prompt":
        monkeypatch.setattr(prompt, "SALT", prompt.SALT + " changed")
    elif changes == "policy":
        house = tasks.default_policy().model_copy(update={"near_limit_pct": 85.0})
        monkeypatch.setattr(tasks, "default_policy", lambda: house)
    else:
        examples.write_bytes(examples.read_bytes() + b"\n")
    shows_examples = name.endswith("few_shot")
    assert (fingerprint() != before) == (changes != "examples" or shows_examples)


def test_fingerprint_does_not_depend_on_what_was_read_before(monkeypatch):
    from datasets.fingerprint import Hasher
    from llamafactory.data.converter import DATASET_CONVERTERS

    monkeypatch.setattr(tasks.CASES, "files", {})
    monkeypatch.setattr(tasks.CASES, "cases", {})
    one = DATASET_CONVERTERS["risk_report"](*dataset_args("risk_report"))
    before = Hasher.hash(one)
    assert tasks.CASES.find("nothing") is None and tasks.CASES.cases
    assert Hasher.hash(one) == before


def test_converted_row_is_chat_turns_with_our_system_text():
    from llamafactory.data.converter import get_dataset_converter

    row = json.loads(TEST_ROWS.read_text(encoding="utf-8").splitlines()[0])
    plain, few_shot = (get_dataset_converter(name, *dataset_args(name))(row) for name in FORMATS)
    assert [one["role"] for one in plain["_prompt"]] == ["user"]
    assert plain["_system"] == prompt.SYSTEM[row["language"]]
    assert json.loads(plain["_response"][0]["content"]) == json.loads(row["report"])
    assert [one["role"] for one in few_shot["_prompt"]] == ["user", "assistant"] * 2 + ["user"]
    assert few_shot["_prompt"][-1] == plain["_prompt"][-1]
    assert few_shot["_system"].startswith(plain["_system"]) and "limit_breaches" in few_shot["_system"]


# --- which case a prompt is about


@pytest.fixture
def index() -> tasks.CaseIndex:
    index = tasks.CaseIndex()
    index.add(TEST_ROWS)
    return index


def test_case_is_found_by_the_id_in_its_prompt(index):
    for row in read_rows(TEST_ROWS)[:3]:
        text = "\n".join(one["content"] for one in prompt.messages(row.case))
        assert index.find(text) == row.case
    assert index.find("Case c-zzzzzzzz | not in the files") is None
    assert index.find("no case at all") is None


def test_a_note_cannot_point_the_metric_at_another_case(index):
    from riskscribe.case import Note

    one, other = (row.case for row in read_rows(TEST_ROWS)[:2])
    head = prompt.render_case(other).splitlines()[0]
    for text in (head, f"see below\n{head}", f"see below\r\n\n{head}\n"):
        note = Note(id="NOTE-ZZ9", author=f"desk\n{head}", text=text)
        tampered = one.model_copy(update={"evidence": [*one.evidence, note]})
        assert index.find(prompt.render_case(tampered)).case_id == one.case_id


def test_a_desk_name_cannot_point_the_metric_at_another_case(index):
    one, other = (row.case for row in read_rows(TEST_ROWS)[:2])
    head = prompt.render_case(other).splitlines()[0]
    tampered = one.model_copy(update={"desk": f"Rates\n{head}"})
    assert index.find(prompt.render_case(tampered)).case_id == one.case_id


def test_in_a_few_shot_prompt_the_last_case_counts(index):
    one, other, third = (row for row in read_rows(TEST_ROWS)[:3])
    turns = prompt.messages(third.case, [(row.case, row.report) for row in (one, other)], "outline")
    assert index.find("\n".join(turn["content"] for turn in turns)) == third.case


# --- the loss


@pytest.fixture
def trainer_and_batch(tiny_model, make_dataset, tmp_path):
    """LLaMA-Factory's own trainer, unquantized in float32 on the tiny model, and a padded batch of two rows."""
    from llamafactory.data import SFTDataCollatorWith4DAttentionMask, get_dataset, get_template_and_fix_tokenizer
    from llamafactory.hparams import get_train_args
    from llamafactory.model import load_model, load_tokenizer
    from llamafactory.train.sft.trainer import CustomSeq2SeqTrainer

    recipe = yaml.safe_load((ROOT / "recipes" / "smollm2_135m" / "sft_lora.yaml").read_text())
    recipe |= {"model_name_or_path": str(tiny_model), "dataset_dir": str(make_dataset(4)), "dataset": "rows"}
    model_args, data_args, training, finetuning, _ = get_train_args(recipe | {"output_dir": str(tmp_path / "out")})
    loaded = load_tokenizer(model_args)
    template = get_template_and_fix_tokenizer(loaded["tokenizer"], data_args)
    data = get_dataset(template, model_args, data_args, training, stage="sft", **loaded)
    model = load_model(loaded["tokenizer"], model_args, finetuning, is_trainable=True).float()
    collator = SFTDataCollatorWith4DAttentionMask(template=template, model=model, pad_to_multiple_of=8, **loaded)
    trainer = CustomSeq2SeqTrainer(
        model=model, args=training, finetuning_args=finetuning, data_collator=collator, **data, **loaded
    )
    return trainer, collator([data["train_dataset"][i] for i in (0, 1)])


def test_response_logits_give_upstreams_loss_and_gradient(trainer_and_batch, monkeypatch):
    trainer, batch = trainer_and_batch
    ours_, upstream = type(trainer).compute_loss, type(trainer).compute_loss.__wrapped__
    prompts = (batch["labels"] == -100).all(dim=0).long().cumprod(0).sum()
    assert prompts > 100, "no prompt to leave out: nothing is tested"
    kept = []
    forward = trainer.model.forward
    monkeypatch.setattr(
        trainer.model, "forward", lambda **given: kept.append(given.get("logits_to_keep")) or forward(**given)
    )
    monkeypatch.setattr(trainer, "model_accepts_loss_kwargs", False)

    def loss_and_gradients(compute) -> tuple[float, list]:
        trainer.model.zero_grad()
        loss = compute(trainer, trainer.model, dict(batch))
        loss.backward()
        return float(loss.detach()), [one.grad.clone() for one in trainer.model.parameters() if one.grad is not None]

    trainer.model.train()
    (loss, gradients), (expected, expected_gradients) = map(loss_and_gradients, (ours_, upstream))
    assert kept == [batch["labels"].shape[1] - int(prompts) + 1, None]
    assert loss == pytest.approx(expected, abs=1e-5)
    assert gradients and len(gradients) == len(expected_gradients)
    for one, other in zip(gradients, expected_gradients, strict=True):
        assert np.allclose(one, other, atol=1e-5)
    # the loss of an evaluation too, unless compute_accuracy reads the logits of every position
    trainer.model.eval()
    assert float(ours_(trainer, trainer.model, dict(batch))) == pytest.approx(expected, abs=1e-5)
    assert kept[-1] == kept[0]
    monkeypatch.setattr(trainer, "compute_metrics", lambda given: {})
    ours_(trainer, trainer.model, dict(batch))
    assert kept[-1] is None
    # a batch without a single answer token is upstream's business
    trainer.model.train()
    ours_(trainer, trainer.model, {**batch, "labels": batch["labels"].fill_(-100)})
    assert kept[-1] == batch["labels"].shape[1]


# --- the metric


@pytest.fixture
def metric(tiny_model, monkeypatch):
    from llamafactory.train.sft.metric import ComputeSimilarity
    from transformers import AutoTokenizer

    monkeypatch.setattr(tasks.CASES, "files", {TEST_ROWS: None})
    monkeypatch.setattr(tasks.CASES, "cases", {})
    return ComputeSimilarity(tokenizer=AutoTokenizer.from_pretrained(tiny_model))


def padded(tokenizer, texts: list[str], value: int) -> np.ndarray:
    ids = [tokenizer(text).input_ids for text in texts]
    width = max(map(len, ids))
    return np.array([[value] * (width - len(one)) + one for one in ids])


def test_metric_scores_the_case_and_never_the_label(metric):
    from transformers import EvalPrediction

    rows = read_rows(TEST_ROWS)[:3]
    answers = [rows[0].report.to_json(), rows[1].report.to_json().replace('"risk_level"', '"level"'), "no idea"]
    prompts = ["\n".join(one["content"] for one in prompt.messages(row.case)) for row in rows]
    gold = [row.report.to_json() for row in rows]

    def scores(labels: list[str]) -> dict[str, float]:
        tokenizer = metric.tokenizer
        return metric(
            EvalPrediction(
                # -100 is how the trainer pads what it gathers
                predictions=padded(tokenizer, answers, -100),
                label_ids=padded(tokenizer, labels, -100),
                inputs=padded(tokenizer, prompts, tokenizer.pad_token_id),
            )
        )

    right, swapped = scores(gold), scores(gold[1:] + gold[:1])
    risk = {key: value for key, value in right.items() if key.startswith("risk_")}
    assert risk == {key: value for key, value in swapped.items() if key.startswith("risk_")}
    assert right["rouge-1"] != swapped["rouge-1"]
    assert risk["risk_cases"] == 3
    # one gold answer, one with a field misnamed, one that is no JSON
    assert risk["risk_schema_valid"] == risk["risk_fatal_error_free"] == pytest.approx(100 / 3, abs=0.01)


def test_metric_without_inputs_or_with_unknown_cases_is_upstreams(metric):
    from transformers import EvalPrediction

    ids = padded(metric.tokenizer, ["one answer", "another"], -100)
    unknown = padded(metric.tokenizer, ["Case c-zzzzzzzz | 1", "hello"], metric.tokenizer.pad_token_id)
    for inputs in (None, unknown):
        found = metric(EvalPrediction(predictions=ids, label_ids=ids, inputs=inputs))
        assert found.keys() == {"rouge-1", "rouge-2", "rouge-l", "bleu-4"}


def test_metric_gathers_over_batches(metric):
    from transformers import EvalPrediction

    row = read_rows(TEST_ROWS)[0]
    text, answer = prompt.render_case(row.case), row.report.to_json()
    one = EvalPrediction(
        predictions=padded(metric.tokenizer, [answer], -100),
        label_ids=padded(metric.tokenizer, [answer], -100),
        inputs=padded(metric.tokenizer, [text], metric.tokenizer.pad_token_id),
    )
    assert metric(one, compute_result=False) is None
    assert metric(one, compute_result=True)["risk_cases"] == 2
    assert metric(one, compute_result=True)["risk_cases"] == 1


def test_run_sft_asks_for_inputs_only_where_answers_are_generated(monkeypatch):
    from llamafactory.train.sft import workflow

    seen = []
    stand_in = SimpleNamespace(run_sft=lambda model, data, training: seen.append(training.include_for_metrics))
    attach.show_inputs_to_metric(stand_in)
    for generates, before in ((True, []), (True, ["inputs"]), (False, [])):
        stand_in.run_sft(None, None, SimpleNamespace(predict_with_generate=generates, include_for_metrics=before))
    assert seen == [["inputs"], ["inputs"], []]
    assert hasattr(workflow.run_sft, "__wrapped__")


# --- serving


def test_served_model_decodes_as_the_recipe_says(tiny_model):
    """The tiny model's generation_config asks for sampling, as Qwen2.5's does; api.yaml says greedy."""
    from llamafactory.chat import ChatModel

    recipe = yaml.safe_load((ROOT / "recipes" / "qwen2_5_7b" / "api.yaml").read_text())
    chat = ChatModel({**recipe, "model_name_or_path": str(tiny_model), "max_new_tokens": 16})
    model, effective = chat.engine.model, []
    prepare = model._prepare_generation_config

    def spy(*given, **options):
        found = prepare(*given, **options)
        effective.append(found[0])
        return found

    model._prepare_generation_config = spy
    turns = [{"role": "user", "content": "Case"}]
    first, second = (chat.chat(turns, system="s")[0].response_text for _ in range(2))
    assert first == second
    assert (effective[0].do_sample, effective[0].repetition_penalty) == (False, 1.0)
    assert effective[0].max_new_tokens == 16
    # a request may still ask for sampling
    chat.chat(turns, system="s", do_sample=True, temperature=0.5)
    assert (effective[-1].do_sample, effective[-1].temperature) == (True, 0.5)


def test_tasks_are_what_the_registry_names():
    registry = json.loads((ROOT / "dataset_info" / "dataset_info.json").read_text(encoding="utf-8"))
    assert {one["formatting"] for one in registry.values()} <= tasks.TASKS.keys()
    for entry in registry.values():
        assert (ROOT / "dataset_info" / entry["file_name"]).exists()
    assert all(one.salt(TEST_ROWS) for one in tasks.TASKS.values())
