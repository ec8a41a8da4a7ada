"""What a case refuses, and that a refusal says what would be right."""

import json

import pytest

from riskscribe.case import ID_PATTERN, PREFIX, Case, Limit, Position
from riskscribe.errors import InputError
from riskscribe.files import parse_json, validate


def step(number: int, value: float, of: str = "VAR-AA") -> dict:
    return {"kind": "change", "id": f"CHG-A{number}", "of": of, "step": "market", "value": value, "currency": "USD"}


def component(of: str) -> dict:
    return {"kind": "component", "id": "CMP-ZZ", "factor": "SPX", "contribution": 1, "share_pct": 1,
            "currency": "USD", "of": of}  # fmt: skip


LOST = {"mtm": None, "previous": None, "sensitivities": []}
# what is wrong -> changed evidence, head fields, further evidence, and what the refusal says
REFUSED = {
    "empty book": ({"POS-AA": None, "POS-BB": None}, {}, [], "the book is empty: .* at least one position"),
    "no evidence": ({}, {"evidence": []}, [], "the book is empty"),
    "duplicate id": ({"POS-AA": {"id": "POS-BB"}}, {}, [], "POS-BB is used twice"),
    "unknown component of": ({"CMP-AA": {"of": "VAR-ZZ"}}, {}, [], "CMP-AA refers to VAR-ZZ, which is not evidence"),
    "unknown affected": ({"DQ-AA": {"affects": ["POS-AA", "POS-ZZ"]}}, {}, [], "DQ-AA refers to POS-ZZ"),
    "no rate": ({}, {"fx": {}}, [], r"POS-BB is in JPY .* add fx.JPY \(price of 1 JPY in USD\)"),
    "rate of zero": ({}, {"fx": {"JPY": 0}}, [], "fx.JPY: .*greater than 0, got 0"),
    "wrong prefix": ({"POS-AA": {"id": "LIM-ZZ"}}, {}, [], "id LIM-ZZ of a position must begin with POS-"),
    "no prefix": ({"POS-AA": {"id": "AAPL"}}, {}, [], r"evidence.2.position.id: .*, got 'AAPL'"),
    "unknown kind": ({"POS-AA": {"kind": "rumour"}}, {}, [], "evidence.2"),
    "unknown field": ({"POS-AA": {"colour": "red"}}, {}, [], r"evidence.2.position.colour"),
    "unknown measure": ({"LIM-AA": {"measure": "beta"}}, {}, [], r"limit.measure"),
    "unknown authority": ({"LIM-AA": {"authority": "trader"}}, {}, [], r"limit.authority"),
    "unknown cause": ({"LIM-AA": {"cause": "bad luck"}}, {}, [], r"limit.cause"),
    "soft above hard": ({"LIM-AA": {"soft": 6e6}}, {}, [], r"soft 6e\+06 must not exceed hard 5e\+06"),
    "hard of zero": ({"LIM-AA": {"soft": 0, "hard": 0}}, {}, [], "greater than 0"),
    "limit before its day": (
        {"LIM-AA": {"effective_from": "2024-06-26"}}, {}, [],
        "LIM-AA is not in force on 2024-06-25 .effective 2024-06-26 to 9999-12-31.; give the limit that is",
    ),
    "limit after its day": ({"LIM-AA": {"effective_to": "2024-06-24"}}, {}, [], "LIM-AA is not in force"),
    "negative VaR": ({"VAR-AA": {"value": -1}}, {}, [], "greater than or equal to 0, got -1"),
    "negative standalone VaR": ({"POS-AA": {"standalone_var": -1}}, {}, [], "position.standalone_var"),
    "no windows in the tail": ({"VAR-AA": {"tail_count": 0}}, {}, [], "var.tail_count"),
    "confidence of 100": ({"VAR-AA": {"confidence_pct": 100}}, {}, [], "less than 100"),
    "horizon of none": ({"VAR-AA": {"horizon_days": 0}}, {}, [], "var.horizon_days"),
    "lower-case currency": ({"POS-AA": {"currency": "usd"}}, {}, [], "position.currency"),
    "empty text": ({"POS-AA": {"instrument": "  "}}, {}, [], "position.instrument"),
    "long text": ({"POS-AA": {"instrument": "x" * 2001}}, {}, [], "at most 2000 characters"),
    "case id": ({}, {"case_id": "c-1\nCase c-zzzzzz |"}, [], "field case_id"),
    "date": ({}, {"as_of": "2024-02-30"}, [], "field as_of"),
    "language": ({}, {"language": "fr"}, [], "field language: .*'en' or 'zh', got 'fr'"),
    "layout": ({}, {"layout": "table"}, [], "field layout: .*'exception' or 'raw'"),
    "component of a limit": ({}, {}, [component("LIM-AA")], "of LIM-AA; a component belongs to VAR- or STR- evid"),
    "bridge of a component": ({}, {}, [step(0, 1, "CMP-AA")], "a change belongs to VAR- or STR- or LIM- evidence"),
    "bridge with a gap": (
        {}, {}, [step(0, 50000), step(1, 29.99)],
        "bridge of VAR-AA does not add up: 799960.00 and its steps give 849989.99, the line says 850000.00; "
        "add a residual step of 10.01",
    ),
    "bridge of a stress loss with the sign of a gain": (
        {"STR-AA": {"previous": -2.5e6}}, {}, [step(0, 83000, "STR-AA")], "add a residual step of -166000.00",
    ),
    "bridge from nowhere": ({}, {}, [step(0, 1, "LIM-BB")], "LIM-BB has a bridge but no previous value to start it"),
    "unpriced without a reason": ({"POS-AA": LOST, "DQ-BB": None}, {}, [], "POS-AA has no mtm and no data-quality"),
    "no rate for yesterday's MTM": ({"POS-BB": LOST | {"previous": 1}}, {"fx": {}}, [], "POS-BB is in JPY"),
    "no rate for a Greek": (
        {"POS-BB": {"mtm": None, "previous": None}}, {"fx": {}}, [], "POS-BB is in JPY but the case has no rate",
    ),
}  # fmt: skip


@pytest.mark.parametrize(("change", "fields", "more", "message"), REFUSED.values(), ids=REFUSED)
def test_refused(book, change, fields, more, message):
    with pytest.raises(InputError, match=message) as refusal:
        validate(Case, book(*more, change=change, **fields), "book.json")
    assert str(refusal.value).startswith("book.json: field ")
    assert "\n" not in str(refusal.value)


ACCEPTED = {
    "a bridge that adds up": ({}, {}, [step(0, 50000.04), step(1, -0.04), step(2, 40)]),
    "a bridge that adds up to the cent": ({}, {}, [step(0, 50040.004)]),
    "a bridge of a loss": ({"STR-AA": {"previous": -2.5e6}}, {}, [step(0, -83000, "STR-AA")]),
    "a bridge of a limit": ({"LIM-BB": {"previous": 999990}}, {}, [step(0, 9, "LIM-BB")]),
    "components of a stress loss": ({}, {}, [component("STR-AA")]),
    "a limit from today": ({"LIM-AA": {"effective_from": "2024-06-25", "effective_to": "2024-06-25"}}, {}, []),
    "no rate for what has no value": ({"POS-BB": LOST}, {"fx": {}}, []),
    "unpriced, with yesterday's MTM": ({"POS-BB": {"mtm": None, "previous": -4e7}}, {}, []),
    "raw": ({}, {"layout": "raw"}, []),
}


@pytest.mark.parametrize(("change", "fields", "more"), ACCEPTED.values(), ids=ACCEPTED)
def test_accepted(book, change, fields, more):
    made = book(*more, change=change, **fields)
    case = validate(Case, made, "book.json")
    assert [one.id for one in case.evidence] == [one["id"] for one in made["evidence"]]


@pytest.mark.parametrize("number", ["nan", "inf", "-inf"])
@pytest.mark.parametrize(
    ("name", "field"), [("POS-AA", "mtm"), ("POS-AA", "standalone_var"), ("LIM-AA", "value"), ("LIM-AA", "soft"),
                        ("LIM-AA", "hard"), ("LIM-AA", "five_days_ago"), ("VAR-AA", "value"),
                        ("VAR-AA", "confidence_pct"), ("VAR-AA", "undiversified"), ("CMP-AA", "share_pct")],
)  # fmt: skip
def test_a_number_is_finite(book, name, field, number):
    with pytest.raises(InputError, match=rf"evidence.\d+\.\w+\.{field}"):
        validate(Case, book(change={name: {field: float(number)}}), "book.json")


@pytest.mark.parametrize("token", ["NaN", "Infinity", "-Infinity"])
def test_json_has_no_nan(book, token):
    text = json.dumps(book()).replace("9000000.0", token)
    with pytest.raises(InputError, match=f"book.json: {token} is not a number"):
        parse_json(text, "book.json")


def test_a_limit_of_1e999_is_refused_as_infinite(book):
    value = parse_json(json.dumps(book()).replace("5000000.0", "1e999"), "book.json")
    with pytest.raises(InputError, match=r"limit.hard: .*finite"):
        validate(Case, value, "book.json")


def test_a_case_goes_through_json_unchanged(book):
    case = Case.model_validate(book(layout="raw"))
    assert Case.model_validate_json(case.model_dump_json(exclude_none=True)) == case
    assert case.in_base(1e6, "JPY") == 6400
    assert case.in_base(1e6, "USD") == 1e6
    assert [one.id for one in case.of_kind(Limit) + case.of_kind(Position)] == [
        "LIM-CC", "LIM-AA", "LIM-BB", "POS-BB", "POS-AA",
    ]  # fmt: skip


def test_every_kind_has_its_prefix():
    assert len(set(PREFIX.values())) == len(PREFIX)
    assert all(prefix in ID_PATTERN for prefix in PREFIX.values())
