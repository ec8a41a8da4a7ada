"""What the evidence says, number by number: of a case, or of anybody's list of labelled numbers.

An id has as many facts as its evidence has numbers. In a plain list all meaning is in the label: the measure, the
year, the horizon; `meaning` reads it once.
"""

import math
import re
from bisect import bisect_left, bisect_right
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace
from datetime import date
from functools import cached_property, lru_cache
from typing import Any, NamedTuple

from pydantic import BaseModel, FiniteFloat

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
from riskscribe.evaluate.numbers import (
    CURRENCIES,
    DURATIONS,
    MONEY,
    MULTIPLES,
    SCALES,
    UNITS,
    Read,
    bounded,
    lower,
    normalise,
    read_unit,
    scan,
)
from riskscribe.evaluate.prose import read_words
from riskscribe.files import validate
from riskscribe.prompt import limit_name, thresholds

_ID = re.compile(ID_PATTERN)
INSTRUMENT = re.compile(
    r"\b(?:call|put|forward|future|swap|swaption|option|cap|floor|bond|tenor|maturity)s?\b"
    "|看涨|看跌|远期|期货|互换|期权|期限",
    re.IGNORECASE,
)


@dataclass(slots=True)
class Fact:
    """One number that a piece of evidence supports; an id has as many facts as its evidence has numbers.

    A person gives id and value, perhaps label, unit and currency. Their unit may be written as a number's suffix is,
    "%", "USD m" or "亿元": it is stored as percent, bp, days, money, ... with the scale applied to `value`.
    """

    id: str
    label: str = ""
    value: float = 0.0
    unit: str | None = None
    currency: str | None = None
    role: str = "value"
    signed: bool = True  # False: a magnitude, told without its sign
    exact: bool = False  # True: never rounded (dates, counts, numbers inside a text)
    everywhere: bool = False  # True: may be told beside any citation
    beside: tuple[str, ...] = ()  # other ids beside whose citation it may be told: the horizon of a VaR limit
    trusted: bool = True
    boundaries: tuple[float, ...] = ()  # values that a quote must not be rounded across
    about: tuple[str, ...] = ()  # names of what it is about: a scenario, a risk factor, a limit and its scope
    counted: str = ""  # what an amount is of where it is not money alone: 吨 of 万吨, /bu of USD/bu
    of: str = ""  # the id of the line it is a part of: the VaR or the stress of a component

    def __post_init__(self):
        unit = (self.unit or "").strip().replace("'000", " thousand").replace("’000", " thousand")
        if unit in _OWN_UNITS:
            return
        read = _unit(unit) if unit else None
        self.counted = _SCALE_OR_MONEY.sub("", lower(unit)) if read is None else ""
        if read is not None and read.unit in ("points", "index"):
            self.unit = None if read.unit == "points" and unit.lower() in ("points", "point") else read.unit
            return
        if read is None and unit:
            read = _first_unit(unit)
        if read is None:
            self.unit = "money" if self.currency else None
            return
        self.unit, self.value = read.unit, bounded(self.value * read.value)
        if unit[-1:] in "人户家吨股张辆台件套" and not read.currencies:
            self.unit = None
        if len(read.currencies) == 1:
            self.currency = self.currency or min(read.currencies)

    def __str__(self):
        unit = {"percent": " %", "money": f" {self.currency or ''}", "date": "", None: ""}.get(
            self.unit, f" {self.unit}"
        )
        return f"{self.id} {self.label}".rstrip() + f" ({self.value:,.10g}{unit.rstrip()})"


_OWN_UNITS = frozenset((*MONEY, *UNITS, "date", "count", "year")) - {"points"}


_ALIKE = "|".join(re.escape(one) for one in (*SCALES, *CURRENCIES) if one.isascii() and one not in MULTIPLES)
_SCALE_OR_MONEY = re.compile(
    rf"(?<![a-z])(?:{_ALIKE})s?(?![a-z])"
    rf"|{'|'.join(one for one in (*sorted(SCALES, key=len, reverse=True), *CURRENCIES) if not one.isascii())}|\s"
)


_SHARE_OF = re.compile(r"(?:%|percent|per cent|pct|bps?)(?=\s)", re.IGNORECASE)  # % of NAV, % a year
_CODE = re.compile(r"^[A-Z]{3}\s(?=[a-z]+$)")  # VLC bn: a currency that nobody listed


@lru_cache(maxsize=512)
def _first_unit(unit: str) -> Read | None:
    """The unit of "USD per barrel", "元/吨", "万吨" and "million units": what is counted has no unit of its own."""
    if match := _SHARE_OF.match(unit):
        return _unit(match[0])
    head = _CODE.sub("", re.split(r"/|\sper\s|\sa\s|每", unit)[0].strip())
    read = _unit(head) if head and head != unit else None
    if read is None:
        scale = next((one for one in sorted(SCALES, key=len, reverse=True) if unit.lower().startswith(one)
                      and (not one.isascii() or unit[len(one) : len(one) + 1] == " ")), None)  # fmt: skip
        read = _unit(scale) if scale else None
        return read and read._replace(unit=None)
    return read


class _Given(BaseModel):
    """A line of a person's evidence list."""

    id: str
    label: str = ""
    value: FiniteFloat
    unit: str | None = None
    currency: str | None = None


@lru_cache(maxsize=512)
def _unit(unit: str) -> Read | None:
    return read_unit(unit)


# --- what a label says


class Meaning(NamedTuple):
    """A label read: lexicon measures and qualities, the other words as names, and the time it speaks of.

    `horizon` is in days, `confidence` in percent; `numbers` are the ones in the label. `unit` is one that the label
    states in brackets, "Revenue (USD m)".
    """

    measures: frozenset[str] = frozenset()
    qualities: frozenset[str] = frozenset()
    names: frozenset[str] = frozenset()
    years: frozenset[int] = frozenset()
    quarters: frozenset[str] = frozenset()
    dates: frozenset[float] = frozenset()
    previous: bool = False
    current: bool = False
    horizon: float | None = None
    confidence: float | None = None
    numbers: tuple[Read, ...] = ()
    unit: Read | None = None

    @property
    def line(self) -> tuple:
        """What a series has in common: everything but the time."""
        return self.measures, self.qualities & KINDS, self.names, self.horizon, self.confidence


KINDS = frozenset({"limit", "budget", "gross", "net", "growth", "rate", "change", "average", "headroom", "excess"})
_IN_BRACKETS = re.compile(r"[(（]([^()（）]{1,40})[)）]|(?:,|，|;)\s?(?:in\s)?([^,，;]{1,24})$|\b(in\s[^,()]{1,24})$")
_PLAIN_TEXT = (
    "of the and for in at by to a an as on per from with value amount figure number ended end ending fiscal year fy"
    " reported million billion thousand total usd eur gbp jpy cny cnh hkd rmb line item note audited unaudited"
    " consolidated group company full month december november october september august july june may april march"
    " february january jan feb mar apr jun jul aug sep oct nov dec q h is was were are be been it its this that these"
    " those which who we our their his her or s t than then also both each vs day d period before after excluding"
    " including attributable basis date one two three four five six seven eight nine ten eleven twelve per"
)
PLAIN_WORDS = frozenset(_PLAIN_TEXT.split())
PLAIN_CHARS = frozenset(
    "的年月日度期末初额值数和与及其为在于中从由至到较占元万亿（）()、，。：:合计共金额个百分点以上下达是了有将被对比本公司集团"
)


# what lies beyond a limit is none: customers above the large-account threshold
_BEYOND_IT = re.compile(
    r"(?:\b(?:above|over|below|under|beyond|exceeding|breach(?:es|ing)? of)\b[^,;:]{0,30}"
    r"|(?:超过|高于|低于|突破|超)[^，,；;]{0,8})$"
)


_BROKEN = re.compile(r"\s?(?:breach|excess|overrun|exceedance|violation|exception)|突破|超限")


@lru_cache(maxsize=4096)
def meaning(label: str) -> Meaning:
    """Reads a label. Cached: the same labels come with every text."""
    plain = normalise(label)
    small = lower(plain)
    words = read_words(small)
    reads = tuple(scan(plain, words.all, small))
    measures, qualities, quarters, names = set(), set(), set(), set()
    previous = current = False
    for term in words.terms:
        if term.tag == "measures":
            measures.add(term.name)
        elif term.tag == "qualities":
            if term.name != "limit" or not (_BEYOND_IT.search(small, 0, term.start) or _BROKEN.match(small, term.end)):
                qualities.add(term.name)
        elif term.tag == "quarters":
            quarters.add(term.name)
        elif term.tag == "previous" and term.name == "strong":
            previous = True
        elif term.tag == "current":
            current = True
        elif term.tag == "sum" and plain[term.start : term.end].lower() in ("total", "合计", "总计", "总额"):
            names.add("total")
    names |= {word for word in _names(words.rest)}
    if not {"var", "es"} & measures:
        names |= {one for one in map(tenor_name, reads) if one}
    years = {_year(one) for one in reads if one.kind in ("year", "period", "date")} - {0}
    for one in reads:
        if one.kind == "period":
            quarters |= {quarter(plain[slice(*one.span)])} - {""}
    horizon = next((one.value * DURATIONS[one.unit] for one in reads if one.unit in DURATIONS and not one.kind), None)
    if horizon is None and {"var", "es"} & measures and re.search(r"\bdaily\b|日度|单日", plain, re.IGNORECASE):
        horizon = 1.0
    confidence = None
    if {"var", "es"} & measures:
        confidence = next((one.value for one in reads if one.unit == "percent" and one.value > 50), None)
    return Meaning(
        frozenset(measures), frozenset(qualities), frozenset(names), frozenset(years), frozenset(quarters),
        frozenset(one.value for one in reads if one.kind == "date"), previous, current and not years, horizon,
        confidence, reads, _label_unit(plain),
    )  # fmt: skip


def tenor_name(read: Read) -> str:
    """The name that a tenor gives to a line: 10 years of "10年期国债收益率"."""
    return f"{read.value:g} {read.unit}" if read.unit in ("years", "months") and not read.kind else ""


def _label_unit(plain: str) -> Read | None:
    """The unit a label states in brackets or behind a comma."""
    for match in _IN_BRACKETS.finditer(plain):
        read = _unit(next(one for one in match.groups() if one))
        if read is not None and read.unit is not None:
            return read
    return None


def _year(read: Read) -> int:
    value = int(read.value)
    return value // 10000 if read.kind == "date" else value


def quarter(text: str) -> str:
    """Q1 of "Q1 2024", "1Q24", "24Q1" and "1季度"; empty for a whole year."""
    match = re.search("(?<![0-9])([1-4])Q|Q([1-4])|(?<![0-9])([12])H|H([12])|(9)M", text, re.IGNORECASE)
    if not match:
        months = re.search("[^0-9]([369])月|([1-4])季", text)  # 2026年1-6月
        if not months:
            return ""
        if months[2] and len(text) > 3:  # 1-3季度
            return {"2": "H1", "3": "9M"}.get(months[2], "")
        return f"Q{months[2]}" if months[2] else {"3": "Q1", "6": "H1", "9": "9M"}[months[1]]
    q1, q2, h1, h2, nine = match.groups()
    return f"Q{q1 or q2}" if q1 or q2 else "9M" if nine else f"H{h1 or h2}"


def _names(rest: list[tuple[int, str]]) -> Iterator[str]:
    """The words that tell one line from another: Latin words, runs of Chinese characters."""
    run, at = "", -2
    for start, word in [*rest, (-9, "")]:
        if word >= "一" and word not in PLAIN_CHARS:
            if start == at and run:
                run += word
            else:
                yield from _core(run)
                run = word
            at = start + 1
            continue
        yield from _core(run)
        run = ""
        if word and word.isascii() and word not in PLAIN_WORDS and len(word) > 1:
            yield singular_name(word)


_GENERIC = re.compile("(?:地区|区域|业务|板块|分部|市场|产品|事业部|部门|区|类)$")


def _core(run: str) -> Iterator[str]:
    """A Chinese name in pairs of characters, as prose tells a part of it; without the word for what it names."""
    short = _GENERIC.sub("", run)
    run = short if len(short) > 1 else run
    for i in range(len(run) - 1):
        yield run[i : i + 2]


def singular_name(word: str) -> str:
    """A name without the ending by which it is used as an adjective's owner ("Asia's", "segments")."""
    return word[:-1] if len(word) > 3 and word.endswith("s") and not word.endswith("ss") else word


NUMBERED = re.compile(r"\b([a-z]{3,})\s([0-9]{1,3})(?![0-9%]|[.,][0-9])")


class Entry(NamedTuple):
    """A fact with what its label means."""

    order: int
    fact: Fact
    size: float
    digits: float  # where its digits are in a decade: of 1.2, 12 and 120 the same
    meaning: Meaning
    names: frozenset[str]
    when: tuple  # its time, to compare it with others of its line


def natural(name: str) -> tuple:
    """A key by which E2 comes before E10."""
    parts = [one for one in re.split(r"([0-9]{1,18})", name)[:9] if one]
    return tuple((int(one), "") if one.isascii() and one.isdecimal() else (-1, one) for one in parts), name


class Facts:
    """Facts with an index: by id, by size, by the line and the names they belong to.

    `of_case` tells a case's facts, whose roles say what a label says elsewhere.
    """

    def __init__(self, facts: Iterable[Fact], of_case: bool = False):
        self.of_case = of_case
        if not of_case:  # nothing said of them may depend on the order in which they come
            facts = sorted(facts, key=lambda one: (natural(one.id), one.label, one.value, str(one.unit)))
        self.entries = [entry_of(order, one, of_case) for order, one in enumerate(facts)]
        if not of_case:
            self.entries = _round_new_year(_joined(self.entries))
        self.by_id: dict[str, list[Entry]] = {}
        self.rivals: dict[tuple, set[frozenset[str]]] = {}  # by kind
        self.everywhere = [one for one in self.entries if one.fact.everywhere]
        self.beside: dict[str, list[Entry]] = {}
        vocabulary: set[str] = set()
        for entry in self.entries:
            self.by_id.setdefault(entry.fact.id, []).append(entry)
            for name in entry.fact.beside:
                self.beside.setdefault(name, []).append(entry)
            if not of_case:
                vocabulary |= entry.names
                self.rivals.setdefault(kind_of(entry), set()).add(entry.names)
        self.vocabulary = frozenset(vocabulary)
        self.in_names = frozenset(one for entry in self.entries for one in _in_names(entry.fact.label))
        self.chinese_names = frozenset(one for one in vocabulary if not one.isascii())
        labels = () if of_case else (lower(normalise(one.fact.label)) for one in self.entries)
        # Terminal 1 and Terminal 2: numbers that name
        self.numbered = frozenset((singular_name(w), float(n)) for one in labels for w, n in NUMBERED.findall(one))
        self.planned = any("budget" in one.meaning.qualities for one in self.entries)
        self.phrases = _longest_first(lower(name) for one in self for name in one.about)
        self.ids = frozenset(self.by_id)
        self.dated = of_case or any(one.unit == "date" for one in self)
        self.lasting = of_case or any(one.unit in DURATIONS for one in self)
        self.grid: Any = None  # what `infer` computes once
        self._kinds: dict[str, frozenset[str]] = {}

    def __iter__(self) -> Iterator[Fact]:
        return (one.fact for one in self.entries)

    def series(self, entry: Entry) -> list[Entry]:
        """The entries of the same line at other times, itself among them, earlier ones first."""
        return self._series.get(self._line(entry), [entry])

    @cached_property
    def _series(self) -> dict[tuple, list[Entry]]:
        return self._by_line(self.entries)

    def _by_line(self, entries: list[Entry]) -> dict[tuple, list[Entry]]:
        lines: dict[tuple, list[Entry]] = {}
        for one in entries:
            lines.setdefault(self._line(one), []).append(one)
        for found in lines.values():
            found.sort(key=lambda one: one.when)
        return lines

    def _line(self, entry: Entry) -> tuple:
        fact, said = entry.fact, entry.meaning
        if not self.of_case:
            return said.line, fact.unit, fact.currency
        role = fact.role if fact.role not in ("value", "previous", "utilisation") else ""
        return fact.id, said.measures, said.qualities & KINDS, fact.unit, fact.currency, role

    def line_of(self, name: str) -> Entry | None:
        """The one value of an id; None where it has none, or several."""
        found = [one for one in self.by_id.get(name, ()) if one.fact.role == "value"]
        return found[0] if len(found) == 1 else None

    def numbered_of(self, entry: Entry) -> list[tuple[str, float]]:
        """The words of a label with the numbers behind them that name: Scope 1."""
        found = NUMBERED.findall(lower(normalise(entry.fact.label)))
        return [(singular_name(word), float(n)) for word, n in found]

    def is_latest(self, entry: Entry) -> bool:
        """Whether the evidence has an earlier value of the same line and no later one."""
        found = self.series(entry)
        return len(found) > 1 and found[0].when[0] < entry.when[0] == found[-1].when[0]

    def names_like(self, evidence_id: str) -> frozenset[str]:
        """The names of all evidence of the same kind as this id."""
        kind = evidence_id.partition("-")[0]
        if kind not in self._kinds:
            self._kinds[kind] = frozenset(name for one in self.of_kind(kind) for name in one.names)
        return self._kinds[kind]

    def of_kind(self, kind: str) -> list[Entry]:
        """The entries whose id has this prefix: LIM, STR, ..."""
        return [one for one in self.entries if one.fact.id.partition("-")[0] == kind]

    def cited(self, ids: frozenset[str] | None) -> list[Entry]:
        """The entries of these ids, id by id; all for None."""
        if ids is None:
            return self.entries
        found: list[Entry] = []
        for name in sorted(ids):
            found += self.by_id.get(name, ())
        return found

    def sized(self, low: float, high: float) -> list[Entry]:
        """The entries whose size is in [low, high]."""
        slack = 1e-9 * max(1.0, abs(high))
        sizes, ordered = self._by_size
        return ordered[bisect_left(sizes, low - slack) : bisect_right(sizes, high + slack)]

    @cached_property
    def _by_size(self) -> tuple[list[float], list[Entry]]:
        ordered = sorted(self.entries, key=lambda one: one.size)
        return [one.size for one in ordered], ordered


def entry_of(order: int, fact: Fact, of_case: bool) -> Entry:
    """A fact with the meaning and the names of its label."""
    said = _EMPTY if fact.role == "text" or (fact.exact and of_case) else meaning(fact.label)
    size = abs(fact.value)
    digits = math.log10(size) % 1.0 if size else 0.0
    names = frozenset(map(lower, fact.about)) if of_case else said.names
    return Entry(order, fact, size, digits, said, names, _when(fact, said))


def _joined(entries: list[Entry]) -> list[Entry]:
    """Entries of which an earlier value has the names of its line: "previous Friday" those of "Friday close"."""
    if not any(one.meaning.previous for one in entries):
        return entries
    found: dict[tuple, list[Entry]] = {}
    for one in entries:
        said = one.meaning
        key = said.measures, said.qualities & KINDS, said.horizon, said.confidence, one.fact.unit, one.fact.currency
        found.setdefault(key, []).append(one)
    joined = list(entries)
    for some in found.values():
        now = {one.names for one in some if not one.meaning.previous}
        for one in some:
            if not one.meaning.previous or one.names in now:
                continue
            near = sorted((len(one.names ^ names), len(one.names - names), sorted(names)) for names in now)
            near = [
                (far, names) for far, _, names in near if far <= 2 and (one.names & {*names} or one.meaning.horizon)
            ]
            if near and (len(near) == 1 or near[0][0] < near[1][0]):
                names = frozenset(near[0][1])
                joined[one.order] = one._replace(names=names, meaning=one.meaning._replace(names=names))
    return joined


def _round_new_year(entries: list[Entry]) -> list[Entry]:
    """Entries of which, where no label has a year, "31 December" beside "31 March" is of the year before."""
    months = {int(day) // 100 for one in entries for day in one.meaning.dates if day < 10000}
    quarters = {name for one in entries for name in one.meaning.quarters}
    if any(one.meaning.years for one in entries) or not (
        (months and max(months) - min(months) > 6) or quarters == {"Q1", "Q4"}
    ):
        return entries
    turned = []
    for one in entries:
        (year, name, day, now), fact_id = one.when
        late = (name == "Q4" and "Q1" in quarters) or (day and int(day) // 100 > min(months) + 6)
        turned.append(one._replace(when=((year - 1, name, day, now), fact_id)) if late else one)
    return turned


def kind_of(entry: Entry) -> tuple:
    """What lines have in common among which only a name tells one from another."""
    return entry.meaning.measures, entry.fact.unit, "limit" in entry.meaning.qualities


_OF_NUMBERS = frozenset({"up", "down", "change", "beyond", "short", "sum"})


@lru_cache(maxsize=4096)
def _in_names(label: str) -> tuple[str, ...]:
    """The words of a Chinese label that say elsewhere how a number moves, each with the character behind it: 减排."""
    small = lower(normalise(label))
    if small.isascii():
        return ()
    return tuple(
        small[one.start : one.end + 1]
        for one in read_words(small).terms
        if one.tag in _OF_NUMBERS and small[one.end : one.end + 1] >= "一"
    )


def _longest_first(names: Iterable[str]) -> tuple[str, ...]:
    return tuple(sorted(set(names), key=lambda one: (-len(one), one)))


_EMPTY = Meaning()


def _when(fact: Fact, said: Meaning) -> tuple:
    """The time of a fact, to compare it with others of its line."""
    year = max(said.years, default=0)
    if not said.years:  # beside years and quarters a label without any is of now
        year = -1 if said.previous else 9999 if said.current and not said.quarters else 0
    return (year, max(said.quarters, default=""), max(said.dates, default=0.0), fact.role != "previous"), fact.id


def is_time(entry: Entry) -> bool:
    """Whether an entry is a date or may be a year."""
    fact = entry.fact
    if fact.unit == "date":
        return True
    return fact.unit is None and fact.role == "text" and 1900 <= fact.value < 2100 and fact.value.is_integer()


_PER_ITEM = 1 << 12  # more than an evidence item has numbers


class _ByItem(dict):
    """id -> entries of a case's evidence, read when they are first asked for: a report cites few of its lines."""

    def __init__(self, case: Case):
        first = [entry_of(i, one, True) for i, one in enumerate(_of_whole(case))]
        super().__init__({case.case_id: first})
        self._case = case
        self.items_left = {one.id: (i * _PER_ITEM, one) for i, one in enumerate(case.evidence, start=1)}

    def get(self, name: str, default: Any = ()) -> Any:
        found = dict.get(self, name)
        if found is None and name in self.items_left:
            order, item = self.items_left.pop(name)
            found = self[name] = [entry_of(order + i, one, True) for i, one in enumerate(_of_item(item, self._case))]
        return default if found is None else found

    def __contains__(self, name: object) -> bool:
        return dict.__contains__(self, name) or name in self.items_left

    def __missing__(self, name: str) -> list[Entry]:
        if name not in self.items_left:
            raise KeyError(name)
        return self.get(name)


class CaseFacts(Facts):
    """Every number the evidence of a case supports, id by id, with what the policy computes from it.

    An amount in another currency is there a second time in the base currency.
    """

    def __init__(self, case: Case):
        self.case = case
        self.of_case = self.dated = self.lasting = True
        self.by_id = _ByItem(case)
        self.everywhere = self.by_id[case.case_id]
        self.ids = frozenset((case.case_id, *(one.id for one in case.evidence)))
        self.phrases = _longest_first(lower(name) for one in case.evidence for name in _about(one, case))
        self.vocabulary, self.chinese_names, self.rivals, self.grid = frozenset(), (), {}, None
        self.in_names = ()
        self._kinds = {}
        self._uses: dict[str, Facts] = {}

    @cached_property
    def entries(self) -> list[Entry]:
        return [
            one for name in (self.case.case_id, *(one.id for one in self.case.evidence)) for one in self.by_id[name]
        ]

    @cached_property
    def beside(self) -> dict[str, list[Entry]]:
        """id -> horizon and confidence of the VaR lines that qualify it."""
        found: dict[str, list[Entry]] = {}
        for line in self.case.of_kind(ValueAtRisk):
            for entry in self.by_id[line.id]:
                for name in entry.fact.beside:
                    found.setdefault(name, []).append(entry)
        return found

    def series(self, entry: Entry) -> list[Entry]:
        """The entries of the same line at other times: of the same id."""
        return self._by_line(self.by_id[entry.fact.id])[self._line(entry)]

    def of_kind(self, kind: str) -> list[Entry]:
        """The entries whose id has this prefix: LIM, STR, ..."""
        return [entry for name in self._ids_by_kind.get(kind, ()) for entry in self.by_id[name]]

    @cached_property
    def _ids_by_kind(self) -> dict[str, list[str]]:
        found: dict[str, list[str]] = {}
        for one in self.case.evidence:
            found.setdefault(one.id.partition("-")[0], []).append(one.id)
        return found

    def use_of(self, limit_id: str) -> Facts:
        """The use of a limit alone, in percent of hard; nothing where there is no such limit."""
        if limit_id not in self._uses:
            uses = (one.fact for one in self.by_id.get(limit_id) if one.fact.role == "utilisation")
            self._uses[limit_id] = Facts(uses, of_case=True)
        return self._uses[limit_id]


_KEPT = 512
_of_cases: dict[int, tuple[tuple, CaseFacts]] = {}


def facts_of(case: Case) -> CaseFacts:
    """The facts of a case, kept for the cases seen last as long as no field of one or of its evidence is assigned."""
    key = id(case)
    if (kept := _of_cases.get(key)) is not None:
        (fields, evidence), facts = kept
        unchanged = fields == case.__dict__ and evidence == [one.__dict__ for one in case.evidence]
        # an id is given again once its object is gone; the remembered case is kept, and so is the same object
        if facts.case is case and unchanged:
            return facts
    facts = CaseFacts(case)
    _of_cases[key] = (case.__dict__.copy(), [one.__dict__.copy() for one in case.evidence]), facts
    if len(_of_cases) > _KEPT:
        del _of_cases[next(iter(_of_cases))]
    return facts


def _of_whole(case: Case) -> list[Fact]:
    """What a case says as a whole."""
    whole = {"id": case.case_id, "everywhere": True}
    covered, bounds = rules.coverage_pct(case), (80.0, 95.0, 100.0)
    return [
        Fact(label="as-of date", value=int(f"{case.as_of:%Y%m%d}"), unit="date", role="as_of", exact=True, **whole),
        Fact(label="coverage", value=covered, unit="percent", role="coverage", boundaries=bounds, **whole),
        *(Fact(label=f"{name} rate", value=rate, role="fx", **whole) for name, rate in case.fx.items()),
    ]


def _of_item(item: Evidence, case: Case) -> list[Fact]:
    """What an evidence item says."""
    facts = [*_fields(item, case), *_in_words(item)]
    if isinstance(item, ValueAtRisk):
        facts += _horizon(item, case)
    for one in list(facts):
        if one.unit in MONEY and one.currency in case.fx:
            converted = {"value": bounded(case.in_base(one.value, one.currency)), "currency": case.base_currency}
            facts.append(replace(one, **converted))
    return facts


def _fields(item: Evidence, case: Case) -> Iterator[Fact]:
    """The numeric fields of one evidence item."""

    about = _about(item, case)
    of = item.__dict__.get("of", "")

    def fact(label: str, value: float | None, unit: str = "money", *, currency: str | None = None, **more):
        if value is not None:
            currency = (currency or item.__dict__.get("currency")) if unit in MONEY else None
            yield Fact(
                id=item.id, label=label, value=bounded(value), unit=unit, currency=currency, about=about, of=of, **more
            )

    match item:
        case Limit():
            unsigned = {"unit": item.unit, "signed": False}
            yield from fact(f"{item.measure} used", item.value, **unsigned)
            yield from fact(f"{item.measure} hard limit", item.hard, **unsigned)
            yield from fact(f"{item.measure} soft limit", item.soft, role="soft", **unsigned)
            yield from fact(f"previous {item.measure}", item.previous, role="previous", **unsigned)
            share = {"unit": "percent", "signed": False, "boundaries": thresholds()}
            yield from fact(f"{item.measure} utilisation", rules.utilisation_pct(item), role="utilisation", **share)
            if item.previous is not None:
                before = rules.utilisation_pct(item, item.previous)
                yield from fact(f"previous {item.measure} utilisation", before, role="previous", **share)
            yield from fact(
                f"{item.measure} soft limit as share of hard", 100 * item.soft / item.hard, "percent", role="soft"
            )
            yield from fact(f"{item.measure} excess over hard", rules.excess(item) or None, role="excess", **unsigned)
            yield from fact(
                f"{item.measure} reduction to soft",
                rules.reduction_to_soft(item) or None,
                role="reduction",
                **unsigned,
            )
            if item.temporary_increase:
                yield from fact("temporary increase", item.temporary_increase.amount, **unsigned)
            yield from fact("days open", item.days_open, "days", exact=True)
            yield from fact(f"{item.measure} five days ago", item.five_days_ago, role="previous", **unsigned)
        case ValueAtRisk():
            loss = {"signed": False}
            yield from fact(item.measure, item.value, **loss)
            yield from fact(f"previous {item.measure}", item.previous, role="previous", **loss)
            yield from fact(f"{item.measure} five days ago", item.five_days_ago, role="previous", **loss)
            yield from fact("standard error", item.standard_error, role="error", **loss)
            yield from fact("undiversified", item.undiversified, role="undiversified", **loss)
            if item.undiversified is not None:
                saved = item.value - item.undiversified
                yield from fact(f"{item.measure} diversification effect", saved or None, role="diversification")
            yield from fact("windows", item.windows, "count", exact=True)
            yield from fact("windows in the tail", item.tail_count, "count", exact=True)
        case Component():
            yield from fact("contribution", item.contribution)
            yield from fact("previous contribution", item.previous, role="previous")
            yield from fact("share", item.share_pct, "percent")
            yield from fact("standalone", item.standalone, signed=False, role="standalone")
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
        fields = one.__dict__
        if fields.get("of") == line.id or line.id in fields.get("affects", ()):
            beside.append(one.id)
    more = {"id": line.id, "beside": tuple(beside), "exact": True}
    return [
        Fact(label="confidence", value=line.confidence_pct, unit="percent", role="confidence", **more),
        Fact(label="horizon", value=line.horizon_days, unit="days", role="horizon", **more),
    ]


def _in_words(item: Evidence) -> Iterator[Fact]:
    """Dates, and numbers inside the words of an evidence item: strikes, tenors, shocks, the age of a quote."""
    trusted = not isinstance(item, Note)
    for value in _words_of(item):
        for number, unit in _numbers_in(value) if isinstance(value, str) else [(float(f"{value:%Y%m%d}"), "date")]:
            yield Fact(item.id, "text", number, unit, role="text", exact=True, trusted=trusted)


def _words_of(value: Any) -> Iterator[str | date]:
    """The texts and dates of an item, but for its id."""
    if isinstance(value, BaseModel):
        for name, one in value.__dict__.items():
            if name not in _CODED and one is not None:
                yield from _words_of(one)
    elif isinstance(value, list):
        for one in value:
            yield from _words_of(one)
    elif isinstance(value, str | date):
        yield value


_CODED = frozenset(
    {"id", "kind", "measure", "unit", "side", "authority", "status", "cause", "currency", "of", "step", "window"}
)
_DIGIT = re.compile("[0-9０-９零一二两三四五六七八九十]|翻|half|third|quarter|twice|doubl|tripl", re.IGNORECASE)


@lru_cache(maxsize=8192)
def _numbers_in(text: str) -> tuple[tuple[float, str | None], ...]:
    """Value and unit of the numbers of a text. Cached: books repeat their instruments and shocks every day."""
    if not _DIGIT.search(text):
        return ()
    text = _ID.sub(" ", normalise(text))
    found = []
    for read in scan(text):
        if read.ignored is None or read.kind == "period":
            is_tenor = read.tenor is not None and INSTRUMENT.search(text)
            found.append((read.tenor, "months") if is_tenor else (read.value, read.unit))
    return tuple(found)


_NAMES = {Component: "factor", Stress: "scenario", Counterparty: "name"}


def _about(item: Evidence, case: Case) -> tuple[str, ...]:
    """The names by which prose calls an item."""
    if isinstance(item, Limit):
        return item.scope, limit_name(item, case.language)
    name = _NAMES.get(type(item))
    return (getattr(item, name),) if name else ()


def read_facts(evidence: Any, where: str) -> Facts:
    """A person's evidence list `[{id, label, value, unit?, currency?}]`. Raises InputError naming the item."""
    if not isinstance(evidence, list):
        raise InputError(f"{where}: evidence must be a list of objects with id, label and value")
    given = (validate(_Given, one, f"{where}: evidence {i}") for i, one in enumerate(evidence, start=1))
    return Facts(Fact(one.id, one.label, one.value, one.unit, one.currency) for one in given)
