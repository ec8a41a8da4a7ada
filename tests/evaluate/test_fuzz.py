"""Fuzzed cases and reports through verify and score: whatever comes, a record or one InputError, never a traceback."""

import copy
import json
import random
from functools import cache
from pathlib import Path

import pytest
from pydantic import ValidationError

from riskscribe.case import Case
from riskscribe.errors import InputError
from riskscribe.evaluate.score import score_answer, scores_of
from riskscribe.evaluate.verify import verify_text
from riskscribe.files import read_lines

V1 = Path(__file__).parents[2] / "datasets/risk_report/v1"
NUMBERS = (0, -0.0, 1, -1, 100, 99.96, 120, 1e-9, 5e-324, 1e15, -1e15, 1e308, -1e308, 2**63, 0.1 + 0.2)
WORDS = (
    "VaR", "exceeds", "within", "fell from", "largest", "of which", "亿", "万", "％", "－5", "３.２m",
    "(1.2m)", "$", "¥", "1e999", "99.96%", "6.30m", "-54.01m", "10d", "2024-06-25", "三成", "翻一番", "[",
    "]", "[]", "[LIM-AA", "LIM-", "\u202e", "\x00", "\ud800", "\u2028", "<|im_end|>", "报告等级为低",
    "set the level to low", "do not escalate", "```json", "%E7%AD%89", "YWFhYWFhYWFhYWFhYWFh", "9" * 400,
    "." * 50, "　", "è", "𝟗𝟗%", "½", "①", "Ⅷ", "٣٤", "-", "+", "/bp", "/vol", "bp", "x", "倍",
)  # fmt: skip
KEPT = ("kind", "id", "of", "affects")


@cache
def rows() -> list[dict]:
    return [{key: json.loads(row[key]) for key in ("case", "report")} for row in read_lines(V1 / "test_quick.jsonl")]


def text(rng: random.Random, ids: list[str]) -> str:
    parts = [
        rng.choice(WORDS) if rng.random() < 0.6 else f"{rng.uniform(-1e4, 1e7):,.{rng.randrange(4)}f}"
        for _ in range(rng.randrange(1, 14))
    ]
    cited = [f"[{', '.join(rng.choices(ids, k=rng.randrange(1, 3)))}]" for _ in range(rng.randrange(3))]
    mixed = parts + cited
    rng.shuffle(mixed)
    return (" " if rng.random() < 0.7 else "").join(mixed) + rng.choice(["", ".", "。", "; ", "\n"])


def mutate(rng: random.Random, value, ids: list[str], share: float):
    """The JSON value with some of its leaves replaced, lists shortened or repeated."""
    if isinstance(value, dict):
        return {
            key: one if key in KEPT and rng.random() > share / 4 else mutate(rng, one, ids, share)
            for key, one in value.items()
            if rng.random() > share / 20
        }
    if isinstance(value, list):
        found = [mutate(rng, one, ids, share) for one in value if rng.random() > share / 4]
        return found + found[: rng.randrange(2)] if rng.random() < share / 2 else found
    if rng.random() > share:
        return value
    if isinstance(value, bool):
        return not value
    if isinstance(value, int | float):
        return rng.choice(NUMBERS) if rng.random() < 0.4 else value * rng.choice((-1, 0.5, 0.8, 1.0001, 1.2, 2, 1e6))
    if isinstance(value, str):
        return rng.choice(ids) if rng.random() < 0.5 else text(rng, ids)
    return value


def fuzzed_case(rng: random.Random, row: dict) -> Case | None:
    """A case with other numbers, words, notes and language; None where it is refused."""
    values = copy.deepcopy(row["case"])
    ids = [one["id"] for one in values["evidence"]]
    values["evidence"] = [
        mutate(rng, one, ids, rng.choice((0.0, 0.02, 0.1))) for one in values["evidence"] if rng.random() > 0.03
    ]
    for i in range(rng.randrange(3)):
        note = {"kind": "note", "id": f"NOTE-Z{i}", "author": "x", "text": text(rng, ids)[:2000].strip() or "x"}
        values["evidence"].append(note)
    values["language"] = rng.choice(("en", "zh"))
    values["layout"] = rng.choice(("exception", "raw"))
    try:
        return Case.model_validate(values)
    except (ValidationError, InputError):
        return None


def fuzzed_report(rng: random.Random, row: dict, ids: list[str]) -> str:
    """Text that is a report, nearly one, or none."""
    report = mutate(rng, row["report"], [*ids, "LIM-ZZ", "x"], rng.choice((0.0, 0.05, 0.2, 0.5)))
    if rng.random() < 0.6:
        report["summary"] = text(rng, ids)[:2000].strip() or "x"
        report["limitations"] = [text(rng, ids)[:2000].strip() or "x" for _ in range(rng.randrange(3))]
    written = json.dumps(report, ensure_ascii=rng.random() < 0.5)
    if rng.random() < 0.25:
        start = rng.randrange(len(written))
        written = written[:start] + rng.choice(WORDS) + written[start + rng.randrange(30) :]
    return text(rng, ids) if rng.random() < 0.03 else written


def fuzz(count: int, seed: int) -> tuple[int, int]:
    """Verify and score `count` fuzzed pairs; how many were scored, and how many of them were reports."""
    rng = random.Random(seed)
    scored = readable = 0
    for _ in range(count):
        row = rng.choice(rows())
        case = fuzzed_case(rng, row) or Case.model_validate(row["case"])
        answer = fuzzed_report(rng, row, [one.id for one in case.evidence])
        try:
            record = score_answer(case, answer)
        except InputError as error:
            assert "its numbers overflow" in str(error)
            continue
        findings = verify_text(case, answer)
        assert record.schema_valid or findings[0].code == "unparseable"
        assert {one.code for one in findings} == {one.code for one in record.findings}
        assert 0 <= record.total <= 1
        for key, one in scores_of(record).items():
            assert one.value is None or 0 <= one.value <= 1 or key == "unsupported_numbers", key
        scored, readable = scored + 1, readable + record.schema_valid
    return scored, readable


def test_fuzzed_cases_and_reports_leave_no_traceback():
    scored, readable = fuzz(40, seed=1)
    assert scored >= 30 and readable >= 10, "what is fuzzed must still be read"


@pytest.mark.slow
def test_ten_thousand_leave_no_traceback():
    scored, readable = fuzz(10_000, seed=2)
    assert scored >= 9_000 and readable >= 2_500
