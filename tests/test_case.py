"""What a case refuses, and that a refusal says what would be right."""

import json

import pytest

from riskscribe.case import ID_PATTERN, PREFIX, Case, Limit, Position
from riskscribe.errors import InputError
from riskscribe.files import parse_json, validate

CASE = {
    "case_id": "c-abcdef12",
    "as_of": "2024-06-25",
    "desk": "equity",
    "base_currency": "USD",
    "engine": {"name": "test", "snapshot": "close"},
    "evidence": [
        {"kind": "position", "id": "POS-AA", "instrument": "long SPX call", "mtm": 9e6, "currency": "USD"},
        {"kind": "limit", "id": "LIM-AA", "measure": "delta", "scope": "SPX", "value": 6.3e6, "currency": "USD",
         "soft": 4e6, "hard": 5e6, "authority": "desk"},
        {"kind": "var", "id": "VAR-AA", "value": 85000, "currency": "USD", "confidence_pct": 99, "horizon_days": 1},
        {"kind": "component", "id": "CMP-AA", "factor": "SPX", "contribution": 85000, "share_pct": 100,
         "currency": "USD", "of": "VAR-AA"},
        {"kind": "data_quality", "id": "DQ-AA", "issue": "stale_quote", "affects": ["POS-AA"], "material": True,
         "detail": "quote is 5 days old"},
    ],
}  # fmt: skip
POSITION, LIMIT, VAR, COMPONENT, FLAG = range(5)


def changed(item: int, **fields) -> dict:
    evidence = [dict(one) for one in CASE["evidence"]]
    evidence[item] |= fields
    return CASE | {"evidence": evidence}


REFUSED = {
    "empty book": (CASE | {"evidence": CASE["evidence"][1:4]}, "the book is empty: .* at least one position"),
    "no evidence": (CASE | {"evidence": []}, "the book is empty"),
    "duplicate id": (CASE | {"evidence": [*CASE["evidence"], CASE["evidence"][0]]}, "POS-AA is used twice"),
    "unknown component of": (changed(COMPONENT, of="VAR-ZZ"), "CMP-AA refers to VAR-ZZ, which is not evidence"),
    "unknown affected": (changed(FLAG, affects=["POS-AA", "POS-ZZ"]), "DQ-AA refers to POS-ZZ"),
    "no rate": (changed(POSITION, currency="JPY"), r"POS-AA is in JPY .* add fx.JPY \(price of 1 JPY in USD\)"),
    "rate of zero": (CASE | {"fx": {"JPY": 0}}, "fx.JPY: .*greater than 0, got 0"),
    "wrong prefix": (changed(POSITION, id="LIM-BB"), "id LIM-BB of a position must begin with POS-"),
    "no prefix": (changed(POSITION, id="AAPL"), r"evidence.0.position.id: .*, got 'AAPL'"),
    "unknown kind": (changed(POSITION, kind="rumour"), "evidence.0"),
    "unknown field": (changed(POSITION, colour="red"), r"evidence.0.position.colour"),
    "unknown measure": (changed(LIMIT, measure="beta"), "evidence.1.limit.measure"),
    "unknown authority": (changed(LIMIT, authority="trader"), "evidence.1.limit.authority"),
    "soft above hard": (changed(LIMIT, soft=6e6), r"soft 6e\+06 must not exceed hard 5e\+06"),
    "hard of zero": (changed(LIMIT, soft=0, hard=0), "greater than 0"),
    "negative VaR": (changed(VAR, value=-1), "greater than or equal to 0, got -1"),
    "confidence of 100": (changed(VAR, confidence_pct=100), "less than 100"),
    "horizon of none": (changed(VAR, horizon_days=0), "evidence.2.var.horizon_days"),
    "lower-case currency": (changed(POSITION, currency="usd"), "evidence.0.position.currency"),
    "empty text": (changed(POSITION, instrument="  "), "evidence.0.position.instrument"),
    "long text": (changed(POSITION, instrument="x" * 2001), "at most 2000 characters"),
    "case id": (CASE | {"case_id": "c-1\nCase c-zzzzzz |"}, "field case_id"),
    "date": (CASE | {"as_of": "2024-02-30"}, "field as_of"),
    "language": (CASE | {"language": "fr"}, "field language: .*'en' or 'zh', got 'fr'"),
}


@pytest.mark.parametrize(("value", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(value, message):
    with pytest.raises(InputError, match=message) as refusal:
        validate(Case, value, "book.json")
    assert str(refusal.value).startswith("book.json: field ")
    assert "\n" not in str(refusal.value)


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(
    ("item", "field"), [(POSITION, "mtm"), (LIMIT, "value"), (LIMIT, "soft"), (LIMIT, "hard"), (VAR, "value"),
                        (VAR, "confidence_pct"), (COMPONENT, "share_pct")],
)  # fmt: skip
def test_a_number_is_finite(item, field, number):
    with pytest.raises(InputError, match=rf"evidence.{item}\.\w+\.{field}"):
        validate(Case, changed(item, **{field: float(number)}), "book.json")


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_json_has_no_nan(token):
    text = json.dumps(CASE).replace("9000000.0", token)
    with pytest.raises(InputError, match=f"book.json: {token} is not a number"):
        parse_json(text, "book.json")


def test_a_limit_of_1e999_is_refused_as_infinite():
    value = parse_json(json.dumps(CASE).replace("5000000.0", "1e999"), "book.json")
    with pytest.raises(InputError, match=r"evidence.1.limit.hard: .*finite"):
        validate(Case, value, "book.json")


def test_a_case_goes_through_json_unchanged():
    case = Case.model_validate(changed(POSITION, currency="JPY", sensitivities=[]) | {"fx": {"JPY": 0.0064}})
    assert Case.model_validate_json(case.model_dump_json(exclude_none=True)) == case
    assert case.in_base(1e6, "JPY") == 6400
    assert case.in_base(1e6, "USD") == 1e6
    assert [one.id for one in case.of_kind(Limit) + case.of_kind(Position)] == ["LIM-AA", "POS-AA"]


def test_every_kind_has_its_prefix():
    assert len(set(PREFIX.values())) == len(PREFIX)
    assert all(prefix in ID_PATTERN for prefix in PREFIX.values())
