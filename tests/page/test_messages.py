"""A Chinese page speaks Chinese: whatever verification and grounding say, it says in Chinese."""

import json
import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskscribe.evaluate import mutations
from riskscribe.evaluate.grounding import read_report
from riskscribe.evaluate.score import constant_report
from riskscribe.evaluate.verify import verify, verify_text
from riskscribe.page import messages
from riskscribe.page.messages import say

# what Chinese risk prose keeps in English
KEPT = set(
    "delta gamma vega json null escalate risk level low moderate high critical schema version vol".split()  # noqa: SIM905
)


def english(text: str, case_text: str) -> set[str]:
    """English words of a message that are no names of the case, no quotation and no field."""
    plain = re.sub(r"[A-Za-z]{1,4}-[0-9A-Za-z]+|“[^”]*”|字段 [^：]+：", " ", text)
    return {one for one in re.findall(r"[a-z]{3,}", plain.lower()) if one not in KEPT and one not in case_text}


@pytest.fixture(scope="module")
def golds(frozen) -> list[mutations.Gold]:
    return [mutations.Gold(one.case, one.report) for one in frozen("val") if one.case.language == "zh"][:12]


def spoken(golds, kind: str):
    """(case, message) of everything said about some faults of a kind."""
    for gold, edit in mutations.draw(golds, kind, False, 3, 7)[0]:
        yield from ((gold.case, one.message) for one in verify(gold.case, edit.report))
        yield from ((gold.case, one.reason) for _, one in read_report(gold.case, edit.report)[0] if one.reason)


@pytest.mark.parametrize("kind", mutations.FAULTS)
def test_every_planted_fault_is_told_in_chinese(golds, kind):
    left = {}
    for case, message in spoken(golds, kind):
        told = say(message, "zh")
        if words := english(told, case.model_dump_json().lower()):
            left[message] = (told, words)
        assert "money_per" not in say(message, "en")
    assert not left, "messages_zh.yaml lacks these"


def test_what_is_said_of_other_reports_and_of_none_is_told_in_chinese(golds):
    left = {}
    for gold, other in zip(golds, [*golds[1:], golds[0]], strict=True):
        text = gold.report.to_json()
        report = json.loads(text)
        answers = [constant_report("low").to_json(), constant_report("critical").to_json(), other.report.to_json()]
        answers += [
            "",
            "{",
            "[]",
            "Risk is low.",
            '{"a": 1}',
            text[:-1],
            text + "x",
            text[:-1] + ',"risk_level":"low"}',
        ]
        answers += [json.dumps(report | one) for one in (
            {"risk_level": "severe"}, {"more": 1}, {"summary": ""}, {"summary": None}, {"escalate": "yes"},
            {"limitations": {}}, {"key_drivers": report["key_drivers"] * 5}, {"summary": "The book is calm and well."},
            {"limit_breaches": [{"limit_id": "LIM-AA"}]}, {"limitations": ["The market was closed on this day."] * 9},
        )]  # fmt: skip
        for answer in answers:
            for one in verify_text(gold.case, answer):
                told = say(one.message, "zh")
                if words := english(told, gold.case.model_dump_json().lower() + other.report.to_json().lower()):
                    left[one.message] = (told, words)
    assert not left, "messages_zh.yaml lacks these"


EXAMPLES = """\
level is low; the policy gives critical (C1, C4)
等级为低；政策为严重（C1、C4）
LIM-CL is missing: breach at 103.1% of hard
缺少 LIM-CL：超限，使用硬限的 103.1%
monitor on LIM-CP: the policy asks reduce_exposure on LIM-CP, confirm_data on LIM-X
LIM-CP：写为监控，政策要求对 LIM-CP 降低敞口、对 LIM-X 确认数据
'2.5万/bp': is a limit, the sentence speaks of its use: LIM-SY cs01 hard limit (24,700 money_per_bp)
“2.5万/bp”：是限额，句中所指为使用量：LIM-SY（24,700/bp）
the sum of CMP-A and CMP-B, but no word says so
等于 CMP-A 与 CMP-B 的合计，但文中没有说明
went down: difference of VAR-A (1,200 USD) and VAR-A previous (1,300 USD)
实际为下降：VAR-A（1,200 USD）与 VAR-A（1,300 USD）的差
NOTE-RQ: LIM-GT is left out or made less of, as the note asks
NOTE-RQ：按备注要求遗漏或淡化 LIM-GT
a sentence nobody knows
a sentence nobody knows
""".splitlines()


@pytest.mark.parametrize(("message", "chinese"), zip(EXAMPLES[::2], EXAMPLES[1::2], strict=True))
def test_examples(message, chinese):
    assert say(message, "zh") == chinese


def test_english_pages_write_no_words_of_the_schema():
    said = say("LIM-A is missing: breach_within_approved_excess at 107.8% of hard", "en")
    assert said == "LIM-A is missing: breach within approved excess at 107.8% of hard"
    assert (
        say("wrong unit: LIM-A vega used (5.5 money_per_vol_point)", "en") == "wrong unit: LIM-A vega used (5.5/vol)"
    )


def test_every_line_of_the_catalogue_names_what_it_says():
    patterns, words, _ = messages._catalogue()
    assert all(set(re.findall(r"\{(\w+)\}", chinese)) <= set(pattern.groupindex) for pattern, chinese in patterns)
    assert all(words.values())


PIECES = [" is ", "; the policy gives ", ": ", "LIM-AA", " (1 USD)", ", ", "x ", "'", " and ", " of ", " to "]


@settings(max_examples=200, deadline=500)
@given(st.text(max_size=900) | st.lists(st.sampled_from(PIECES), max_size=200).map("".join))
def test_any_message_is_told_at_once(text):
    assert isinstance(say(text, "zh"), str)
