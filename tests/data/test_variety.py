"""Variety: the measures on hand-made texts, and a generator that drifts to one template fails the thresholds."""

import json
from pathlib import Path
from typing import NamedTuple

import pytest

from riskscribe.case import Case
from riskscribe.data import variety
from riskscribe.data.gold import gold_with_wording
from riskscribe.report import Report

V1 = Path(__file__).parents[2] / "datasets" / "risk_report" / "v1"


class Row(NamedTuple):
    language: str
    report: Report
    wording: list[str]


def golds(varied: bool) -> list[Row]:
    found = []
    for line in (V1 / "val.jsonl").read_text(encoding="utf-8").splitlines()[::2]:
        case = Case.model_validate_json(json.loads(line)["case"])
        found.append(Row(case.language, *gold_with_wording(case, varied=varied)))
    return found


def test_varied_gold_passes_and_a_drift_to_one_template_fails():
    varied, template = golds(True), golds(False)
    measured, drifted = variety.measure(varied), variety.measure(template)
    assert measured.keys() == {"en", "zh"}
    assert variety.drifts(measured) == []
    assert [one.split(" ")[:2] for one in variety.drifts(drifted)] == [
        ["en:", "distinct-3"], ["en:", "self-BLEU"], ["zh:", "distinct-3"], ["zh:", "self-BLEU"],
    ]  # fmt: skip
    assert variety.measure(varied) == measured
    assert variety.skeleton_entropy(name for row in varied for name in row.wording) > 2.0
    assert variety.skeleton_entropy(name for row in template for name in row.wording) == 0.0


def test_a_drift_of_one_language_alone_fails():
    rows = [row for row in golds(True) if row.language == "en"] + [row for row in golds(False) if row.language == "zh"]
    assert {one[:2] for one in variety.drifts(variety.measure(rows))} == {"zh"}


@pytest.mark.parametrize(
    ("text", "language", "cut"),
    [
        ("VaR rose to 1.64m [VAR-UH] from -5%.", "en", ["var", "rose", "to", "#", "@", "from", "#", "."]),
        ("PV01 is 39.7k/bp, 10-day [LIM-A2].", "en", ["pv", "#", "is", "#", ",", "#", "-", "day", "@", "."]),
        ("限额使用率126.0% [LIM-X2]。", "zh", ["限额", "使用率", "#", "@", "。"]),
        ("亏损258.3万 [STR-A2]", "zh", ["亏损", "#", "@"]),
    ],
)
def test_ids_and_numbers_are_masked(text, language, cut):
    assert variety.tokens(text, language) == cut


def test_distinct_n_counts_n_grams_over_all_texts():
    texts = [["a", "b", "a"], ["a", "b"], ["c"]]
    assert variety.distinct_n(texts, 1) == 3 / 6
    assert variety.distinct_n(texts, 2) == 2 / 3
    assert variety.distinct_n(texts, 4) == 0.0


def test_self_bleu_is_one_for_copies_and_small_for_unlike_texts():
    one, other = ["the", "level", "is", "high", "today"], ["nothing", "else", "was", "said", "here"]
    assert variety.self_bleu([one] * 3) == pytest.approx(1.0)
    assert variety.self_bleu([one, other]) < 0.05
    assert variety.self_bleu([one]) == 0.0


def test_self_bleu_draws_its_sample_by_seed():
    texts = [f"word{i} word{i + 1} word{i + 2} word{i % 7} end".split() for i in range(40)]
    assert variety.self_bleu(texts, 10, seed=1) == variety.self_bleu(texts, 10, seed=1)
    assert variety.self_bleu(texts, 10, seed=1) != variety.self_bleu(texts, 10, seed=2)


def test_skeleton_entropy_is_within_plans():
    assert variety.skeleton_entropy(["en.a.b.1", "en.a.b.2", "en.a.c.3", "en.a.c.3"]) == pytest.approx(0.5)
    assert variety.skeleton_entropy(["en.a.1", "en.b.2"]) == 0.0
