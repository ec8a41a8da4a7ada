"""The evaluator used alone: any predictions file, from the command line and from Python, without training anything."""

import contextlib
import io
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

import click
import pytest
import yaml
from click.testing import CliRunner

from riskscribe.case import Case
from riskscribe.cli import main
from riskscribe.errors import InputError
from riskscribe.evaluate import api
from riskscribe.evaluate.grounding import facts_of
from riskscribe.evaluate.inputs import read_scored
from riskscribe.files import read_json, read_lines, write_json, write_lines
from riskscribe.policy import annotate
from riskscribe.prompt import render_case

ROOT = Path(__file__).parents[2]
EXAMPLES = ROOT / "datasets/example_evaluation"
BAD = yaml.safe_load((Path(__file__).parent / "bad_inputs.yaml").read_text(encoding="utf-8"))
GUIDE = ROOT / "docs/evaluator.md"


def run(*arguments) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(one) for one in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


@pytest.fixture
def files(tmp_path, monkeypatch) -> Path:
    """A copy of the examples to work in."""
    shutil.copytree(EXAMPLES, tmp_path / "files")
    monkeypatch.chdir(tmp_path / "files")
    return tmp_path / "files"


# --- nothing but the evaluator is loaded

ALONE = """
import sys
from pathlib import Path
from riskscribe.evaluate import api
assert not [one for one in ("numpy", "pydantic") if one in sys.modules], "importing it costs nothing"
here, out = Path(sys.argv[1]), Path(sys.argv[2])
metrics = api.score(here / "cases.jsonl", here / "model_a.jsonl", out / "a")
api.score(here / "cases.jsonl", here / "generated_predictions.jsonl", out / "b")
compared = api.compare(out / "a", out / "b")
findings = api.verify(here / "case.json", here / "report.json")
numbers = api.ground((here / "text.txt").read_text(), here / "evidence.json")
assert metrics["languages"] and compared["languages"] and findings and numbers
layers = [f"riskscribe.{one}" for one in ("data", "lf", "release", "page", "cli", "stages")]
loaded = {".".join(one.split(".")[:2]) for one in sys.modules} | {one.split(".")[0] for one in sys.modules}
print(sorted(loaded & {"torch", "transformers", "llamafactory", "datasets", "QuantLib", "openai", *layers}))
"""


def test_it_loads_neither_a_model_library_nor_the_data_layer(tmp_path):
    found = subprocess.run(
        [sys.executable, "-c", ALONE, EXAMPLES, tmp_path], capture_output=True, text=True, check=True, cwd=tmp_path
    )
    assert found.stdout.strip() == "[]"


COMMAND = """
import sys
from riskscribe.cli import main
try:
    main(sys.argv[1:])
except SystemExit as ended:
    assert ended.code in (0, 1), ended.code
print(sorted(set(sys.modules) & {"torch", "transformers", "llamafactory", "QuantLib"}), file=sys.stderr)
"""


@pytest.mark.parametrize(
    "line",
    ["score cases.jsonl model_a.jsonl --out out", "verify case.json report.json",
     "ground --evidence evidence.json --text text.txt"],
)  # fmt: skip
def test_neither_does_a_command(files, line):
    found = subprocess.run(
        [sys.executable, "-c", COMMAND, *line.split()], capture_output=True, text=True, check=True, cwd=files
    )
    assert found.stderr.splitlines()[-1] == "[]"


# --- what it reads


def records(folder: str) -> dict[str, dict]:
    return {one["case_id"]: one for one in read_lines(Path(folder) / "records.jsonl")}


def test_both_forms_of_a_predictions_file_are_one(files):
    """LLaMA-Factory's file, joined by the case id in its prompts, in any order."""
    theirs = read_lines(files / "generated_predictions.jsonl")
    ids = [one["case_id"] for one in read_lines(files / "cases.jsonl")]
    ours = [{"case_id": name, "predict": one["predict"]} for name, one in zip(ids, theirs, strict=True)]
    write_lines(files / "ours.jsonl", ours)
    write_lines(files / "shuffled.jsonl", theirs[::-1])
    for name in ("generated_predictions", "ours", "shuffled"):
        assert run("score", "cases.jsonl", f"{name}.jsonl", "--out", name)[0] == 0
    assert records("generated_predictions") == records("ours") == records("shuffled")
    assert [one["book"] for one in records("ours").values()] == [
        one["book"] for one in read_lines(files / "cases.jsonl")
    ]


def test_the_examples_are_what_their_page_says(files):
    cases = [one.case for one in read_scored(files / "cases.jsonl")]
    for case, theirs in zip(cases, read_lines(files / "generated_predictions.jsonl"), strict=True):
        assert render_case(case) in theirs["prompt"], "prompts as they are rendered today"
        assert not api.verify(case, theirs["label"]), "the label is a clean report"
    assert annotate(Case.model_validate(read_json(files / "case.json"))) == annotate(cases[0])
    assert read_json(files / "report.json") == json.loads(read_lines(files / "model_a.jsonl")[0]["predict"])


def test_cases_come_as_lines_rows_a_file_or_a_list(files):
    rows = [json.loads(line) for line in (ROOT / "datasets/risk_report/v1/test_quick.jsonl").open(encoding="utf-8")]
    cases = [json.loads(one["case"]) for one in rows]
    write_lines(files / "rows.jsonl", rows)
    write_lines(files / "objects.jsonl", [{"case": one} for one in cases])
    write_lines(files / "cases_alone.jsonl", cases)
    write_json(files / "list.json", cases)
    expected = [Case.model_validate(one) for one in cases]
    for name in ("rows.jsonl", "objects.jsonl", "cases_alone.jsonl", "list.json"):
        assert [one.case for one in read_scored(files / name)] == expected, name
    assert [one.case for one in read_scored(files / "case.json")] == [Case.model_validate(read_json("case.json"))]
    grouped = read_scored(files / "rows.jsonl")
    assert [(one.book, list(one.slices)) for one in grouped] == [(one["book"], one["slices"]) for one in rows]
    assert {(one.book, tuple(one.slices)) for one in read_scored(files / "cases_alone.jsonl")} == {("", ())}


def test_a_split_in_parquet_is_read(files):
    train = ROOT / "datasets/risk_report/v1/train_full.parquet"
    from riskscribe.data.rows import read_rows

    assert [(one.case, one.book, list(one.slices)) for one in read_scored(train)] == [
        (one.case, one.book, one.slices) for one in read_rows(train)
    ]
    (files / "bad.parquet").write_bytes(b"PAR1 no")
    with pytest.raises(InputError, match=r"bad\.parquet: not a Parquet file"):
        read_scored(files / "bad.parquet")


def set_field(value, path: str, to):
    *steps, last = path.split(".")
    for one in steps:
        value = value[int(one) if isinstance(value, list) else one]
    value[int(last) if isinstance(value, list) else last] = to


@pytest.mark.parametrize("bad", [pytest.param(one, id=one["name"]) for one in BAD])
def test_bad_input_gets_one_line_that_says_where(files, bad):
    for name, content in bad.get("write", {}).items():
        (files / name).parent.mkdir(exist_ok=True)
        (files / name).write_text(content, encoding="utf-8")
    if edit := bad.get("line") or bad.get("twice"):
        lines = (files / edit["file"]).read_text(encoding="utf-8").splitlines()
        if "twice" in bad:
            lines.append(lines[edit["number"] - 1])
        else:
            lines[edit["number"] - 1 : edit["number"]] = [edit["text"]]
        (files / edit["file"]).write_text("\n".join(lines) + "\n", encoding="utf-8")
    for edit in bad.get("change", []):
        value = read_json(files / edit["file"])
        set_field(value, edit["field"], edit["value"])
        write_json(files / edit["file"], value)
    if edit := bad.get("rows"):
        rows = [{"case": one.case.model_dump(mode="json")} for one in read_scored(files / "cases.jsonl")]
        rows[1][edit["field"]] = edit["value"]
        (files / edit["file"]).write_text("\n\n".join(map(json.dumps, rows)), encoding="utf-8")
    if edit := bad.get("bytes"):
        (files / edit["file"]).write_bytes(bytes.fromhex(edit["hex"]))
    code, out, err = run(*shlex.split(bad["run"]))
    line = out if "finding" in bad else err
    assert (code, out + err) == (2, line), "one of the two streams, nothing on the other"
    assert line.startswith("unparseable: " if "finding" in bad else "riskscribe: ") and line.count("\n") == 1
    for part in bad["says"]:
        assert part in line
    code, out, err = run(*shlex.split(bad["run"]), "--json")
    assert code == 2 and (json.loads(out) if "finding" in bad else out == "" and err == line)
    assert not (files / "out").exists(), "nothing is left half-written"


# --- from Python as from the command line


def test_the_api_gives_what_the_commands_give(files):
    metrics = api.score("cases.jsonl", "model_a.jsonl", "api_a")
    api.score("cases.jsonl", "generated_predictions.jsonl", "b")
    assert run("score", "cases.jsonl", "model_a.jsonl", "--out", "cli_a")[0] == 0
    assert metrics == read_json(files / "api_a/metrics.json")
    assert (files / "api_a/records.jsonl").read_bytes() == (files / "cli_a/records.jsonl").read_bytes()
    compared = api.compare("api_a", "b", title="Mine")
    assert compared["title"] == "Mine" and json.loads(json.dumps(compared)) == compared
    shown = json.loads(run("verify", "case.json", "report.json", "--json")[1])
    found = api.verify(Path("case.json"), Path("report.json"))
    assert [one.model_dump(mode="json") for one in found] == as_list(shown)
    grounded = json.loads(run("ground", "--evidence", "evidence.json", "--text", "text.txt", "--json")[1])
    text = Path("text.txt").read_text(encoding="utf-8")
    assert [one.model_dump(mode="json") for one in api.ground(text, Path("evidence.json"))] == as_list(grounded)


def as_list(document) -> list:
    """The list of findings or numbers, whether the document is that list or holds it."""
    return document if isinstance(document, list) else next(one for one in document.values() if isinstance(one, list))


def test_a_report_comes_as_text_values_file_or_model(files):
    case = Case.model_validate(read_json("case.json"))
    text = Path("report.json").read_text(encoding="utf-8")
    ways = [(case, text), (read_json("case.json"), json.loads(text)), (Path("case.json"), Path("report.json"))]
    found = [[one.code for one in api.verify(*way)] for way in ways]
    assert found[0] == found[1] == found[2] and {"understated", "missed_breach"} <= set(found[0])
    for unreadable in ("Risk is low.", {}, [], {"risk_level": "low"}):
        assert [one.code for one in api.verify(case, unreadable)] == ["unparseable"]
    with pytest.raises(InputError, match="case: field case_id"):
        api.verify({}, text)
    for way in ((Path("nope.json"), text), (case, Path("nope.json"))):
        with pytest.raises(InputError, match=r"nope\.json: no such file"):
            api.verify(*way)


def test_evidence_comes_as_a_list_a_file_or_a_case(files):
    text = Path("text.txt").read_text(encoding="utf-8")
    assert api.ground(text, read_json("evidence.json")) == api.ground(text, Path("evidence.json"))
    assert [one.verdict for one in api.ground(text, [])] == ["unsupported"] * 5
    case = annotate(Case.model_validate(read_json("case.json")))
    name = next(one.id for one in facts_of(case) if one.id.startswith("VAR-"))
    assert [one.verdict for one in api.ground(f"VaR is 1.56m [{name}].", case)] == ["quoted"]
    with pytest.raises(InputError, match="evidence: evidence 1: field id"):
        api.ground(text, [{"value": 1}])


# --- --json

# what runs a job or a server, or asks a model, has no result of its own to print
WITHOUT_JSON = {"run", "serve", "board", "ab serve"}


def commands(group: click.Group = main, path: tuple[str, ...] = ()):
    for name, one in group.commands.items():
        if isinstance(one, click.Group):
            yield from commands(one, (*path, name))
        else:
            yield " ".join((*path, name)), one


@pytest.mark.parametrize("name", sorted({name for name, _ in commands()} - WITHOUT_JSON))
def test_every_command_with_a_result_has_json(name):
    assert "--json" in {flag for one in dict(commands())[name].params for flag in one.opts}


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("score cases.jsonl model_a.jsonl --out out", 0),
        ("compare {a} {b} --out out", 0),
        ("verify case.json report.json", 1),
        ("ground --evidence evidence.json --text text.txt", 1),
        ("case show case.json", 0),
        ("case import-csv {root}/datasets/example_book", 0),
        ("case import-csv {root}/datasets/example_book --out book.json", 0),
        # loads presidio and spaCy: ten seconds
        pytest.param("data clean cases.jsonl --out clean.jsonl", 0, marks=pytest.mark.slow),
        ("data pack --cases one.jsonl --reports reports.jsonl --out own", 0),
        ("data check own", 0),
        ("data build --out {root}/datasets/risk_report/v1", 0),
        ("manifest show {root}/datasets/risk_report/v1", 0),
    ],
)
def test_json_is_one_document_and_nothing_else(files, line, code):
    for name, file in (("a", "model_a.jsonl"), ("b", "generated_predictions.jsonl")):
        if f"{{{name}}}" in line:
            run("score", "cases.jsonl", file, "--out", name)
    if line.startswith(("data pack", "data check")):
        write_lines("one.jsonl", read_lines(files / "cases.jsonl"))
        ids = [one["case_id"] for one in read_lines(files / "cases.jsonl")]
        told = zip(ids, read_lines(files / "generated_predictions.jsonl"), strict=True)
        write_lines("reports.jsonl", [{"case_id": name, "report": json.loads(one["label"])} for name, one in told])
    if line == "data check own":
        assert run("data", "pack", "--cases", "one.jsonl", "--reports", "reports.jsonl", "--out", "own")[0] == 0
    found, out, _ = run(*line.format(root=ROOT, a="a", b="b").split(), "--json")
    assert found == code
    assert json.loads(out), "one document"


# --- the guide


def blocks() -> list[tuple[str, str]]:
    """(language, text) of the fenced blocks of docs/evaluator.md."""
    return re.findall(r"^```(\w+)\n(.*?)^```$", GUIDE.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)


def test_the_guide_does_what_it_says(tmp_path, monkeypatch):
    """Every `bash` and `python` block runs, in order; a `text` block is what the block before it prints."""
    shutil.copytree(EXAMPLES, tmp_path / "datasets/example_evaluation")
    monkeypatch.chdir(tmp_path)
    names: dict = {}
    printed = ""
    kinds = [kind for kind, _ in blocks()]
    assert kinds.count("bash") >= 3 and kinds.count("python") >= 1 and kinds.count("text") >= 3
    for kind, text in blocks():
        if kind == "bash":
            printed = ""
            for line in text.splitlines():
                command, _, comment = line.partition("  # ")
                program, *arguments = shlex.split(command)
                assert program == ".venv/bin/riskscribe", line
                code, out, err = run(*arguments)
                assert code == int(re.sub(r"\D", "", comment) or 0), (line, code, out, err)
                printed += out
        elif kind == "python":
            told = io.StringIO()
            with contextlib.redirect_stdout(told):
                exec(text, names)
            printed = told.getvalue()
        elif kind == "text":
            assert printed.split() == text.split(), f"the guide shows {text!r}"
