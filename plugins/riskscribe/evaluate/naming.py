"""Which lines of an evidence list a sentence names, by the words that their labels share with it.

A `Grid` holds what is known of a list once for all its texts: the words of its labels and how few of them have each,
and the tables of what every pair of its lines gives, which `infer` reads.
"""

import itertools
import math
import re
from array import array
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Iterator
from functools import lru_cache
from typing import Any

import numpy as np

from riskscribe.evaluate.context import Context, Sentence, year_of
from riskscribe.evaluate.derive import direction_of, is_operand, same_time
from riskscribe.evaluate.facts import KINDS, PLAIN_WORDS, Entry, Facts
from riskscribe.evaluate.numbers import DURATIONS, MONEY, MULTIPLES, Read
from riskscribe.evaluate.prose import lower, read_words

_MOST = 120  # operands
_LONG = 24  # characters of a name that may be told for short
A_YEAR = {"days": 365.0, "weeks": 52.0, "months": 12.0, "years": 1.0}
_ALL_BUT_PLANS = KINDS - {"budget"}
_PER_UNITS = re.compile(r"(?:每|\bper\s)(10+(?![0-9.])|[十百千万])", re.IGNORECASE)
AVERAGE = re.compile(
    r"\b(?:averag\w*|mean|mid-?points?|middle|mid-range|half-?way)\b|平均|均值|中值|中枢|月均|日均|年均", re.IGNORECASE
)
SPAN = re.compile(
    r"\b(?:half|first-half|second-half|half-year|full-year|(?:six|nine|twelve) months|(?:two|three|both) \w+|together"
    r"|combined|cumulative\w*|so far|to date|in (?:all|total))\b|[两三]个?[月季年周天日]|半年|全年|合并|累计|合计",
    re.IGNORECASE,
)
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


TIME_WORDS = frozenset(map(stem, "yesterday today prior previous last latest current daily monthly quarterly".split()))  # noqa: SIM905
TIMES = TIME_WORDS | frozenset(map(stem, "day week month quarter year half ago earlier".split()))  # noqa: SIM905


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
def words_of(text: str) -> frozenset[str]:
    """The grams of a text that are one word each, and none of time."""
    return frozenset(one for one in grams(text) if " " not in one) - TIMES


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
        self.words = [words_of(one.fact.label) for one in entries]
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
        values = np.array([plain_value(one) for one in entries], dtype=float)
        percent = np.array([one.fact.unit in ("percent", "bp") for one in entries], dtype=bool)
        times = {}
        keys = [times.setdefault((one.meaning.years, one.meaning.quarters, one.meaning.dates, one.meaning.previous),
                                 (len(times), one))[0] for one in entries]  # fmt: skip
        first = [one for _, one in times.values()]
        together = np.array([[same_time(a, b) for b in first] for a in first], dtype=bool).reshape(
            len(first), len(first)
        )
        units = np.array([unit_kind(one) for one in entries])
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
            share = np.where(two != 0, one / two, np.nan)
            growth = np.where(one != 0, 100 * (two - one) / np.abs(one), np.nan)
            part = np.where(one + two != 0, one / (one + two), np.nan)
            # an amount at a rate, what is left of it, and a volume at a price
            per = np.array([_per(one) for one in entries])[:, None]
            product = np.where(percent[None, :], one * two / 100, one / per * two)
            rest = np.where(two <= 100, one * (1 - two / 100), np.nan)
        gap, total = two - one, two + one
        self.tables = {"share": share, "growth": growth, "part": part, "gap": gap, "sum": total, "product": product,
                       "rest": rest}  # fmt: skip
        self._sorted = {name: _sorted(table) for name, table in self.tables.items()}
        amounts = ~percent[:, None] & ~percent[None, :]
        rates = percent[:, None] & percent[None, :]
        self.line = line
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
        ways = {"percent": (100 * share, 100 * part, growth, gap, total, total / 2),
                "points": (gap, total), "ratio": (share, gap),
                "amount": (gap, total, total / 2, share, 100 * share)}  # fmt: skip
        self.sizes = {name: np.unique(np.abs(np.stack(some)[:, pairs])) for name, some in ways.items()}
        products = np.concatenate([product[self.at_price], rest[self.at_rate]])
        self.sizes["product"] = np.unique(np.abs(products))
        self.sizes["amount"] = np.union1d(self.sizes["amount"], self.sizes["product"])

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
        times = {"bp": 100.0, **A_YEAR}.get(read.unit, 1.0)
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


def said_by(sentence: Sentence, grid: Grid, end: int | None = None) -> frozenset[str]:
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


def years_told(sentence: Sentence) -> set[int]:
    """The years that a clause names."""
    return {year_of(one) for one in sentence.reads if one.kind} - {0}


def _others(near: Context, sentence: Sentence) -> list[Read]:
    """The other amounts of a clause."""
    return [one for one in sentence.reads if one.span != near.span and not one.kind and not one.ignored]


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
    apart = {one for one in grid.grams[own] if one[0] != "=" and " " not in one} - TIME_WORDS
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
    if any(grid.weights[one] > 0.1 for one in grid.grams[place] & said_by(sentence, grid)):
        return None
    # what stands further behind is said of another number
    said = said_by(sentence, grid, near.span[1] + len(near.tail))
    others = _others(near, sentence)
    for other, own in zip(grid.entries, grid.grams, strict=True):
        same = other.fact.unit == entry.fact.unit
        if near.cited is not None and (not same or other.fact.id not in near.cited):
            continue
        named = {one for one in own & said if grid.weights[one] > common} - grid.grams[place] - TIME_WORDS
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
    said = said_by(sentence, grid, near.span[1] + len(near.tail))
    own = grid.words[place]
    if (
        own <= said
        or near.may_be_previous
        or near.tags() & {"beyond", "short"}  # what another is compared with
        or _others(near, sentence)
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
    return grid.once(sentence, ("level", near.span, read.unit), lambda: [*_told_levels(read, near, sentence, grid)])


def _told_levels(read: Read, near: Context, sentence: Sentence, grid: Grid) -> Iterator[Entry]:
    if not _LEVEL_IS.search(near.lead) or direction_of((), near) or len(near.years) > 1 or _others(near, sentence):
        return
    text = sentence.text[near.clause[0] : near.span[0]]
    if grams(text[: len(text) - len(near.lead)]) - TIMES or _WITH.search(text):
        return  # another part of the clause is about something else
    subject = words_of(text)
    for one, words in zip(grid.entries, grid.words, strict=True):
        if words and words <= subject and subject - words <= _OF_A_LINE:
            label, unit = one.fact.label, one.fact.unit
            fits = read.unit == unit or (read.unit in (None, *MONEY) and unit in (None, "count", *MONEY))
            if any(pattern.search(text) and not pattern.search(label) for pattern in (TOTAL, AVERAGE, SPAN)):
                continue
            if fits and not (near.years and one.meaning.years and not near.years & one.meaning.years):
                yield one


def _per(entry: Entry) -> float:
    """The number of units that a price is of: 10 of 每10股派息, a million of EUR/MWh."""
    match = _PER_UNITS.search(entry.fact.label)
    units = float({"十": 10, "百": 100, "千": 1000, "万": 1e4}.get(match[1], match[1])) if match else 1.0
    return units * MULTIPLES.get(entry.fact.counted.removeprefix("/"), 1.0)


def plain_value(entry: Entry) -> float:
    """The value of a line, of basis points in percent: both are rates."""
    return entry.fact.value / 100.0 if entry.fact.unit == "bp" else entry.fact.value


def unit_kind(entry: Entry) -> int:
    unit = entry.fact.unit
    if unit in ("percent", "bp"):
        return -1
    known = unit if unit not in (None, "money", "count", "index") else ""
    return hash((known, entry.fact.currency or "", entry.fact.counted))


def scores_of(near: Context, facts: Facts, sentence: Sentence, grid: Grid) -> tuple[np.ndarray, frozenset[str]]:
    """How well the clause names each operand, by words few labels share or by telling its value; and its words."""
    return grid.once(sentence, ("scores", near.span), lambda: _score(near, facts, sentence, grid))


def _score(near: Context, facts: Facts, sentence: Sentence, grid: Grid) -> tuple[np.ndarray, frozenset[str]]:
    clause = sentence.clause
    said = said_by(sentence, grid)
    before = grams(sentence.text[max(0, clause.start - 160) : clause.start]) - said if clause.start else frozenset()
    weights = grid.weights
    scores = np.array([math.fsum(weights[one] for one in some & said) for some in grid.grams], dtype=float)
    if before:
        scores += [0.3 * math.fsum(weights[one] for one in some & before) for some in grid.grams]
    years = years_told(sentence)
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
