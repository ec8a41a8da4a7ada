"""A review: sentences, what decisions make of a report, what an approval needs, signatures, yesterday's case."""

import json
import re
from itertools import pairwise
from pathlib import Path

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from riskscribe import reporting, review
from riskscribe.case import Case
from riskscribe.cli import main
from riskscribe.errors import InputError
from riskscribe.evaluate.verify import verify
from riskscribe.files import read_lines, write_json
from riskscribe.policy import assess
from riskscribe.report import Report
from riskscribe.yesterday import with_previous

ROWS = read_lines(Path(__file__).parents[1] / "datasets/risk_report/v1/val.jsonl")
SECRET = "a-signing-key-that-only-this-test-knows"


def pairs(count=None):
    for row in ROWS[:count]:
        yield Case.model_validate_json(row["case"]), Report.model_validate_json(row["report"])


def critical():
    """A case with a hard breach, at least two drivers, and its gold report."""
    return next(
        (case, report)
        for case, report in pairs()
        if report.risk_level == "critical" and case.language == "en" and len(report.key_drivers) > 1
    )


@pytest.mark.parametrize(
    "text, wanted",
    [
        ("VaR is 5.5m [VAR-AA]. Stress loses 2m [STR-BB].", ["VaR is 5.5m [VAR-AA].", "Stress loses 2m [STR-BB]."]),
        ("VaR is 5m. [VAR-AA] Stress is up.", ["VaR is 5m. [VAR-AA]", "Stress is up."]),
        ("[LIM-AA] is used. [LIM-BB] is not.", ["[LIM-AA] is used.", "[LIM-BB] is not."]),
        ("Loss of approx. 5m, i.e. half vs. the limit.", ["Loss of approx. 5m, i.e. half vs. the limit."]),
        ("VaR上升至110.7万 [VAR-ES]；等级严重。须上报！", ["VaR上升至110.7万 [VAR-ES]；等级严重。", "须上报！"]),
        ("Is it so?  Yes. ", ["Is it so?", "Yes."]),
        ("one line\nanother", ["one line", "another"]),
        ("no stop", ["no stop"]),
        (" ", []),
    ],
)
def test_sentences(text, wanted):
    found = review.sentences(text)
    assert [text[one.start : one.end] for one in found] == wanted
    assert [one.number for one in found] == list(range(len(wanted)))


@given(st.text(alphabet="ab 1.5。！?\n[]LIM-AA\"'）", max_size=60))
def test_sentences_lose_nothing_but_white_space(text):
    found = review.sentences(text)
    assert "".join("".join(text[one.start : one.end] for one in found).split()) == "".join(text.split())
    assert all(one.end <= then.start for one, then in pairwise(found))


def decide(report, **changes):
    """A decision on every sentence: accepted, but for `changes` by "path#sentence" (underscores for dots)."""
    decisions = []
    for path, text, _ in report.prose():
        for one in review.sentences(text):
            found = {"path": path, "sentence": one.number, "decision": "accept", "before": text[one.start : one.end]}
            found |= changes.get(f"{path}#{one.number}", {})
            decisions.append(found)
    return decisions


def made(report, status="approved", decisions=None, **more):
    hashed = review.answer_hash(report, "")
    fields = {"schema_version": "1", "report_id": "r", "answer_hash": hashed, "reviewer": "A", "status": status}
    decisions = decide(report) if decisions is None else decisions
    return review.Review.model_validate(fields | {"decisions": decisions} | more)


def test_accepting_everything_changes_nothing_and_leaves_nothing_open():
    for case, report in pairs(40):
        official = assess(case)
        applied, edits = review.apply(case, report, official, made(report))
        assert (applied, edits) == (report, [])
        assert review.undecided(report, official, made(report)) == []


def test_edits_rejections_policy_values_and_additions():
    case, gold = critical()
    official = assess(case)
    wrong = gold.model_copy(update={"risk_level": "low", "limit_breaches": [], "recommended_actions": []})
    component = gold.key_drivers[0].evidence[0]
    edit = {"decision": "edit", "after": f"It leads [{component}]."}
    changes = {"key_drivers.0.statement#0": edit, "key_drivers.1.statement#0": {"decision": "reject"}}
    decisions = decide(wrong, **changes)
    assert set(review.judgements(wrong, official)) == {"risk_level", "limit_breaches"}
    assert review.undecided(wrong, official, made(wrong, decisions=decisions)) == ["limit_breaches", "risk_level"]
    decisions += [{"path": "risk_level", "decision": "accept"}, {"path": "limit_breaches", "decision": "accept"}]
    additions = [
        {"path": path, "official": i, "text": review.proposal(case, official, path, i)["statement"]}
        for path in ("recommended_actions",)
        for i in range(len(official.actions))
    ]
    applied, edits = review.apply(case, wrong, official, made(wrong, decisions=decisions, additions=additions))
    assert applied.risk_level == gold.risk_level and applied.limit_breaches == gold.limit_breaches
    assert applied.key_drivers[0].statement == f"It leads [{component}]."
    assert len(applied.key_drivers) == len(gold.key_drivers) - 1
    assert [one.action for one in applied.recommended_actions] == [one.action for one in official.actions]
    assert verify(case, applied) == []
    told = {(one.path, one.change): (one.before, one.after) for one in edits}
    assert told["risk_level", "policy"] == ("low", gold.risk_level)
    assert told["key_drivers.0.statement", "edited"][1] == f"It leads [{component}]."
    assert told["key_drivers.1.statement", "rejected"][1] is None


def test_what_the_page_offers_to_add_passes_the_gate():
    for case, report in list(pairs())[::5]:
        official = assess(case)
        added = {
            path: [review.proposal(case, official, path, i) for i in range(len(getattr(official, name)))]
            for path, name in review.ADDABLE.items()
        }
        full = Report.model_validate(report.model_dump() | added)
        left = [one for one in verify(case, full) if one.path.split(".")[0] in added]
        assert left == [], (case.case_id, left)


@pytest.mark.parametrize(
    "change, message",
    [
        ({"decisions": [{"path": "summary", "sentence": 0, "decision": "accept"}]}, "the review decides on"),
        ({"decisions": [{"path": "summary", "sentence": 99, "decision": "accept"}]}, "is not in this report"),
        ({"decisions": [{"path": "desk", "decision": "accept"}]}, "is not in this report"),
        ({"additions": [{"path": "limitations", "official": 99, "text": "x"}]}, "the policy has no entry 99"),
    ],
)  # fmt: skip
def test_a_review_of_something_else_is_refused(change, message):
    case, report = critical()
    with pytest.raises(InputError, match=message):
        review.apply(case, report, assess(case), made(report, **change))


def test_a_summary_cannot_be_rejected_altogether():
    case, report = critical()
    gone = {f"summary#{one.number}": {"decision": "reject"} for one in review.sentences(report.summary)}
    with pytest.raises(InputError, match="a report needs one"):
        review.apply(case, report, assess(case), made(report, decisions=decide(report, **gone)))


@pytest.mark.parametrize(
    "change, message",
    [
        ({"reviewer": " "}, "reviewer"),
        ({"status": "draft"}, "status"),
        ({"status": "rejected"}, "says why"),
        ({"decisions": [{"path": "summary", "sentence": 0, "decision": "edit"}]}, "an edit has the text"),
        ({"decisions": [{"path": "risk_level", "decision": "edit", "after": "low"}]}, "a judgement is accepted"),
        ({"decisions": [{"path": "a", "decision": "accept"}, {"path": "a", "decision": "reject"}]}, "decided twice"),
        ({"additions": [{"path": "limitations", "official": 0, "text": "x"}] * 2}, "added twice"),
    ],
)
def test_a_review_that_makes_no_sense_is_refused(change, message):
    _, report = critical()
    with pytest.raises(ValueError, match=message):
        made(report, **change)


# --- through the command line


@pytest.fixture
def keyed(monkeypatch):
    monkeypatch.setenv(review.KEY, SECRET)


def run(*arguments):
    result = CliRunner().invoke(main, [str(one) for one in arguments])
    assert result.exception is None or isinstance(result.exception, SystemExit), result.exception
    return result.exit_code, result.stdout, result.stderr


def draft(folder, case, report):
    text = report if isinstance(report, str) else report.to_json()
    reporting.write_verified(folder / "draft", case, text, {"name": "test"})
    return json.loads((folder / "draft/report.json").read_text(encoding="utf-8"))


def reviewed(folder, record, status="approved", source="draft", to="v1", flags=(), **change):
    report = Report.model_validate(record["model"]) if record["model"] else None
    fields = {
        "schema_version": "1",
        "report_id": record["envelope"]["report_id"],
        "answer_hash": record["envelope"]["answer_hash"],
        "reviewer": "A. Reviewer",
        "status": status,
        "decisions": decide(report) if report else [],
    }
    write_json(folder / "review.json", fields | change)
    return run("review", folder / source / "report.json", folder / "review.json", "--out", folder / to, *flags)


def load(folder, version="v1"):
    return json.loads((folder / version / "report.json").read_text(encoding="utf-8"))


def test_an_approved_version_is_signed_chained_and_becomes_training_data(tmp_path, keyed):
    case, report = critical()
    record = draft(tmp_path, case, report)
    code, out, err = reviewed(tmp_path, record, "reviewed", comment="first pass", decisions=decide(report)[:1])
    assert code == 0, (out, err)
    first = load(tmp_path)
    assert first["envelope"]["status"] == "reviewed" and first["envelope"]["undecided"]
    assert first["envelope"]["previous_hash"] == review.record_hash(record)
    code, out, err = reviewed(tmp_path, first, source="v1", to="v2")
    assert code == 0, (out, err)
    second = load(tmp_path, "v2")
    envelope = second["envelope"]
    assert (envelope["status"], envelope["by"], envelope["version"]) == ("approved", "A. Reviewer", 2)
    assert envelope["previous_hash"] == review.record_hash(first) and envelope["reviewed_at"]
    assert run("review", "verify", tmp_path / "v2/report.json")[0] == 0
    # what is approved is final
    code, _, err = reviewed(tmp_path, second, source="v2", to="v3")
    assert code == 2 and "is approved, which is final" in err
    code, out, err = run("review", "export", tmp_path / "v2/report.json", "--out", tmp_path / "export")
    assert code == 0, err
    arguments = ["--cases", tmp_path / "export/cases.jsonl", "--reports", tmp_path / "export/reports.jsonl"]
    code, out, err = run("data", "pack", *arguments, "--out", tmp_path / "own")
    assert code == 0 and out.startswith("1 rows of 1 cases"), (out, err)
    (row,) = read_lines(tmp_path / "own/own.jsonl")
    assert Report.model_validate_json(row["report"]) == report
    code, _, err = run("review", "export", tmp_path / "v1/report.json", "--out", tmp_path / "no")
    assert code == 2 and "is reviewed; only approved versions" in err


def test_json_is_one_document_and_tells_what_the_lines_tell(tmp_path, keyed):
    case, report = critical()
    lowered = report.model_copy(update={"risk_level": "low"})
    record = draft(tmp_path, case, lowered)
    code, out, err = reviewed(tmp_path, record, to="no", flags=["--json"], decisions=[])
    refused = json.loads(out)
    assert code == 1 and f"riskscribe: {refused['refused']}\n" == err and refused["findings"] == []
    code, out, err = reviewed(tmp_path, record, "reviewed", flags=["--json"])
    told = json.loads(out)
    assert (code, err, told["out"], told["risk_level"]) == (1, "", str(tmp_path / "v1"), "critical")
    assert told["findings"] == load(tmp_path)["findings"] and told["findings"][0]["code"] == "understated"
    assert reviewed(tmp_path, draft(tmp_path, case, report), to="v2")[0] == 0
    code, out, _ = run("review", "verify", tmp_path / "v2/report.json", "--json")
    assert code == 0 and json.loads(out) | {"status": "approved", "by": "A. Reviewer"} == json.loads(out)
    code, out, _ = run("review", "export", tmp_path / "v2/report.json", "--out", tmp_path / "export", "--json")
    assert code == 0 and json.loads(out)["approved"] == 1
    assert all(Path(one).exists() for one in json.loads(out)["files"])


def test_an_edit_is_what_becomes_training_data(tmp_path, keyed):
    case, report = critical()
    component = report.key_drivers[0].evidence[0]
    words = f"The main driver is {report.key_drivers[0].driver} [{component}]."
    edit = {"key_drivers.0.statement#0": {"decision": "edit", "after": words}}
    assert reviewed(tmp_path, draft(tmp_path, case, report), decisions=decide(report, **edit))[0] == 0
    assert run("review", "export", tmp_path / "v1/report.json", "--out", tmp_path / "export")[0] == 0
    (line,) = read_lines(tmp_path / "export/reports.jsonl")
    assert line["case_id"] == case.case_id and line["report"]["key_drivers"][0]["statement"] == words


@pytest.mark.parametrize(
    "spoil, code",
    [
        ({"risk_level": "low"}, "understated"),
        ({"escalate": False}, "escalation"),
        ({"limit_breaches": []}, "missed_breach"),
        ({"recommended_actions": []}, "wrong_action"),
        ({"summary": "VaR is 99.9m."}, "unsupported_number"),
        ({"summary": "Risk is low."}, "understated"),
    ],
)
def test_nothing_with_a_finding_is_approved(tmp_path, keyed, spoil, code):
    """Keeping the model's judgement is a decision like any other, and the gate still refuses the approval."""
    case, report = critical()
    wrong = report.model_copy(update=spoil)
    record = draft(tmp_path, case, wrong)
    kept = [{"path": field, "decision": "reject"} for field in review.judgements(wrong, assess(case))]
    exit_code, out, err = reviewed(tmp_path, record, decisions=decide(wrong) + kept)
    assert exit_code == 1 and "not approved" in err and code in out + err
    assert not (tmp_path / "v1").exists()
    # the same decisions may be kept as a reviewed version, whose findings are told
    exit_code, out, _ = reviewed(tmp_path, record, "reviewed", decisions=decide(wrong) + kept)
    found = load(tmp_path)
    assert found["envelope"]["status"] == "reviewed" and found["verified"] is False
    assert exit_code == bool(found["findings"])


def test_an_approval_decides_on_everything(tmp_path, keyed):
    case, report = critical()
    code, _, err = reviewed(tmp_path, draft(tmp_path, case, report), decisions=decide(report)[1:])
    assert code == 1 and "not approved: 1 undecided, the first is key_drivers.0.statement sentence 1" in err


def test_a_rejected_report_says_why_and_keeps_its_text(tmp_path, keyed):
    case, report = critical()
    record = draft(tmp_path, case, report)
    assert reviewed(tmp_path, record, "rejected")[0] == 2
    code, out, err = reviewed(tmp_path, record, "rejected", comment="wrong book")
    assert code == 0, (out, err)
    assert load(tmp_path)["model"] == record["model"] and load(tmp_path)["envelope"]["comment"] == "wrong book"
    record = draft(tmp_path, case, "I cannot help with that.")
    code, _, err = reviewed(tmp_path, record, to="raw")
    assert code == 2 and "can only be rejected" in err
    assert reviewed(tmp_path, record, "rejected", to="raw", comment="no report")[0] == 1
    assert run("review", "verify", tmp_path / "raw/report.json")[0] == 0


@pytest.mark.parametrize(
    "alter, message",
    [
        (lambda one: one["model"].update(risk_level="low"), "answer_hash does not fit"),
        (lambda one: one["case"].update(desk="other"), "case_hash does not fit"),
        (lambda one: one["envelope"].update(status="reviewed"), "is not signed"),
        (lambda one: one["envelope"].update(answer_hash="0" * 64), "the review is of another|does not fit"),
        (lambda one: one.pop("case"), "field case: missing"),
    ],
)
def test_a_draft_that_was_altered_is_refused(tmp_path, keyed, alter, message):
    case, report = critical()
    record = draft(tmp_path, case, report)
    alter(altered := json.loads(json.dumps(record)))
    write_json(tmp_path / "draft/report.json", altered)
    code, _, err = reviewed(tmp_path, record)
    assert code == 2 and any(one in err for one in message.split("|")), err


def test_a_version_that_was_altered_or_signed_by_another_is_refused(tmp_path, keyed, monkeypatch):
    case, report = critical()
    assert reviewed(tmp_path, draft(tmp_path, case, report))[0] == 0
    path = tmp_path / "v1/report.json"
    good = load(tmp_path)
    for alter in (
        lambda one: one["model"].update(summary="All is well."),
        lambda one: one["envelope"].update(by="B"),
        lambda one: one["signature"].update(value="0" * 64),
        lambda one: one.update(more=1),
    ):
        alter(altered := json.loads(json.dumps(good)))
        write_json(path, altered)
        code, _, err = run("review", "verify", path)
        assert code == 2 and "altered after it was signed" in err
    write_json(path, good)
    assert run("review", "verify", path)[0] == 0
    monkeypatch.setenv(review.KEY, SECRET[::-1])
    code, _, err = run("review", "verify", path)
    assert code == 2 and "signed with another key" in err
    for key, message in (("short", "too short"), ("", "is not set")):
        monkeypatch.setenv(review.KEY, key)
        code, _, err = run("review", "verify", path)
        assert (
            code == 2 and message in err and "secrets.token_urlsafe" in err and "short" not in err.replace(message, "")
        )
    unsigned = {key: one for key, one in good.items() if key != "signature"}
    monkeypatch.setenv(review.KEY, SECRET)
    write_json(path, unsigned)
    assert "is not signed" in run("review", "verify", path)[2]


def test_a_review_of_another_report_is_refused_and_no_version_is_replaced(tmp_path, keyed):
    case, report = critical()
    record = draft(tmp_path, case, report)
    code, _, err = reviewed(tmp_path, record, answer_hash="f" * 64)
    assert code == 2 and "another report or version" in err
    assert reviewed(tmp_path, record)[0] == 0
    code, _, err = reviewed(tmp_path, record)
    assert code == 2 and "never replaces another" in err


# --- yesterday


def test_yesterday_gives_the_earlier_values_where_there_are_none(book):
    ids = ("LIM-AA", "VAR-AA", "STR-AA", "POS-AA", "CMP-AA")
    today = Case.model_validate(book(change={"LIM-AA": {"previous": None}, "VAR-AA": {"previous": None}}))
    before = {"LIM-AA": {"value": -6.1e6, "previous": None}, "VAR-AA": {"value": 799960, "previous": None},
              "STR-AA": {"pnl": -2.5e6}, "POS-AA": {"mtm": 8e6}}  # fmt: skip
    yesterday = Case.model_validate(book(change=before, case_id="c-yesterday1", as_of="2024-06-24"))
    found = {one.id: one for one in with_previous(today, yesterday).evidence}
    assert [found[one].previous for one in ids] == [-6.1e6, 799960, -2.5e6, 8e6, 918000]


def test_ids_may_be_new_every_day(book):
    text = (
        json.dumps(book(case_id="c-yesterday1", as_of="2024-06-24"))
        .replace("LIM-AA", "LIM-QQ")
        .replace("VAR-AA", "VAR-Q7")
    )
    today = Case.model_validate(book(change={"LIM-AA": {"previous": None}, "VAR-AA": {"previous": None}}))
    found = {one.id: one for one in with_previous(today, Case.model_validate_json(text)).evidence}
    assert found["LIM-AA"].previous == -6.3e6 and found["VAR-AA"].previous == 850000


@pytest.mark.parametrize(
    "fields, change, message",
    [
        ({"desk": "rates"}, {}, "desk is 'equity' and 'rates'"),
        ({"base_currency": "EUR", "fx": {"USD": 0.9, "JPY": 0.006}}, {}, "base_currency"),
        ({"as_of": "2024-06-25"}, {}, "is not before"),
        ({"as_of": "2024-05-02"}, {}, "54 days before"),
        ({}, {"LIM-AA": {"scope": "NDX", "value": -6.1e6}}, "LIM-AA is delta SPX"),
        ({}, {"LIM-AA": {"value": -5e6}}, "LIM-AA was 6100000.00 by today's case and -5000000.00 by yesterday's"),
    ],
)
def test_another_book_or_day_is_refused(book, fields, change, message):
    yesterday = book(
        change={"VAR-AA": {"value": 799960}} | change, case_id="c-yesterday1", **({"as_of": "2024-06-24"} | fields)
    )
    with pytest.raises(InputError, match=message):
        with_previous(Case.model_validate(book()), Case.model_validate(yesterday))


def test_report_previous_shows_yesterday_on_the_page(tmp_path, book, monkeypatch):
    change = {"LIM-AA": {"previous": None}, "VAR-AA": {"previous": None}}
    write_json(tmp_path / "today.json", book(change=change))
    before = {"LIM-AA": {"value": -3e6, "previous": None, "temporary_increase": None}, "DQ-AA": {"material": False},
              "VAR-AA": {"value": 799960}, "LIM-BB": {"value": 5e5}}  # fmt: skip
    write_json(tmp_path / "before.json", book(change=before, case_id="c-yesterday1", as_of="2024-06-24"))
    case, yesterday = reporting.load_cases(tmp_path / "today.json", tmp_path / "before.json")
    reporting.write_verified(tmp_path / "out", case, "no report", {}, yesterday)
    page = (tmp_path / "out/report.md").read_text(encoding="utf-8")
    assert "**Level: Low yesterday, Critical today**" in page
    assert "- SPX delta \\[LIM-AA\\]: Within yesterday, Breach today" in page
    assert "| Yesterday | 800.0k | VAR-AA |" in page and "| No steps given | +50.0k |  |" in page
    assert json.loads((tmp_path / "out/report.json").read_text())["yesterday"]["case_id"] == "c-yesterday1"
    with pytest.raises(InputError, match="not before"):
        reporting.load_cases(tmp_path / "before.json", tmp_path / "today.json")


def test_the_bridge_adds_up_and_shows_its_residual(tmp_path):
    from riskscribe.page.bridge import morning
    from riskscribe.policy import annotate, default_policy

    seen = 0
    for case, _ in pairs():
        case = annotate(case)
        found = morning(case, assess(case), None, default_policy())
        for bridge in found.bridges if found else ():
            seen += 1
            assert [one.kind for one in bridge.steps].count("total") == 2
            assert bridge.steps[-2].kind == "residual" and bridge.clear
            if any(one.kind == "step" for one in bridge.steps):
                assert (
                    float(re.match("[-+0-9.]+", bridge.steps[-2].size)[0]) == 0.0
                )  # the engine's steps add up exactly
    assert seen > 100
