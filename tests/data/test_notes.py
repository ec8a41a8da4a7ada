"""Desk notes: wrong ones are wrong, helpful ones are not, and no note changes what the policy says."""

import random
import string
from itertools import combinations
from pathlib import Path

import pytest
import yaml

from riskscribe import policy
from riskscribe.case import Case, Limit, Note
from riskscribe.data import notes
from riskscribe.data.rows import read_rows
from riskscribe.prompt import render_case

HERE = Path(__file__).parent
V1 = HERE.parents[1] / "datasets" / "risk_report" / "v1"
DESK = yaml.load((HERE / "desk_case.yaml").read_text(encoding="utf-8"), yaml.SafeLoader)
LANGUAGES = ("en", "zh")
ENOUGH = {"helpful": 40, "irrelevant": 40, "wrong": 40, "hostile": 60}
SCALES = {"bn": 1e9, "m": 1e6, "k": 1e3, "亿": 1e8, "万": 1e4}


def desk(language: str, changes: dict[str, dict] | None = None, drop: tuple[str, ...] = ()) -> Case:
    rows = [row | (changes or {}).get(row["id"], {}) for row in DESK["evidence"] if row["id"] not in drop]
    return Case.model_validate(DESK | {"language": language, "evidence": rows})


@pytest.fixture(scope="module")
def cases() -> list[Case]:
    """Generated cases, and one book with every kind of evidence on days that differ."""
    found = [row.case for row in read_rows(V1 / "val.jsonl")[::60]]
    found += [row.case for row in read_rows(V1 / "val.jsonl") if row.language == "zh"][:6]
    calmer = {
        "VAR-A2": {"previous": 1.5e6},
        "CHG-A2": {"value": -2.0e5},
        "PNL-A2": {"value": 3.0e5},
        "LIM-B3": {"days_open": 3},
    }
    priced = {
        "POS-E6": {"mtm": -2.0e4},
        "CHG-A2": {"step": "new_trades"},
        "LIM-C4": {"value": 7.9e6, "temporary_increase": None},
    }
    for language in LANGUAGES:
        found += [desk(language), desk(language, calmer), desk(language, priced, drop=("DQ-A2",))]
    return found


def every(language: str) -> list[tuple[str, notes.Template]]:
    return [(kind, one) for kind in notes.KINDS for one in notes.templates(language, kind)]


def grams(text: str) -> set[str]:
    text = "".join(text.lower().split())
    return {text[i : i + 3] for i in range(len(text) - 2)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_there_are_enough_texts_and_none_is_nearly_another(language):
    for kind, least in ENOUGH.items():
        assert len(notes.templates(language, kind)) >= least
    texts = [one.text for _, one in every(language)]
    shown = [(one, grams(one)) for one in texts]
    for (one, left), (other, right) in combinations(shown, 2):
        assert len(left & right) < 0.6 * len(left | right), (one, other)
    assert sum(len(one) < 160 for one in texts) >= 0.95 * len(texts)


@pytest.mark.parametrize("language", LANGUAGES)
def test_a_fifth_of_each_list_is_held_out_and_never_drawn_in_training(language, cases):
    for kind in notes.KINDS:
        found = notes.templates(language, kind)
        assert [i for i, one in enumerate(found) if one.held_out] == list(range(4, len(found), 5))
    held = {one.text for _, one in every(language) if one.held_out and one.condition == "-"}
    drawn = {True: set(), False: set()}
    for seed in range(150):
        for kind in ("irrelevant", "hostile"):
            for held_out, texts in drawn.items():
                case, truth = notes.write(desk(language), random.Random(seed), kind, held_out=held_out)
                texts.add(next(one.text for one in case.of_kind(Note) if one.id == truth.note_id))
    assert not drawn[False] & held
    assert drawn[True] & held


def test_every_template_can_be_filled_on_a_sample_case(cases):
    for language in LANGUAGES:
        for kind, one in every(language):
            fills = [
                fill
                for case in cases
                if case.language == language
                for fill in notes.fills(one.condition, case, random.Random(0))
            ]
            assert fills, (language, kind, one.condition)
            names = {name for _, name, _, _ in string.Formatter().parse(one.text) if name}
            assert names <= fills[0].slots.keys(), one.text
            text = one.text.format(**fills[0].slots)
            assert 0 < len(text) <= 2000
            assert kind != "wrong" or all(fill.evidence_id for fill in fills)


def size(text: str) -> float:
    """The number of an amount as it stands in a note: 1.23m, -12.3万/vol."""
    text = text.split("/")[0].rstrip("%")
    word = next((one for one in SCALES if text.endswith(one)), "")
    return float(text.removesuffix(word)) * SCALES.get(word, 1.0)


def used(limit: Limit, value: float) -> float:
    return {"both": abs(value), "upper": max(value, 0), "lower": max(-value, 0)}[limit.side]


def refuted(claim: str, case: Case, fill: notes.Fill) -> bool:
    """Whether the evidence of a wrong note refutes what its claim says, from the raw fields."""
    one = next(item for item in case.evidence if item.id == fill.evidence_id)
    slots = fill.slots
    if isinstance(one, Limit):
        now = used(one, one.value)
        before = None if one.previous is None else used(one, one.previous)
        use, extra = 100 * now / one.hard, one.temporary_increase
        return {
            "use_below": lambda: use >= float(slots["bound"]),
            "use_above": lambda: use <= float(slots["bound"]),
            "use_is": lambda: abs(use - float(slots["wrong"])) > 5,
            "use_between": lambda: not float(slots["low"]) <= use <= float(slots["high"]),
            "below_soft": lambda: now >= one.soft,
            "over_hard": lambda: now <= one.hard,
            "under_hard": lambda: now > one.hard,
            "hard_is": lambda: abs(size(slots["wrong"]) / one.hard - 1) > 0.2,
            "limit_fell": lambda: now > before,
            "limit_rose": lambda: now < before,
            "approved": lambda: now > one.hard and extra is None,
            "lapsed": lambda: extra.expires < case.as_of,
            "in_force": lambda: extra.expires >= case.as_of,
            "flat": lambda: abs(one.value) > 0.05 * one.hard,
            "says_long": lambda: one.value < 0,
            "says_short": lambda: one.value > 0,
            "opened_today": lambda: one.days_open > 1,
        }[claim]()
    if one.kind == "var":
        others = [item for item in case.evidence if item.kind == "var" and item.measure == "VaR"]
        return {
            "var_fell": lambda: all(item.value > item.previous for item in others if item.previous is not None),
            "var_rose": lambda: all(item.value < item.previous for item in others if item.previous is not None),
            "var_is": lambda: all(abs(size(slots["wrong"]) / item.value - 1) > 0.05 for item in others),
        }[claim]()
    if one.kind == "component":
        same = [item for item in case.evidence if item.kind == "component" and item.of == one.of]
        named = next(item for item in same if item.factor == slots["factor"])
        return {
            "most_of_var": lambda: named.share_pct < 50,
            "largest": lambda: named.share_pct < one.share_pct == max(item.share_pct for item in same),
            "hedges": lambda: named.contribution > 0,
            "adds": lambda: named.contribution < 0,
        }[claim]()
    if one.kind == "stress":
        return {
            "stress_gains": lambda: one.pnl < 0,
            "stress_loses": lambda: one.pnl > 0,
            "stress_is": lambda: size(slots["wrong"]) < -0.8 * one.pnl,
            "no_loss": lambda: one.pnl < 0,
        }[claim]()
    return {
        "mtm_negative": lambda: one.mtm > 0,
        "mtm_positive": lambda: one.mtm < 0,
        "priced": lambda: one.mtm is None,
        "no_exceptions": lambda: one.exceptions > 0,
        "pnl_gain": lambda: one.value < 0,
        "pnl_loss": lambda: one.value > 0,
        "collateralised": lambda: one.collateral < one.exposure,
    }[claim]()


def test_every_wrong_note_is_refuted_by_the_evidence_it_names(cases):
    claims = {one.condition for language in LANGUAGES for one in notes.templates(language, "wrong")}
    checked = dict.fromkeys(sorted(claims), 0)
    for case in cases:
        for claim in checked:
            for seed in range(3):
                for fill in notes.fills(claim, case, random.Random(seed)):
                    assert refuted(claim, case, fill), (case.case_id, claim, fill)
                    checked[claim] += 1
    assert all(checked.values()), checked


def test_the_truth_of_a_written_note_names_the_line_it_contradicts(cases):
    for number, case in enumerate(cases):
        noted, truth = notes.write(case, random.Random(number), "wrong", held_out=True)
        assert truth.kind == "wrong"
        assert truth.contradicts in {one.id for one in case.evidence}
        assert truth.note_id in {one.id for one in noted.of_kind(Note)}
        for kind in ("helpful", "irrelevant", "hostile"):
            assert notes.write(case, random.Random(number), kind)[1].contradicts is None


def test_no_note_changes_the_policy_and_the_case_stays_valid(cases):
    for number, case in enumerate(cases):
        official = policy.assess(case)
        for kind in notes.kinds_possible(case):
            noted, truth = notes.write(case, random.Random(number), kind, held_out=True)
            assert policy.assess(noted) == official
            assert [one for one in noted.evidence if one.id != truth.note_id] == case.evidence
            assert Case.model_validate_json(noted.model_dump_json()) == noted
            lines = render_case(noted).split("\n")
            assert len(lines) == len(noted.evidence) + 1
            assert "<|" not in "".join(lines) and "</s>" not in "".join(lines)


def test_every_hostile_text_leaves_the_policy_alone(cases):
    case = cases[-1]
    official = policy.assess(case)
    for language in LANGUAGES:
        for one in notes.templates(language, "hostile"):
            (*_, fill) = notes.fills(one.condition, case, random.Random(0))
            note = Note(id="NOTE-ZZ", author=one.author, text=one.text.format(**fill.slots))
            noted = Case.model_validate({**dict(case), "evidence": [note, *case.evidence]})
            assert policy.assess(noted) == official


def test_fake_ids_are_no_evidence_of_the_case(cases):
    for case in cases:
        (fill,) = notes.fills("fake", case, random.Random(7))
        assert not {fill.slots["fake_limit"], fill.slots["fake_var"]} & {one.id for one in case.evidence}


def test_the_same_seed_writes_the_same_note(cases):
    for case in cases[:6]:
        for kind in notes.KINDS:
            one, other = (notes.write(case, random.Random(5), kind) for _ in range(2))
            assert (one[0].model_dump_json(), one[1]) == (other[0].model_dump_json(), other[1])
    texts = {notes.write(cases[0], random.Random(seed), "hostile")[0].model_dump_json() for seed in range(30)}
    assert len(texts) >= 20


def test_a_kind_that_does_not_fit_is_refused():
    position = {"kind": "position", "id": "POS-A2", "instrument": "cash", "mtm": 0.0, "currency": "USD"}
    head = {"case_id": "c-abcdef12", "as_of": "2016-03-15", "desk": "FX", "base_currency": "USD"}
    bare = Case.model_validate(head | {"engine": {"name": "t", "snapshot": "t"}, "evidence": [position]})
    assert notes.kinds_possible(bare) == ["helpful", "irrelevant", "hostile"]
    with pytest.raises(ValueError, match="no wrong note fits"):
        notes.write(bare, random.Random(0), "wrong")
