"""Numbers computed from lines that a sentence names in words nobody listed.

`derive` asks for a word it knows and for lines it can name. Where a sentence has neither ("The Americas outsold EMEA
by 893m"), the value itself must carry the weight: an operation is accepted unless so rough a number would come out by
accident of the operations whose operands the sentence names as well or better, or the sentence contradicts it.
"""

import itertools
import math
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any, NamedTuple

import numpy as np

from riskscribe.evaluate.context import Context, Sentence
from riskscribe.evaluate.derive import (
    ROOM,
    Derived,
    compares_earlier,
    direction_of,
    has_currency,
    is_operand,
    is_plan_of,
    is_told_first,
    same_time,
)
from riskscribe.evaluate.facts import KINDS, PLAIN_WORDS, Entry, Facts
from riskscribe.evaluate.numbers import DURATIONS, MONEY, MULTIPLES, Read
from riskscribe.evaluate.prose import lexicon, lower, read_words

# hits by accident that may be expected among the operations named as well
_ACCIDENTS = 1.0
# the same of several lines, cited or named, and how well a clause must name them
_OF_CITED, _OF_NAMED, _NAMED = 0.5, 0.1, 0.5
_CHOSEN, _TOGETHER = 5, 8  # lines cited, of which some may be meant, or all together
_ALIKE = 2  # lines named as well as each other
_FEW = 6  # operations of two lines, each named apart from the other
_MOST = 120  # operands
_LONG = 24  # characters of a name that may be told for short
_A_YEAR = {"days": 365.0, "weeks": 52.0, "months": 12.0, "years": 1.0}
_ALL_BUT_PLANS = KINDS - {"budget"}
_SPOKEN_OF = 1.5  # a line whose words few labels have
_PER = re.compile(
    r"\b(?:per|each|every|averag\w*|apiece|a (?:day|share|head|unit|year|month|customer|person))\b|每|人均|户均|均|单",
    re.IGNORECASE,
)
_PER_UNITS = re.compile(r"(?:每|\bper\s)(10+(?![0-9.])|[十百千万])", re.IGNORECASE)
_AVERAGE = re.compile(
    r"\b(?:averag\w*|mean|mid-?points?|middle|mid-range|half-?way)\b|平均|均值|中值|中枢|月均|日均|年均", re.IGNORECASE
)
_WITHOUT = r"\b(?:exclud\w+|stripp\w+|without|before|adjust\w+|leav\w+ (?:aside|out)|underlying)\b"
_NET = re.compile(rf"\b(?:net|real|spread|less|minus|after)\b|{_WITHOUT}|净|差|实际", re.IGNORECASE)
_LEFT_OUT = re.compile(_WITHOUT, re.IGNORECASE)
_SPAN = re.compile(
    r"\b(?:half|first-half|second-half|half-year|full-year|(?:six|nine|twelve) months|(?:two|three|both) \w+|together"
    r"|combined|cumulative\w*|so far|to date|in (?:all|total))\b|[两三]个?[月季年周天日]|半年|全年|合并|累计|合计",
    re.IGNORECASE,
)
_RATIO = re.compile(r"\b(?:ratio|gearing|intensity|yields?|divided by)\b|率|比", re.IGNORECASE)
_LEVEL = re.compile(
    r"\b(?:(?:funding|coverage|solvency|capital) (?:level|ratio|position)|cover(?:age)?|adequacy|book-to-bill)\b"
    r"|覆盖|充足率",
    re.IGNORECASE,
)
PER_POINT = re.compile(r"\bper (?:bp|basis point)\b|01\b|每(?:个)?基点|基点价值", re.IGNORECASE)
_SHARE = re.compile(r"\b(?:share of|accounts? for|makes? up)\b|占", re.IGNORECASE)
_REST = re.compile(
    r"\b(?:rest|remain\w*|other|vacant|left|balance|non)\b|其余|余下|剩余|其他|其它|未|非|空", re.IGNORECASE
)
_BY = re.compile(r"\bby(?:\s(?:about|around|roughly|nearly|some|almost|just))?\s?$", re.IGNORECASE)
_COVER = re.compile(r"\b(?:ratio|cover\w*|times)\b|率|覆盖|比", re.IGNORECASE)
_COVERS = re.compile(r"(?<!\bis )(?<!\bare )(?<!\bwas )(?<!\bwere )\bcover(?:s|ed)?\b(?![^,;]*\bby\b)", re.IGNORECASE)
_PROPER = re.compile(r"[A-Z][a-z]+(?: [A-Z][a-z]+)+")
_CJK = re.compile("[\u4e00-\u9fff]+")
_LATIN = re.compile("[a-z&]+")
_TENORS = re.compile("(?<![0-9.])[0-9]{1,2}(?:年(?=期)|个月)")  # 10年期国债
_ENDINGS = re.compile("(?:ations?|ators?|ating|ated|ates?|ions?|ings?|ities|ity|ies|ers?|ally|al|ed|es|s|y|e)$")
TOTAL = re.compile(r"\b(?:total|overall|group|combined)\b|总|合计", re.IGNORECASE)
# but not inside 到期, 中标, 对公
_PARTS = re.compile(
    "(?:[的和与及其为于从由至较占了是有将被比]|在(?![建途手产岗])|到(?![期账货港])|(?<=其)中|中(?=的|$)|对(?![公外私冲]))+"
)
_GENERIC = re.compile("地区|区域|业务|板块|分部|市场|产品|事业部|部门")
_LINKS = frozenset("of the and for in at by to a an as on with its from is was were".split())  # noqa: SIM905


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """A word without the endings by which a label and a sentence differ: generated, generation, generates."""
    short = _ENDINGS.sub("", word)
    return short if len(short) > 2 else word


_TIMES = frozenset(map(stem, "yesterday today prior previous last latest current daily monthly quarterly".split()))  # noqa: SIM905
TIMES = _TIMES | frozenset(map(stem, "day week month quarter year half ago earlier".split()))  # noqa: SIM905


@lru_cache(maxsize=4096)
def grams(text: str) -> frozenset[str]:
    """What two texts may have in common: stems of words, pairs of Chinese characters."""
    small = lower(text)
    words = _LATIN.findall(small)
    found = {stem(one) for one in words if len(one) > 1 and one not in PLAIN_WORDS}
    found.update(_TENORS.findall(small))
    # "year to date" and "three years" tell lines apart, their words alone do not
    found |= {f"{one} {two.rstrip('s')}" for one, two in itertools.pairwise(words)
              if (one in PLAIN_WORDS) + (two in PLAIN_WORDS) and not {one, two} <= _LINKS}  # fmt: skip
    for run in _CJK.findall(small):
        for part in _PARTS.split(run):
            found.update(part[i : i + 2] for i in range(len(part) - 1))
    return frozenset(found)


@lru_cache(maxsize=4096)
def name_grams(label: str) -> frozenset[str]:
    """The grams of a label without those of its measures and of what it is a kind of (华东地区)."""
    small = lower(label)
    for one in read_words(small).terms:
        if one.tag == "measures":
            small = small[: one.start] + "," * (one.end - one.start) + small[one.end :]
    return frozenset(one for one in grams(_GENERIC.sub(",", small)) if " " not in one)


@lru_cache(maxsize=4096)
def initials(label: str) -> frozenset[str]:
    """SCR of "Solvency capital requirement", EU of "European Union exports"."""
    words = [
        one for one in re.findall("[A-Za-z]+", label) if one.lower() not in ("of", "the", "and", "at", "to", "in")
    ]
    firsts = "".join(one[0] for one in words).lower()
    names = ("".join(word[0] for word in some.split()).lower() for some in _PROPER.findall(label))
    return frozenset((*(firsts[:n] for n in (3, 4) if n <= len(firsts)), *names))


@lru_cache(maxsize=4096)
def _short(label: str) -> dict[str, frozenset[str]]:
    """The pairs of characters by which a Chinese label is told for short: 车险 of 机动车辆保险."""
    found: dict[str, frozenset[str]] = {}
    for run in _CJK.findall(lower(label)):
        for part in _PARTS.split(run):
            for i, j in itertools.combinations(range(min(_LONG, len(part))), 2):
                if j > i + 1 and part[j] not in "年月季度末初期":
                    own = {part[k : k + 2] for k in (i - 1, i, j - 1, j) if 0 <= k < len(part) - 1}
                    found.setdefault(part[i] + part[j], frozenset(own))
    return found


class Grid:
    """The operands of an evidence list and what every pair of them gives, once for all its texts."""

    def __init__(self, facts: Facts):
        entries = [one for one in facts.entries if is_operand(one)][:_MOST]
        self.entries = entries
        self.ids = [one.fact.id for one in entries]
        self.orders = np.array([one.order for one in entries])
        self.grams = [
            grams(one.fact.label) | initials(one.fact.label) | {f"={name}" for name in one.meaning.measures}
            for one in entries
        ]
        self.words = [frozenset(name for name in grams(one.fact.label) if " " not in name) - TIMES for one in entries]
        df: dict[str, int] = {}
        for some in self.grams:
            for one in some:
                df[one] = df.get(one, 0) + 1
        self.place = {one.order: i for i, one in enumerate(entries)}
        self.long: dict[str, list[str]] = {}  # by how they begin
        for one in df:
            if len(one) > 3 and one.isascii() and one.isalpha():
                self.long.setdefault(one[:4], []).append(one)
        self._fits: dict[frozenset[str], np.ndarray] = {}
        self._text: tuple[str, dict] = "", {}  # the one judged, and what is known of it
        self.weights = {name: math.log((len(entries) + 1) / count) for name, count in df.items()}
        self.short: dict[str, frozenset[str]] = {}  # what a Chinese label may be called for short: its grams
        for label in {one.fact.label for one in entries}:
            for pair, some in _short(label).items():
                self.short[pair] = self.short[pair] & some if pair in self.short else some
        values = np.array([_plain(one) for one in entries], dtype=float)
        percent = np.array([one.fact.unit in ("percent", "bp") for one in entries], dtype=bool)
        times = {}
        keys = [times.setdefault((one.meaning.years, one.meaning.quarters, one.meaning.dates, one.meaning.previous),
                                 (len(times), one))[0] for one in entries]  # fmt: skip
        first = [one for _, one in times.values()]
        together = np.array([[same_time(a, b) for b in first] for a in first], dtype=bool).reshape(
            len(first), len(first)
        )
        units = np.array([_kind(one) for one in entries])
        like = (units[:, None] == units[None, :]) & ~np.eye(len(entries), dtype=bool)
        self.late = np.zeros(len(entries))
        line, self.twins = np.zeros_like(like), np.zeros_like(like)
        rank = {one.order: i for i, one in enumerate(entries)}
        lines: dict[tuple, list[Entry]] = {}
        for one in entries:  # a plan is of the line that it is for
            said = one.meaning
            key = said.measures, said.qualities & _ALL_BUT_PLANS, said.names, said.horizon, said.confidence
            lines.setdefault((*key, one.fact.unit, one.fact.currency), []).append(one)
        for found in lines.values():
            last = max(one.when[0] for one in found)
            for one in found:
                i = rank[one.order]
                self.late[i] = last > one.when[0]
                for other in found:
                    if one.when[0] < other.when[0]:
                        line[i, rank[other.order]] = True  # i is the earlier of a line
                    elif one is not other and one.when[0] == other.when[0]:
                        self.twins[i, rank[other.order]] = True  # of times that no label tells
        apart = like & ~line & ~line.T
        same = apart & together[np.ix_(keys, keys)]
        one, two = values[:, None], values[None, :]
        with np.errstate(divide="ignore", invalid="ignore", over="ignore"):
            self.share = np.where(two != 0, one / two, np.nan)
            self.growth = np.where(one != 0, 100 * (two - one) / np.abs(one), np.nan)
            self.part = np.where(one + two != 0, one / (one + two), np.nan)
            # an amount at a rate, what is left of it, and a volume at a price
            per = np.array([_per(one) for one in entries])[:, None]
            self.product = np.where(percent[None, :], one * two / 100, one / per * two)
            self.rest = np.where(two <= 100, one * (1 - two / 100), np.nan)
        self.gap = two - one
        self.sum = two + one
        amounts = ~percent[:, None] & ~percent[None, :]
        rates = percent[:, None] & percent[None, :]
        self.line, self.same = line, same
        self.line_amounts, self.line_rates = line & amounts, line & rates
        self.line_either_way = self.line_amounts | self.line_amounts.T
        self.same_amounts, self.same_rates = same & amounts, same & rates
        self.apart_amounts, self.apart_rates = apart & amounts, apart & rates  # also of two times
        # "thousand" alone is money to `Fact`: what has no currency may be a count
        money = np.array([one.fact.unit in MONEY and one.fact.currency is not None for one in entries], dtype=bool)
        each = amounts & together[np.ix_(keys, keys)] & ~np.eye(len(entries), dtype=bool)
        self.each = each & ~money[None, :]
        self.at_rate = ~percent[:, None] & percent[None, :]
        self.at_price = self.at_rate | (self.each & money[:, None])
        self.upper = np.triu(np.ones_like(like), 1)
        self.spans = {one.fact.unit for one in entries} & DURATIONS.keys()
        pairs = ~np.eye(len(entries), dtype=bool)
        ways = {"percent": (100 * self.share, 100 * self.part, self.growth, self.gap, self.sum, self.sum / 2),
                "points": (self.gap, self.sum), "ratio": (self.share, self.gap),
                "amount": (self.gap, self.sum, self.sum / 2, self.share, 100 * self.share)}  # fmt: skip
        self.sizes = {name: np.unique(np.abs(np.stack(some)[:, pairs])) for name, some in ways.items()}
        products = np.concatenate([self.product[self.at_price], self.rest[self.at_rate]])
        self.sizes["product"] = np.unique(np.abs(products))
        self.sizes["amount"] = np.union1d(self.sizes["amount"], self.sizes["product"])
        self.tables = {
            name: getattr(self, name) for name in ("share", "growth", "part", "gap", "sum", "product", "rest")
        }
        self._sorted = {name: _sorted(table) for name, table in self.tables.items()}

    def of_size(self, what: str, low: float, high: float) -> list[int]:
        """The places in a flat table whose values are of a size, and a hair's breadth around."""
        sizes, places = self._sorted[what]
        slack = 1e-9 * high
        return sorted(places[bisect_left(sizes, low - slack) : bisect_right(sizes, high + slack)])

    def both_of(self, unit: str | None) -> np.ndarray:
        """The pairs of which both lines are of a unit."""
        own = np.array([one.fact.unit == unit for one in self.entries])
        return own[:, None] & own[None, :]

    def of_currency(self, currencies: frozenset[str]) -> np.ndarray:
        """The lines, as a column, that may be of one of some currencies."""
        if currencies not in self._fits:
            fits = [
                not currencies or one.fact.currency is None or one.fact.currency in currencies for one in self.entries
            ]
            self._fits[currencies] = np.array(fits, dtype=bool)[:, None]
        return self._fits[currencies]

    def once(self, sentence: Sentence, about: tuple, make: Callable[[], Any]) -> Any:
        """What `make` gives of a sentence, asked for several times while its text is judged."""
        text, known = self._text
        if sentence.text is not text:  # both at once: several threads may share the evidence
            text, known = self._text = sentence.text, {}
        key = sentence.clause.start, *about
        if key not in known:
            known[key] = make()
        return known[key]

    def gives(self, read: Read) -> bool:
        """Whether any operation on any two lines gives the number: most wrong ones are told from this alone."""
        name = {"percent": "percent", "points": "points", "bp": "points", "index": "points", "ratio": "ratio"}
        kind = "ratio" if read.unit in DURATIONS else name.get(read.unit, "amount")
        return self._has(read, kind) or (read.unit in DURATIONS and read.unit in self.spans)

    def multiplies(self, read: Read) -> bool:
        """Whether an amount at a rate, or a volume at a price, gives the number."""
        return self._has(read, "product")

    def _has(self, read: Read, kind: str) -> bool:
        times = {"bp": 100.0, **_A_YEAR}.get(read.unit, 1.0)
        sizes = self.sizes[kind]
        low, high = read.interval()
        slack = 1e-9 * max(1.0, high)
        at = sizes.searchsorted((low - slack) / times)
        return at < len(sizes) and bool(sizes[at] <= (high + slack) / times)


def _sorted(table: np.ndarray) -> tuple[array, array]:
    """The sizes of a table in order, and where in it they stand."""
    sizes = np.abs(table).ravel()
    places = np.argsort(sizes, kind="stable")[: np.count_nonzero(np.isfinite(sizes))]
    return array("d", sizes[places].tolist()), array("L", places.tolist())


def grid_of(facts: Facts) -> Grid:
    """The grid of an evidence list, made once."""
    if facts.grid is None:
        facts.grid = Grid(facts)
    return facts.grid


def _said(sentence: Sentence, grid: Grid, end: int | None = None) -> frozenset[str]:
    """What a clause says, up to a place, that labels may say; a word short for one of theirs too: auto."""
    end = sentence.clause.end if end is None else end
    return grid.once(sentence, ("said", end), lambda: _said_until(end, sentence, grid))


def _said_until(end: int, sentence: Sentence, grid: Grid) -> frozenset[str]:
    found = grams(sentence.text[sentence.clause.start : end])
    short = [one for one in found if len(one) > 3 and one.isascii() and one.isalpha() and one not in grid.weights]
    more = {
        name for one in short for name in grid.long.get(one[:4], ()) if name.startswith(one) or one.startswith(name)
    }
    if grid.short:
        more.update(*(grid.short[one] for one in found - grid.weights.keys() if one in grid.short))
    return found | more | {f"={one.name}" for one in sentence.terms if one.tag == "measures" and one.start < end}


def best_named(text: str, facts: Facts) -> list[Entry]:
    """The lines whose labels have most of the words of a text, by the weight of the words."""
    grid = grid_of(facts)
    said = grams(text)
    scores = [math.fsum(grid.weights[name] for name in own & said) for own in grid.grams]
    best = max(scores, default=0.0)
    return [one for one, score in zip(grid.entries, scores, strict=True) if best and score == best]


def says_apart(entry: Entry, others: list[Entry], near: Context, facts: Facts) -> bool:
    """Whether the clause of a number has a word of a line's label that tells it from the other lines."""
    grid = grid_of(facts)
    own = grid.place.get(entry.order)
    if own is None:
        return False
    start, end = near.clause
    said = grams(near.text[start:end])
    apart = {one for one in grid.grams[own] if one[0] != "=" and " " not in one} - _TIMES
    for one in others:
        apart -= grid.grams[grid.place[one.order]] if one.order in grid.place else frozenset()
    return bool(apart & said)


def names_another(read: Read, entry: Entry, near: Context, facts: Facts, sentence: Sentence) -> Entry | None:
    """The line that a clause names where a number is that of a line it does not name at all, or None."""
    grid = grid_of(facts)
    place = grid.place.get(entry.order)
    if place is None or len(grid.entries) < 2:
        return None
    if other := _named_whole(entry, near, sentence, grid):
        return other
    told = tells_level(read, near, facts, sentence) if near.cited is None else ()
    if told and not any(grid.words[place] <= grid.words[grid.place[one.order]] for one in told):
        return told[0]
    common = 0.7  # of a word that half of the labels have
    if any(grid.weights[one] > 0.1 for one in grid.grams[place] & _said(sentence, grid)):
        return None
    # what stands further behind is said of another number
    said = _said(sentence, grid, near.span[1] + len(near.tail))
    others = [read for read in sentence.reads if read.span != near.span and not read.kind and not read.ignored]
    for other, own in zip(grid.entries, grid.grams, strict=True):
        same = other.fact.unit == entry.fact.unit
        if near.cited is not None and (not same or other.fact.id not in near.cited):
            continue
        named = {one for one in own & said if grid.weights[one] > common} - grid.grams[place] - _TIMES
        if not named:
            continue
        words = [one for one in own if " " not in one and one[0] != "="]
        if len(named) < (0.3 if same else 1.0) * len(words):
            continue
        if other.fact.id == entry.fact.id or any(read.states(other.size) for read in others):
            continue
        lines = facts.series(other)  # the words may be those of a line that another number tells
        told = (one for read in others for one in facts.sized(*read.interval()) if one not in lines)
        if len(named) < 2 or not any(
            one.order in grid.place and named <= grid.grams[grid.place[one.order]] for one in told
        ):
            return other
    return None


def _named_whole(entry: Entry, near: Context, sentence: Sentence, grid: Grid) -> Entry | None:
    """Another line of which the clause says every word, while of the line that has its number it leaves some out."""
    place = grid.place[entry.order]
    said = _said(sentence, grid, near.span[1] + len(near.tail))
    own = grid.words[place]
    if (
        own <= said
        or near.may_be_previous
        or near.tags() & {"beyond", "short"}  # what another is compared with
        or any(read.span != near.span and not read.kind and not read.ignored for read in sentence.reads)
    ):
        return None
    known = math.fsum(grid.weights[name] for name in own & said)
    for other, words in zip(grid.entries, grid.words, strict=True):
        if not words or not words <= said or other.fact.unit != entry.fact.unit or other.fact.id == entry.fact.id:
            continue
        if near.cited is not None and other.fact.id not in near.cited:
            continue
        if near.years and other.meaning.years and not near.years & other.meaning.years:
            continue
        if math.fsum(grid.weights[name] for name in words) <= known + 0.1:
            continue
        return other
    return None


_LEVEL_IS = re.compile(
    r"(?:\b(?:is|was|are|were|totall?ed|amounted to|stood at|came to|reached)|[为是达])\s?"
    r"(?:about|around|some|约|了)?\s?$",
    re.IGNORECASE,
)
_WITH = re.compile(r"\b(?:with|plus|including|than|per)\b|[与和加]", re.IGNORECASE)
_OF_A_LINE = frozenset(map(stem, "amount value level figure number balance".split()))  # noqa: SIM905


def tells_level(read: Read, near: Context, facts: Facts, sentence: Sentence) -> list[Entry]:
    """The lines of which a clause says what they are, in their words and no others: its number is quoted or wrong."""
    grid = grid_of(facts)
    return grid.once(sentence, ("level", near.span), lambda: [*_told_levels(read, near, sentence, grid)])


def _told_levels(read: Read, near: Context, sentence: Sentence, grid: Grid) -> Iterator[Entry]:
    if not _LEVEL_IS.search(near.lead) or direction_of((), near) or len(near.years) > 1:
        return
    if any(not one.kind and not one.ignored and one.span != near.span for one in sentence.reads):
        return
    text = sentence.text[near.clause[0] : near.span[0]]
    if grams(text[: len(text) - len(near.lead)]) - TIMES or _WITH.search(text):
        return  # another part of the clause is about something else
    subject = frozenset(name for name in grams(text) if " " not in name) - TIMES
    for one, words in zip(grid.entries, grid.words, strict=True):
        if words and words <= subject and subject - words <= _OF_A_LINE:
            label, unit = one.fact.label, one.fact.unit
            fits = read.unit == unit or (read.unit in (None, *MONEY) and unit in (None, "count", *MONEY))
            if any(pattern.search(text) and not pattern.search(label) for pattern in (TOTAL, _AVERAGE, _SPAN)):
                continue
            if fits and not (near.years and one.meaning.years and not near.years & one.meaning.years):
                yield one


def _per(entry: Entry) -> float:
    """The number of units that a price is of: 10 of 每10股派息, a million of EUR/MWh."""
    match = _PER_UNITS.search(entry.fact.label)
    units = float({"十": 10, "百": 100, "千": 1000, "万": 1e4}.get(match[1], match[1])) if match else 1.0
    return units * MULTIPLES.get(entry.fact.counted.removeprefix("/"), 1.0)


def _plain(entry: Entry) -> float:
    """The value of a line, of basis points in percent: both are rates."""
    return entry.fact.value / 100.0 if entry.fact.unit == "bp" else entry.fact.value


def _kind(entry: Entry) -> int:
    unit = entry.fact.unit
    if unit in ("percent", "bp"):
        return -1
    known = unit if unit not in (None, "money", "count", "index") else ""
    return hash((known, entry.fact.currency or "", entry.fact.counted))


def _scores(near: Context, facts: Facts, sentence: Sentence, grid: Grid) -> tuple[np.ndarray, frozenset[str]]:
    """How well the clause names each operand, by words few labels share or by telling its value; and its words."""
    return grid.once(sentence, ("scores", near.span), lambda: _score(near, facts, sentence, grid))


def _score(near: Context, facts: Facts, sentence: Sentence, grid: Grid) -> tuple[np.ndarray, frozenset[str]]:
    clause = sentence.clause
    said = _said(sentence, grid)
    before = grams(sentence.text[max(0, clause.start - 160) : clause.start]) - said if clause.start else frozenset()
    weights = grid.weights
    scores = np.array([math.fsum(weights[one] for one in some & said) for some in grid.grams], dtype=float)
    if before:
        scores += [0.3 * math.fsum(weights[one] for one in some & before) for some in grid.grams]
    years = {int(one.value) // (10000 if one.kind == "date" else 1) for one in sentence.reads if one.kind} - {0}
    for i, one in enumerate(grid.entries):
        if years and one.meaning.years and not one.meaning.years & years:
            scores[i] -= 1.0
    if not years and not near.may_be_previous:
        scores -= 0.5 * grid.late
    for other in sentence.reads:
        if other.kind or other.ignored or not other.value or other.span == near.span:
            continue
        for one in facts.sized(*other.interval()):
            unit = one.fact.unit
            if other.unit == unit or (other.unit in (None, "money") and unit in (None, "money")):
                scores[grid.orders == one.order] += 2.0
    return scores, said


class _Operation(NamedTuple):
    """So many times the values of one of the grid's tables, of the pairs that are allowed."""

    name: str
    table: str
    times: float
    allowed: Callable[[], np.ndarray]
    hinted: bool
    line: bool = False


def _operations(read: Read, near: Context, clause: str, grid: Grid, tags: set[str], cited: bool) -> list[_Operation]:
    """The operations that a number of this unit may be the result of; lines cited may be of several times."""
    same_amounts, same_rates = (
        (grid.apart_amounts, grid.apart_rates) if cited else (grid.same_amounts, grid.same_rates)
    )
    moves = bool(tags & {"up", "down", "change"})
    beyond = bool(tags & {"beyond", "short"} or (not moves and _BY.search(near.lead)))  # "overshot the plan by 5m"
    found: list[_Operation] = []
    unit = read.unit

    def add(name: str, table: str, times: float, allowed: Callable[[], np.ndarray], hinted: Any, line: bool = False):
        found.append(_Operation(name, table, times, allowed, bool(hinted), line))

    if unit == "percent":
        if not (near.moves_by and moves) and not _RELATIVE.search(clause):
            hinted = bool(tags & {"share", "times"} or near.measures & _RATES or _RATIO.search(clause))
            # the month is 9 % of the year to date, or of a plan
            add("percent", "share", 100.0, lambda: same_amounts | grid.line_either_way, hinted)
            if "sum" in tags or cited:
                add(_PART, "part", 100.0, lambda: same_amounts, hinted)
            if near.measures & _MARGINS:
                add("percent", "growth", -1.0, lambda: same_amounts, True)
            if _AVERAGE.search(clause):
                add("average", "sum", 0.5, lambda: (same_rates & grid.upper) | grid.line_rates, True)
            if not beyond and not moves:  # a change or a gap of percentages is told in points
                net = bool(_NET.search(clause))
                if net or not hinted or (cited and _RATIO.search(clause)):
                    add("difference", "gap", -1.0, lambda: same_rates, net)
                    add("sum", "sum", 1.0, lambda: same_rates & grid.upper, net or "sum" in tags)
        if cited or moves or beyond or not _SHARE.search(clause):  # a share is no change
            add("percent change", "growth", 1.0, lambda: grid.line_amounts, moves or beyond, True)
            add("percent change", "growth", 1.0, lambda: same_amounts, beyond)
    elif unit in ("points", "bp", "index"):
        times = 100.0 if unit == "bp" else 1.0
        add("difference", "gap", times, lambda: grid.line_rates, True, True)
        add("difference", "gap", -times, lambda: same_rates, True)
        if cited or "sum" in tags:
            add("sum", "sum", times, lambda: same_rates & grid.upper, "sum" in tags)
        if unit != "index" and cited and _OF_A_WHOLE.match(near.after):  # 35 basis points of loans
            add("percent", "share", 100.0 * times, lambda: same_amounts, True)
        if unit == "index":
            add("difference", "gap", 1.0, lambda: grid.line_amounts & grid.both_of(None), moves, True)
            add("difference", "gap", -1.0, lambda: same_amounts & grid.both_of(None), moves or beyond)
    elif unit == "ratio":
        add("ratio", "share", 1.0, lambda: grid.line_amounts.T, True)
        add("ratio", "share", 1.0, lambda: same_amounts | same_rates, True)
        # leverage is 0.3x below its threshold
        add("difference", "gap", 1.0, lambda: grid.line_amounts & grid.both_of("ratio"), moves or beyond, True)
        add("difference", "gap", -1.0, lambda: same_amounts & grid.both_of("ratio"), moves or beyond)
    elif unit in DURATIONS:  # a stay 0.5 days shorter; cash lasts 11 years, stocks 40 days
        add("difference", "gap", 1.0, lambda: grid.line_amounts & grid.both_of(unit), True, True)
        add("difference", "gap", -1.0, lambda: same_amounts & grid.both_of(unit), True)
        hinted = cited or _COVER.search(clause)
        add(
            "ratio",
            "share",
            _A_YEAR[unit],
            lambda: same_amounts | grid.line_either_way if cited else same_amounts,
            hinted,
        )
    elif unit is None or unit in MONEY or unit == "count":
        fits = grid.of_currency(read.currencies)
        pair = fits & fits.T
        net = bool(_NET.search(clause) or tags & {"profit", "loss"})
        add("difference", "gap", 1.0, lambda: grid.line_amounts & pair, moves or beyond or net, True)
        moved = near.moves_by or (_CHANGE_IN.search(near.lead) and not _AVERAGE.search(clause))
        change = moved and not beyond and not net  # from one line to another is none, but between two weeks
        add("difference", "gap", -1.0, lambda: (grid.twins if change else same_amounts) & pair, moves or beyond or net)
        if change:
            return found
        add("sum", "sum", 1.0, lambda: same_amounts & grid.upper & pair, "sum" in tags)
        if _SPAN.search(clause) or (cited and "sum" in tags):  # of two quarters
            add("sum", "sum", 1.0, lambda: grid.line_amounts & pair, True)
        average = _AVERAGE.search(clause)
        add("average", "sum", 0.5, lambda: ((same_amounts & grid.upper) | grid.line_amounts) & pair, average)
        if grid.multiplies(read):
            add("product", "product", 1.0, lambda: grid.at_price & fits, True)
            add("product", "rest", 1.0, lambda: grid.at_rate & fits, _REST.search(clause))
        per = bool(_PER.search(clause))
        add("ratio", "share", _energy(clause), lambda: grid.each & fits, per)
        if read.scale <= 1.0 and abs(read.value) < 1000:  # "every pound spent brought in 6.47"; 7.4 of a hundred
            add("ratio", "share", 1.0, lambda: same_amounts & pair, per)
            if not read.currencies:
                add("percent", "share", 100.0, lambda: same_amounts, per)
    return found


_CHANGE_IN = re.compile(r"\b(?:change|increase|decrease|reduction|decline|growth)\)?\s(?:in|of)\b", re.IGNORECASE)
_RELATIVE = re.compile(
    r"(?:\bper ?cent(?:age)?|%) (?:change|increase|decrease|growth|decline)\b|\bgrowth rate\b"
    r"|变动率|变化率|增长率|增速|增幅|降幅",
    re.IGNORECASE,
)
_OF_A_WHOLE = re.compile(r"\s?of\s", re.IGNORECASE)
_ENERGY = re.compile(r"(?:\b(?:each|every|per|an?)\s|/|每)(?P<scale>[kmgt])(?:\w{2,3}watt-?\s?|w)h", re.IGNORECASE)


def _energy(clause: str) -> float:
    """Watt-hours of what a ratio is told of: a gigawatt-hour. Amounts are kept in single ones."""
    match = _ENERGY.search(clause)
    return {"k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}[lower(match["scale"])] if match else 1.0


_RATES = frozenset(lexicon()["rates"]) | lexicon()["quotients"].keys()
_MARGINS = frozenset({"gross_margin", "operating_margin", "net_margin"})


def infer(
    read: Read, near: Context, facts: Facts, sentence: Sentence, ids: frozenset[str] | None, mistaken: bool = False
) -> Derived | None:
    """The operation on two lines that gives `read`, or None.

    Args:
        read: a number that quotes nothing and that no word announces as derived.
        near: what stands around it.
        facts: the evidence, a plain list.
        sentence: the clause.
        ids: the evidence cited, or None for all of it.
        mistaken: whether the number is that of a line which the sentence does not speak of.
    """
    if read.ignored or read.kind or not read.value:
        return None
    grid = grid_of(facts)
    if len(grid.entries) < 2:
        return None
    cited: list[int] = []
    if ids is not None:
        cited = [i for i, one in enumerate(grid.ids) if one in ids]
        if len(cited) < 2:
            return None
        quotient = (
            read.unit is None and abs(read.value) < 10 and read.half < 0.01 and sentence.tags & {"share", "times"}
        )
        some = read._replace(unit="ratio") if quotient else read  # "a proportion of 0.48"
        if several := _of_several(some, [grid.entries[i] for i in cited], _OF_CITED, direction_of((), near)):
            return several
    may_be = grid.gives(read) or _ENERGY.search(sentence.text, sentence.clause.start, sentence.clause.end)
    found = _of_pair(read, near, facts, sentence, ids, mistaken, grid, cited) if may_be else None
    if found is not None:
        return found
    if ids is not None:
        return _of_two(read, grid, cited)
    return (
        _of_named(read, near, facts, sentence, grid)
        or _of_peers(read, near, facts, sentence, grid)
        or _over_time(read, near, facts, sentence, grid)
        or (_with_told(read, near, facts, sentence, mistaken, grid) if may_be else None)
    )


def _with_told(
    read: Read, near: Context, facts: Facts, sentence: Sentence, mistaken: bool, grid: Grid
) -> Derived | None:
    """What a line told beside the number gives with one that the clause names, of whatever time."""
    told = [i for i, one in enumerate(grid.entries) if near.tells(one)]
    if not told:
        return None
    scores, _ = _scores(near, facts, sentence, grid)
    best = [int(i) for i in np.argsort(-scores, kind="stable")[:_FEW] if scores[i] > _SPOKEN_OF]
    chosen = sorted({*told, *best})
    if not len(told) < len(chosen):
        return None
    ids = frozenset(grid.ids[i] for i in chosen)
    return _of_pair(read, near, facts, sentence, ids, mistaken, grid, chosen, told)


def _of_pair(
    read: Read, near: Context, facts: Facts, sentence: Sentence, ids: frozenset[str] | None, mistaken: bool,
    grid: Grid, cited: list[int], told: list[int] | None = None,
) -> Derived | None:  # fmt: skip
    """The operation on two lines that the clause names best, of those cited where any are, one of them told."""
    tags = sentence.tags
    clause = sentence.text[sentence.clause.start : sentence.clause.end]
    operations = _operations(read, near, clause, grid, tags, ids is not None)
    low, high = read.interval()
    count, chosen, beside = len(grid.entries), frozenset(cited), frozenset(told or ())
    hits = []
    for one in operations:
        size = abs(one.times)
        places = [divmod(place, count) for place in grid.of_size(one.table, low / size, high / size)]
        if cited:
            places = [(i, j) for i, j in places if i in chosen and j in chosen
                      and (told is None or i in beside or j in beside)]  # fmt: skip
        if places:
            allowed, table = one.allowed(), grid.tables[one.table]
            places = [(i, j) for i, j in places if allowed[i, j] and low <= abs(one.times * table[i, j]) <= high]
            hits += [(one, places)] if places else []
    if not hits:
        return None
    scores, said = _scores(near, facts, sentence, grid)
    pairs = scores[:, None] + scores[None, :]
    size = abs(read.value)
    among: Any = True
    if cited:
        own, also = np.zeros(count, dtype=bool), np.zeros(count, dtype=bool)
        own[cited], also[told or ()] = True, True
        among = own[:, None] & own[None, :] & (True if told is None else also[:, None] | also[None, :])
    near_by = []
    for one in operations:
        sizes = np.abs(one.times * grid.tables[one.table])
        once = grid.upper if one.name == "difference" and not one.line else True
        near_by.append(one.allowed() & (sizes >= size / 3) & (sizes <= 3 * size) & once & among)
    best: tuple[float, Derived] | None = None
    for one, places in hits:
        for i, j in places:
            score = float(pairs[i, j])
            first, last = grid.entries[i], grid.entries[j]
            if first.fact.id == last.fact.id and (
                one.name == "product" or (read.unit is None and one.name in ("ratio", "percent"))
            ):
                continue  # the use of a limit is told in percent
            if (best is not None and best[0] >= score) or min(first.size, last.size) <= 2 * read.half * (
                one.name in ("difference", "sum")
            ):
                continue
            rivals = sum(int((some & (pairs >= score - 1e-9)).sum()) for some in near_by)
            expected = rivals * 2 * read.half / size / _DECADE
            named = min(scores[i], scores[j]) > 0.1
            if ids is None and max(scores[i], scores[j]) <= 0.1 and scores.max() > _SPOKEN_OF:
                continue  # the clause speaks of other lines
            if ids is None and "sum" in tags and one.name in ("percent", _PART):
                whole = (grid.grams[j] - grid.grams[i]) & said
                part = (grid.grams[i] - grid.grams[j]) & said
                both = part and (whole or any(more.states(first.size + last.size) for more in sentence.reads))
                whole = whole or TOTAL.search(last.fact.label) or (near.tells(first) and _is_whole(last, first, grid))
                if not (both if one.name == _PART else whole):
                    continue  # a share of a total that is no line
            if one.name == "average" and not one.hinted:
                continue
            if ids is None and not (one.hinted or one.line or named) and one.name == "percent change":
                continue  # by accident most percentages are the change from one line to another
            if mistaken and not (one.hinted and named):
                continue
            both = grid.grams[i] - grid.grams[j], grid.grams[j] - grid.grams[i]
            pairs_named = zip(both, (first, last), strict=True)
            if (
                one.name == "product"
                and ids is None
                and not all(some & said or near.tells(line) for some, line in pairs_named)
            ):
                continue  # a rate told beside an amount is mostly one of its own
            few = (one.hinted and rivals <= 2 and named) or (rivals <= _FEW and all(some & said for some in both))
            if expected > (_ACCIDENTS if told is None else _OF_CITED) and (told is not None or not few):
                continue
            plan = "budget" in near.all_qualities and is_plan_of(last, first)
            if one.name == "percent" and size > 100.5 and not (read.bound or tags & {"times"} or plan):
                first_at, last_at = (_place(a - b, clause) for a, b in
                                     ((grid.grams[i], grid.grams[j]), (grid.grams[j], grid.grams[i])))  # fmt: skip
                if not _LEVEL.search(clause) and (first_at is None or last_at is None or first_at > last_at):
                    continue  # a part is no larger than its whole
            value = one.times * float(grid.tables[one.table][i, j])
            fault = _against(one, value, first, last, (grid.grams[i], grid.grams[j]), read, near, tags, clause)
            if fault == "sign":
                continue
            told = f"{one.name} of {first.fact} and {last.fact}"
            evidence = list(dict.fromkeys((first.fact.id, last.fact.id)))
            if fault:
                told = f"the other way round: {told}"
            best = score, Derived("percent" if one.name == _PART else one.name, evidence, told, fault)
    return best and best[1]


def _of_two(read: Read, grid: Grid, cited: list[int]) -> Derived | None:
    """What two cited amounts give whatever they count: passenger of seat kilometres, contracts a day times days."""
    amounts = [i for i in cited if grid.entries[i].fact.unit not in ("percent", "ratio", "bp")]
    rates = [grid.entries[i] for i in cited if grid.entries[i].fact.unit in ("percent", "bp")]
    if len(cited) == 2 and len(rates) == 1 == len(amounts):  # a yield for each year of duration
        count = grid.entries[amounts[0]]
        value = _plain(rates[0]) / count.size * {"bp": 100.0}.get(read.unit, 1.0) if count.size else 0.0
        if read.unit in ("percent", "points", "bp") and count.fact.currency is None and read.states(abs(value)):
            ids = [rates[0].fact.id, count.fact.id]
            return Derived("ratio", ids, f"ratio of {rates[0].fact} to {count.fact}")
    if len(amounts) != 2 or len(cited) > 3 or read.sign or grid.line[*amounts] or grid.line[*amounts[::-1]]:
        return None
    part, whole = sorted((grid.entries[i] for i in amounts), key=lambda entry: entry.size)
    ids = [part.fact.id, whole.fact.id]
    if not part.size:
        return None
    times = whole.size / part.size
    if part.fact.currency != whole.fact.currency:  # an amount a head
        money, count = (part, whole) if part.fact.currency else (whole, part)
        if part.fact.currency and whole.fact.currency:  # at a rate of exchange
            at_rate = read.unit in MONEY and has_currency(read, part) and read.states(part.size * whole.size)
            return Derived("product", ids, f"{whole.fact} at {part.fact}") if at_rate else None
        fits = read.unit in MONEY and not count.fact.currency and has_currency(read, money)
        if fits and count.size and read.states(money.size / count.size):
            return Derived("ratio", ids, f"ratio of {money.fact} to {count.fact}")
        return None
    if part.fact.counted.startswith("/") and read.unit is None and read.states(times):  # what was bought at a price
        return Derived("ratio", ids, f"ratio of {whole.fact} to {part.fact}")
    if read.unit in ("percent", "points") and same_time(part, whole) and read.states(100.0 / times):
        return Derived("percent", ids, f"percent: {part.fact} of {whole.fact}")
    if (read.unit in DURATIONS or read.unit == "ratio") and read.states(times):
        return Derived("ratio", ids, f"ratio of {whole.fact} to {part.fact}")
    if read.unit is None and not part.fact.currency and read.states(part.size * whole.size):
        return Derived("product", ids, f"product of {part.fact} and {whole.fact}")
    return None


def _is_whole(line: Entry, part: Entry, grid: Grid) -> bool:
    """Whether a line is the largest of its unit and time, or the sum of a run of the others, a part among them."""
    kind = _kind(line)
    others = [one for one in grid.entries if _kind(one) == kind and same_time(one, line) and one is not line]
    if all(one.size <= line.size for one in others):
        return True
    slack = 0.002 * line.size
    for first in range(len(others)):
        total = 0.0
        for last in range(first, len(others)):
            total += others[last].fact.value
            if last > first and abs(total - line.fact.value) <= slack:
                return part in others[first : last + 1]
    return False


def _of_named(read: Read, near: Context, facts: Facts, sentence: Sentence, grid: Grid) -> Derived | None:
    """What three lines give that a clause without ids names or tells better than all others."""
    if read.sign < 0:
        return None
    scores, said = _scores(near, facts, sentence, grid)
    kinds: dict[int, list[int]] = {}
    told: list[int] = []
    for i in np.argsort(-scores, kind="stable").tolist():
        if scores[i] <= _NAMED:
            break
        order = kinds.setdefault(_kind(grid.entries[i]), [])
        if not any(grid.line[i, j] for j in order):  # an earlier value of one named better
            order.append(i)
        if near.tells(grid.entries[i]):
            told.append(i)
    if found := _of_several(read, [grid.entries[i] for i in told], _OF_NAMED):
        return found
    clause = sentence.text[sentence.clause.start : sentence.clause.end]
    rest = bool(_REST.search(clause) or _LEFT_OUT.search(clause))
    for order in kinds.values():
        for count in (3, 4):
            if len(order) < count:
                continue
            level = scores[order[count - 1]]
            sure = [i for i in order[:count] if scores[i] > level]
            alike = [i for i in order if scores[i] == level]
            if len(alike) > count - len(sure) and (len(sure) + 1 < count or len(alike) > _ALIKE):
                continue
            # of several named as well, each may be the last one
            for last in alike if len(sure) + 1 == count else [None]:
                chosen = order[:count] if last is None else [*sure, last]
                lines = [grid.entries[i] for i in chosen]
                # each of them named apart from the others, or told; but for what the others are taken off
                some = [grid.grams[i] & said for i in chosen]
                apart = [own.difference(*(other for other in some if other is not own)) for own in some]
                vague = sum(not one and not near.tells(line) for one, line in zip(apart, lines, strict=True))
                if vague <= rest and (found := _of_several(read, lines, _OF_NAMED)):
                    return found
    return None


def _of_peers(read: Read, near: Context, facts: Facts, sentence: Sentence, grid: Grid) -> Derived | None:
    """The share of a line that the clause names in all lines of its kind, their sum, or what they are on average.

    No line is their whole. Of a kind are lines of one unit and time whose labels share a word: hydro, wind and
    gas-fired generation.
    """
    clause = sentence.text[sentence.clause.start : sentence.clause.end]
    average = bool(_AVERAGE.search(clause))
    told = read.unit is None or read.unit in MONEY
    amount = told and bool(_ALL_OF.search(clause) or "sum" in sentence.tags)
    share = read.unit == "percent" and not _RELATIVE.search(clause)
    if read.sign < 0 or near.moves_by or not (amount or average or share):
        return None
    scores, _ = _scores(near, facts, sentence, grid)
    best = [int(i) for i in np.argsort(-scores, kind="stable")[:_FEW] if scores[i] > _NAMED]
    found, tried, size = None, 0, abs(read.value)
    for group in sorted({group for i in best for group in _peers(i, grid, amount)}):
        lines = tuple(grid.entries[i] for i in group)
        values: list[tuple[str, float]] = []
        rates = lines[0].fact.unit == "percent"
        if average and (rates if read.unit == "percent" else told and not rates):
            values.append(("average", abs(sum(one.fact.value for one in lines)) / len(lines)))
        elif _are_parts(lines) and not rates:
            net = sum(one.fact.value for one in lines)
            total = abs(net)
            if any(one.fact.value < 0 for one in lines):  # both long and short: the words must say which is told
                if not amount or not (match := _NET_OR_GROSS.search(clause)):
                    continue
                if not match["gross"] and net > 0 and _SHORT.search(clause):
                    continue
                total = sum(one.size for one in lines) if match["gross"] else total
            if amount:
                values.append(("sum", total))
            elif read.unit == "percent" and total:
                values += [("percent", 100.0 * grid.entries[i].size / total) for i in best if i in group]
        for name, value in values:
            tried += size / 3 <= value <= 3 * size
            if read.states(value) and (name == "percent" or all(has_currency(read, one) for one in lines)):
                ids = [one.fact.id for one in lines]
                found = found or Derived(name, ids, f"{name} of {', '.join(ids)}")
    return found if found and tried * 2 * read.half / size / _DECADE <= _OF_NAMED else None


def _over_time(read: Read, near: Context, facts: Facts, sentence: Sentence, grid: Grid) -> Derived | None:
    """The sum or the average of the line named best: over the times told, from one to the other, or all.

    A sum is of times that are named.
    """
    clause = sentence.text[sentence.clause.start : sentence.clause.end]
    average = bool(_AVERAGE.search(clause))
    if near.moves_by or not (average or "sum" in sentence.tags or _SPAN.search(clause)):
        return None
    scores, _ = _scores(near, facts, sentence, grid)
    times = {int(one.value) // (10000 if one.kind == "date" else 1) for one in sentence.reads if one.kind} - {0}
    found, tried, lines = None, 0, []
    for i in np.argsort(-(scores + 0.5 * grid.late), kind="stable")[: 3 * _FEW]:
        first = grid.entries[i]
        if scores[i] <= _NAMED or len(lines) == _FEW or any(first in one for one in lines):
            continue
        line = sorted((one for one in facts.series(first) if one.order in grid.place), key=lambda one: one.when)
        rates, unit = first.fact.unit in ("percent", "bp"), read.unit
        told = unit == first.fact.unit or (not rates and (unit is None or unit in MONEY))
        if len(line) < 2 or not told or (rates and not average) or not has_currency(read, first):
            continue
        if average and _AVERAGE.search(first.fact.label):
            continue  # it is one by its name
        lines.append(line)
        named = [one for one in line if one.meaning.years & times]
        choices = [named]
        if len(named) == 2:  # from one year to the other
            choices.append([one for one in line if named[0].when <= one.when <= named[1].when])
        if len(named) < 2 and (average or _ALL_TIMES.search(clause)):
            choices.append(line)
        for some in {tuple(one.order for one in group): group for group in choices if len(group) > 1}.values():
            value = abs(sum(map(_plain, some))) / (len(some) if average else 1)
            value *= 100.0 if unit == "bp" else 1.0
            tried += 1
            if read.states(value) and (not read.sign or (sum(map(_plain, some)) < 0) == (read.sign < 0)):
                ids = list(dict.fromkeys(one.fact.id for one in some))
                found = found or Derived("average" if average else "sum", ids, f"over time, of {', '.join(ids)}")
    return found if found and tried * 2 * read.half / abs(read.value) / _DECADE <= _OF_NAMED else None


_ALL_TIMES = re.compile(
    r"\b(?:all|both|over|across|for|the)\b[^,;]{0,12}\b(?:years|quarters|months)\b|[两三四五各]个?[年季月]",
    re.IGNORECASE,
)
_ALL_OF = re.compile(
    r"\b(?:all|across|overall|altogether|group(?:-wide)?|entire|whole|individual|separate)\b|全部|相加|加起来|加在一起|叠加|各项|所有|各|整体|全",
    re.IGNORECASE,
)


_SHORT = re.compile(r"\bshort\b|空")
_NET_OR_GROSS = re.compile(r"\bnet\b|净|(?P<gross>\bgross\b|\babsolute\b|绝对值|总额)", re.IGNORECASE)


def _peers(i: int, grid: Grid, amount: bool) -> Iterator[tuple[int, ...]]:
    """The lines of the unit and the time of one of them, three to eight, that share a word of their labels with it."""
    line = grid.entries[i]
    kind = _kind(line)
    if kind == -1:
        return
    alike = [j for j, one in enumerate(grid.entries) if _kind(one) == kind and one.when[0] == line.when[0]]
    for word in grid.grams[i] - _TIMES:
        group = tuple(j for j in alike if word in grid.grams[j])
        if word[0] != "=" and 3 <= len(group) <= _TOGETHER:
            yield group
            if amount and len(group) > 3:  # the largest may be the whole, by another name
                largest = max(group, key=lambda j: grid.entries[j].size)
                yield tuple(j for j in group if j != largest)


def of_lines(read: Read, names: list[str], facts: Facts) -> list[str]:
    """The ids, of the three to five given, whose lines together give `read`; none where they do not."""
    lines = [facts.line_of(name) for name in names]
    if read.sign < 0 or None in lines:
        return []
    found = _of_several(read, lines, _OF_NAMED)
    return found.evidence if found else []


def _of_several(read: Read, lines: list[Entry], most: float, direction: str | None = None) -> Derived | None:
    """What three to five of a few lines give, by accident no more often than `most`: a plus b less c, shares of those.

    Amounts are added, subtracted, and divided by each other; of percentages the sums and differences are told. Of more
    lines only what all of them give.
    """
    if read.sign < 0 or not 3 <= len(lines) <= _TOGETHER:
        return None  # which of several is taken off which no words say so surely that a minus is right
    ids = [one.fact.id for one in lines]
    sizes = [one.size for one in lines]
    if len({_kind(one) for one in lines}) == 1 and read.unit not in ("percent", "ratio", "points", "bp"):
        for name, value in (
            ("sum", sum(one.fact.value for one in lines)),
            ("difference", 2 * max(sizes) - sum(sizes)),
        ):
            if read.states(abs(value)) and all(has_currency(read, one) for one in lines):
                return Derived(name, ids, f"{name} of {', '.join(ids)}")  # of them all, or what the largest leaves
    size, tried = abs(read.value), 0
    for count in range(len(lines), 2, -1) if len(lines) <= _CHOSEN else [len(lines)]:
        evidence: tuple[Entry, ...] | None = None
        for some in itertools.combinations(lines, count):
            for value in _values_of(read, [_plain(one) for one in some], some, direction):
                tried += size / 3 <= abs(value) <= 3 * size
                if read.states(abs(value)):
                    evidence = evidence or some
        if evidence is not None and tried * 2 * read.half / size / _DECADE <= most:
            ids = list(dict.fromkeys(one.fact.id for one in evidence))
            return Derived("sum", ids, f"sums and quotients of {', '.join(ids)}")
    return None


def _values_of(read: Read, values: list[float], some: tuple[Entry, ...], direction: str | None) -> Iterator[float]:
    """What all of some lines give in the unit of a number, told as a change in a direction."""
    kinds = [_kind(one) for one in some]
    unit, count = read.unit, len(some)
    rates = kinds[0] == -1
    alike = len(set(kinds)) == 1
    told = unit in ("percent", "points", "bp") if rates else unit is None or unit in MONEY or unit == some[0].fact.unit
    if alike and told and (rates or all(has_currency(read, one) for one in some)) and count > 5:
        yield (100.0 if unit == "bp" else 1.0) * sum(values)
    elif alike and told and (rates or all(has_currency(read, one) for one in some)):
        times = 100.0 if unit == "bp" else 1.0
        for signs in itertools.product((1, -1), repeat=count - 1):
            yield times * sum(sign * value for sign, value in zip((1, *signs), values, strict=True))
        yield times * sum(values) / count
        if count == 3:
            yield from (times * (sum(values) - 3 * one) / 2 for one in values)  # the middle of two less the third
    if count == 3 and (unit is None or unit in MONEY):
        for i, one in enumerate(values):  # a weight times the gap of two prices
            (a, x), (b, y) = ((values[j], kinds[j]) for j in range(3) if j != i)
            if x == y != kinds[i]:
                per_point = some[i].fact.unit == "money_per_bp" or PER_POINT.search(some[i].fact.label)
                times = 100.0 if x == -1 and per_point else 0.01 if x == -1 else 1.0
                yield one * (a - b) * times
                if x == -1 and not per_point:
                    yield one * (a + b) * times  # the amount of two shares
    if count == 3 and unit in ("points", "bp") and alike and not rates:  # what two shares of a whole are apart
        for i, whole in enumerate(values):
            a, b = values[:i] + values[i + 1 :]
            if whole and max(abs(a), abs(b)) <= abs(whole):
                yield {"bp": 1e4}.get(unit, 100.0) * (a - b) / whole
    if count == 3 and unit in ("points", "bp"):  # growth or a share less a rate: real wages, storage short of a target
        for i in (i for i, kind in enumerate(kinds) if kind == -1):
            (a, x), (b, y) = ((values[j], kinds[j]) for j in range(3) if j != i)
            if x == y != -1 and a and b:
                times = 100.0 if unit == "bp" else 1.0
                yield from (times * (100.0 * (now / then - 1) - values[i]) for now, then in ((a, b), (b, a)))
                if same_time(*(one for j, one in enumerate(some) if j != i)):
                    yield times * (100.0 * min(a, b) / max(a, b) - values[i])
    if rates or unit not in ("percent", "points", "bp", "ratio"):
        return
    scale = {"ratio": 1.0, "bp": 1e4}.get(unit, 100.0)
    if alike and count == 3 and unit in ("percent", "ratio"):
        for i, one in enumerate(values):
            a, b = values[:i] + values[i + 1 :]
            for two in (a + b, a - b):
                if one and two:
                    yield from (scale * two / one, scale * one / two)
                    if unit == "percent" and read.half < 0.5:  # a margin over two costs, a return of two parts
                        yield from (abs(scale * (two / one - 1)), abs(scale * (one / two - 1)))
            if one and a + b and unit in ("percent", "bp") and not same_time(*(x for x in some if x is not some[i])):
                yield 2 * scale * one / (a + b)  # of the mean of opening and closing
            together = one + a + b
            if one and together and _are_parts(some):
                yield from (scale * one / together, scale * (a + b) / together)
    if alike and count > 3 and unit == "percent":
        yield from _of_all(values, some, direction)
    if count == 4:
        for i in (1, 2, 3):
            a, b = values[0], values[i]
            c, d = (values[j] for j in (1, 2, 3) if j != i)
            if alike and unit in ("percent", "ratio") and a + b and c + d:
                yield from (scale * (a + b) / (c + d), scale * (c + d) / (a + b))
                yield from (scale * ((a + b) / (c + d) - 1), scale * ((c + d) / (a + b) - 1))
            if alike and unit == "percent" and a != b and c != d:  # of an increase, that of one part
                yield from (scale * (a - b) / (c - d), scale * (c - d) / (a - b))
            if unit != "ratio" and kinds[0] == kinds[i] and all((a, b, c, d)):  # of two shares, or of two growths
                yield from (scale * (x / y - z / w) for x, y in ((a, b), (b, a)) for z, w in ((c, d), (d, c)))


def _of_all(values: list[float], lines: tuple[Entry, ...], direction: str | None) -> Iterator[float]:
    """What four or more amounts give together in percent: the share of one in all, or in the others, and changes."""
    sizes = [abs(one) for one in values]
    together = sum(sizes)
    parts = _are_parts(lines)
    for one in sizes:
        if 0 < one < together and not direction:
            if parts:
                yield 100.0 * one / together
            yield from (100.0 * one / (together - one), 100.0 * (together - one) / one)
    times = sorted({one.when[0] for one in lines})
    if len(times) != 2:
        return
    now = [size for size, one in zip(sizes, lines, strict=True) if one.when[0] == times[1]]
    alike = 2 * len(now) == len(lines) or len(now) in (1, len(lines) - 1)  # line by line, or a total at one time
    if alike and 0 < sum(now) < together:
        change = 100.0 * (sum(now) / (together - sum(now)) - 1)
        if direction is None or (change > 0) == (direction == "up"):
            yield abs(change)


def _are_parts(lines: tuple[Entry, ...]) -> bool:
    """Whether some lines may be parts of one whole: of one time, each with a name, none of them the whole."""
    sizes = [one.size for one in lines]
    whole = abs(2 * max(sizes) - sum(sizes)) <= 0.005 * max(sizes)
    named = all(one.names - {"total"} and not TOTAL.search(one.fact.label) for one in lines)
    return named and not whole and all(same_time(lines[0], one) for one in lines[1:])


_PART = "percent of the sum"
_DECADE = math.log(9.0)


def _against(one: _Operation, value: float, first: Entry, last: Entry, named, read: Read, near: Context, tags,
             clause: str) -> str | None:  # fmt: skip
    """What a sentence says against an operation that gives its number: a sign, or a direction."""
    direction = direction_of(tags, near, last.fact.label)
    if one.line:
        if read.sign and ((value < 0) != (read.sign < 0) or (read.sign < 0 and (direction or _BY.search(near.lead)))):
            return "sign"
        rising = (value > 0) != compares_earlier(near, first, last)
        wrong = direction and rising != (direction == "up") and first.fact.value >= 0 and not ROOM.search(clause)
        return "comparative" if wrong else None
    if one.name in ("ratio", "percent") and _COVERS.search(clause):
        a, b = (_place(mine - other, clause) for mine, other in (named, named[::-1]))
        if a is not None and b is not None and b < a:
            return "sign"  # what covers is named first
    if (
        one.name == "ratio"
        and read.unit in ("ratio", None)
        and abs(value) < 1
        and not is_told_first(first, last, near, clause)
    ):
        a, b = (_place(mine - other, clause) for mine, other in (named, named[::-1]))
        if a is not None and b is not None and b < a:
            return "sign"  # the other one is named as how many times the first
    if one.name != "difference":
        turned = read.sign and (value < 0) != (read.sign < 0)
        return "sign" if turned or (read.sign < 0 and one.name == "percent change") else None
    # first less last: the one named first, or not at all, is what the sentence is about
    places = [_place(mine - other, clause) for mine, other in (named, named[::-1])]
    beside = [_place(mine - other, near.lead) is not None for mine, other in (named, named[::-1])]
    if None not in places and beside[0] != beside[1]:
        own = named[beside.index(True)] - named[beside.index(False)]
        if not any(near.compares_with(name) for name in own):
            places = [0, 1] if beside[0] else [1, 0]  # "by the requirement of 5.38m, capital is 7.48m over"
    if read.sign < 0:
        if direction or None in places or one.name != "difference" or _LEFT_OUT.search(clause):
            return "sign"
        return "sign" if (places[0] < places[1]) != (value < 0) else None
    if not tags & {"beyond", "short"} or not direction or places[0] == places[1]:
        return None
    if None in places:
        return None
    ahead = places[0] < places[1]
    return "comparative" if (value > 0) != (ahead == (direction == "up")) else None


def _place(names: frozenset[str], clause: str) -> int | None:
    """Where a clause first has one of the names."""
    low = lower(clause)
    found = [match.start() for one in names if one[0] != "="
             and (match := re.search(rf"(?<![a-z]){re.escape(one)}", low))]  # fmt: skip
    return min(found, default=None)
