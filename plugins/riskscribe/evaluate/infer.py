"""Numbers computed from lines that a sentence names in words nobody listed.

`derive` asks for a word it knows and for lines it can name. Where a sentence has neither ("The Americas outsold EMEA
by 893m"), the value itself must carry the weight: an operation is accepted unless so rough a number would come out by
accident of the operations whose operands the sentence names as well or better, or the sentence contradicts it.
"""

import itertools
import math
import re
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np

from riskscribe.evaluate.context import Context, Sentence
from riskscribe.evaluate.derive import (
    ROOM,
    Derived,
    compares_earlier,
    direction_of,
    has_currency,
    is_compounded,
    is_plan_of,
    is_told_first,
    same_time,
)
from riskscribe.evaluate.facts import Entry, Facts
from riskscribe.evaluate.naming import (
    A_YEAR,
    AVERAGE,
    SPAN,
    TIME_WORDS,
    TOTAL,
    Grid,
    grid_of,
    plain_value,
    scores_of,
    unit_kind,
    years_told,
)
from riskscribe.evaluate.numbers import DURATIONS, MONEY, Read
from riskscribe.evaluate.prose import lexicon, lower

# hits by accident that may be expected among the operations named as well
_ACCIDENTS = 1.0
# the same of several lines, cited or named, and how well a clause must name them
_OF_CITED, _OF_NAMED, _NAMED = 0.5, 0.1, 0.5
_CHOSEN, _TOGETHER = 5, 8  # lines cited, of which some may be meant, or all together
_ALIKE = 2  # lines named as well as each other
_FEW = 6  # operations of two lines, each named apart from the other
_SPOKEN_OF = 1.5  # a line whose words few labels have
_PER = re.compile(
    r"\b(?:per|each|every|averag\w*|apiece|a (?:day|share|head|unit|year|month|customer|person))\b|每|人均|户均|均|单",
    re.IGNORECASE,
)
_WITHOUT = r"\b(?:exclud\w+|stripp\w+|without|before|adjust\w+|leav\w+ (?:aside|out)|underlying)\b"
_NET = re.compile(rf"\b(?:net|real|spread|less|minus|after)\b|{_WITHOUT}|净|差|实际", re.IGNORECASE)
_LEFT_OUT = re.compile(_WITHOUT, re.IGNORECASE)
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
            if AVERAGE.search(clause):
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
            A_YEAR[unit],
            lambda: same_amounts | grid.line_either_way if cited else same_amounts,
            hinted,
        )
    elif unit is None or unit in MONEY or unit == "count":
        fits = grid.of_currency(read.currencies)
        pair = fits & fits.T
        net = bool(_NET.search(clause) or tags & {"profit", "loss"})
        add("difference", "gap", 1.0, lambda: grid.line_amounts & pair, moves or beyond or net, True)
        moved = near.moves_by or (_CHANGE_IN.search(near.lead) and not AVERAGE.search(clause))
        change = moved and not beyond and not net  # from one line to another is none, but between two weeks
        add("difference", "gap", -1.0, lambda: (grid.twins if change else same_amounts) & pair, moves or beyond or net)
        if change:
            return found
        add("sum", "sum", 1.0, lambda: same_amounts & grid.upper & pair, "sum" in tags)
        if SPAN.search(clause) or (cited and "sum" in tags):  # of two quarters
            add("sum", "sum", 1.0, lambda: grid.line_amounts & pair, True)
        average = AVERAGE.search(clause)
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
    if is_compounded(read, near):
        return _compounded(read, near, facts, sentence, grid, cited)
    if ids is not None:
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


def _best(scores: np.ndarray, least: float) -> list[int]:
    """The few lines named best, of those named at least so well."""
    return [int(i) for i in np.argsort(-scores, kind="stable")[:_FEW] if scores[i] > least]


def _with_told(
    read: Read, near: Context, facts: Facts, sentence: Sentence, mistaken: bool, grid: Grid
) -> Derived | None:
    """What a line told beside the number gives with one that the clause names, of whatever time."""
    told = [i for i, one in enumerate(grid.entries) if near.tells(one)]
    if not told:
        return None
    scores, _ = scores_of(near, facts, sentence, grid)
    best = _best(scores, _SPOKEN_OF)
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
    scores, said = scores_of(near, facts, sentence, grid)
    pairs = scores[:, None] + scores[None, :]
    size = abs(read.value)
    among: Any = True
    if cited:
        own = np.isin(np.arange(count), cited)
        also = np.isin(np.arange(count), cited if told is None else told)
        among = own[:, None] & own[None, :] & (also[:, None] | also[None, :])
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
        value = plain_value(rates[0]) / count.size * {"bp": 100.0}.get(read.unit, 1.0) if count.size else 0.0
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
    kind = unit_kind(line)
    others = [one for one in grid.entries if unit_kind(one) == kind and same_time(one, line) and one is not line]
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
    scores, said = scores_of(near, facts, sentence, grid)
    kinds: dict[int, list[int]] = {}
    told: list[int] = []
    for i in np.argsort(-scores, kind="stable").tolist():
        if scores[i] <= _NAMED:
            break
        order = kinds.setdefault(unit_kind(grid.entries[i]), [])
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
    average = bool(AVERAGE.search(clause))
    told = read.unit is None or read.unit in MONEY
    amount = told and bool(_ALL_OF.search(clause) or "sum" in sentence.tags)
    share = read.unit == "percent" and not _RELATIVE.search(clause)
    if read.sign < 0 or near.moves_by or not (amount or average or share):
        return None
    scores, _ = scores_of(near, facts, sentence, grid)
    best = _best(scores, _NAMED)
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
    average = bool(AVERAGE.search(clause))
    if near.moves_by or not (average or "sum" in sentence.tags or SPAN.search(clause)):
        return None
    scores, _ = scores_of(near, facts, sentence, grid)
    times = years_told(sentence)
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
        if average and AVERAGE.search(first.fact.label):
            continue  # it is one by its name
        lines.append(line)
        named = [one for one in line if one.meaning.years & times]
        choices = [named]
        if len(named) == 2:  # from one year to the other
            choices.append([one for one in line if named[0].when <= one.when <= named[1].when])
        if len(named) < 2 and (average or _ALL_TIMES.search(clause)):
            choices.append(line)
        for some in {tuple(one.order for one in group): group for group in choices if len(group) > 1}.values():
            value = abs(sum(map(plain_value, some))) / (len(some) if average else 1)
            value *= 100.0 if unit == "bp" else 1.0
            tried += 1
            if read.states(value) and (not read.sign or (sum(map(plain_value, some)) < 0) == (read.sign < 0)):
                ids = list(dict.fromkeys(one.fact.id for one in some))
                found = found or Derived("average" if average else "sum", ids, f"over time, of {', '.join(ids)}")
    return found if found and tried * 2 * read.half / abs(read.value) / _DECADE <= _OF_NAMED else None


def _compounded(
    read: Read, near: Context, facts: Facts, sentence: Sentence, grid: Grid, cited: list[int]
) -> Derived | None:
    """The compound growth a year of a line cited or named best, between the years told or its first and its last."""
    best = cited
    if not cited:
        scores, _ = scores_of(near, facts, sentence, grid)
        best = _best(scores, _NAMED)
    told = years_told(sentence)
    for i in best:
        line = [one for one in facts.series(grid.entries[i]) if len(one.meaning.years) == 1 and one.fact.value > 0]
        if cited:
            line = [one for one in line if grid.place.get(one.order) in cited]
        if len(told) == 2:
            line = [one for one in line if one.meaning.years <= told]
        if len(line) < 2:
            continue
        first, last = min(line, key=lambda one: one.when), max(line, key=lambda one: one.when)
        years = max(last.meaning.years) - min(first.meaning.years)
        rate = 100.0 * ((last.fact.value / first.fact.value) ** (1.0 / years) - 1.0) if years else 0.0
        direction = direction_of(sentence.tags - {"up"}, near, last.fact.label)
        falls = read.sign < 0 or direction == "down"
        if years and read.states(abs(rate)) and (rate < 0) == falls:
            return Derived("percent change", [first.fact.id, last.fact.id], f"a year, of {first.fact} and {last.fact}")
    return None


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
    kind = unit_kind(line)
    if kind == -1:
        return
    alike = [j for j, one in enumerate(grid.entries) if unit_kind(one) == kind and one.when[0] == line.when[0]]
    for word in grid.grams[i] - TIME_WORDS:
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
    if len({unit_kind(one) for one in lines}) == 1 and read.unit not in ("percent", "ratio", "points", "bp"):
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
            for value in _values_of(read, [plain_value(one) for one in some], some, direction):
                tried += size / 3 <= abs(value) <= 3 * size
                if read.states(abs(value)):
                    evidence = evidence or some
        if evidence is not None and tried * 2 * read.half / size / _DECADE <= most:
            ids = list(dict.fromkeys(one.fact.id for one in evidence))
            return Derived("sum", ids, f"sums and quotients of {', '.join(ids)}")
    return None


def _values_of(read: Read, values: list[float], some: tuple[Entry, ...], direction: str | None) -> Iterator[float]:
    """What all of some lines give in the unit of a number, told as a change in a direction."""
    kinds = [unit_kind(one) for one in some]
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
