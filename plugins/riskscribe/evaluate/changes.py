"""Case by case: what changed between two runs, which cases show it best, and what kinds of failure each run has."""

import re
from collections import Counter
from typing import Any, Literal

from riskscribe.evaluate.parse import parse_report
from riskscribe.evaluate.score import METRICS, Record

Kind = Literal["improved", "unchanged", "regressed"]
SHOWN: dict[Kind, int] = {"improved": 4, "unchanged": 3, "regressed": 3}
RAW_SHOWN = 600
_FATAL_FREE = next(one.flag for one in METRICS if one.key == "fatal_error_free")
# a finding on a number begins with the number as it stands in the text, quoted
_QUOTED = re.compile(r"(['\"])(.+?)\1: ")


def quality(record: Record) -> tuple[bool, bool, int]:
    """How good an answer is, for better and worse of one case: free of fatal errors, readable, few findings."""
    return bool(_FATAL_FREE(record)), record.schema_valid, -len(record.findings)


def kind_of(a: Record, b: Record) -> Kind:
    """What run b did to a case compared with run a."""
    before, after = quality(a), quality(b)
    return "unchanged" if before == after else "improved" if after > before else "regressed"


def representative_cases(a: list[Record], b: list[Record], shown: dict[Kind, int] = SHOWN) -> dict[str, Any]:
    """The cases that tell a reader most about two runs, chosen by rule and not by taste.

    Of each kind (improved, unchanged, regressed) as many as `shown` says; where a kind has fewer, the others fill up.
    Within a kind each next case is the one whose language, official level and slices were shown least so far, then
    the one whose findings changed most, then by case id: the same runs give the same cases.

    Returns:
        counts {language: {kind: cases}}; shown [{case_id, language, official_level, slices, kind, a, b, changes}].
    """
    pairs: dict[Kind, list[tuple[Record, Record]]] = {kind: [] for kind in shown}
    counts: dict[str, Counter] = {}
    for x, y in zip(a, b, strict=True):
        kind = kind_of(x, y)
        pairs[kind].append((x, y))
        counts.setdefault(x.language, Counter()).update([kind])
    seen: Counter = Counter()
    chosen: list[tuple[Kind, Record, Record]] = []

    def take(kind: Kind) -> None:
        def order(pair: tuple[Record, Record]) -> tuple[float, int, str]:
            x, y = pair
            # a language or level shown often counts more than a slice: there are many slices
            known = 2 * seen["language", x.language] + 2 * seen["level", x.official_level]
            known += sum(seen["slice", one] for one in x.slices) / max(1, len(x.slices))
            moved = sum((_codes(x) - _codes(y)).values()) + sum((_codes(y) - _codes(x)).values())
            return known, -moved, x.case_id

        best = min(pairs[kind], key=order)
        pairs[kind].remove(best)
        chosen.append((kind, *best))
        x = best[0]
        seen.update([("language", x.language), ("level", x.official_level), *(("slice", one) for one in x.slices)])

    for kind, most in shown.items():
        for _ in range(min(most, len(pairs[kind]))):
            take(kind)
    while len(chosen) < sum(shown.values()) and any(pairs.values()):
        take(next(kind for kind in shown if pairs[kind]))
    chosen.sort(key=lambda one: list(shown).index(one[0]))
    return {
        "counts": {language: {kind: found[kind] for kind in shown} for language, found in counts.items()},
        "shown": [
            {
                "case_id": x.case_id,
                "language": x.language,
                "official_level": x.official_level,
                "slices": x.slices,
                "kind": kind,
                "a": side(x),
                "b": side(y),
                "changes": changes(x, y),
            }
            for kind, x, y in chosen
        ],
    }


def _codes(record: Record) -> Counter:
    return Counter(one.code for one in record.findings)


def side(record: Record) -> dict[str, Any]:
    """What a page shows of one answer: judgements, findings, and the summary with its unsupported numbers marked.

    `summary` is a list of [text, reason or None]: a piece with a reason is a number that the evidence does not carry.
    """
    report = parse_report(record.answer).report if record.schema_valid else None
    shown: dict[str, Any] = {
        "fatal_error_free": bool(_FATAL_FREE(record)),
        "readable": report is not None,
        "error": record.error,
        "raw": None if report else record.answer[:RAW_SHOWN],
        "cut": report is None and len(record.answer) > RAW_SHOWN,
        "level": record.level,
        "breaches": [],
        "summary": [],
        "findings": [{"code": one.code, "path": one.path, "message": one.message} for one in record.findings],
    }
    if report:
        shown["breaches"] = [[one.limit_id, one.status, one.utilisation_pct] for one in report.limit_breaches]
        shown["summary"] = marked(report.summary, record)
    return shown


def marked(text: str, record: Record, path: str = "summary") -> list[list[str | None]]:
    """A prose field in pieces, [text, None] or [number, why it is unsupported], from the record's findings on it."""
    spans: list[tuple[int, int, str]] = []
    for one in record.findings:
        quoted = _QUOTED.match(one.message) if one.path == path else None
        if quoted is None:
            continue
        # the same number can stand there twice: each finding takes the next place
        word = re.compile(rf"(?<![\d.,]){re.escape(quoted[2])}(?![.,]?\d)")
        free = (
            m.span() for m in word.finditer(text) if all(m.end() <= low or m.start() >= high for low, high, _ in spans)
        )
        if span := next(free, None):
            spans.append((*span, one.message[quoted.end() :]))
    pieces: list[list[str | None]] = []
    at = 0
    for low, high, why in sorted(spans):
        pieces += [[text[at:low], None], [text[low:high], why]]
        at = high
    return [one for one in [*pieces, [text[at:], None]] if one[0]]


def changes(a: Record, b: Record) -> list[dict[str, Any]]:
    """What is different in b: {what, from, to}; `what` is readable, level, breach, solved or new.

    For `breach`, `limit` is the limit's id and from/to its status (None: not listed); for `solved` and `new`, `code`
    is a finding's code and `count` how many there are.
    """
    found: list[dict[str, Any]] = []
    if a.schema_valid != b.schema_valid:
        found.append({"what": "readable", "from": a.schema_valid, "to": b.schema_valid})
    if a.level != b.level:
        found.append({"what": "level", "from": a.level, "to": b.level})
    before, after = ({one[0]: one[1] for one in side(x)["breaches"]} for x in (a, b))
    for name in dict.fromkeys([*before, *after]):
        if before.get(name) != after.get(name):
            found.append({"what": "breach", "limit": name, "from": before.get(name), "to": after.get(name)})
    for what, codes in (("solved", _codes(a) - _codes(b)), ("new", _codes(b) - _codes(a))):
        found += [{"what": what, "code": code, "count": count} for code, count in sorted(codes.items())]
    return found


def failures(runs: dict[str, list[Record]]) -> list[dict[str, Any]]:
    """Findings by kind: {code, cases {column: cases that have one}, findings {column: how many}, example}.

    Most frequent kind first; the example {column, case_id, path, message} is the last column's first one, or the
    nearest column's before it.
    """
    codes = Counter(one.code for records in runs.values() for record in records for one in record.findings)
    table = []
    for code, _ in sorted(codes.items(), key=lambda one: (-one[1], one[0])):
        with_it = {key: [one for one in records if code in _codes(one)] for key, records in runs.items()}
        column = next(key for key in reversed(list(runs)) if with_it[key])
        record = with_it[column][0]
        finding = next(one for one in record.findings if one.code == code)
        table.append(
            {
                "code": code,
                "cases": {key: len(records) for key, records in with_it.items()},
                "findings": {key: sum(_codes(one)[code] for one in records) for key, records in with_it.items()},
                "example": {"column": column, "case_id": record.case_id, "path": finding.path}
                | {"message": finding.message},
            }
        )
    return table
