"""Slices are read off the case: what just reaches each and what just does not, and that books reach them all."""

from types import SimpleNamespace
from typing import Any

import pytest

from riskscribe.case import Case
from riskscribe.data.slices import SLICES, slices_of

MONEY = {"currency": "USD"}


def position(code: str, **fields) -> dict[str, Any]:
    return {"kind": "position", "id": f"POS-{code}", "instrument": "long SPX future", "mtm": 1e6, **MONEY, **fields}


def limit(code: str, value: float, **fields) -> dict[str, Any]:
    given = {"measure": "delta", "scope": "SPX", "soft": 80.0, "hard": 100.0, "authority": "desk"}
    return {"kind": "limit", "id": f"LIM-{code}", "value": value, **MONEY, **given, **fields}


def stress(code: str, pnl: float) -> dict[str, Any]:
    return {"kind": "stress", "id": f"STR-{code}", "scenario": "Lehman 2008", "shocks": "equity -28%", "pnl": pnl,
            **MONEY}  # fmt: skip


def flag(material: bool, affects: list[str], issue: str = "stale_quote") -> dict[str, Any]:
    return {"kind": "data_quality", "id": "DQ-AA", "issue": issue, "affects": affects, "material": material,
            "detail": "old"}  # fmt: skip


def greek(measure: str, factor: str, value: float) -> dict[str, Any]:
    return {"measure": measure, "factor": factor, "value": value, "bump": "100%", **MONEY}


VAR = {
    "kind": "var",
    "id": "VAR-AA",
    "value": 50.0,
    "confidence_pct": 99,
    "horizon_days": 1,
    "previous": 40.0,
    **MONEY,
}
STEP = {"kind": "change", "id": "CHG-AA", "of": "VAR-AA", "step": "market", "value": 10.0, **MONEY}
INCREASE = {"temporary_increase": {"amount": 20.0, "approved_by": "CRO", "expires": "2014-06-30"}}
EXPIRED = {"temporary_increase": {"amount": 20.0, "approved_by": "CRO", "expires": "2014-06-24"}}


def case(*more: dict[str, Any], positions: int = 1, limits: tuple = (limit("AA", 50.0),), loss: float = -1.0, **head):
    """A case that no hard slice holds, with the given changes."""
    evidence = [*(position(f"B{i:02d}") for i in range(positions)), *limits, VAR, stress("AA", loss), *more]
    given = {"case_id": "c-abcdef12", "as_of": "2014-06-25", "desk": "equity", "base_currency": "USD",
             "engine": {"name": "test", "snapshot": "close"}, "evidence": evidence}  # fmt: skip
    return Case.model_validate(given | head)


def scoped(value: float, scope: str, **fields) -> dict[str, Any]:
    return limit({"book": "BK", "desk": "DK", "账簿": "BK", "交易台": "DK"}[scope], value, scope=scope, **fields)


def side_effect(hedge: float) -> Case:
    """Selling the call brings delta back and takes its vega hedge of another book away."""
    call = [greek("delta", "SPX", 120.0), greek("vega", "SPX", -60.0)]
    return case(
        position("CC", sensitivities=call),
        position("DD", sensitivities=[greek("vega", "SPX", hedge)]),
        limits=(
            limit("AA", 120.0),
            limit("VV", hedge - 60.0, measure="vega", unit="money_per_vol_point"),
        ),
    )


NOTE = [SimpleNamespace(note_id="NOTE-AA", kind="wrong")]
# slice -> (a case that is in it, a case that just is not), with notes where they count
CASES = {
    "standard": (case(), case(layout="raw")),
    "en": (case(), case(language="zh")),
    "zh": (case(language="zh"), case()),
    "raw": (case(layout="raw"), case()),
    "long": (case(positions=13), case(positions=12)),
    "noisy": (case(flag(True, ["POS-B00"])), case(flag(False, ["POS-B00"]))),
    "boundary": (case(limits=(limit("AA", 98.0),)), case(limits=(limit("AA", 97.99),))),
    "gain-only stress": (case(stress("BB", 5.0), loss=0.0), case(stress("BB", 5.0), loss=-0.01)),
    "approved excess": (case(limits=(limit("AA", 110.0, **INCREASE),)), case(limits=(limit("AA", 110.0, **EXPIRED),))),
    "passive breach": (
        case(limits=(limit("AA", 110.0, cause="passive"),)),
        case(limits=(limit("AA", 110.0, cause="active"), limit("BB", 100.0, cause="passive"))),
    ),
    "hedge worsens another limit": (side_effect(130.0), side_effect(60.0)),
    "desk within, book over": (
        case(limits=(scoped(110.0, "book"), scoped(50.0, "desk"))),
        case(limits=(scoped(110.0, "book"), scoped(50.0, "desk", measure="vega"))),
    ),
    "day sequence": (case(STEP), case()),
    "nothing breached": (case(), case(limits=(limit("AA", 80.0),))),
    "nothing to recommend": (case(flag(False, ["POS-B00"])), case(limits=(limit("AA", 80.0),))),
    "insufficient data": (
        case(flag(True, ["POS-B00"]), positions=1),
        case(flag(True, ["POS-B00"]), positions=12),
    ),
}  # fmt: skip


def test_every_slice_has_its_two_cases():
    assert tuple(CASES) == SLICES


@pytest.mark.parametrize("name", SLICES)
def test_what_reaches_a_slice_and_what_does_not(name):
    inside, outside = CASES[name]
    assert name in slices_of(inside)
    assert name not in slices_of(outside)


@pytest.mark.parametrize("value", [98.0, 99.9, 100.0, 100.1, 102.0])
def test_the_boundary_is_98_to_102_percent(value):
    assert "boundary" in slices_of(case(limits=(limit("AA", value),)))
    assert "boundary" in slices_of(case(limits=(limit("AA", -value),)))


@pytest.mark.parametrize("value", [97.9, 102.1])
def test_beyond_the_boundary(value):
    assert "boundary" not in slices_of(case(limits=(limit("AA", value),)))


@pytest.mark.parametrize(
    ("book", "desk", "held"),
    [(110.0, 79.0, True), (110.0, 81.0, False), (100.0, 50.0, False), (-110.0, 50.0, True)],
)
def test_the_desk_is_within_and_the_book_over(book, desk, held):
    for names in (("book", "desk"), ("账簿", "交易台")):
        limits = (scoped(book, names[0]), scoped(desk, names[1]))
        assert ("desk within, book over" in slices_of(case(limits=limits))) == held


def test_a_note_makes_a_case_noisy_when_it_is_wrong_or_hostile():
    for kind, noisy in (("helpful", False), ("irrelevant", False), ("wrong", True), ("hostile", True)):
        found = slices_of(case(), [SimpleNamespace(note_id="NOTE-AA", kind=kind)])
        assert ("noisy" in found) == noisy == ("standard" not in found)


def test_a_plain_case_is_in_the_plain_slices_alone():
    assert slices_of(case()) == ["standard", "en", "nothing breached", "nothing to recommend"]
    assert slices_of(case(STEP)) == ["standard", "en", "day sequence", "nothing breached", "nothing to recommend"]


def test_generated_books_reach_every_slice(generated):
    found = [slices_of(one.case, one.notes) for _, cases, _ in generated for one in cases]
    assert {name for one in found for name in one} == set(SLICES)
    for one in found:
        assert one == [name for name in SLICES if name in one] and ("en" in one) != ("zh" in one)
        hard = {"raw", "long", "noisy", "boundary", "insufficient data"} & set(one)
        assert not (hard and "standard" in one)


def test_a_feature_of_a_plan_shows_as_its_slice(generated):
    names = {"raw": "raw", "gains only": "gain-only stress", "approved": "approved excess",
             "passive": "passive breach", "side effect": "hedge worsens another limit",
             "desk within": "desk within, book over"}  # fmt: skip
    for feature, name in names.items():
        planned = [one for one in generated if one.plan.feature == feature]
        reached = [any(name in slices_of(one.case, one.notes) for one in cases) for _, cases, _ in planned]
        assert any(reached), feature
