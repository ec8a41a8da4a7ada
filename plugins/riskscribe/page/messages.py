"""What verification says, in the language of a page: it says it in English, messages_zh.yaml holds the Chinese."""

import copy
import re
from collections.abc import Sequence
from functools import cache
from pathlib import Path
from typing import Any

from riskscribe.case import Language
from riskscribe.files import read_yaml
from riskscribe.page.words import WORDS
from riskscribe.prompt import ISSUES, MEASURES

_FIELD = re.compile(r"\{(\w+)\}")
# a fact as grounding tells it: id, label (words, brackets too), and its value in brackets
_FACT = re.compile(r"([A-Za-z]{1,4}-[0-9A-Za-z]+)(?:(?! \([-0-9]).)* \(([-0-9][^()]*)\)", re.DOTALL)
# words of the schema, as a page writes them
_CODE = re.compile(r"\b(?:reduce_exposure|review_approval|confirm_data|no_action|breach_within_approved_excess)\b")
_UNITS = {"bp": "/bp", "vol_point": "/vol"}
_UNIT = re.compile(r" money_per_(bp|vol_point)\b")
_LONGEST = 1000  # a message that quotes more is not looked at: what it says stands at its beginning


def say(message: str, language: Language) -> str:
    """A message of verification or grounding in `language`; in English where no Chinese is known for it."""
    english = _UNIT.sub(lambda found: _UNITS[found[1]], _CODE.sub(lambda found: found[0].replace("_", " "), message))
    return english if language == "en" else _chinese(message) or english


def in_language(findings: Sequence[Any], language: Language) -> list[Any]:
    """Copies of findings whose messages are in `language`."""
    told = []
    for one in findings:
        told.append(copy.copy(one))
        told[-1].message = say(one.message, language)
    return told


@cache
def _catalogue() -> tuple[list[tuple[re.Pattern[str], str]], dict[str, str], dict[str, str]]:
    """The patterns, those with most words of their own first, the words, and the units of facts."""
    held = read_yaml(Path(__file__).with_name("messages_zh.yaml"))
    zh = WORDS["zh"]
    words = {key: text for group in ("levels", "statuses", "action_words") for key, text in zh[group].items()}
    words |= {key: text for key, text in zh["assessments"].items()} | held["words"]
    words |= {key.replace("_", " "): text for key, text in (ISSUES["zh"] | MEASURES["zh"]).items()}

    def pattern(text: str) -> re.Pattern[str]:
        parts = _FIELD.split(text)
        inner = [rf"(?P<{one}>{'[^ ]+?' if one.startswith('id') else '.+?'})" for one in parts[1::2]]
        plain = [re.escape(one) for one in parts[::2]]
        return re.compile("".join(a + b for a, b in zip(plain, [*inner, ""], strict=True)), re.DOTALL)

    ordered = sorted(held["messages"], key=lambda text: -len(_FIELD.sub("", text)))
    return [(pattern(text), held["messages"][text]) for text in ordered], words, held["units"]


def _chinese(text: str) -> str | None:
    patterns, words, _ = _catalogue()
    if text in words:
        return words[text]
    if len(text) > _LONGEST:
        return None
    for pattern, chinese in patterns:
        if found := pattern.fullmatch(text):
            told = chinese.format(**{key: _part(one) for key, one in found.groupdict().items()})
            return told.replace("） ", "）")
    return None


def _part(text: str) -> str:
    """What a message is about: a word, a fact, a list of either, a message of its own, or just a text."""
    if fact := _FACT.fullmatch(text):
        number, _, unit = fact[2].partition(" ")
        unit = _catalogue()[2].get(unit, f" {unit}" if unit else "")
        return f"{fact[1]}（{number}{unit}）"
    if found := _chinese(text):
        return found
    for joint, zh in ((" and ", " 与 "), (", ", "、")):
        if joint in text:
            return zh.join(map(_part, text.split(joint)))
    return text
