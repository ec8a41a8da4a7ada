"""Near duplicates: copies under other ids and dates are found, different numbers are not the same text."""

import json
import random
import re
from pathlib import Path

import pytest

from riskscribe.data.duplicates import between, jaccard, near_duplicates, normalise, shingles
from riskscribe.files import read_lines

V1 = Path(__file__).parents[2] / "datasets" / "risk_report" / "v1"
EN = (
    "Case c-t6xr7242 as of 2024-10-09: VaR is 1,637,828.88 USD [VAR-UH], the limit is 2,000,000.00; the worst stress, "
    "Slump, loses 12.15m [STR-TR]; copper delta uses 87.9 % of hard [LIM-LV] and the quote is 9 days old [DQ-Q9]."
)
ZH = (
    "2024年10月9日，组合VaR为1,637,828.88美元[VAR-UH]，最差情景亏损1,215万元[STR-TR]，"
    "铜的Delta限额使用率为87.9%[LIM-LV]，报价已过期9天。"
)


def renamed(text: str, code: str, day: str) -> str:
    text = re.sub(r"\b([A-Z]{2,3})-[A-Z0-9]{2}\b", rf"\1-{code}", text)
    text = re.sub(r"c-[a-z0-9]{8}", "c-zzzzzz99", text)
    return text.replace("2024-10-09", day).replace("2024年10月9日", "2025年1月23日")


@pytest.fixture(scope="module")
def cases() -> list[str]:
    return [row["case"] for row in read_lines(V1 / "test.jsonl")]


@pytest.mark.parametrize("text", [EN, ZH])
def test_ids_and_dates_make_no_difference(text):
    assert near_duplicates([text, "another text about nothing", renamed(text, "AB", "2025-01-23")]) == [(0, 2, 1.0)]


def test_a_whole_case_under_other_ids_is_a_duplicate(cases):
    assert normalise(cases[0]) != cases[0]
    assert near_duplicates([*cases, renamed(cases[7], "QQ", "2030-02-01")]) == [(7, len(cases), 1.0)]


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("P&L is 5.0m today", "P&L is -5.0m today"),
        ("亏损扩大", "亏损缩小"),
        ("1.5m", "15m"),
        ("VaR [VAR-A1]", "ES [VAR-A1]"),
    ],
)
def test_what_differs_is_different(one, other):
    assert jaccard(shingles(one), shingles(other)) < 1


def test_one_changed_number_in_a_long_text_is_a_near_duplicate():
    long = " ".join(f"limit {i} is at {i * 7.3:.1f} % of hard" for i in range(60))
    ((i, j, similarity),) = near_duplicates([long, long.replace("limit 30", "limit 930")])
    assert (i, j) == (0, 1) and 0.9 <= similarity < 1
    assert near_duplicates([long, long.replace("limit 30", "limit 930")], threshold=0.999) == []


def test_the_frozen_cases_are_no_copies_of_each_other(cases):
    assert near_duplicates(cases) == []
    assert between([row["case"] for row in read_lines(V1 / "val.jsonl")], cases) == []


def test_between_names_a_position_in_each(cases):
    assert between(cases[:5], [cases[9], renamed(cases[3], "QQ", "2030-02-01")]) == [(3, 1, 1.0)]


def test_runs_are_the_same(cases):
    texts = [*cases, *(one.replace("USD", "EUR") for one in cases)]
    first = near_duplicates(texts, 0.5)
    assert first and first == near_duplicates(texts, 0.5) == sorted(first)


def test_every_pair_is_verified_and_few_are_missed():
    rng = random.Random(3)
    words = ["".join(rng.choices("abcdefgh", k=6)) for _ in range(40)]
    base = [[rng.choice(words) for _ in range(120)] for _ in range(20)]
    texts = [" ".join(one) for one in base]
    for one in base:
        changed = list(one)
        for _ in range(rng.randrange(1, 6)):
            changed[rng.randrange(120)] = "other"
        texts.append(" ".join(changed))
    sets = [shingles(text) for text in texts]
    exact = {(i, j) for j in range(40) for i in range(j) if jaccard(sets[i], sets[j]) >= 0.9}
    found = near_duplicates(texts)
    assert {(i, j) for i, j, _ in found} <= exact
    assert len(found) >= 0.95 * len(exact) > 0


@pytest.mark.parametrize("text", ["", "  ", "!!!"])
def test_texts_without_words_are_alike(text):
    assert near_duplicates([text, text]) == [(0, 1, 1.0)]
    assert near_duplicates([]) == between([], [text]) == []


@pytest.mark.parametrize("threshold", [0, -0.1, 1.1])
def test_a_threshold_is_a_share(threshold):
    with pytest.raises(ValueError, match="above 0 and up to 1"):
        near_duplicates(["a", "b"], threshold)


def test_json_texts_of_reports_compare_by_what_they_say(cases):
    text = json.dumps(json.loads(cases[0]), indent=2)
    assert near_duplicates([cases[0], text]) == [(0, 1, 1.0)]
