"""Whether every number in a text stands in the evidence it cites, in English or Chinese.

A number is read with its sign, scale word, unit and currency; the digits written define its rounding interval
(6.3m is any amount from 6.25m to 6.35m); the ids in brackets beside it define which evidence may support it. Nothing
here reads a gold report, and nothing a desk note says supports a number.
"""

import re
import sys
import unicodedata
from collections import deque
from collections.abc import Iterable, Iterator
from datetime import date
from functools import cache
from typing import Any, Literal, NamedTuple

from pydantic import BaseModel, FiniteFloat, model_validator

from riskscribe import policy as rules
from riskscribe.case import (
    ID_PATTERN,
    Backtest,
    Case,
    Change,
    Component,
    Counterparty,
    Evidence,
    Limit,
    Note,
    PnL,
    Position,
    Stress,
    ValueAtRisk,
)
from riskscribe.errors import InputError
from riskscribe.files import validate
from riskscribe.prompt import thresholds
from riskscribe.report import Report

_SCALES = {
    "trillion": 1e12, "tn": 1e12, "billion": 1e9, "bn": 1e9, "b": 1e9, "million": 1e6, "mio": 1e6, "mln": 1e6,
    "mn": 1e6, "mm": 1e6, "m": 1e6, "thousand": 1e3, "k": 1e3,
    "万亿": 1e12, "千亿": 1e11, "百亿": 1e10, "十亿": 1e9, "亿": 1e8, "千万": 1e7, "百万": 1e6, "万": 1e4, "千": 1e3,
}  # fmt: skip
_CODES = (
    "USD", "EUR", "GBP", "JPY", "CNY", "CNH", "HKD", "CHF", "AUD", "CAD", "NZD", "SGD", "KRW", "TWD", "INR", "SEK",
    "NOK", "BRL", "MXN",
)  # fmt: skip
# what a currency word may mean; CNY is not CNH
_CURRENCIES = {one.lower(): {one} for one in _CODES} | {
    "us$": {"USD"}, "hk$": {"HKD"}, "$": {"USD"}, "€": {"EUR"}, "£": {"GBP"}, "¥": {"CNY", "JPY"}, "rmb": {"CNY"},
    "dollars": {"USD"}, "euros": {"EUR"}, "pounds": {"GBP"}, "yuan": {"CNY"}, "yen": {"JPY"}, "人民币": {"CNY"},
    "元": {"CNY"}, "美元": {"USD"}, "欧元": {"EUR"}, "英镑": {"GBP"}, "日元": {"JPY"}, "港元": {"HKD"},
}  # fmt: skip
# unit -> its Latin spellings, its Chinese ones
_UNITS = {
    "percent": (r"\s?(?:percentage\spoints?|percent|per\scent|pct|pp)", r"\s?%|个?百分点"),
    "bp": (r"\s?(?:basis\spoints?|bps?)", "个?基点"),
    "days": (r"[-\s]?(?:business\s|trading\s)?(?:days?|d)", "个?(?:交易日|工作日|天|日)"),
    "weeks": (r"[-\s]?(?:weeks?|w)", "周"),
    "months": (r"[-\s]?months?", "个月"),
    "years": (r"[-\s]?(?:years?|yrs?|y)", "年"),
    "ratio": (r"\s?(?:x|times)", "倍"),
    "money_per_bp": (r"\s?(?:/\s?|per\s)(?:bp|basis\spoint)", "/基点"),
    "money_per_vol_point": (r"\s?(?:/\s?|per\s)vol(?:\spoint)?", "/波动率点"),
}
_MONEY = {"money", "money_per_bp", "money_per_vol_point"}
_END = "(?![A-Za-z0-9])"


def _words(table: Iterable[str]) -> str:
    """Any of the words, the longest first; a Latin one must end where it ends."""
    words = sorted(table, key=len, reverse=True)
    latin = "|".join(one for one in words if one.isascii())
    return "|".join([f"(?:{latin}){_END}", *(one for one in words if not one.isascii())])


# one pass, and every part but the digits optional: nothing to backtrack into
_NUMBER = re.compile(
    rf"""
    (?P<sign>(?<![0-9A-Za-z%)\]])[+-]|\bminus\s|负)?
    (?:(?P<before>(?<![A-Za-z])(?:{"|".join(re.escape(one) for one in _CURRENCIES if one != "元")}))\s?
       (?P<inner>[+-])?)?
    (?P<digits>(?:[0-9]{{1,3}}(?:,[0-9]{{3}})+(?![0-9])|[0-9]+)(?:\.[0-9]+)?|(?<![0-9.])\.[0-9]+)
    (?P<exponent>e[+-]?[0-9]{{1,2}}{_END})?
    (?:\s?(?P<scale>{_words(_SCALES)}))?
    (?:\s?(?P<after>{_words(one for one in _CURRENCIES if one[-1].isalpha())}))?
    (?:{"|".join(f"(?P<{unit}>(?:{latin}){_END}|{other})" for unit, (latin, other) in _UNITS.items())})?
    """,
    re.VERBOSE | re.IGNORECASE,
)
_LIST_NUMBER = re.compile(r"^\s*([0-9]{1,2})(?=[.)、]\s)", re.MULTILINE)
_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_MONTH = rf"({'|'.join(_MONTHS)})[a-z]{{0,6}}\.?"
_DATE = re.compile(
    r"(?<![0-9])([0-9]{4})\s?[-/年]\s?([0-9]{1,2})\s?[-/月]\s?([0-9]{1,2})(?:日|(?![0-9]))"
    rf"|(?<![0-9])([0-9]{{1,2}})\s{_MONTH},?\s([0-9]{{4}})(?![0-9])"
    rf"|\b{_MONTH}\s([0-9]{{1,2}}),?\s([0-9]{{4}})(?![0-9])",
    re.IGNORECASE,
)
_BRACKETS = re.compile(r"\[([^\[\]]{1,400})\]")
_ID = re.compile(rf"(?<![A-Za-z0-9-]){ID_PATTERN}(?![A-Za-z0-9-])")
_ID_SHAPE = re.compile(rf"{ID_PATTERN}|[A-Z]{{2,6}}-(?=[A-Z]*[0-9])[A-Z0-9]{{1,10}}")
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]*")
_CLAUSE_END = re.compile(r"[。!?;\n]|\.(?=\s|$)")
_INSTRUMENT = re.compile(
    r"\b(?:call|put|forward|future|swap|swaption|option|cap|floor|bond|tenor|maturity)s?\b"
    "|看涨|看跌|远期|期货|互换|期权|期限",
    re.IGNORECASE,
)
# words that let a positive number in prose stand for a negative value
_LOSS = re.compile(
    r"\b(?:los(?:e|es|ing|s|ses|t)|offset\w*|hedg\w+|(?:tak(?:e|es|ing)|took) off|short|negative|minus|reduc\w+|cuts?|"
    r"down|f[ae]ll\w*|drop\w*|declin\w+|decreas\w+|lower\w*|mitigat\w+|diversif\w+)\b|亏|损失|对冲|抵|减|空|下跌|下降|负",
    re.IGNORECASE,
)
_LOSES = re.compile(r"(?:\b(?:loses?|losing|loss of)|亏损)\s?$", re.IGNORECASE)
_OFFSETS = re.compile(r"(?:\b(?:offsets|hedges|takes off)|对冲|抵减|抵消)\s?$", re.IGNORECASE)
_GAINS = re.compile(r"(?:\b(?:gains?|gain of|earns?|makes|adds|contributes)|盈利|收益|贡献)\s?$", re.IGNORECASE)
# what a clause must say before a fact of that role supports its number; `#` is the number
_CUES = {
    "previous": re.compile(
        r"\b(?:previous\w*|prior|yesterday\w*|was|were|from|earlier|last|day before)\b|前值|昨|前一|上一|此前|由|从",
        re.IGNORECASE,
    ),
    "soft": re.compile(r"\b(?:soft|threshold|warning|trigger)|软限|预警|阈值", re.IGNORECASE),
    "coverage": re.compile(r"\bcover|覆盖", re.IGNORECASE),
    "fx": re.compile(r"\b(?:rate|fx)\b|汇率", re.IGNORECASE),
    "horizon": re.compile(
        r"#\s?(?:[0-9.]+%\s?)?(?:VaR|ES\b|expected shortfall|horizon|持有期|预期尾部)", re.IGNORECASE
    ),
    "confidence": re.compile(
        r"#[\s,]{0,2}(?:[0-9]+(?:[-\s]?day|d|天|日)\s?)?(?:VaR|ES\b|expected shortfall|confidence|置信|分位|预期尾部)"
        r"|(?:confidence(?: level)?(?: of| at|:)?|置信(?:水平|度)?为?|VaR\s?\()\s?#",
        re.IGNORECASE,
    ),
}
_NEARBY = 300  # characters of a clause that are read for cues: keeps the work linear in the text


class Fact(BaseModel):
    """One number that a piece of evidence supports; an id has as many facts as its evidence has numbers.

    A person gives id and value, perhaps label, unit and currency. Their unit may be written as a number's suffix is,
    "%", "USD m" or "亿元": it is stored as percent, bp, days, money, ... with the scale applied to `value`.
    """

    id: str
    label: str = ""
    value: FiniteFloat
    unit: str | None = None
    currency: str | None = None
    role: str = "value"
    signed: bool = True  # False: a magnitude, told without its sign
    exact: bool = False  # True: never rounded (dates, counts, numbers inside a text)
    everywhere: bool = False  # True: may be told beside any citation
    beside: tuple[str, ...] = ()  # other ids beside whose citation it may be told: the horizon of a VaR limit
    trusted: bool = True
    boundaries: tuple[float, ...] = ()  # values that a quote must not be rounded across

    @model_validator(mode="after")
    def _read_unit(self):
        unit = (self.unit or "").strip()
        if unit in (*_MONEY, *_UNITS, "date", "count"):
            return self
        spellings = [f"1{unit}", f"1 {unit}", f"{unit[:1]}1{unit[1:]}", f"{unit[:3]} 1{unit[3:].strip()}"]
        found = None if any(one.isdigit() for one in unit) else map(_NUMBER.fullmatch, spellings)
        match = next(filter(None, found or ()), None)
        if match is None or not unit:
            self.unit = "money" if self.currency else None
            return self
        read = _read(match)
        self.unit, self.value = read.unit, _bounded(self.value * read.value)
        if len(read.currencies) == 1:
            self.currency = self.currency or min(read.currencies)
        return self

    def __str__(self):
        unit = {"percent": " %", "money": f" {self.currency or ''}", "date": "", None: ""}.get(
            self.unit, f" {self.unit}"
        )
        return f"{self.id} {self.label}".rstrip() + f" ({self.value:,.10g}{unit.rstrip()})"


FaultKind = Literal[
    "not_found", "wrong_evidence", "unknown_evidence", "wrong_sign", "wrong_unit", "wrong_scale", "wrong_currency",
    "wrong_measure", "wrong_horizon", "wrong_confidence", "wrong_period", "threshold", "untrusted", "no_word",
    "comparative",
]  # fmt: skip


class Number(BaseModel):
    """A number found in a text. `span` counts characters; `value` has sign and scale word applied."""

    span: tuple[int, int]
    text: str
    value: float
    unit: str | None = None
    verdict: Literal["quoted", "derived", "unsupported", "ignored"]
    evidence: list[str] = []
    operation: str | None = None
    reason: str | None = None
    fault: FaultKind | None = None  # why it is unsupported, for machines


class Claim(BaseModel):
    """A comparison that a text makes ("rose from 4.67m to 4.61m") and whether the numbers it speaks of bear it out."""

    span: tuple[int, int]
    text: str
    kind: Literal["change"]
    verdict: Literal["supported", "contradicted"]
    evidence: list[str] = []
    reason: str | None = None


# --- the numbers of a text


class _Read(NamedTuple):
    """A number as written. `half` is half a unit of its last digit; `tenor` is 3 where 3m could be three months."""

    span: tuple[int, int]
    value: float
    half: float
    unit: str | None
    scale: float = 1.0
    currencies: frozenset[str] = frozenset()
    has_sign: bool = False
    tenor: float | None = None
    ignored: str | None = None


@cache
def _ascii(char: str) -> str:
    if char.isdecimal():
        return str(unicodedata.decimal(char))
    if "！" <= char <= "～" and char != "，":  # a full-width comma separates clauses, never thousands
        return chr(ord(char) - 0xFEE0)
    return {"−": "-", "–": "-", "﹣": "-", "￥": "¥", "【": "[", "】": "]"}.get(char, char)


def _normalise(text: str) -> str:
    """Full-width and foreign digits and signs as ASCII, character by character, so that spans stay true."""
    return "".join(map(_ascii, text))


def _bounded(value: float) -> float:
    return max(-sys.float_info.max, min(sys.float_info.max, value))


def _read(match: re.Match) -> _Read:
    """A match of _NUMBER with sign, scale, unit and currency applied."""
    digits = match["digits"].replace(",", "")
    scale = _SCALES[match["scale"].lower()] if match["scale"] else 1.0
    exponent = int(match["exponent"][1:]) if match["exponent"] else 0
    sign = (match["sign"] or match["inner"] or "").strip()
    value = _bounded(float(digits) * 10.0**exponent * scale) * (-1 if sign not in ("", "+") else 1)
    half = _bounded(0.5 * 10.0 ** max(-300, exponent - len(digits.partition(".")[2])) * scale)
    unit = next((name for name in _UNITS if match[name]), None)
    if unit == "years" and re.fullmatch("(?:19|20)[0-9]{2}年", match[0]):
        unit = None  # a calendar year
    currencies = frozenset()
    if unit is None or unit in _MONEY:
        currencies = frozenset(_CURRENCIES.get((match["before"] or match["after"] or "").lower(), ()))
        unit = unit or ("money" if currencies or match["scale"] else None)
    tenor = float(digits) if re.fullmatch("[0-9]{1,3}m", match[0], re.IGNORECASE) else None
    return _Read(match.span(), value, half, unit, scale, currencies, bool(sign), tenor)


def _read_date(match: re.Match) -> _Read:
    """A match of _DATE as the number yyyymmdd."""
    first, second, third = (one for one in match.groups() if one)
    if first.isdigit() and second.isdigit():
        year, month, day = first, int(second), third
    else:
        name, day, year = (second, first, third) if first.isdigit() else (first, second, third)
        month = 1 + _MONTHS.index(name.lower())
    return _Read(match.span(), float(int(year) * 10000 + month * 100 + int(day)), 0.0, "date")


def _no_value(text: str, match: re.Match, listed: set[int]) -> str | None:
    """Why digits are no number that needs evidence, or None."""
    start, end = match.span("digits")
    before, after = text[max(0, start - 1) : start], text[end : end + 3]
    if not match["digits"].isdigit() or match["before"] or match["scale"] or match["percent"]:
        return None
    # PV01, FR007, SX5E; but VaR5m is a number, and so are five digits
    if before.isascii() and before.isalpha() and end - start <= 4 and (match.end() == end or after[0] in " /"):
        return "part of a name"
    if before == "第" or re.match(rf"(?:st|nd|rd|th){_END}", after, re.IGNORECASE):
        return "ordinal"
    return "list number" if start in listed else None


def _scan(text: str) -> list[_Read]:
    """The numbers of a normalised text without ids, from left to right."""
    found = [_read_date(one) for one in _DATE.finditer(text)]
    text = _DATE.sub(lambda match: " " * len(match[0]), text)
    listed = {match.start(1) for match in _LIST_NUMBER.finditer(text)}
    for match in _NUMBER.finditer(text):
        found.append(_read(match)._replace(ignored=_no_value(text, match, listed)))
    return sorted(found, key=lambda one: one.span)


# --- the numbers of a case


def facts_of(case: Case) -> list[Fact]:
    """Every number the evidence of a case supports, id by id, with what the policy computes from it.

    An amount in another currency is there a second time in the base currency.
    """
    whole = {"id": case.case_id, "everywhere": True}
    today = int(case.as_of.strftime("%Y%m%d"))
    covered, bounds = rules.coverage_pct(case), (80.0, 95.0, 100.0)
    facts = [
        Fact(label="as-of date", value=today, unit="date", role="as_of", exact=True, **whole),
        Fact(label="coverage", value=covered, unit="percent", role="coverage", boundaries=bounds, **whole),
        *(Fact(label=f"{name} rate", value=rate, role="fx", **whole) for name, rate in case.fx.items()),
    ]
    for item in case.evidence:
        facts += [*_fields(item, case), *_in_words(item)]
        if isinstance(item, ValueAtRisk):
            facts += _horizon(item, case)
    for one in list(facts):
        if one.unit in _MONEY and one.currency in case.fx:
            converted = {"value": _bounded(case.in_base(one.value, one.currency)), "currency": case.base_currency}
            facts.append(one.model_copy(update=converted))
    return facts


def _fields(item: Evidence, case: Case) -> Iterator[Fact]:
    """The numeric fields of one evidence item."""

    def fact(label: str, value: float | None, unit: str = "money", *, currency: str | None = None, **more):
        if value is not None:
            currency = (currency or getattr(item, "currency", None)) if unit in _MONEY else None
            yield Fact(id=item.id, label=label, value=_bounded(value), unit=unit, currency=currency, **more)

    match item:
        case Limit():
            unsigned = {"unit": item.unit, "signed": False}
            yield from fact(f"{item.measure} used", item.value, **unsigned)
            yield from fact("hard limit", item.hard, **unsigned)
            yield from fact("soft limit", item.soft, **unsigned)
            yield from fact("previous value", item.previous, role="previous", **unsigned)
            share = {"unit": "percent", "signed": False, "boundaries": thresholds()}
            yield from fact("utilisation", rules.utilisation_pct(item), role="utilisation", **share)
            if item.previous is not None:
                before = item.model_copy(update={"value": item.previous})
                yield from fact("previous utilisation", rules.utilisation_pct(before), role="previous", **share)
            yield from fact("soft limit as share of hard", 100 * item.soft / item.hard, "percent", role="soft")
            yield from fact("excess over hard", rules.excess(item) or None, role="excess", **unsigned)
            yield from fact("reduction to soft", rules.reduction_to_soft(item) or None, role="reduction", **unsigned)
            if item.temporary_increase:
                yield from fact("temporary increase", item.temporary_increase.amount, **unsigned)
            yield from fact("days open", item.days_open, "days", exact=True)
            yield from fact("value five days ago", item.five_days_ago, role="previous", **unsigned)
        case ValueAtRisk():
            loss = {"signed": False}
            yield from fact(item.measure, item.value, **loss)
            yield from fact(f"previous {item.measure}", item.previous, role="previous", **loss)
            yield from fact(f"{item.measure} five days ago", item.five_days_ago, role="previous", **loss)
            yield from fact("standard error", item.standard_error, **loss)
            yield from fact("undiversified", item.undiversified, **loss)
            yield from fact("windows", item.windows, "count", exact=True)
            yield from fact("windows in the tail", item.tail_count, "count", exact=True)
        case Component():
            yield from fact("contribution", item.contribution)
            yield from fact("previous contribution", item.previous, role="previous")
            yield from fact("share", item.share_pct, "percent")
            yield from fact("standalone", item.standalone, signed=False)
        case Stress():
            yield from fact("stress P&L", item.pnl)
            yield from fact("previous stress P&L", item.previous, role="previous")
        case Position():
            yield from fact("MTM", item.mtm)
            yield from fact("previous MTM", item.previous, role="previous")
            yield from fact("standalone VaR", item.standalone_var, signed=False)
            yield from fact("notional", item.notional, signed=False)
            for greek in item.sensitivities:
                yield from fact(greek.measure, greek.value, currency=greek.currency)
        case PnL():
            yield from fact(f"{item.measure} P&L", item.value)
            yield from fact(f"previous {item.measure} P&L", item.previous, role="previous")
        case Change():
            yield from fact(f"{item.step} step", item.value, case.unit_of(item.of))
        case Backtest():
            yield from fact("exceptions", item.exceptions, "count", exact=True)
            yield from fact("days", item.days, "days", exact=True)
            yield from fact("confidence", item.confidence_pct, "percent", role="confidence")
        case Counterparty():
            yield from fact("exposure", item.exposure, signed=False)
            yield from fact("collateral", item.collateral, signed=False)
            yield from fact("threshold", item.threshold, signed=False)


def _horizon(line: ValueAtRisk, case: Case) -> list[Fact]:
    """Horizon and confidence of a VaR line, which qualify its limits, components and flags as well."""
    beside = [one.id for one in case.of_kind(Limit) if one.measure == "var"]
    for one in case.evidence:
        if getattr(one, "of", None) == line.id or line.id in getattr(one, "affects", ()):
            beside.append(one.id)
    more = {"id": line.id, "beside": tuple(beside), "exact": True}
    return [
        Fact(label="confidence", value=line.confidence_pct, unit="percent", role="confidence", **more),
        Fact(label="horizon", value=line.horizon_days, unit="days", role="horizon", **more),
    ]


def _in_words(item: Evidence) -> Iterator[Fact]:
    """Dates, and numbers inside the words of an evidence item: strikes, tenors, shocks, the age of a quote."""
    for text in _strings(item.model_dump(exclude={"id"})):
        text = _ID.sub(" ", _normalise(text))
        for read in _scan(text):
            if read.ignored is None:
                is_tenor = read.tenor is not None and _INSTRUMENT.search(text)
                value, unit = (read.tenor, "months") if is_tenor else (read.value, read.unit)
                told = {"role": "text", "exact": True, "trusted": not isinstance(item, Note)}
                yield Fact(id=item.id, label="text", value=value, unit=unit, **told)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, dict | list):
        for one in value.values() if isinstance(value, dict) else value:
            yield from _strings(one)
    elif isinstance(value, str | date):
        yield str(value)


# --- which evidence stands beside a number


class _Citation(NamedTuple):
    start: int
    end: int
    ids: tuple[str, ...]


class _Clause(NamedTuple):
    start: int
    end: int
    citations: list[_Citation]
    reads: list[_Read]


def cited_ids(text: str, known: Iterable[str] = ()) -> list[str]:
    """The evidence ids a text names, in brackets or not, each once.

    Args:
        text: prose of a report.
        known: the ids of the evidence; whatever has an id's shape counts as well, so that invented ids are found.
    """
    plain = _normalise(text)
    _, citations = _cut_ids(plain, set(known))
    return list(dict.fromkeys([name for one in citations for name in one.ids] + _ID.findall(plain)))


def _cut_ids(text: str, known: set[str]) -> tuple[str, list[_Citation]]:
    """The text with every id blanked, so that its digits are no numbers, and the citations in brackets."""
    citations, cuts = [], []
    for match in _BRACKETS.finditer(text):
        names = [one for one in re.split(r"[\s,，;、]+", match[1]) if one]
        ids = tuple(one for one in names if one in known or _ID_SHAPE.fullmatch(one))
        if ids:
            citations.append(_Citation(*match.span(), ids))
        if len(ids) == len(names):
            cuts.append(match.span())
    for match in _TOKEN.finditer(text):
        token = match[0].rstrip(".:-_")
        if token in known or _ID_SHAPE.fullmatch(token):
            cuts.append((match.start(), match.start() + len(token)))
    pieces, at = [], 0
    for start, end in sorted(cuts):
        if start >= at:
            pieces += [text[at:start], " " * (end - start)]
            at = end
    return "".join([*pieces, text[at:]]), citations


def _clauses(text: str, citations: list[_Citation]) -> list[_Clause]:
    """Sentences, cut at semicolons too, each with its citations and numbers.

    A citation behind a full stop ("VaR is 5m. [VAR-1] Stress ...") belongs to the sentence before it.
    """
    ends = [*(match.end() for match in _CLAUSE_END.finditer(text)), len(text)]
    reads, cited = deque(_scan(text)), deque(citations)
    clauses: list[_Clause] = []
    for start, end in zip([0, *ends], ends, strict=False):
        clause = _Clause(start, end, [], [])
        while cited and cited[0].start < end:
            one = cited.popleft()
            leads = not clause.citations and not text[start : one.start].strip()
            behind = leads and bool(clauses) and clauses[-1].reads and not clauses[-1].citations
            goes_on = text[one.end : end].strip()[:1].islower()
            (clauses[-1] if behind and not goes_on else clause).citations.append(one)
        while reads and reads[0].span[0] < end:
            clause.reads.append(reads.popleft())
        clauses.append(clause)
    return clauses


def _groups(clause: _Clause, text: str) -> list[_Citation]:
    """The citations of a clause, neighbours ("[LIM-1], [VAR-2]") as one."""
    groups: list[_Citation] = []
    for one in clause.citations:
        if groups and re.fullmatch(r"(?:[\s,，、和及与]|and){0,9}", text[groups[-1].end : one.start]):
            one = _Citation(groups[-1].start, one.end, groups.pop().ids + one.ids)
        groups.append(one)
    return groups


def _beside(read: _Read, groups: list[_Citation], leads: bool) -> frozenset[str] | None:
    """The ids beside a number: the next citation, or the last one where none follows; None without any.

    Where the clause begins with a citation (`leads`: "[LIM-1] uses 5m"), the one before the number counts too.
    """
    before = [one for one in groups if one.start < read.span[0]]
    after = groups[len(before) :]
    chosen = after[:1] or before[-1:]
    if leads:
        chosen = before[-1:] + after[:1]
    return frozenset(name for one in chosen for name in one.ids) if groups else None


# --- verdicts


class _Context(NamedTuple):
    """What stands around a number in its clause, and the ids beside it (None: any evidence may be quoted)."""

    before: str
    after: str
    cited: frozenset[str] | None

    def says(self, pattern: re.Pattern) -> bool:
        return bool(pattern.search(f"{self.before}#{self.after}"))


class _Fault(NamedTuple):
    """Why a fact does not support a number; the lowest rank makes the best reason."""

    rank: int
    reason: str
    kind: FaultKind


_NONE = _Fault(9, "in no evidence", "not_found")
_ROLE_FAULTS: dict[str, FaultKind] = {
    "previous": "wrong_period", "horizon": "wrong_horizon", "confidence": "wrong_confidence",
}  # fmt: skip


def _fault(read: _Read, fact: Fact, near: _Context) -> _Fault | None:
    """What is wrong with quoting `fact` as `read`; None when it is supported."""
    if not _equal(read, abs(fact.value), fact.exact):
        return _NONE
    if not _unit_fits(read.unit, fact.unit):
        return _Fault(4, f"wrong unit: {fact}", "wrong_unit")
    if not fact.trusted:
        return _Fault(1, f"only {fact.id} says so, and a note supports nothing", "untrusted")
    if read.currencies and fact.currency and fact.currency not in read.currencies:
        return _Fault(0, f"wrong currency: {fact}", "wrong_currency")
    # beside its own VaR line, "99 %" needs no word that says confidence
    told = fact.role in ("confidence", "horizon") and near.cited is not None and fact.id in near.cited
    if fact.role in _CUES and not told and not near.says(_CUES[fact.role]):
        kind = _ROLE_FAULTS.get(fact.role, "wrong_measure")
        return _Fault(4 if fact.everywhere else 0, f"is {fact}, which the sentence does not say", kind)
    for bound in fact.boundaries:
        far = abs(fact.value - bound) > 1e-8 * bound  # closer than any rendering shows
        if far and _side(abs(read.value), bound) != _side(fact.value, bound):
            return _Fault(0, f"rounds across {bound:g}: {fact}", "threshold")
    return _Fault(0, f"wrong sign: {fact}", "wrong_sign") if _wrong_sign(read, fact, near) else None


def _far_fault(read: _Read, fact: Fact) -> _Fault:
    """Whether the digits written are those of the fact, in another scale or unit."""
    if read.half > 0.05 * abs(read.value):  # one digit is like too many others
        return _NONE
    mantissa = abs(read.value) / read.scale
    for other in (mantissa, *(mantissa * 10.0**i for i in (2, 3, 4, 6, 8, 9, 12))):
        as_if = read._replace(value=other, half=read.half * other / (abs(read.value) or 1.0))
        if other and not fact.exact and _equal(as_if, abs(fact.value), fact.exact):
            word = "scale" if _unit_fits(read.unit, fact.unit) else "unit"
            return _Fault(4, f"wrong {word}: {fact}", f"wrong_{word}")
    return _NONE


def _equal(read: _Read, size: float, exact: bool) -> bool:
    return abs(abs(read.value) - size) <= (0.0 if exact else read.half) + 1e-12 * max(1.0, size)


def _side(value: float, bound: float) -> int:
    return (value > bound) - (value < bound)


def _unit_fits(written: str | None, unit: str | None) -> bool:
    if written is None:
        return unit in (None, "count") or unit in _MONEY
    if written == "money":  # "a PV01 of 40k" leaves the /bp to the measure
        return unit is None or unit in _MONEY
    return written == unit or (unit is None and written != "percent")


def _wrong_sign(read: _Read, fact: Fact, near: _Context) -> bool:
    if read.value == 0 or fact.value == 0 or fact.unit == "date":
        return False
    loses = bool(_LOSES.search(near.before))
    if read.value < 0:  # "loses -5m" would be a gain
        return fact.value > 0 or (loses and fact.signed)
    if fact.role == "text" or not fact.signed:
        return read.has_sign and fact.value < 0
    if fact.value > 0:
        return fact.role == "value" and (loses or bool(_OFFSETS.search(near.before)))
    return read.has_sign or not near.says(_LOSS) or bool(_GAINS.search(near.before))


def _judge(read: _Read, text: str, near: _Context, facts: list[Fact]) -> Number:
    found = {"span": read.span, "text": text[slice(*read.span)], "value": read.value, "unit": read.unit}
    if read.ignored:
        return Number(**found, verdict="ignored", reason=read.ignored)
    own = {one.role for one in facts if near.cited and one.id in near.cited}
    pool, others = [], []
    for one in facts:
        allowed = near.cited is None or one.id in near.cited or one.everywhere
        # the horizon of the line cited itself goes before that of another
        allowed = allowed or (one.role not in own and not near.cited.isdisjoint(one.beside))
        (pool if allowed else others).append(one)
    readings = [read]
    if read.tenor is not None and near.says(_INSTRUMENT):
        readings.append(read._replace(value=read.tenor, half=0.0, unit="months"))
    faults: list[_Fault] = []
    for one in readings:
        checked = [(fact.id, _fault(one, fact, near)) for fact in pool]
        evidence = list(dict.fromkeys(name for name, fault in checked if fault is None))
        if evidence:
            return Number(**found | {"value": one.value, "unit": one.unit}, verdict="quoted", evidence=evidence)
        faults += [fault for _, fault in checked if fault]
        elsewhere = [fact for fact in others if _fault(one, fact, near) is None]
        faults += [_Fault(2, f"matches {fact}, which is not cited here", "wrong_evidence") for fact in elsewhere]
    invented = sorted((near.cited or frozenset()) - {one.id for one in facts})
    faults += [_Fault(3, f"cites {one}, which is no evidence", "unknown_evidence") for one in invented]
    faults += [_far_fault(read, fact) for fact in pool]
    best = min([*faults, _NONE], key=lambda one: one.rank)
    return Number(**found, verdict="unsupported", reason=best.reason, fault=best.kind)


def ground_text(text: str, facts: list[Fact], cited: list[str] | None = None) -> list[Number]:
    """Find every number of a text and say which evidence supports it.

    Args:
        text: prose, English or Chinese, with ids in square brackets.
        facts: what the evidence says: `facts_of(case)`, or a list of one's own.
        cited: the ids a clause without brackets rests on; None lets it quote any evidence.

    Returns:
        The numbers in the order of the text. Ids hold no numbers.
    """
    plain, citations = _cut_ids(_normalise(text), {one.id for one in facts})
    numbers = []
    for clause in _clauses(plain, citations):
        groups = _groups(clause, plain)
        leads = bool(groups and clause.reads) and groups[0].start < clause.reads[0].span[0]
        for read in clause.reads:
            ids = _beside(read, groups, leads)
            if ids is None and cited is not None:
                ids = frozenset(cited)
            start, end = read.span
            before = plain[max(clause.start, start - _NEARBY) : start]
            near = _Context(before, plain[end : min(clause.end, end + _NEARBY)], ids)
            numbers.append(_judge(read, text, near, facts))
    return numbers


def ground_report(case: Case, report: Report) -> list[tuple[str, Number]]:
    """Every number of a report's prose and every stated utilisation, with the path of its field.

    The ids in brackets beside a number decide; a clause without any rests on the evidence list of its object.
    """
    facts = facts_of(case)
    found = []
    for path, text, evidence in report.prose():
        found += [(path, one) for one in ground_text(text, facts, evidence or None)]
    for i, breach in enumerate(report.limit_breaches):
        own = [one for one in facts if one.id == breach.limit_id and one.role == "utilisation"]
        stated = ground_text(f"{breach.utilisation_pct!r}%", own, [breach.limit_id])
        found += [(f"limit_breaches.{i}.utilisation_pct", one) for one in stated]
    return found


_MOVES = re.compile(
    r"(?P<up>\b(?:rose|rises|rising|increased|climbed|went up|is up|higher)\b|上升|升至|增至)"
    r"|(?P<down>\b(?:fell|falls|falling|decreased|dropped|went down|is down|lower)\b|下降|降至|减至)",
    re.IGNORECASE,
)
_FROM = re.compile(r"(?:\b(?:from|after)|由|从)\D{0,12}$", re.IGNORECASE)


def report_claims(case: Case, report: Report) -> list[tuple[str, Claim]]:
    """The comparisons of a report's prose, each with the path of its field and what came of it."""
    facts = facts_of(case)
    found = []
    for path, text, evidence in report.prose():
        plain, citations = _cut_ids(_normalise(text), {one.id for one in facts})
        numbers = ground_text(text, facts, evidence or None)
        for clause in _clauses(plain, citations):
            move = _MOVES.search(plain, clause.start, clause.end)
            own = [one for one in numbers if clause.start <= one.span[0] < clause.end]
            own = [one for one in own if one.verdict == "quoted" and (one.unit or "").startswith("money")]
            earlier = [one for one in own if _FROM.search(plain[clause.start : one.span[0]])]
            if not move or len(own) != 2 or len(earlier) != 1:
                continue
            later = own[1 - own.index(earlier[0])]
            up = later.value > earlier[0].value
            right = later.value != earlier[0].value and up == bool(move["up"])
            claim = Claim(
                span=move.span(), text=text[slice(*move.span())], kind="change", evidence=later.evidence,
                verdict="supported" if right else "contradicted",
                reason=None if right else f"{earlier[0].text} to {later.text} is {'up' if up else 'down'}",
            )  # fmt: skip
            found.append((path, claim))
    return found


def read_facts(evidence: Any, where: str) -> list[Fact]:
    """A person's evidence list `[{id, label, value, unit?, currency?}]`. Raises InputError naming the item."""
    if not isinstance(evidence, list):
        raise InputError(f"{where}: evidence must be a list of objects with id, label and value")
    return [validate(Fact, one, f"{where}: evidence {i}") for i, one in enumerate(evidence, start=1)]


def ground_batch(rows: Iterable[Any]) -> Iterator[dict[str, Any]]:
    """Ground many texts: {id, evidence, text} in, {id, numbers} out, in order. Raises InputError naming the row."""
    for i, row in enumerate(rows, start=1):
        if not isinstance(row, dict) or not {"id", "evidence", "text"} <= row.keys():
            raise InputError(f"row {i}: must be an object with id, evidence and text")
        if not isinstance(row["text"], str):
            raise InputError(f"row {i}: field text: must be a string")
        numbers = ground_text(row["text"], read_facts(row["evidence"], f"row {i}"))
        yield {"id": row["id"], "numbers": [one.model_dump(mode="json") for one in numbers]}
