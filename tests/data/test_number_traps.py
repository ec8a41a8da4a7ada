"""The number traps of both languages: what is written for a value, and which sentences state it."""

from pathlib import Path
from typing import Any

import pytest
import yaml

from riskscribe.evaluate.grounding import Fact, Number, ground_text
from riskscribe.prompt import amount, percent

TRAPS = yaml.safe_load(Path(__file__).with_name("number_traps.yaml").read_text(encoding="utf-8"))


def sentences(which: str) -> list[Any]:
    """(fact, sentence) of every trap."""
    return [pytest.param(trap["fact"], text, id=text) for trap in TRAPS for text in trap.get(which, ())]


def numbers(fact: dict, text: str) -> list[Number]:
    found = ground_text(f"{text} [E-1].", [Fact(id="E-1", **fact)])
    return [one for one in found if one.verdict != "ignored"]


@pytest.mark.parametrize(
    ("trap", "language"), [pytest.param(trap, one, id=f"{trap['trap']} {one}")
                           for trap in TRAPS for one in trap.get("produced", ())]
)  # fmt: skip
def test_what_is_written_for_a_value(trap, language):
    value, bounds = trap["fact"]["value"], trap["fact"].get("boundaries", ())
    if trap.get("percent"):
        text = percent(value, *bounds)
    else:
        text = amount(value, language, *trap.get("boundaries", ()), unit=trap.get("unit", "money"))
    assert text == trap["produced"][language]
    verb = " is " if language == "en" else "为"
    assert [one.verdict for one in numbers(trap["fact"], f"P&L{verb}{text}")] == ["quoted"]


@pytest.mark.parametrize(("fact", "text"), sentences("accepted"))
def test_sentences_that_state_the_value(fact, text):
    verdicts = {one.verdict for one in numbers(fact, text)}
    assert verdicts and verdicts <= {"quoted", "derived"}


@pytest.mark.parametrize(("fact", "text"), sentences("refused"))
def test_sentences_that_state_another(fact, text):
    assert "unsupported" in {one.verdict for one in numbers(fact, text)}


def test_every_trap_is_tested_in_both_directions():
    for trap in TRAPS:
        assert trap["accepted"] and trap["refused"], trap["trap"]
