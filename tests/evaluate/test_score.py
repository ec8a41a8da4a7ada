"""The evaluator: what a record counts, what aggregates mean, and which trivial answers must score badly."""

import json
from pathlib import Path

import numpy as np
import pytest

from riskscribe.data.gold import gold_report
from riskscribe.data.splits import read_rows
from riskscribe.errors import InputError
from riskscribe.evaluate import compare, score
from riskscribe.evaluate.score import METRICS, constant_report, metrics_by_language, score_answer, summary
from riskscribe.files import write_lines

ROWS = read_rows(Path(__file__).parents[2] / "datasets/risk_report/v1/test_quick.jsonl")
METRIC = {one.key: one for one in METRICS}


def records(write) -> list[score.Record]:
    return [score_answer(row.case, write(row), row.book) for row in ROWS]


def everything_breached(row) -> str:
    report = gold_report(row.case).model_dump(mode="json")
    report["limit_breaches"] = [
        {"limit_id": one.id, "status": "breach", "utilisation_pct": 150, "evidence": [one.id]}
        for one in row.case.evidence
        if one.kind == "limit"
    ]
    report |= {"risk_level": "critical", "escalate": True}
    return json.dumps(report)


def test_gold_is_perfect():
    found = summary(records(lambda row: row.report.to_json()))
    assert found.pop("cases") == len(ROWS)
    worse = {one.key for one in METRICS if not one.higher_is_better}
    assert {key: value for key, value in found.items() if value != (0.0 if key in worse else 100.0)} == {}


@pytest.mark.parametrize(
    ("name", "write", "ceiling"),
    [
        ("empty", lambda row: "", {"schema_valid": 0, "level_balanced": 0, "fatal_error_free": 0}),
        ("prose", lambda row: "Risk is low.", {"schema_valid": 0, "fatal_error_free": 0}),
        ("constant", lambda row: constant_report("critical").to_json(), {"level_balanced": 25, "breach_f1": 0}),
        ("copied", lambda row: ROWS[0].report.to_json(), {"fatal_error_free": 30, "evidence_valid": 60}),
        ("maximal", everything_breached, {"fatal_error_free": 0, "level_balanced": 25, "breach_precision": 60}),
    ],
)
def test_trivial_answers_score_badly(name, write, ceiling):
    found = summary(records(write))
    for metric, most in ceiling.items():
        assert found[metric] <= most, metric


def test_unreadable_is_wrong_but_not_an_under_call():
    found = metrics_by_language(records(lambda row: "{"))["en"]["metrics"]
    assert found["level_accuracy"]["value"] == 0
    nothing = {"value": None, "low": None, "high": None, "n": 0, "unscored": len(ROWS), "upper_95": None, "count": 0}
    assert found["under_call"] == nothing
    assert found["grounded"]["value"] is None


def test_under_calls_are_counted():
    lowered = records(lambda row: row.report.model_copy(update={"risk_level": "low", "escalate": False}).to_json())
    found = metrics_by_language(lowered)["en"]["metrics"]["under_call"]
    assert found["value"] == 75.0 and found["n"] == len(ROWS)


def test_languages_are_never_pooled():
    rows = read_rows(Path(__file__).parents[2] / "datasets/risk_report/v1/test.jsonl")
    found = [score_answer(row.case, row.report.to_json(), row.book) for row in rows[:10] + rows[-10:]]
    assert {key.rsplit("_", 1)[-1] for key in summary(found)} == {"en", "zh"}


def test_balanced_accuracy_is_the_mean_recall():
    found = records(lambda row: row.report.to_json())
    wrong = [one.model_copy(update={"level": "low"}) if one.official_level == "high" else one for one in found]
    assert METRIC["level_balanced"].value(wrong) == pytest.approx(0.75)


def test_intervals_hold_the_value_and_widen_with_fewer_books():
    found = records(lambda row: constant_report("critical").to_json() if row.level == "low" else row.report.to_json())
    few, many = score.estimate(METRIC["breach_f1"], found[:8]), score.estimate(METRIC["grounded"], found)
    for one in (few, many):
        assert one["low"] <= one["value"] <= one["high"]
    one_book = [one.model_copy(update={"book": "b"}) for one in found]
    weights = score.resample_books(one_book)
    assert np.unique(weights).tolist() == [1], "one book leaves nothing to resample"


def test_predictions_must_match_the_data(tmp_path):
    rows = [score.Scored(row.case, row.book) for row in ROWS]
    good = [{"case_id": row.case.case_id, "predict": row.report.to_json()} for row in ROWS]
    cases = {
        "no prediction for 1": good[1:],
        "a second prediction": [*good, good[0]],
        "not in the data": [*good, {"case_id": "c-zzzzzzzz", "predict": ""}],
        "needs a text field predict": [{"case_id": good[0]["case_id"]}],
    }
    for message, lines in cases.items():
        write_lines(tmp_path / "p.jsonl", lines)
        with pytest.raises(InputError, match=message):
            score.score_file(rows, tmp_path / "p.jsonl")


def sliced(write, every: int = 3) -> list[score.Record]:
    """Every third case is `raw`, the others `standard`."""
    return [
        score_answer(row.case, write(i, row), row.book, ["en", "standard" if i % every else "raw"])
        for i, row in enumerate(ROWS)
    ]


def test_a_scored_file_carries_book_and_slices(tmp_path):
    rows = [score.Scored(row.case, row.book, ["raw"] if i else []) for i, row in enumerate(ROWS)]
    write_lines(tmp_path / "p.jsonl", [{"case_id": row.case.case_id, "predict": row.report.to_json()} for row in ROWS])
    found = score.score_file(rows, tmp_path / "p.jsonl")
    assert [(one.case_id, one.book, one.slices) for one in found] == [
        (one.case.case_id, one.book, list(one.slices)) for one in rows
    ]
    assert score.Scored(ROWS[0].case).slices == () and score_answer(ROWS[0].case, "{").book == ROWS[0].case.case_id


def test_every_slice_has_its_own_figures():
    found = metrics_by_language(sliced(lambda i, row: row.report.to_json() if i % 3 else "{"))["en"]["slices"]
    assert list(found) == ["standard", "raw"], "largest first; a language is a block, not a slice"
    assert [one["cases"] for one in found.values()] == [16, 8]
    for name, right in (("standard", 100.0), ("raw", 0.0)):
        assert found[name]["metrics"].keys() == set(score.SLICE_METRICS)
        assert found[name]["metrics"]["level_accuracy"]["value"] == right
        assert found[name]["metrics"]["level_accuracy"]["n"] == found[name]["cases"]
    assert found["raw"]["metrics"]["grounded"]["value"] is None, "nothing readable: unscored, not wrong"


def test_a_case_counts_in_each_of_its_slices():
    both = [one.model_copy(update={"slices": ["long", "raw"]}) for one in sliced(lambda i, row: row.report.to_json())]
    found = metrics_by_language(both)["en"]["slices"]
    assert {name: one["cases"] for name, one in found.items()} == {"long": len(ROWS), "raw": len(ROWS)}
    assert metrics_by_language(records(lambda row: "{"))["en"]["slices"] == {}


def test_compare_tells_the_slices_of_every_run(tmp_path):
    about = {"data": "test_quick", "data_sha256": "x"}
    score.write_scores(tmp_path / "floor", sliced(lambda i, row: "{"), about)
    score.write_scores(tmp_path / "tuned", sliced(lambda i, row: row.report.to_json()), about)
    score.write_scores(tmp_path / "older", records(lambda row: row.report.to_json()), about)
    found = compare.compare([tmp_path / "floor", tmp_path / "older", tmp_path / "tuned"], "test")
    slices = {one["name"]: one for one in found["languages"]["en"]["slices"]}
    assert {name: one["cases"] for name, one in slices.items()} == {"standard": 16, "raw": 8}
    values = slices["raw"]["values"]
    assert [values[key]["level_accuracy"]["value"] for key in ("floor", "tuned")] == [0.0, 100.0]
    assert values["older"] == {}


def _write_runs(folder: Path) -> list[Path]:
    columns = {
        "constant": lambda row: constant_report("critical").to_json(),
        "tuned": lambda row: row.report.to_json(),
    }
    for name, write in columns.items():
        score.write_scores(folder / name, records(write), {"data": "test_quick", "data_sha256": "x"})
    return [folder / name for name in columns]


def test_compare_is_paired_and_knows_a_win_from_noise(tmp_path):
    found = compare.compare(_write_runs(tmp_path), "test")
    rows = {one["metric"]: one for one in found["paired"]}
    assert rows["level_accuracy"]["difference"] == pytest.approx(75)
    assert rows["level_accuracy"]["p_value"] < 0.001
    assert rows["schema_valid"]["p_value"] == 1.0
    assert rows["grounded"]["difference"] is None, "the constant report states no number: unscored, not wrong"
    assert found["smoke_test"]


def test_compare_refuses_runs_on_different_data(tmp_path):
    first, second = _write_runs(tmp_path)
    metrics = json.loads((second / "metrics.json").read_text())
    (second / "metrics.json").write_text(json.dumps(metrics | {"data_sha256": "y"}))
    with pytest.raises(InputError, match="not scored on the same data"):
        compare.compare([first, second], "test")
