"""What aggregates mean: denominators, intervals, unscored against wrong, prevalence; the rubric and its document."""

import json
import re
from pathlib import Path
from typing import get_args

import numpy as np
import pytest
from sklearn.metrics import balanced_accuracy_score, cohen_kappa_score, f1_score

from riskscribe.data.rows import read_rows
from riskscribe.errors import InputError
from riskscribe.evaluate import metrics, score
from riskscribe.evaluate.metrics import METRICS, TEXT_METRICS, metrics_by_language, rubric, summary
from riskscribe.evaluate.score import constant_report, score_answer
from riskscribe.evaluate.verify import FATAL, Code
from riskscribe.files import validate
from riskscribe.report import LEVELS

ROOT = Path(__file__).parents[2]
ROWS = read_rows(ROOT / "datasets/risk_report/v1/test_quick.jsonl")
METRIC = {one.key: one for one in METRICS}


def records(write) -> list[score.Record]:
    return [score_answer(row.case, write(row), row.book) for row in ROWS]


@pytest.fixture(scope="module")
def perfect() -> list[score.Record]:
    return records(lambda row: row.report.to_json())


@pytest.fixture(scope="module")
def unreadable() -> list[score.Record]:
    return records(lambda row: "{")


def called(pairs) -> list[score.Record]:
    """Records with (official, stated) levels; None is unreadable."""
    base = score_answer(ROWS[0].case, ROWS[0].report.to_json())
    return [
        base.model_copy(
            update={"case_id": f"c-{i:08d}", "book": f"b{i}", "official_level": a, "level": b, "schema_valid": bool(b)}
        )
        for i, (a, b) in enumerate(pairs)
    ]


# --- the document, the YAML and the code are one version


def test_document_yaml_and_code_are_one_version():
    text = (ROOT / "docs/rubric.md").read_text(encoding="utf-8")
    assert re.search(r"^# Rubric, version (\S+)", text, re.MULTILINE)[1] == metrics.RUBRIC == rubric().version
    told = dict(re.findall(r"^\| `(\w+)` \| ([0-9.]+) \|", text, re.MULTILINE))
    assert {key: float(value) for key, value in told.items()} == rubric().weights, "the table of weights"
    assert sum(rubric().weights.values()) == 100
    shares = " / ".join(f"{rubric().prevalence[level]:g}" for level in LEVELS)
    assert f"{shares} %" in text and f"{rubric().size_tolerance_pct:g} %" in text


def test_every_metric_is_documented():
    text = (ROOT / "docs/rubric.md").read_text(encoding="utf-8")
    headed = re.findall(r"^\| `(\w+)` \| [^0-9|]", text, re.MULTILINE)
    assert sorted(headed) == sorted(one.key for one in [*METRICS, *TEXT_METRICS])


def test_every_finding_is_documented_with_its_gravity():
    text = (ROOT / "docs/rubric.md").read_text(encoding="utf-8")
    told = {
        code: gravity for gravity, code in re.findall(r"^\| (fatal|sometimes|no) \| `(\w+)` \|", text, re.MULTILINE)
    }
    assert told.keys() == set(get_args(Code))
    assert {code for code, gravity in told.items() if gravity != "no"} == set(FATAL)
    assert {code for code, gravity in told.items() if gravity == "sometimes"} == {"missed_breach", "wrong_status"}


def test_a_constant_report_is_no_headline():
    """The table of docs/rubric.md: one answer for every case of the frozen test set."""
    text = (ROOT / "docs/rubric.md").read_text(encoding="utf-8")
    told = {
        level: [float(one) for one in values.split("|")]
        for level, values in re.findall(rf"^\| ({'|'.join(LEVELS)}) \| ([0-9. |]+) \|$", text, re.MULTILINE)
    }
    rows = read_rows(ROOT / "datasets/risk_report/v1/test.jsonl")
    for level in LEVELS:
        answer = constant_report(level).to_json()
        for at, language in enumerate(("en", "zh")):
            found = [score_answer(one.case, answer) for one in rows if one.case.language == language]
            free = 100 * np.mean([one.fatal_error_free for one in found])
            assert round(free, 1) == told[level][at]
            assert free <= 25


def test_a_wrong_rubric_is_refused():
    good = rubric().model_dump()
    for change, message in (
        ({"prevalence": good["prevalence"] | {"low": 50}}, "add up to 100"),
        ({"version": "0.1"}, "is not the code's"),
        ({"weights": {"level_accuracy": -1}}, "weights"),
    ):
        with pytest.raises(InputError, match=message):
            validate(metrics.Rubric, good | change, "rubric.yaml")


# --- what figures mean


def test_unreadable_is_wrong_but_not_an_under_call(unreadable):
    block = metrics_by_language(unreadable)["en"]
    found = block["metrics"]
    assert found["level_accuracy"]["value"] == found["total"]["value"] == found["breach_recall"]["value"] == 0
    nothing = {"value": None, "low": None, "high": None, "n": 0, "unscored": len(ROWS), "upper_95": None, "count": 0}
    assert found["under_call"] == nothing
    assert found["grounded"]["value"] is None
    assert block["readable"]["cases"] == 0 and block["readable"]["metrics"]["level_accuracy"]["value"] is None
    assert {level: row["unreadable"] for level, row in block["confusion"].items()} == dict.fromkeys(LEVELS, 6)


def test_content_is_also_told_of_the_readable(perfect, unreadable):
    half = [*perfect[:12], *unreadable[12:]]
    block = metrics_by_language(half)["en"]
    assert block["metrics"]["level_accuracy"]["value"] == 50.0
    assert block["readable"]["cases"] == 12
    assert block["readable"]["metrics"]["level_accuracy"]["value"] == 100.0
    assert block["readable"]["metrics"]["level_accuracy"]["n"] == 12


def test_under_calls_have_their_denominator_and_a_bound():
    found = metrics.estimate(METRIC["under_call"], called([("high", "high")] * 30))
    assert (found["value"], found["n"], found["count"], found["upper_95"]) == (0.0, 30, 0, 9.5)
    some = called([("high", "low")] * 2 + [("high", "high")] * 18 + [("low", "low")] * 10 + [("high", None)] * 5)
    found = metrics.estimate(METRIC["under_call"], some)
    assert (found["n"], found["count"], found["unscored"]) == (30, 2, 5)
    assert metrics.estimate(METRIC["under_call_at_risk"], some)["n"] == 20
    assert metrics.upper_bound(3, 3) == 1.0
    # 1 - 0.05 is the chance of seeing more than 2 of 20 at the bound
    bound = metrics.upper_bound(2, 20)
    draws = np.random.default_rng(1).binomial(20, bound, 200_000)
    assert (draws <= 2).mean() == pytest.approx(0.05, abs=0.003)


def test_levels_agree_with_scikit_learn():
    rng = np.random.default_rng(3)
    pairs = [(LEVELS[i], LEVELS[min(3, max(0, i + rng.integers(-2, 3)))]) for i in rng.integers(0, 4, 200)]
    official, stated = zip(*pairs, strict=True)
    found = called(pairs)
    assert METRIC["level_kappa"].value(found) == pytest.approx(
        cohen_kappa_score(official, stated, labels=list(LEVELS), weights="quadratic")
    )
    assert METRIC["level_macro_f1"].value(found) == pytest.approx(f1_score(official, stated, average="macro"))
    assert METRIC["level_balanced"].value(found) == pytest.approx(balanced_accuracy_score(official, stated))
    assert METRIC["level_kappa"].value(called([("low", "low")] * 5)) is None, "agreement by chance is complete too"
    drawn = METRIC["level_kappa"].combine(score.resample_books(found) @ METRIC["level_kappa"].table(found))
    assert drawn.shape == (metrics.RESAMPLES,) and np.isfinite(drawn).all()


def test_figures_at_the_stated_prevalence():
    """Right on low alone: a quarter of balanced cases, 60 % of a desk's."""
    found = called([(level, "low") for level in LEVELS for _ in range(10)])
    block = metrics_by_language(found)["en"]
    assert block["metrics"]["level_accuracy"]["value"] == 25.0
    rate = block["prevalence"]["metrics"]["level_accuracy"]
    assert (rate["value"], rate["n"]) == (60.0, 40)
    assert rate["low"] == rate["high"] == 60.0, "no level varies inside itself"
    assert block["prevalence"]["metrics"]["under_call"]["value"] == 40.0
    without = metrics_by_language([one for one in found if one.official_level != "critical"])["en"]
    assert without["prevalence"]["metrics"]["level_accuracy"]["value"] is None, "no case of a level: unscored"


def test_balanced_accuracy_is_the_mean_recall(perfect):
    wrong = [one.model_copy(update={"level": "low"}) if one.official_level == "high" else one for one in perfect]
    assert METRIC["level_balanced"].value(wrong) == pytest.approx(0.75)


def test_the_total_never_comes_without_its_parts(perfect):
    block = metrics_by_language(perfect)["en"]
    parts = block["total"]["parts"]
    assert parts.keys() == rubric().weights.keys() <= METRIC.keys()
    assert all(METRIC[key].of_one for key in parts), "a part is a figure of one answer"
    assert {one["value"] for one in parts.values()} <= {100.0, None}
    # the parts that a case cannot score leave their weight to the others
    one = perfect[0].model_copy(update={"level": "critical", "total": None})
    scored = [key for key in parts if METRIC[key].parts(one)[1] > 0]
    weights = rubric().weights
    expected = 1 - weights["level_accuracy"] / sum(weights[key] for key in scored)
    assert metrics.total(one) == pytest.approx(expected) and len(scored) < len(parts)


def test_languages_are_never_pooled(perfect):
    zh = [one.model_copy(update={"language": "zh"}) for one in perfect[:4]]
    assert {key.rsplit("_", 1)[-1] for key in summary([*perfect, *zh])} == {"en", "zh"}
    assert metrics_by_language([*perfect, *zh]).keys() == {"en", "zh"}


def test_intervals_hold_the_value_and_one_book_leaves_nothing_to_resample(perfect):
    mixed = records(lambda row: constant_report("critical").to_json() if row.level == "low" else row.report.to_json())
    for key in ("breach_f1", "total", "evidence_recall", "level_accuracy"):
        found = metrics.estimate(METRIC[key], mixed)
        assert found["low"] <= found["value"] <= found["high"]
    one_book = [one.model_copy(update={"book": "b"}) for one in perfect]
    assert np.unique(score.resample_books(one_book)).tolist() == [1]


def test_the_table_for_a_terminal(perfect):
    lines = metrics.as_text({"rubric": metrics.RUBRIC, "languages": metrics_by_language(perfect)})
    assert lines[0].startswith(f"rubric {metrics.RUBRIC}")
    (under,) = [one for one in lines if one.startswith("Level understated (of readable) ")]
    assert under.endswith("at most 11.7") and max(map(len, lines)) <= 140
    json.dumps(metrics_by_language(perfect))


# --- slices


def sliced(write, every: int = 3) -> list[score.Record]:
    """Every third case is `raw`, the others `standard`."""
    return [
        score_answer(row.case, write(i, row), row.book, ["en", "standard" if i % every else "raw"])
        for i, row in enumerate(ROWS)
    ]


def test_every_slice_has_its_own_figures():
    found = metrics_by_language(sliced(lambda i, row: row.report.to_json() if i % 3 else "{"))["en"]["slices"]
    assert list(found) == ["standard", "raw"], "largest first; a language is a block, not a slice"
    assert [one["cases"] for one in found.values()] == [16, 8]
    for name, right in (("standard", 100.0), ("raw", 0.0)):
        assert found[name]["metrics"].keys() == set(score.SLICE_METRICS)
        assert found[name]["metrics"]["level_accuracy"]["value"] == right
        assert found[name]["metrics"]["level_accuracy"]["n"] == found[name]["cases"]
    assert found["raw"]["metrics"]["grounded"]["value"] is None, "nothing readable: unscored, not wrong"


def test_a_case_counts_in_each_of_its_slices(perfect, unreadable):
    both = [one.model_copy(update={"slices": ["long", "raw"]}) for one in perfect]
    found = metrics_by_language(both)["en"]["slices"]
    assert {name: one["cases"] for name, one in found.items()} == {"long": len(ROWS), "raw": len(ROWS)}
    assert metrics_by_language(unreadable)["en"]["slices"] == {}
