"""A user's own files become a split by themselves: no policy is asked, and what is missing is told."""

import json
from datetime import date, timedelta
from pathlib import Path

import pytest
from click.testing import CliRunner

from riskscribe import manifest
from riskscribe.cli import main
from riskscribe.data.pack import pack
from riskscribe.data.rows import read_rows
from riskscribe.data.splits import check
from riskscribe.errors import InputError
from riskscribe.files import read_json, read_lines, write_lines

V1 = Path(__file__).parents[2] / "datasets" / "risk_report" / "v1"


@pytest.fixture
def own() -> tuple[list[dict], list[dict]]:
    rows = read_lines(V1 / "test.jsonl")[:4]
    return [json.loads(row["case"]) for row in rows], [json.loads(row["report"]) for row in rows]


def named(cases: list[dict], reports: list[dict]) -> list[dict]:
    return [{"case_id": case["case_id"], "report": one} for case, one in zip(cases, reports, strict=True)]


def packed(folder: Path, cases: list, reports: list, **options):
    write_lines(folder / "cases.jsonl", cases)
    write_lines(folder / "reports.jsonl", reports)
    return pack(folder / "cases.jsonl", folder / "reports.jsonl", folder / "own", **options)


@pytest.mark.parametrize("joined_by", ["case_id", "order"])
def test_own_cases_become_a_split(tmp_path, own, joined_by):
    cases, reports = own
    given = named(cases, reports)[::-1] if joined_by == "case_id" else reports
    told = [packed(tmp_path, cases, given) for _ in range(2)][1]
    assert (told.joined_by, told.rows, told.missing, told.left_out) == (joined_by, {"own": 4}, {}, {})
    rows = read_rows(tmp_path / "own" / "own.jsonl")
    assert [row.case.case_id for row in rows] == [case["case_id"] for case in cases]
    assert [row.report.model_dump(mode="json") for row in rows] == reports
    record = manifest.load(tmp_path / "own")
    assert (record.stage, record.settings["own"], set(record.outputs)) == ("data", True, {"own.jsonl", "packed.json"})
    assert read_json(tmp_path / "own" / "packed.json")["rows"] == {"own": 4}


def test_the_level_is_the_approved_report_s(tmp_path, own):
    cases, reports = own
    reports[0] |= {"risk_level": "low" if reports[0]["risk_level"] != "low" else "high"}
    packed(tmp_path, cases, reports)
    assert read_rows(tmp_path / "own" / "own.jsonl")[0].level == reports[0]["risk_level"]
    assert set(check(tmp_path / "own")) == {"own"}, "own rows are not held against the package's policy"


def test_what_is_missing_is_told_and_the_rest_is_packed(tmp_path, own):
    cases, reports = own
    given = named(cases, reports)
    del given[0]["report"]["assumptions"]
    given[0]["report"]["summary"] += " VaR was 987654321."
    given[1]["report"]["level_basis"] = [{"clause": "M1", "evidence": ["LIM-ZZZZ"]}]
    given[2]["case_id"] = "c-nowhere1"
    ground = lambda case, report: ["summary: 987654321: in no evidence"] if "987654321" in report.summary else []  # noqa: E731
    told = packed(tmp_path, cases, [*given, given[3], reports[0]], ground=ground)
    assert told.rows == {"own": 2}
    assert {kind: one.count for kind, one in told.missing.items()} == {
        "report field assumptions": 1,
        "number not in the evidence": 1,
    }
    assert {kind: one.count for kind, one in told.left_out.items()} == {
        "report without case": 1,
        "second report of a case": 1,
        "report without case_id": 1,
        "case without report": 1,
        "evidence that does not exist": 1,
    }
    assert "cites LIM-ZZZZ" in told.left_out["evidence that does not exist"].examples[0]
    assert read_rows(tmp_path / "own" / "own.jsonl")[0].report.assumptions == []


@pytest.mark.parametrize(
    ("change", "reason", "example"),
    [
        ({"summary": "VaR is high [VAR-ZZ]."}, "evidence that does not exist", "cites VAR-ZZ"),
        ({"risk_level": "severe"}, "invalid report", "field risk_level"),
        ({"limit_breaches": None}, "invalid report", "field limit_breaches"),
    ],
)
def test_a_report_that_cannot_be_used_is_left_out(tmp_path, own, change, reason, example):
    cases, reports = own
    reports[1] |= change
    told = packed(tmp_path, cases, reports)
    assert told.rows == {"own": 3}
    assert example in told.left_out[reason].examples[0]


def test_a_case_that_cannot_be_used_is_left_out(tmp_path, own):
    cases, reports = own
    told = packed(tmp_path, [cases[0], cases[0], cases[2] | {"desk": ""}, cases[3] | {"book": 7}], reports)
    assert {kind: one.count for kind, one in told.left_out.items()} == {"invalid case": 2, "case id used twice": 1}
    assert "field book" in told.left_out["invalid case"].examples[1]


def test_nothing_usable_is_bad_input(tmp_path, own):
    cases, reports = own
    with pytest.raises(InputError, match=r"no row can be used; invalid report: .*reports\.jsonl: row 1 \(c-"):
        packed(tmp_path, cases, [{}] * 4)
    with pytest.raises(InputError, match=r"4 cases, .*reports\.jsonl has 3 reports without case_id"):
        packed(tmp_path, cases, reports[:3])
    with pytest.raises(InputError, match="the files are empty"):
        packed(tmp_path, [], [])
    with pytest.raises(InputError, match="shares of 0 or more"):
        packed(tmp_path, cases, reports, val=0.5, test=0.5)
    with pytest.raises(InputError, match="no such file"):
        pack(tmp_path / "none.jsonl", tmp_path / "reports.jsonl", tmp_path / "own")
    assert not (tmp_path / "own").exists()


def many(own, books: int, days: int = 3) -> tuple[list[dict], list[dict]]:
    (case, *_), (report, *_) = own
    cases = [
        case
        | {"case_id": f"c-{book:03d}x{day:03d}", "book": f"b{book}"}
        | {"as_of": str(date(2026, 1, 1) + timedelta(days=book * days + day))}
        for book in range(books)
        for day in range(days)
    ]
    return cases, [report] * len(cases)


def test_no_book_is_in_two_splits(tmp_path, own):
    told = packed(tmp_path, *many(own, 40), val=0.1, test=0.2)
    assert told.split_by == "book"
    assert sum(told.rows.values()) == 120 and min(told.rows.values()) > 0
    found = {name: read_rows(tmp_path / "own" / f"{name}.jsonl") for name in ("train", "val", "test")}
    assert {name: len(rows) for name, rows in found.items()} == told.rows
    assert sum(len({row.book for row in rows}) for rows in found.values()) == 40
    before = {row.book for row in found["test"]}
    packed(tmp_path, *many(own, 60), val=0.1, test=0.2)
    after = {row.book for row in read_rows(tmp_path / "own" / "test.jsonl")}
    assert before == {book for book in after if int(book[1:]) < 40}, "a book moved when the data grew"


def test_without_books_no_date_is_in_two_splits(tmp_path, own):
    cases, reports = many(own, 20, 2)
    for i, case in enumerate(cases):
        del case["book"]
        case["as_of"] = str(date(2026, 1, 1) + timedelta(days=i // 2))
    told = packed(tmp_path, cases, reports, test=0.2)
    days = [{row.case.as_of for row in read_rows(tmp_path / "own" / f"{name}.jsonl")} for name in ("train", "test")]
    assert told.split_by == "date" and not days[0] & days[1] and len(days[0] | days[1]) == 20


def test_a_split_gets_a_book_where_there_are_enough(tmp_path, own):
    assert packed(tmp_path, *many(own, 3), val=0.01, test=0.01).rows == {"train": 3, "val": 3, "test": 3}
    told = packed(tmp_path, *many(own, 2), val=0.01, test=0.01)
    assert sorted(told.rows.values()) == [3, 3]
    assert told.missing["split"].count == 1


def test_what_two_splits_share_is_told(tmp_path, own):
    cases, reports = many(own, 2, 1)
    cases[1]["as_of"] = cases[0]["as_of"]
    told = packed(tmp_path, cases, reports, test=0.3)
    assert told.missing["date of its own"].count == told.missing["difference between splits"].count == 1


def test_packing_again_leaves_no_file_of_before(tmp_path, own):
    packed(tmp_path, *many(own, 3), test=0.3)
    packed(tmp_path, *own)
    assert {path.name for path in (tmp_path / "own").iterdir()} == {"own.jsonl", "packed.json", "manifest.json"}


def test_packing_does_not_replace_another_dataset(tmp_path, own):
    write_lines(tmp_path / "cases.jsonl", own[0])
    write_lines(tmp_path / "reports.jsonl", own[1])
    with pytest.raises(InputError, match="holds another dataset"):
        pack(tmp_path / "cases.jsonl", tmp_path / "reports.jsonl", V1)


def test_the_command_tells_what_is_missing(tmp_path, own):
    cases, reports = own
    reports[0]["summary"] += " VaR was 987,654,321."
    write_lines(tmp_path / "cases.jsonl", cases)
    write_lines(tmp_path / "reports.jsonl", named(cases, reports)[:3])
    arguments = ["data", "pack", "--cases", "cases.jsonl", "--reports", "reports.jsonl", "--out", "own"]
    paths = [str(tmp_path / one) if one.endswith((".jsonl", "own")) else one for one in arguments]
    result = CliRunner().invoke(main, paths)
    assert result.exit_code == 0, result.output
    assert "3 rows of 4 cases and 3 reports, joined by case_id" in result.output
    assert f"left out: case without report: 1, for example {cases[3]['case_id']}" in result.output
    assert "missing: number not in the evidence: 1" in result.output and "987,654,321" in result.output
    paths[-1] = str(V1)
    assert CliRunner().invoke(main, paths).exit_code == 2
