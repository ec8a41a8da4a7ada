"""The command line: exit codes, one line for bad input, and that a report is never shown unverified."""

import json
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from riskscribe import reporting
from riskscribe.cli import Commands, main
from riskscribe.data.rows import read_rows
from riskscribe.files import write_json

ROOT = Path(__file__).parents[1]
ROW = next(row for row in read_rows(ROOT / "datasets/risk_report/v1/test_quick.jsonl") if row.level == "critical")


@pytest.fixture
def files(tmp_path):
    write_json(tmp_path / "case.json", ROW.case)
    write_json(tmp_path / "report.json", json.loads(ROW.report.to_json()))
    return tmp_path


def run(*arguments) -> tuple[int, str, str]:
    result = CliRunner().invoke(main, [str(one) for one in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def test_verify_exit_codes(files):
    assert run("verify", files / "case.json", files / "report.json")[0] == 0
    lowered = json.loads(ROW.report.to_json()) | {"risk_level": "low"}
    write_json(files / "lowered.json", lowered)
    code, out, _ = run("verify", files / "case.json", files / "lowered.json")
    assert code == 1 and "understated" in out
    code, out, _ = run("verify", files / "case.json", files / "lowered.json", "--json")
    assert "understated" in {one["code"] for one in json.loads(out)}


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (None, "no such file"),
        ("{", "line 1, column 2: not JSON"),
        ("{}", "field "),
        ('{"case_id": NaN}', "NaN is not a number"),
        ("[" * 100_000, "nested too deeply"),
        (b"\xff\xfe", "not UTF-8"),
    ],
)
def test_a_malformed_case_gets_one_line_and_exit_2(files, content, message):
    path = files / "bad.json"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    code, out, err = run("verify", path, files / "report.json")
    assert (code, out) == (2, "")
    assert err.startswith("riskscribe: ") and message in err and str(path) in err
    assert err.count("\n") == 1


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"evidence": []}, "the book is empty"),
        ({"base_currency": "EUR"}, "no rate"),
        ({"colour": "red"}, "colour"),
        ({"as_of": "yesterday"}, "as_of"),
    ],
)
def test_a_wrong_case_names_the_field(files, change, message):
    write_json(files / "case.json", {**json.loads(ROW.case.model_dump_json(exclude_none=True)), **change})
    code, _, err = run("case", "show", files / "case.json")
    assert code == 2 and message in err


def test_import_show_and_ground(files):
    assert run("case", "import-csv", ROOT / "datasets/example_book", "--out", files / "book.json")[0] == 0
    code, out, _ = run("case", "show", files / "book.json")
    assert code == 0 and "LIM-" in out
    (files / "evidence.json").write_text('[{"id": "LIM-AA", "label": "delta", "value": 6300000, "currency": "USD"}]')
    (files / "text.txt").write_text("Delta is 6.3m [LIM-AA], not 7.1m [LIM-AA].")
    code, out, _ = run("ground", "--evidence", files / "evidence.json", "--text", files / "text.txt", "--json")
    assert code == 1 and [one["verdict"] for one in json.loads(out)] == ["quoted", "unsupported"]


def test_a_name_of_two_lines_is_told_in_one(files):
    assert run("case", "show", files / "a\nb")[2].endswith("a b: no such file\n")


def test_half_a_surrogate_pair_is_printed_all_the_same(files):
    row = {"id": "\ud800", "evidence": [{"id": "A-1", "value": 7}], "text": "It is 7 \ud800 or 8 [A-1]."}
    (files / "batch.jsonl").write_text(json.dumps(row))
    code, out, _ = run("ground", "--batch", files / "batch.jsonl")
    assert code == 0 and [one["verdict"] for one in json.loads(out)["numbers"]] == ["quoted", "unsupported"]


def test_the_server_does_not_start_without_a_key(monkeypatch):
    monkeypatch.delenv("RISKSCRIBE_API_KEY", raising=False)
    code, _, err = run("serve")
    assert code == 2 and "RISKSCRIBE_API_KEY is not set" in err


def test_an_unknown_model_or_profile_says_what_there_is(monkeypatch):
    monkeypatch.chdir(ROOT)
    assert "no such file" in run("run", "data", "--model", "nope")[2]
    code, _, err = run("run", "data", "--profile", "nope")
    assert code == 2 and "quick and full" in err


def test_a_report_is_always_verified(files):
    lowered = ROW.report.model_copy(update={"risk_level": "low", "escalate": False}).to_json()
    findings = reporting.write_verified(files / "out", ROW.case, lowered, {"name": "test"})
    assert {"understated", "escalation"} <= {one.code for one in findings}
    page = json.loads((files / "out" / "report.json").read_text())
    assert page["official"]["risk_level"] == "critical" and page["model"]["risk_level"] == "low"
    assert page["verified"] is False
    assert page["envelope"]["status"] == "draft" and page["envelope"]["case_hash"]


def test_an_unreadable_answer_still_gives_the_official_values(files):
    findings = reporting.write_verified(files / "out", ROW.case, "I cannot help with that.", {"name": "test"})
    assert [one.code for one in findings] == ["unparseable"]
    assert json.loads((files / "out" / "report.json").read_text())["official"]["risk_level"] == "critical"


def test_what_the_system_refuses_is_one_line_too(tmp_path):
    @click.group(cls=Commands)
    def group():
        pass

    @group.command()
    def make():
        (tmp_path / "file").write_text("")
        (tmp_path / "file" / "folder").mkdir()

    result = CliRunner().invoke(group, ["make"])
    assert result.exit_code == 2 and result.stderr == f"riskscribe: {tmp_path}/file/folder: not a directory\n"
