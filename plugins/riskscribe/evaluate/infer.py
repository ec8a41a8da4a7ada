"""Numbers computed from lines that a sentence names in words nobody listed.

`derive` asks for a word it knows and for lines it can name. Where a sentence has neither ("The Americas outsold EMEA
by 893m"), the value itself must carry the weight: an operation is accepted when so exact a number would hardly come
out by accident of any operation whose operands the sentence names as well or better.
"""

import math
import re
from functools import lru_cache
from typing import NamedTuple

import numpy as np

from riskscribe.evaluate.context import Context, Sentence
from riskscribe.evaluate.derive import Derived, direction_of, has_currency, is_operand, same_time
from riskscribe.evaluate.facts import PLAIN_CHARS, PLAIN_WORDS, Entry, Facts, when
from riskscribe.evaluate.numbers import MONEY, Read
from riskscribe.evaluate.prose import lower

_ACCIDENTS = 0.05  # hits by accident that may be expected among operations named as well
_MOST = 120  # operands
_UNHINTED = 3.0  # an operation no word hints at must be that much more exact
_PER = re.compile(
    r"\b(?:per|each|every|averag\w*|apiece|a (?:day|share|head|unit|year|month|customer|person))\b|每|人均|户均|均|单",
    re.IGNORECASE,
)
_AVERAGE = re.compile(r"\b(?:averag\w*|mean)\b|平均|均值", re.IGNORECASE)
_COVER = re.compile(r"\b(?:ratio|cover\w*|times)\b|率|覆盖|比", re.IGNORECASE)
_CJK = re.compile("[\u4e00-\u9fff]+")
_LATIN = re.compile("[a-z&]+")
_ENDINGS = re.compile("(?:ations?|ators?|ating|ated|ates?|ions?|ings?|ities|ity|ies|ers?|ally|al|ed|es|s|y|e)$")
_PARTS = re.compile(f"[{''.join(sorted(PLAIN_CHARS))}]+")


@lru_cache(maxsize=8192)
def stem(word: str) -> str:
    """A word without the endings by which a label and a sentence differ: generated, generation, generates."""
    short = _ENDINGS.sub("", word)
    return short if len(short) > 2 else word


@lru_cache(maxsize=4096)
def grams(text: str) -> frozenset[str]:
    """What two texts may have in common: stems of words, pairs of Chinese characters."""
    small = lower(text)
    found = {stem(one) for one in _LATIN.findall(small) if len(one) > 1 and one not in PLAIN_WORDS}
    for run in _CJK.findall(small):
        for part in _PARTS.split(run):
            found.update(part[i : i + 2] for i in range(len(part) - 1))
    return frozenset(found)


@lru_cache(maxsize=4096)
def initials(label: str) -> frozenset[str]:
    """SCR of "Solvency capital requirement"."""
    words = [one for one in re.findall("[A-Za-z]+", label) if one.lower() not in ("of", "the", "and", "at", "to", "in")]
    firsts = "".join(one[0] for one in words).lower()
    return frozenset(firsts[:n] for n in (3, 4) if n <= len(firsts))


class Grid:
    """The operands of an evidence list and what every pair of them gives, once for all its texts."""

    def __init__(self, facts: Facts):
        entries = [one for one in facts.entries if is_operand(one)][:_MOST]
        self.entries = entries
        self.orders = np.array([one.order for one in entries])
        self.grams = [
            grams(one.fact.label) | initials(one.fact.label) | {f"={name}" for name in one.meaning.measures}
            for one in entries
        ]
        df: dict[str, int] = {}
        for some in self.grams:
            for one in some:
                df[one] = df.get(one, 0) + 1
        self.weights = {name: math.log((len(entries) + 1) / count) for name, count in df.items()}
        values = np.array([one.fact.value for one in entries], dtype=float)
        percent = np.array([one.fact.unit in ("percent", "bp") for one in entries], dtype=bool)
        times = {}
        keys = [times.setdefault((one.meaning.years, one.meaning.quarters, one.meaning.dates, one.meaning.previous),
                                 (len(times), one))[0] for one in entries]  # fmt: skip
        first = [one for _, one in times.values()]
        together = np.array([[same_time(a, b) for b in first] for a in first], dtype=bool).reshape(len(first), -1)
        units = np.array([_kind(one) for one in entries])
        like = (units[:, None] == units[None, :]) & ~np.eye(len(entries), dtype=bool)
        self.late = np.zeros(len(entries))
        line = np.zeros_like(like)
        rank = {one.order: i for i, one in enumerate(entries)}
        for i, one in enumerate(entries):
            found = facts.series(one)
            if len(found) > 1:
                self.late[i] = when(found[-1])[0] > when(one)[0]
                for other in found:
                    j = rank.get(other.order)
                    if j is not None and when(one)[0] < when(other)[0]:
                        line[i, j] = True  # i is the earlier of a line
        same = like & together[np.ix_(keys, keys)] & ~line & ~line.T
        one, two = values[:, None], values[None, :]
        with np.errstate(divide="ignore", invalid="ignore"):
            self.share = np.where(two != 0, one / two, np.nan)
            self.growth = np.where(one != 0, 100 * (two - one) / np.abs(one), np.nan)
        self.gap = two - one
        self.sum = two + one
        amounts = ~percent[:, None] & ~percent[None, :]
        rates = percent[:, None] & percent[None, :]
        self.line, self.same = line, same
        self.line_amounts, self.line_rates = line & amounts, line & rates
        self.same_amounts, self.same_rates = same & amounts, same & rates
        money = np.array([one.fact.unit in MONEY for one in entries], dtype=bool)
        each = amounts & together[np.ix_(keys, keys)] & ~np.eye(len(entries), dtype=bool)
        self.each = each & ~money[None, :]
        self.upper = np.triu(np.ones_like(like), 1)


def _kind(entry: Entry) -> int:
    unit = entry.fact.unit
    if unit in ("percent", "bp"):
        return -1
    return hash((unit if unit not in (None, "money", "count", "index") else "", entry.fact.currency or ""))


def _scores(near: Context, facts: Facts, sentence: Sentence, grid: Grid) -> np.ndarray:
    """How well the clause names each operand: by words few labels share, or by telling its value."""
    clause = sentence.clause
    said = grams(sentence.text[clause.start : clause.end]) | {
        f"={one.name}" for one in sentence.terms if one.tag == "measures"
    }
    before = grams(sentence.text[max(0, clause.start - 160) : clause.start]) - said if clause.start else frozenset()
    weights = grid.weights
    scores = np.array([sum(weights[one] for one in some & said) for some in grid.grams], dtype=float)
    if before:
        scores += [0.3 * sum(weights[one] for one in some & before) for some in grid.grams]
    years = {int(one.value) // (10000 if one.kind == "date" else 1) for one in sentence.reads if one.kind} - {0}
    for i, one in enumerate(grid.entries):
        if years and one.meaning.years and not one.meaning.years & years:
            scores[i] -= 1.0
    if not years and not near.may_be_previous:
        scores -= 0.5 * grid.late
    for other in sentence.reads:
        if other.kind or other.ignored or not other.value or other.span == near.span:
            continue
        for one in facts.sized(other.low, other.high):
            unit = one.fact.unit
            if other.unit == unit or (other.unit in (None, "money") and unit in (None, "money")):
                scores[grid.orders == one.order] += 2.0
    return scores


class _Operation(NamedTuple):
    name: str
    values: np.ndarray
    allowed: np.ndarray
    hinted: bool
    line: bool = False


def _operations(read: Read, near: Context, sentence: Sentence, grid: Grid, tags: set[str]) -> list[_Operation]:
    """The operations that a number of this unit may be the result of."""
    moves = bool(tags & {"up", "down", "change"})
    beyond = bool(tags & {"beyond", "short"})
    clause = sentence.text[sentence.clause.start : sentence.clause.end]
    found = []
    unit = read.unit
    if unit == "percent":
        share = 100 * grid.share
        part = grid.same_amounts
        if not _COVER.search(clause) and not read.bound:
            part = part & (np.abs(share) <= 100.5)
        hinted = bool(tags & {"share", "times"})
        if not (near.moves_by and moves):
            found.append(_Operation("percent", share, part, hinted))
            found.append(_Operation("difference", grid.gap, grid.same_rates, moves or beyond or "sum" in tags))
            found.append(_Operation("sum", grid.sum, grid.same_rates & grid.upper, "sum" in tags))
            margin = hinted and bool(re.search(r"margin|利润率|毛利率", clause))
            found.append(_Operation("percent", -grid.growth, grid.same_amounts, margin))
        found.append(_Operation("percent change", grid.growth, grid.line_amounts, moves or beyond, True))
        if moves or beyond:
            found.append(_Operation("percent change", grid.growth, grid.same_amounts, beyond))
    elif unit in ("points", "bp", "index"):
        times = 100.0 if unit == "bp" else 1.0
        found.append(_Operation("difference", times * grid.gap, grid.line_rates, True, True))
        found.append(_Operation("difference", times * grid.gap, grid.same_rates, True))
    elif unit == "ratio":
        found.append(_Operation("ratio", grid.share, grid.line.T & grid.line_amounts.T, True))
        found.append(_Operation("ratio", grid.share, grid.same_amounts | grid.same_rates, True))
    elif unit is None or unit in MONEY or unit == "count":
        fits = np.array([has_currency(read, one) for one in grid.entries])
        pair = fits[:, None] & fits[None, :]
        found.append(_Operation("difference", grid.gap, grid.line_amounts & pair, moves or beyond, True))
        found.append(_Operation("difference", grid.gap, grid.same_amounts & pair, moves or beyond))
        found.append(_Operation("sum", grid.sum, grid.same_amounts & grid.upper & pair, "sum" in tags))
        if _PER.search(clause):
            found.append(_Operation("ratio", grid.share, grid.each & fits[:, None], True))
        if _AVERAGE.search(clause):
            both = (grid.same_amounts & grid.upper) | grid.line_amounts
            found.append(_Operation("average", grid.sum / 2, both & pair, True))
    return found


def infer(
    read: Read, near: Context, facts: Facts, sentence: Sentence, ids: frozenset[str] | None
) -> Derived | None:
    """The operation on two lines that gives `read`, or None.

    Args:
        read: a number that quotes nothing and that no word announces as derived.
        near: what stands around it.
        facts: the evidence, a plain list.
        sentence: the clause.
        ids: the evidence cited, or None for all of it.
    """
    if read.ignored or read.kind or not read.value:
        return None
    grid = facts.grid
    if grid is None:
        grid = facts.grid = Grid(facts)
    if len(grid.entries) < 2:
        return None
    if ids is not None:
        chosen = np.array([one.fact.id in ids for one in grid.entries])
        chosen = chosen[:, None] & chosen[None, :]
    tags = {one.tag for one in sentence.terms}
    low, high = read.low, read.high
    operations = _operations(read, near, sentence, grid, tags)
    hits = []
    for one in operations:
        sizes = np.abs(one.values)
        hit = one.allowed & (sizes >= low) & (sizes <= high)
        if ids is not None:
            hit &= chosen
        if hit.any():
            hits.append((one, hit))
    if not hits:
        return None
    scores = _scores(near, facts, sentence, grid)
    pairs = scores[:, None] + scores[None, :]
    direction = direction_of(tags, near)
    words = None
    best: tuple[float, Derived] | None = None
    for one, hit in hits:
        for i, j in zip(*np.nonzero(hit), strict=True):
            value = float(one.values[i, j])
            if read.sign and (value < 0) != (read.sign < 0):
                continue
            if not one.hinted:
                if words is None:
                    words = _other_words(sentence, facts)
                if not words:
                    continue
            score = pairs[i, j]
            if ids is None and score <= 0:
                continue
            rivals = sum(
                int((other.allowed & (pairs >= score - 1e-9) & (chosen if ids is not None else True)).sum())
                for other in operations
            )
            expected = rivals * 2 * read.half / abs(read.value) / 3.0 * (1.0 if one.hinted else _UNHINTED)
            if expected > _ACCIDENTS or (best is not None and best[0] >= score):
                continue
            first, last = grid.entries[i].fact, grid.entries[j].fact
            evidence = list(dict.fromkeys((first.id, last.id)))
            told = f"{one.name} of {first} and {last}"
            fault = None
            if one.line and direction and (value > 0) != (direction == "up") and first.value >= 0:
                fault, told = "comparative", f"went {'up' if value > 0 else 'down'}: {told}"
            best = score, Derived(one.name, evidence, told, fault)
    return best and best[1]


_WORD = re.compile(r"[A-Za-z][a-z]{3,}|[\u4e00-\u9fff]{2,}")


def _other_words(sentence: Sentence, facts: Facts) -> bool:
    """Whether a clause says more than labels do: words that may tell of an operation."""
    start, end = sentence.clause.start, sentence.clause.end
    run = 0
    for word in sentence.words.rest_between(start, end):
        if word.isascii():
            if len(word) > 3 and word not in PLAIN_WORDS and word not in facts.vocabulary:
                return True
        elif word not in PLAIN_CHARS:
            run += 1
            if run > 1:
                return True
    return False
