"""Numbers that one operation gives: difference, sum over a group, ratio, percent of, percent change.

A word must say so (rose by, total, of which, share, times; 增加, 合计, 占, 翻一番), and the operands must be
comparable: the same unit and currency, the same line at two times for a change, the same time for a share.
"""

import re
from collections import Counter
from collections.abc import Iterator
from itertools import combinations, permutations
from typing import NamedTuple

from riskscribe.evaluate.context import Context, Sentence
from riskscribe.evaluate.facts import Entry, Facts, kind_of
from riskscribe.evaluate.numbers import MONEY, Read, lower
from riskscribe.evaluate.prose import lexicon, read_words

_ROLES = frozenset({"value", "previous", "utilisation", "soft"})
_FEW = 4  # lines cited
_MOST = 40  # facts that a derivation chooses its operands from


class Derived(NamedTuple):
    """What gives a number, or the fault of what would."""

    operation: str
    evidence: list[str]
    reason: str
    fault: str | None = None


def derive(
    read: Read, near: Context, facts: Facts, sentence: Sentence, lenient: bool, narrow: bool = False
) -> Derived | None:
    """The operation that gives `read`, or what is wrong with it; None where nothing does.

    Args:
        read: a number that quotes nothing.
        near: what stands around it.
        facts: the evidence.
        sentence: the clause; its citations are the operands.
        narrow: whether only the ids beside the number count, because others of the sentence have it as it is.
        lenient: whether a clause without citations may derive, from the lines it names.
    """
    if read.ignored or read.kind or not read.value or (not facts.of_case and is_compounded(read, near)):
        return None
    ids = sentence.ids if sentence.ids is not None and not narrow else near.cited
    if ids is None and not lenient:
        return None
    pool = _pool(facts, ids, near, sentence)
    if not pool and _diversifies(near, facts):
        pool = [one for one in facts.entries if one.meaning.measures - {"equity"} in _RISKS and is_operand(one)]
    if not pool:
        return None
    tags = near.tags()
    told = tags & _TAGS
    if not tags & _MOVES or not told:
        told = told | (sentence.tags & _TAGS if not told or read.unit in ("points", "bp") else set())
    wrong: Derived | None = None
    for found in _candidates(read, near, facts, pool, told, ids, sentence):
        if found.fault is None:
            return found
        wrong = wrong or found
    if wrong is None and ids is not None and len(pool) <= _MOST:
        silent = next(
            (
                one
                for one in _candidates(read, near, facts, pool, _TAGS - {"times"}, ids, sentence)
                if one.fault is None
            ),
            None,
        )
        if silent is not None:
            if not facts.of_case and len(pool) <= _FEW:  # a word nobody listed is no evidence against it
                return silent
            what = f"the {silent.operation} of {' and '.join(silent.evidence)}, but no word says so"
            return silent._replace(fault="no_word", reason=what)
    return wrong


_COMPOUND = re.compile(r"\bcagr\b|\bcompound(?:ed)?\b|复合", re.IGNORECASE)


def is_compounded(read: Read, near: Context) -> bool:
    """Whether the words beside a percentage make it growth a year, compounded: `infer` computes that."""
    return read.unit == "percent" and bool(_COMPOUND.search(near.lead) or _COMPOUND.search(near.tail))


_TAGS = frozenset({"up", "down", "change", "beyond", "short", "sum", "share", "times"})
_MOVES = frozenset({"up", "down", "change"})


def _pool(facts: Facts, ids: frozenset[str] | None, near: Context, sentence: Sentence) -> list[Entry]:
    """What may be an operand: the facts cited, or those of the lines that the sentence names."""
    if ids is not None:
        chosen = [one for name in sorted(ids) for one in facts.by_id.get(name, ())]
    else:
        chosen = _named(facts, near, sentence)
        kept = {one.order for one in chosen}
        chosen += [one for one in _quoted(facts, sentence) if one.order not in kept]
    found = [one for one in chosen if is_operand(one)]
    return sorted(found, key=lambda one: (one.fact.id, one.size, one.fact.role))[:_MOST]


def is_operand(one: Entry) -> bool:
    """Whether a fact may be computed with."""
    fact = one.fact
    return (
        fact.trusted and not fact.exact and not fact.everywhere and fact.role in _ROLES
        and fact.unit not in ("date", "year")
    )  # fmt: skip


def _quoted(facts: Facts, sentence: Sentence) -> list[Entry]:
    """The facts whose size another number of the clause tells."""
    found = []
    for read in sentence.reads:
        if read.kind or read.ignored or read.value == 0:
            continue
        for one in facts.sized(*read.interval()):
            unit = one.fact.unit
            if (read.unit == unit or (read.unit in (None, "money") and unit in (None, "money"))) and read.states(
                one.size
            ):
                found.append(one)
    return found


def _named(facts: Facts, near: Context, sentence: Sentence) -> list[Entry]:
    """The facts of the lines a sentence names: by their measure, and of several such lines the one named best."""
    clause = sentence.clause
    words = sentence.words
    measures = {one.name for one in sentence.terms if one.tag == "measures"} | near.measures
    for rate, parts in lexicon()["quotients"].items():
        if rate in measures:
            measures |= set(parts)
    if "gross_margin" in measures:
        measures |= {"cost_of_sales"}
    for gap, parts in _DIFFERENCES.items():
        if gap in measures:
            measures |= set(parts)
    to_limit = any(one.tag == "qualities" and one.name == "limit" for one in sentence.terms)
    if to_limit:  # headroom is to a limit, of what the limit is for
        for entry in facts.entries:
            if "limit" in entry.meaning.qualities:
                measures |= entry.meaning.measures
    rest = set(words.rest_between(clause.start, clause.end))
    rest |= {one[:-1] for one in rest if one.endswith("s")}
    names = facts.vocabulary & rest
    if facts.chinese_names:
        low = lower(sentence.text[clause.start : clause.end])
        names |= {low[i : i + 2] for i in range(len(low) - 1)} & facts.chinese_names
    names |= near.names
    best: dict[frozenset[str], tuple[int, int]] = {}
    ranked = []
    for entry in facts.entries:
        said = entry.meaning
        if entry.names.isdisjoint(names) and said.measures.isdisjoint(measures):
            continue
        own = entry.names - {"total"}
        rank = (len(own & names), -len(own - names))
        ranked.append((entry, rank))
        best[said.measures] = max(best.get(said.measures, rank), rank)
    return [
        entry
        for entry, rank in ranked
        if rank == best[entry.meaning.measures] or rank[0] > 0 or not entry.names - {"total"}
    ]


def _told(entry: Entry) -> float:
    """The value of a fact as prose tells it: the use of a limit has no sign."""
    return entry.fact.value if entry.fact.signed else entry.size


def _comparable(one: Entry, two: Entry) -> bool:
    a, b = one.fact, two.fact
    if a.unit != b.unit and not ({a.unit, b.unit} <= {None, "money", "count"}):
        return False
    if a.counted != b.counted and a.counted and b.counted:
        return False  # tonnes and boxes
    return not (a.currency and b.currency and a.currency != b.currency)


def same_time(one: Entry, two: Entry) -> bool:
    """Whether two facts may be of one time."""
    a, b = one.meaning, two.meaning
    if a.years and b.years and not a.years & b.years:
        return False
    if a.quarters and b.quarters and not a.quarters & b.quarters:
        return False
    if a.dates and b.dates and not any(same_day(x, y) for x in a.dates for y in b.dates):
        return False
    return a.previous == b.previous and (one.fact.role == "previous") == (two.fact.role == "previous")


def same_day(one: float, two: float) -> bool:
    """Whether two dates yyyymmdd are one, or one of them is the other's month, yyyymm00."""
    return one == two or (one // 100 == two // 100 and 0 in (one % 100, two % 100))


def _same_line(one: Entry, two: Entry, facts: Facts) -> bool:
    """Whether two facts are one line at two times."""
    a, b = one.meaning, two.meaning
    if facts.of_case:
        return one.fact.id == two.fact.id and any(other is two for other in facts.series(one))
    if a.measures != b.measures or a.horizon != b.horizon or a.confidence != b.confidence:
        return False
    if ("limit" in a.qualities) != ("limit" in b.qualities):
        return False
    own, other = one.names - {"total"}, two.names - {"total"}
    if not (own <= other or other <= own):
        return False
    if (a.years, a.quarters, a.dates, a.previous) != (b.years, b.quarters, b.dates, b.previous):
        return True
    return not (a.years or a.quarters or a.dates or a.previous)


def _candidates(
    read: Read, near: Context, facts: Facts, pool: list[Entry], tags: set[str] | frozenset[str],
    ids: frozenset[str] | None, sentence: Sentence,
) -> Iterator[Derived]:  # fmt: skip
    unit = read.unit
    if unit == "percent":
        if not read.sign and _REST.search(f"{near.lead}#{near.tail}"):
            yield from _complements(read, near, pool, ids)
        if "sum" in tags and read.sign >= 0:
            yield from _percent_sums(read, near, pool, ids)
        if tags & _MOVES and not (facts.of_case and _LEVEL.search(near.lead)):
            yield from _changes(read, near, facts, pool, tags, ids, relative=True)
        if facts.of_case and tags & {"beyond", "short", "change"}:
            yield from _gaps(read, near, facts, [one for one in pool if _is_rate_limit(one)], ids, tags, sentence)
        off = facts.of_case and (_OFF.match(near.after) or _OFF_BEFORE.search(near.lead))
        if not near.moves_by and not off and (tags & {"share", "times"} or near.measures & _QUOTIENTS.keys()):
            yield from _parts(read, near, facts, pool, ids, sentence)
    elif unit in ("points", "bp"):
        if tags & (_MOVES | {"beyond", "short"}):
            changes = [*_changes(read, near, facts, pool, tags, ids)]
            yield from changes
            if tags & {"beyond", "short"} and not any(one.fault for one in changes):
                yield from _gaps(read, near, facts, pool, ids, tags, sentence)
    elif unit == "ratio":
        yield from _multiples(read, near, facts, pool, ids, sentence)
    elif unit is None or unit in MONEY or unit == "index":
        if tags & (_MOVES | {"beyond", "short"}):
            changes = [*_changes(read, near, facts, pool, tags, ids)]
            yield from changes
            if any(one.fault for one in changes):
                return  # what is told the wrong way round is not rescued as a gap
        if tags & {"beyond", "short", "change"} or near.measures & _DIFFERENCES.keys():
            yield from _gaps(read, near, facts, pool, ids, tags, sentence)
        if "sum" in tags:
            yield from _sums(read, near, facts, pool, ids, sentence)
        if _diversifies(near, facts):
            yield from _diversified(read, near, facts, pool, ids)
        if unit is None and abs(read.value) < 1000 and read.half < 1 and "times" in tags:
            yield from _multiples(read, near, facts, pool, ids, sentence)


_LOOSE = frozenset(lexicon()["loose"])
_ROOM = frozenset({"headroom", "limit", "excess"})  # "0.9m below the limit" may name either first
_QUOTIENTS: dict[str, list[str]] = lexicon()["quotients"]
_DIFFERENCES: dict[str, list[str]] = lexicon()["differences"]


def has_currency(read: Read, one: Entry) -> bool:
    """Whether an operand may be of the currency that its result is told in."""
    return not (read.currencies and one.fact.currency and one.fact.currency not in read.currencies)


def _fits(read: Read, one: Entry) -> bool:
    """Whether an operand has the unit and the currency that its difference or sum is told in."""
    fact = one.fact
    if not has_currency(read, one):
        return False
    if read.unit in ("points", "bp"):
        return fact.unit in ("percent", "bp")
    if read.unit == "percent":  # of a limit that is told in percent
        return fact.unit == "percent" and fact.role in ("value", "soft")
    if read.unit in MONEY - {"money"} and fact.unit in MONEY:
        return fact.unit == read.unit
    return fact.unit in (None, "count", "index") or fact.unit in MONEY


_IS_LEVEL = re.compile("[由从自至到]$")  # where something went from and to, whichever way
# "up at 5%" is no change, and "5% above that of another" no share
_LEVEL = re.compile(r"(?:\b(?:to|at)\s|[至到])$", re.IGNORECASE)
_OFF = re.compile(r"\s?(?:above|below|over|under|higher|lower|more|less)\b", re.IGNORECASE)
_OFF_BEFORE = re.compile("(?:高出?|低|多|少)$")


def _is_rate_limit(entry: Entry) -> bool:
    """Whether an entry is the use or the bound of a limit in percent, whose differences are told in percent too."""
    fact = entry.fact
    return fact.id.startswith("LIM-") and fact.unit == "percent" and fact.role in ("value", "soft")


def _speaks_of(near: Context, entry: Entry, facts: Facts) -> bool:
    """Whether the words around the number leave the operand open or name it."""
    said = entry.meaning
    if near.measures and said.measures and not near.measures & said.measures and not near.measures <= _LOOSE:
        wider = {part for one in near.measures for part in _QUOTIENTS.get(one, ())}
        return bool(wider & said.measures)
    if facts.of_case:
        return True
    shared = entry.names & near.names
    return not any(shared < (other & near.names) for other in facts.rivals.get(kind_of(entry), ()))


def _changes(
    read: Read, near: Context, facts: Facts, pool: list[Entry], tags, ids, relative: bool = False
) -> Iterator[Derived]:
    """Differences and percent changes of one line between two times."""
    plain = len(pool) == 2 and ids is not None
    for one, two in combinations(pool, 2):
        if not _may_change(read, one, two, relative):
            continue
        if not _comparable(one, two) or (not relative and not _fits(read, one)):
            continue
        if not _same_line(one, two, facts):
            a, b = one.meaning.measures, two.meaning.measures
            if (
                read.sign < 0
                or (tags & {"beyond", "short"} and not tags & _MOVES)
                or not plain
                or (a and b and not a & b)
                or (one.names and two.names and not one.names & two.names)
            ):
                continue
        if not _speaks_of(near, one, facts):
            continue
        if facts.of_case and not _is_of_day(one, two, near):
            continue
        earlier, later = sorted((one, two), key=lambda entry: entry.when)
        ordered = earlier.when[0] != later.when[0]
        if ids is None and not _consecutive(earlier, later, near, facts):
            continue
        if near.years and later.meaning.years and not (later.meaning.years | earlier.meaning.years) & near.years:
            continue
        # without a known order of time either may be the earlier
        for first, last in ((earlier, later),) if ordered else ((earlier, later), (later, earlier)):
            before, after = first.fact.value, last.fact.value
            if relative and not before:
                continue
            change = 100.0 * (after - before) / abs(before) if relative else after - before
            if read.unit == "bp" and one.fact.unit == "percent":
                change *= 100.0
            if not read.states(abs(change)):
                continue
            rising = change > 0
            direction = direction_of(tags, near, last.fact.label)
            if not facts.of_case and ROOM.search(near.text[slice(*near.clause)]):
                direction = None  # less used is more left
            if ordered and not facts.of_case and compares_earlier(near, earlier, later):
                rising = not rising
            losses = before < 0 and after < 0
            told = [*_RESULTS.finditer(near.before)] if losses else ()
            # they widen and narrow by their size
            if losses and ((told and told[-1]["loss"]) or _WIDTH.search(near.lead)):
                losses, rising = False, not rising
            right = direction is None or rising == (direction == "up") or losses
            if read.sign < 0 and (direction or near.before.endswith((" by ", " by"))):
                continue  # "fell by -5m" says it twice
            if read.sign:
                right = rising == (read.sign > 0) and (read.sign > 0 or direction is None)
                # minus 1.9m to minus 1.3m is -32 % to some, of its size
                right = right or (losses and relative and direction is None)
            what = "percent change" if relative else "difference"
            evidence = list(dict.fromkeys((first.fact.id, last.fact.id)))
            told = f"{what} of {first.fact} and {last.fact}"
            if right or not ordered:
                yield Derived(what, evidence, told)
            else:
                yield Derived(what, evidence, f"went {'up' if rising else 'down'}: {told}", "comparative")


_COMPARED = re.compile(r"\b(?:compared|against|versus|from|after)\b|[较比]", re.IGNORECASE)
ROOM = re.compile(r"\b(?:headroom|room|slack|leeway)\b|余量|空间", re.IGNORECASE)


def compares_earlier(near: Context, earlier: Entry, later: Entry) -> bool:
    """Whether the earlier value is what is higher or lower: "Deliveries in Q4, at 78,915, had been 17,675 higher"."""
    before = [one for one in near.reads if one.span < near.span and not one.kind and not one.ignored]
    return (
        bool(before and _ADJECTIVE.match(near.after))
        and not _COMPARED.search(near.text, near.clause[0], before[-1].span[0])
        and before[-1].states(earlier.size)
        and not before[-1].states(later.size)
    )


_WIDTH = re.compile(r"\b(?:narrow|widen)(?:s|ed|ing)\b", re.IGNORECASE)


def _may_change(read: Read, one: Entry, two: Entry, relative: bool) -> bool:
    """Whether the change between two values, either way, is of the size told: of most pairs it is not."""
    a, b = one.fact.value, two.fact.value
    gap = abs(a - b)
    if relative:
        return any(base and read.states(100.0 * gap / abs(base)) for base in (a, b))
    if read.unit == "bp" and one.fact.unit == "percent":
        gap *= 100.0
    return read.states(gap)


YESTERDAY = re.compile(r"\byesterday|\b(?:day before|previous day|prior day)\b|昨|前一日|上日", re.IGNORECASE)
_AGO = re.compile(r"\b(?:days?|week)\s(?:ago|earlier)\b|[天日周]前|一周", re.IGNORECASE)


def _is_of_day(one: Entry, two: Entry, near: Context) -> bool:
    """Whether the values of a case are of the days that a change is told between: yesterday's but where others are."""
    ago = any(entry.fact.label.endswith("ago") for entry in (one, two))
    here = f"{near.lead}#{near.tail}"
    if _AGO.search(here):
        return ago
    return not ago or (not YESTERDAY.search(here) and near.says(_AGO))


_RESULTS = re.compile(
    r"(?P<loss>亏损|损失|赤字|逆差|\b(?:loss(?:es)?|deficits?)\b)|利润|收益|结余|\b(?:profit|income|result)s?\b",
    re.IGNORECASE,
)
# "a €31m lower contribution", "17,675 higher", "less than the 6.0% rise in debt"
MORE = "higher|wider|stronger|larger|greater|longer|faster|heavier|dearer"
LESS = "lower|tighter|narrower|fewer|weaker|softer|cheaper|smaller|shorter|slower|lighter"
_ADJECTIVE = re.compile(
    rf"\s?(?:(?P<down>{LESS}|fall|decline|drop|decrease|reduction|dip)"
    rf"|(?P<up>{MORE}|rise|increase|growth|jump))\b(?!\s(?:single|double))",
    re.IGNORECASE,
)
_NOUN = re.compile("的(?:(?P<down>降幅|跌幅|减幅|回落)|(?P<up>增幅|涨幅|升幅))")
_DIRECTIONS = {"up": "up", "down": "down", "beyond": "up", "short": "down"}


def direction_of(tags, near: Context, label: str = "") -> str | None:
    """Up or down as the words nearest to the number say, but for those of the line's label: gains on a sale."""
    if match := _ADJECTIVE.match(near.after) or _NOUN.match(near.after):
        return match.lastgroup
    names = label.lower()
    for one in [*reversed(near.left), *near.right]:
        if names and one.tag in _DIRECTIONS and near.text[one.start : one.end].lower() in names:
            tags = set(tags) - {one.tag}
            continue
        if one.tag in _DIRECTIONS:
            return None if any(more.tag == "either_way" for more in near.left) else _DIRECTIONS[one.tag]
        if one.tag == "loss" and lower(near.text[one.start : one.end]) in ("lost", "loses", "losing"):
            return "down"
    both = {"up", "down"} & set(tags)
    return both.pop() if len(both) == 1 else None


def _consecutive(earlier: Entry, later: Entry, near: Context, facts: Facts) -> bool:
    """Whether nothing of the line lies between two times, or the sentence names the earlier one."""
    if earlier.meaning.years & near.years:
        return True
    series = [one for one in facts.series(later) if earlier.when[0] < one.when[0] < later.when[0]]
    return not series


def _parts(read: Read, near: Context, facts: Facts, pool: list[Entry], ids, sentence) -> Iterator[Derived]:
    """One amount as a percentage of another one of the same time."""
    quotients = [(set(_QUOTIENTS[one])) for one in near.measures if one in _QUOTIENTS]
    amounts = [one for one in pool if one.fact.unit in (None, "count") or one.fact.unit in MONEY]
    for one, two in permutations(amounts, 2):
        if not two.fact.value:
            continue
        share = 100.0 * _told(one) / _told(two)
        if not read.states(abs(share)) or (read.sign < 0 < share):
            continue
        if not _comparable(one, two) or not same_time(one, two):
            continue
        if facts.of_case and one.fact.id == two.fact.id:
            continue  # the use of a limit and the share of a component are facts; soft by use is nothing
        whole = None if facts.of_case else _is_whole(two, one, near)
        if whole is False:
            continue
        if share > 100.5 and not (quotients or facts.of_case or whole or _may_be_exceeded(one, two, near)):
            continue  # a part is no larger than the whole
        if near.years and one.meaning.years and not one.meaning.years & near.years:
            continue
        if quotients:
            pairs = [_QUOTIENTS[name] for name in near.measures if name in _QUOTIENTS]
            if not any(a in one.meaning.measures and b in two.meaning.measures for a, b in pairs):
                continue
        elif ids is None and not _part_of(one, two, near, sentence, facts):
            continue
        yield Derived("percent", [one.fact.id, two.fact.id], f"percent: {one.fact} of {two.fact}")
    yield from _margins(read, near, facts, amounts)
    if read.sign < 0:
        return
    yield from _shares(read, near, facts.entries if ids is None else pool, amounts)


_COVERS = re.compile(r"\b(?:cover\w*|adequacy)\b|覆盖|保障|充足|之比|存贷", re.IGNORECASE)


def _may_be_exceeded(one: Entry, two: Entry, near: Context) -> bool:
    """Whether one line may be more than 100 % of another: of what it covers, of its limit, or of its own plan."""
    return bool(_COVERS.search(near.lead)) or "limit" in two.meaning.qualities or is_plan_of(two, one)


_WHOLE_BEFORE = re.compile(r"(?:占|为|是|相当于|等于|达)([^,，;；]{1,30})的(?:约|近|逾|超过?)?$")
_WHOLE_AFTER = re.compile(r"\s?of\s((?:[^\s,;]+\s?){1,3})", re.IGNORECASE)


def _is_whole(two: Entry, one: Entry, near: Context) -> bool | None:
    """Whether the words that say of what a percentage is name one line and not the other; None where they leave it."""
    match = _WHOLE_BEFORE.search(near.lead) or _WHOLE_AFTER.match(near.tail)
    if not match:
        return None
    text = lower(match[1])
    said = {term.name for term in read_words(text).terms if term.tag == "measures"}
    is_two, is_one = (
        any(name in text for name in mine.names - other.names)
        or bool((mine.meaning.measures - other.meaning.measures) & said)
        for mine, other in ((two, one), (one, two))
    )
    return None if is_two == is_one else is_two


def is_plan_of(plan: Entry, one: Entry) -> bool:
    """Whether a line is what was planned for another one."""
    a, b = one.meaning, plan.meaning
    return "budget" in b.qualities and a.measures == b.measures and one.names <= plan.names


def _margins(read: Read, near: Context, facts: Facts, pool: list[Entry]) -> Iterator[Derived]:
    """A gross margin of revenue and its cost."""
    if "gross_margin" not in near.measures:
        return
    for one, two in permutations(pool, 2):
        if "revenue" in one.meaning.measures and "cost_of_sales" in two.meaning.measures and same_time(one, two):
            value = one.fact.value
            if value and read.sign >= 0 and read.states(abs(100.0 * (value - two.size) / value)):
                yield Derived("percent", [one.fact.id, two.fact.id], f"margin of {one.fact} over {two.fact}")


def _part_of(one: Entry, two: Entry, near: Context, sentence: Sentence, facts: Facts) -> bool:
    """Whether a sentence names both: a line of the total, or a measure of another one."""
    a, b = one.meaning, two.meaning
    if "limit" in b.qualities and "limit" not in a.qualities:
        use = {term.name for term in sentence.terms if term.tag == "qualities"} & {"rate", "limit"}
        return bool(use) and bool(a.measures & b.measures)
    if is_plan_of(two, one) and any(term.tag == "qualities" and term.name == "budget" for term in sentence.terms):
        return True
    told = {entry.order for entry in _quoted(facts, sentence)}
    if one.order in told and two.order in told:
        return True
    if a.measures == b.measures:
        return (bool(one.names & near.names) or one.order in told) and (one.names != two.names)
    named = {term.name for term in (*near.left, *near.right) if term.tag == "measures"}
    said = {term.name for term in sentence.terms if term.tag == "measures"}
    whole = bool(b.measures & named) or two.order in told
    return whole and (one.order in told or bool(a.measures & (said | near.measures)))


def _shares(read: Read, near: Context, among: list[Entry], pool: list[Entry]) -> Iterator[Derived]:
    """One line as a percentage of the sum of its group."""
    for group in _groups(among):
        total = sum(one.fact.value for one in group)
        for one in group:
            if total and one in pool and one.names & near.names and read.states(abs(100.0 * one.fact.value / total)):
                yield Derived("percent", [one.fact.id], f"percent: {one.fact} of the sum of its group")


def _place(entry: Entry, other: Entry, sentence: Sentence) -> int | None:
    """Where a clause first says what tells an entry from another one."""
    measures, names = entry.meaning.measures - other.meaning.measures, entry.names - other.names
    start, end = sentence.clause.start, sentence.clause.end
    if names:
        low = lower(sentence.text[start:end])
        found = [at for one in names if (at := low.find(one.removesuffix("y"))) >= 0]
        if found:
            return start + min(found)
    return min((one.start for one in sentence.terms if one.tag == "measures" and one.name in measures), default=None)


def is_told_first(first: Entry, last: Entry, near: Context, clause: str) -> bool:
    """Whether the number before tells the first of two lines: "earnings of 9.8p are 1.07 times the dividend"."""
    before = [one for one in near.reads if one.span < near.span and not one.kind and not one.ignored]
    own = bool(before) and before[-1].states(first.size) and not before[-1].states(last.size)
    return own and not _COVERS.search(clause)


def _follows(near: Context, entry: Entry, other: Entry) -> bool:
    """Whether the words behind a number name an entry and not another one: "8.3 times EBITDA"."""
    low, measures = lower(near.tail), entry.meaning.measures - other.meaning.measures
    named = any(name.removesuffix("y") in low for name in entry.names - other.names)
    return named or any(one.tag == "measures" and one.name in measures for one in near.right)


def _named_after(one: Entry, two: Entry, sentence: Sentence) -> bool:
    """Whether a clause names `two` before `one`."""
    first, second = _place(one, two, sentence), _place(two, one, sentence)
    return first is not None and second is not None and second < first


def _multiples(read: Read, near: Context, facts: Facts, pool: list[Entry], ids, sentence) -> Iterator[Derived]:
    """How many times one amount is another."""
    for one, two in permutations(pool, 2):
        if not two.fact.value:
            continue
        multiple = _told(one) / _told(two)
        if not read.states(abs(multiple)) or (read.sign < 0 < multiple):
            continue
        if not _comparable(one, two) or (one.fact.unit == "percent" and ids is None):
            continue
        clause = sentence.text[sentence.clause.start : sentence.clause.end]
        if (
            _named_after(one, two, sentence)
            and not is_told_first(one, two, near, clause)
            and not _follows(near, two, one)
        ):
            continue
        line = _same_line(one, two, facts)
        if line and one.when[0] < two.when[0]:
            continue  # "twice last year's" is the later of the earlier
        quotient = any(
            parts[0] in one.meaning.measures and parts[1] in two.meaning.measures
            for parts in (_QUOTIENTS[name] for name in near.measures if name in _QUOTIENTS)
        )
        if ids is None and not line and not quotient and not _part_of(one, two, near, sentence, facts):
            continue
        if line and not _speaks_of(near, one, facts):
            continue
        if not line and not same_time(one, two):
            continue
        yield Derived("ratio", [one.fact.id, two.fact.id], f"ratio of {one.fact} to {two.fact}")


def _gaps(
    read: Read, near: Context, facts: Facts, pool: list[Entry], ids, tags, sentence: Sentence
) -> Iterator[Derived]:
    """Differences of two lines of the same time: headroom, excess, gap, a profit of its parts."""
    wanted = [_DIFFERENCES[one] for one in near.measures if one in _DIFFERENCES]
    for one, two in combinations(pool, 2):
        gap = _told(one) - _told(two)
        if read.unit == "bp" and one.fact.unit == "percent":
            gap *= 100.0
        if not read.states(abs(gap)) and not (facts.of_case and read.states(abs(one.size - two.size))):
            continue
        if not _comparable(one, two) or not _fits(read, one) or not _fits(read, two):
            continue
        if not facts.of_case and min(one.size, two.size) <= read.half:
            continue  # the other one itself
        direction = None if _IS_LEVEL.search(near.lead) else direction_of((), near)
        if read.sign < 0 and DIFFERENCE_IS.search(near.lead):
            first, last = (two, one) if _named_after(one, two, sentence) else (one, two)
            if _told(first) >= _told(last) or not _named_after(last, first, sentence):
                continue
        elif read.sign < 0 and (direction or not _is_negative(one, two, wanted)):
            continue
        if not same_time(one, two) and not _same_line(one, two, facts):
            continue
        if facts.of_case and not _is_gap_told(one, two, near):
            continue
        if ids is None:
            pairs = any(
                ({a} & one.meaning.measures and {b} & two.meaning.measures)
                or ({b} & one.meaning.measures and {a} & two.meaning.measures)
                for a, b in wanted
            )  # fmt: skip
            named = _place(one, two, sentence) is not None and _place(two, one, sentence) is not None
            told = {entry.order for entry in _quoted(facts, sentence)}
            named = named or one.order in told or two.order in told
            room = ("limit" in one.meaning.qualities) != ("limit" in two.meaning.qualities)
            if not pairs and not named and not (one.meaning.measures & two.meaning.measures and room):
                continue
        elif facts.of_case and one.fact.id != two.fact.id:
            kinds = {entry.fact.id.partition("-")[0] for entry in (one, two)}
            # a step of the bridge or a component is no level that another line could be above
            if one.fact.role != two.fact.role or (len(kinds) > 1 and kinds & {"CHG", "CMP"}):
                continue
        what = f"difference of {one.fact} and {two.fact}"
        places = _place(one, two, sentence), _place(two, one, sentence)
        told = {entry.order for entry in _quoted(facts, sentence)}
        behind = facts.of_case or any(other.span > near.span and not other.kind for other in sentence.reads)
        if places[0] is None and two.order in told and one.order not in told and behind:
            places = -1, places[1] or 0  # what is quoted is what an unnamed subject is compared with
        elif places[1] is None and one.order in told and two.order not in told and behind:
            places = places[0] or 0, -1
        if (
            direction
            and ids is not None
            and None not in places
            and places[0] != places[1]
            and not _ROOM & {t.name for t in sentence.terms}
        ):
            greater = one.fact.value > two.fact.value
            if (greater == (places[0] < places[1])) != (direction == "up"):
                yield Derived("difference", [one.fact.id, two.fact.id], f"the other is larger: {what}", "comparative")
                continue
        yield Derived("difference", [one.fact.id, two.fact.id], what)


DIFFERENCE_IS = re.compile("之?差(?:额|距)?[为是]$")  # of the first less the second: it may be below zero
_HARD = re.compile(r"\bhard\b|硬限", re.IGNORECASE)
_SOFT = re.compile(r"\bsoft\b|软限", re.IGNORECASE)


def _is_gap_told(one: Entry, two: Entry, near: Context) -> bool:
    """Whether the gap of two numbers of a case is the one told: to the bound that the words name, of today."""
    roles = {one.fact.role, two.fact.role}
    if "soft" in roles and near.says(_HARD) and not near.says(_SOFT):
        return False
    return "previous" not in roles or near.says(_AGO) or near.says(YESTERDAY)


def _is_negative(one: Entry, two: Entry, wanted: list[list[str]]) -> bool:
    """Whether a gap that has a name, or the room to a limit, is below zero."""
    for a, b in ((one, two), (two, one)):
        named = any(x in a.meaning.measures and y in b.meaning.measures for x, y in wanted)
        room = "limit" in a.meaning.qualities and "limit" not in b.meaning.qualities
        if (named or room) and a.fact.value < b.fact.value:
            return True
    return False


_WHOLE = re.compile(r"\b(?:all|diversified|aggregate|overall|combined)\b", re.IGNORECASE)


def _groups(pool: list[Entry]) -> list[list[Entry]]:
    """The facts that add up: one measure, one unit, one time, several names."""
    found: dict[tuple, list[Entry]] = {}
    for one in pool:
        fact, said = one.fact, one.meaning
        if fact.exact or not fact.trusted or fact.everywhere or fact.role != "value" or "total" in one.names:
            continue
        if fact.id.startswith("LIM-") or _WHOLE.search(fact.label):
            continue  # limits and their uses are no parts of a whole, nor is the whole
        if not (fact.unit in (None, "count") or fact.unit in MONEY):
            continue
        measures = said.measures - {"equity"} or said.measures  # the VaR of the equity desk adds to that of others
        key = (
            measures, fact.unit, fact.currency, fact.counted, said.years, said.quarters, said.previous,
            "limit" in said.qualities, said.horizon, said.confidence,
        )  # fmt: skip
        found.setdefault(key, []).append(one)
    return [group for group in found.values() if len({one.fact.id for one in group}) > 1]


_REST = re.compile(
    r"\b(?:rest|remain\w*|balance|outstanding|missing|still to|open|vacant|empty|idle|others?|leav(?:es|ing)"
    r"|un(?:hedged|drawn|used|let|sold|covered|funded|insured|secured|collaterali[sz]ed))\b"
    r"|其余|余下|剩余|其他|其它|另有|未|空置",
    re.IGNORECASE,
)


def _complements(read: Read, near: Context, pool: list[Entry], ids) -> Iterator[Derived]:
    """What a share leaves of 100 %: "78 % has been hedged, so that 22 % remains open"."""
    parts = [one for one in pool if one.fact.unit == "percent" and one.fact.role == "value"]
    parts = [one for one in parts if ids is not None or near.tells(one)]
    for one in parts:
        if 0 < one.fact.value < 100 and read.states(100.0 - one.fact.value):
            yield Derived("difference", [one.fact.id], f"100 % less {one.fact}")
    left = 100.0 - sum(one.fact.value for one in parts)
    if 1 < len(parts) <= 6 and left > 0 and read.states(left) and all(same_time(parts[0], one) for one in parts):
        evidence = [one.fact.id for one in parts]
        yield Derived("difference", evidence, f"100 % less {', '.join(evidence)}")


def _percent_sums(read: Read, near: Context, pool: list[Entry], ids) -> Iterator[Derived]:
    """The shares of several lines together."""
    shares = [one for one in pool if one.fact.unit == "percent" and one.fact.role == "value"]
    if ids is None:
        shares = [one for one in shares if not (near.years and one.meaning.years) or one.meaning.years & near.years]
        shares = _told_apart(shares, near)
    one_each = len({one.fact.id for one in shares}) == len(shares)
    if not one_each or not 1 < len(shares) <= 5 or not all(same_time(shares[0], one) for one in shares[1:]):
        return
    if read.states(abs(sum(one.fact.value for one in shares))):
        evidence = [one.fact.id for one in shares]
        yield Derived("sum", evidence, "sum of " + ", ".join(evidence))


_EACH_OF = re.compile(
    r"\b(?:standalone|individual|separate|components?|(?:risk )?factors?)\b|各|逐项|单项", re.IGNORECASE
)


_STATISTIC = re.compile(
    r"\b(?:highest|lowest|peak|maximum|minimum|max|min|stressed)\b|最高|最低|峰值|压力", re.IGNORECASE
)


def _parts_of(entries: list[Entry]) -> list[list[Entry]]:
    """Three or more lines of one measure, unit and time, each with a name of its own, that may be parts of one whole.

    They are all there are but the extremes, and all of these but the largest, which may be the whole.
    """
    found: dict[tuple, list[Entry]] = {}
    for one in entries:
        said, fact = one.meaning, one.fact
        bound = said.qualities & {"limit", "average"} or _WHOLE.search(fact.label) or _STATISTIC.search(fact.label)
        if said.measures and one.names - {"total"} == one.names != frozenset() and not bound:
            time = said.years, said.quarters, said.dates, said.previous
            key = said.measures - {"equity"} or said.measures, fact.unit, fact.currency, time
            found.setdefault(key, []).append(one)
    groups = [group for group in found.values() if len(group) > 2]
    largest = (max(group, key=lambda one: one.size) for group in groups)
    return groups + [
        [one for one in group if one is not whole]
        for group, whole in zip(groups, largest, strict=True)
        if len(group) > 3
    ]


def _told_apart(lines: list[Entry], near: Context) -> list[Entry]:
    """Those of some lines of which the words beside a number have a name or a measure that no other of them has."""
    counts = Counter(name for one in lines for name in one.names | one.meaning.measures)
    said = {name for name in near.names | near.measures if counts[name] == 1}
    return [one for one in lines if said & (one.names | one.meaning.measures)]


_DIVERSIFYING = frozenset({"diversification", "diversified", "diversifies", "散"})
_RISKS = (frozenset({"var"}), frozenset({"es"}))


def _diversifies(near: Context, facts: Facts) -> bool:
    return not facts.of_case and not near.words.all.isdisjoint(_DIVERSIFYING)


def _diversified(read: Read, near: Context, facts: Facts, pool: list[Entry], ids) -> Iterator[Derived]:
    """What diversification takes off: the parts of a risk less the whole."""
    among = [  # the risk of the equity desk is one of them
        one for one in (facts.entries if ids is None else pool)
        if (one.meaning.measures - {"equity"}) in _RISKS and _fits(read, one)
        and not one.meaning.qualities & {"limit", "average"}
    ]  # fmt: skip
    groups = _parts_of(facts.entries) if ids is None else []
    for whole in among:
        every = [one for one in among if one is not whole and same_time(one, whole) and _comparable(one, whole)
                 and one.meaning.measures - {"equity"} == whole.meaning.measures]  # fmt: skip
        for parts in [every, *(group for group in groups if whole not in group)]:
            if len(parts) > 1 and read.sign >= 0 and read.states(sum(one.size for one in parts) - whole.size):
                evidence = [one.fact.id for one in (*parts, whole)]
                yield Derived("difference", evidence, f"the sum of {', '.join(evidence[:-1])} less {whole.fact}")


def _sums(read: Read, near: Context, facts: Facts, pool: list[Entry], ids, sentence: Sentence) -> Iterator[Derived]:
    """Sums over a group of lines: all that are cited, all that are named, all there are."""
    loose = [one for one in pool if one.fact.role == "value"]
    whole = [loose] if ids is not None and 1 < len(loose) <= 5 else []
    if whole and not all(_comparable(loose[0], one) and same_time(loose[0], one) for one in loose[1:]):
        whole = []
    for group in [*_groups(pool), *whole]:
        if not _fits(read, group[0]) or not any(_speaks_of(near, one, facts) for one in group):
            continue
        if near.years and group[0].meaning.years and not group[0].meaning.years & near.years:
            continue
        choices = [group]
        for named in ([one for one in group if one.names & near.names], _told_apart(group, near)):
            if 1 < len(named) < len(group):
                choices.append(named)
        alike: dict[frozenset[str], list[Entry]] = {}  # wheat and barley production, not the exports of wheat
        for one in group:
            if one.names & near.names:
                alike.setdefault(one.names - near.names, []).append(one)
        choices += (some for some in alike.values() if 1 < len(some) < len(group))
        if ids is not None and len(group) <= 5:
            choices += [list(some) for n in (2, 3, 4) for some in combinations(group, n) if n < len(group)]
        for some in choices:
            total = sum(one.fact.value for one in some)
            if read.states(abs(total)) and (not read.sign or (total < 0) == (read.sign < 0)):
                evidence = list(dict.fromkeys(one.fact.id for one in some))
                yield Derived("sum", evidence, "sum of " + ", ".join(evidence))
    if ids is None:
        said = {one.name for one in sentence.terms if one.tag == "measures"}
        some = [one for one in pool if (one.names & near.names or one.meaning.measures & said) and _fits(read, one)]
        if not near.years:  # of several times the latest is meant
            some = [one for one in some if all(other.when[0] <= one.when[0] for other in facts.series(one))]
        else:
            some = [one for one in some if not one.meaning.years or one.meaning.years & near.years]
        alike = all(_comparable(some[0], one) and same_time(some[0], one) for one in some[1:])
        total = sum(one.fact.value for one in some)
        told = read.states(abs(total)) and (not read.sign or (total < 0) == (read.sign < 0))
        if 1 < len(some) <= 4 and alike and told:
            evidence = [one.fact.id for one in some]
            yield Derived("sum", evidence, "sum of " + ", ".join(evidence))
        for group in [*_groups(facts.entries), *(_parts_of(facts.entries) if near.says(_EACH_OF) else ())]:
            total = sum(one.fact.value for one in group)
            told = read.states(abs(total)) and (not read.sign or (total < 0) == (read.sign < 0))
            if told and _fits(read, group[0]) and _speaks_of(near, group[0], facts):
                if near.measures and group[0].meaning.measures and not near.measures & group[0].meaning.measures:
                    continue
                evidence = list(dict.fromkeys(one.fact.id for one in group))
                yield Derived("sum", evidence, "sum of " + ", ".join(evidence))
