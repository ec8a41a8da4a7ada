"""Comparisons that a computed number makes: which line is above the other, what a change is of, from and to.

"27 points above the NSFR", "$9.3m more than coal", "down to 23.0% from 22.2%". Also what a change or a share says of
the values told beside it. `claims` has the comparisons of values that are quoted.
"""

import itertools
import re
from collections.abc import Iterator, Set

from riskscribe.evaluate.context import Context, Sentence
from riskscribe.evaluate.derive import LESS, MORE
from riskscribe.evaluate.facts import Entry, Facts
from riskscribe.evaluate.naming import TIMES, grams
from riskscribe.evaluate.numbers import MONEY
from riskscribe.evaluate.prose import lower
from riskscribe.evaluate.verdicts import Claim, Number

BEYOND = re.compile(
    r"exceed(?:s|ed|ing)?|above|over|in excess of|surpass(?:ed|es|ing)?|greater than|higher than|more than(?! that\b)"
    r"|(?:bigg|wid|long|fast|heavi|steep)er than|top(?:s|ped)|beat(?:s|ing)?"
    r"|outstrip(?:s|ped)?|outpaced|eclipsed|overshot|clear(?:s|ed)"
    r"|overtook|outweighed|outsold|outside"
    r"|ahead of|outperformed|超过|超出|高于|突破|大于|多于|超|跑赢|快于|好于|强于|长于|宽于|优于",
    re.IGNORECASE,
)
SHORT = re.compile(
    r"below|under|less than|lower than|within|short of|fewer than|smaller than|behind|underperformed"
    r"|(?:narrow|short|slow|light)er than"
    r"|fell short of|miss(?:ed|es|ing)"
    r"|undershot|undershoots|undershooting|undercut|trail(?:s|ed|ing)|lag(?:s|ged|ging)|shy of|inside"
    r"|低于|小于|少于|未超过|不超过|以内|不足|跑输|慢于|差于|弱于|短于|窄于|不及",
    re.IGNORECASE,
)


def side_of(word: str) -> bool | None:
    """Whether a word of comparison says above; None where it says neither above nor below."""
    return True if BEYOND.fullmatch(word) else False if SHORT.fullmatch(word) else None


NEGATED = re.compile(
    r"(?:\b(?:not|no|never|without|neither|nor|none|yet to|n't|would|could|may|might|if)\b|[未没无不非会将可]"
    r"|如果|若)[^,，;；]{0,16}$",
    re.IGNORECASE,
)


def of_computed(
    text: str, sentence: Sentence, numbers: list[Number], entries: list[Entry | None], values: list[int], facts: Facts
) -> Iterator[tuple[Claim, list[int]]]:
    """The claims that a computed number makes of the lines it rests on, and the numbers beside it.

    Args:
        text: as written.
        sentence: its clause, read.
        numbers: the verdicts on its numbers, in order.
        entries: for each number the line that it quotes, or None.
        values: the places of those that quote an amount.
        facts: the evidence.
    """
    yield from _stale(text, sentence, numbers, entries, facts)
    if facts.of_case:
        return
    terms = sentence.terms
    yield from _twice(text, sentence, numbers, entries, values, facts)
    yield from _shares(text, sentence, numbers, entries, facts)
    yield from _relative(text, sentence, numbers, entries, facts)
    yield from _of_another(text, sentence, numbers, entries, values, facts)
    if "change" in sentence.tags:
        yield from _better(text, sentence, terms, numbers, entries, facts)
    yield from _pairs(text, sentence, terms, numbers)
    yield from _net_of(text, sentence, numbers, facts)
    yield from _losses(text, sentence, numbers, facts)
    yield from _balances(text, sentence, numbers, facts)
    yield from _subjects(text, sentence, numbers, entries, facts)
    yield from _beside_computed(text, sentence, numbers, entries, values, facts)
    yield from _ends_of_change(text, sentence, numbers, entries, facts)


_TO = re.compile(
    r"[,，]?[A-Za-z0-9\s]{0,24}?\s?(?:\bto\s?|[至到])(?:about |nearly )?"
    r"|[,，]?(?:升|降|增|减|跌|涨|收窄|扩大|回落|攀升|上升|下降|提升|增加|减少)[至到为](?:约|近)?|[,，](?:为|收?报收?|收于|录得|达到?)",
    re.IGNORECASE,
)


def _stale(text: str, sentence: Sentence, numbers, entries, facts: Facts):
    """The earlier operand of a change told where the later one belongs."""
    for k, one in enumerate(numbers):
        at = one.span[1]
        if one.operation not in ("difference", "percent change") or len(one.evidence) != 2:
            continue
        if _AGAINST.search(sentence.contexts[k].before[-16:]):
            continue  # "rose by 5.4% against 14.2%, and came to"
        old, new = ([other for other in facts.by_id[name] if other.fact.role == "value"] for name in one.evidence)
        if len(old) == len(new) == 1 and not facts.of_case and old[0].when[0] > new[0].when[0]:
            old, new = new, old
        if len(old) != 1 or len(new) != 1 or old[0].when[0] >= new[0].when[0]:
            continue
        if not facts.of_case and not any(other is new[0] for other in facts.series(old[0])):
            continue
        if any(entry is new[0] for entry in entries):
            continue
        for i, entry in enumerate(entries):
            if entry is None or new[0].fact.id in numbers[i].evidence:
                continue
            if entry is not old[0]:
                between = sentence.text[at : sentence.reads[i].span[0]]
                if _TO.fullmatch(between) and alike(entry, new[0]):
                    reason = f"the change is to {new[0].fact}, not to {entry.fact}"
                    yield claim_of(text, numbers[i].span, "change", False, [entry, new[0]], reason), [i]
                continue
            near = sentence.contexts[i]
            if near.told_earlier or _AT_FIRST.search(near.lead) or _is_dated(entry, new[0], near):
                continue
            if not entry.meaning.years & near.years:
                reason = f"the change is to {new[0].fact}, not to {entry.fact}"
                yield claim_of(text, numbers[i].span, "change", False, [entry, new[0]], reason), [i]


_AGAINST = re.compile(r"\b(?:against|versus|vs\.?|compared (?:with|to)|than)\s$", re.IGNORECASE)
# what stands before, or at the beginning, whatever it is called
_AT_FIRST = re.compile(
    r"\bhad\b|\b(?:starting|opening|initial|original|base)\b|\bat the (?:end|start|beginning) of\b"
    r"|期初|起初|起点|原先|原本|原来",
    re.IGNORECASE,
)


def _is_dated(old: Entry, new: Entry, near: Context) -> bool:
    """Whether the words before a number name the month or the day of the earlier line, and not that of the later."""
    own, other = (set(_DATES.findall(lower(one.fact.label))) for one in (old, new))
    said = set(_DATES.findall(lower(near.lead)))
    return bool(said & (own - other)) and not said & (other - own)


_DATES = re.compile(
    r"\b(?:q[1-4]|h[12]|(?:19|20)[0-9]{2})\b|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)|[0-9]{1,2}[月日]|[0-9]{1,2}(?=\s[a-z])"
)


def _twice(text: str, sentence: Sentence, numbers, entries, values, facts: Facts):
    """One line told by two numbers of a clause: it has another to tell, cited or not."""
    for one, two in itertools.combinations(values, 2):
        a, b = sentence.reads[one], sentence.reads[two]
        if entries[one] is not entries[two] or numbers[one].evidence != numbers[two].evidence:
            continue
        if (a.bound or b.bound) and not any(sentence.contexts[i].told_earlier for i in (one, two)):
            continue  # "more than half, 55.2 %"
        line = entries[one]
        others = [
            other for name in (sentence.ids or facts.by_id) for other in facts.by_id.get(name, ())
            if other is not line and alike(other, line) and not any(other is told for told in entries)
        ]  # fmt: skip
        if others:
            yield claim_of(text, numbers[two].span, "change", False, [line], f"twice the same: {line.fact}"), [two]


_OR = re.compile(
    r"[\u4e00-\u9fff]{0,4}[\s,，(]*(?:\b(?:or|that is|equal to|equivalent to|representing|accounting for|making up)\s"
    r"|占[^,，;；0-9]{1,12}的)(?:about\s|约)?",
    re.IGNORECASE,
)
_IS_ITS = re.compile(r"\b(?:equals?|is|was|are|were|represents?|amounts?|comes?|makes?|accounts?)\b", re.IGNORECASE)
_OF_IT = re.compile(r"\s?of (?:it|this|that|them)\b(?! [a-z])", re.IGNORECASE)


def _shares(text: str, sentence: Sentence, numbers, entries, facts: Facts):
    """The whole told where a share says that the part is, or the other way round: "£1,296m, or 34.5% of revenue"."""
    for k, one in enumerate(numbers):
        if k == 0 or one.operation != "percent" or len(one.evidence) != 2 or "of the sum" in (one.reason or ""):
            continue
        part, whole = (facts.line_of(name) for name in one.evidence)
        before = entries[k - 1]
        if part is None or whole is None or before is None:
            continue
        start, end = sentence.reads[k].span
        told = part if _OR.fullmatch(sentence.text, numbers[k - 1].span[1], start) else None
        of_it = _OF_IT.match(sentence.text, end) and not _IS_ITS.search(sentence.text, numbers[k - 1].span[1], start)
        told = told or (whole if of_it else None)
        other = whole if told is part else part
        if told is not None and before is other and not any(entry is told for entry in entries):
            reason = f"the share is of {whole.fact}, its part {part.fact}"
            yield claim_of(text, one.span, "part", False, [part, whole], reason), [k - 1]


_IT_MOVED = re.compile(r"[^,，;；()0-9]{0,40}[,，(]\s?(?:which (?:is|was) )?[^,，;；()0-9]{0,32}")


def _of_another(text: str, sentence: Sentence, numbers, entries, values, facts: Facts):
    """A value whose change, or whose earlier value, is told without a name and is that of another line."""
    reads, contexts = sentence.reads, sentence.contexts
    moves = [one.start for one in sentence.terms if one.tag in ("up", "down")]
    for k, one in enumerate(numbers):
        near = contexts[k]
        if k == 0 or near.own_names or near.own_measures or entries[k - 1] is None:
            continue
        before = entries[k - 1]
        start, end = reads[k - 1].span[1], reads[k].span[0]
        if one.operation in ("percent change", "difference") and len(one.evidence) == 2:
            old, new = (facts.line_of(name) for name in one.evidence)
            if old is None or new is None or old.when[0] >= new.when[0] or not any(start <= at < end for at in moves):
                continue
            known = any(entry is old or entry is new for entry in entries)
            if known or not alike(before, new) or not _IT_MOVED.fullmatch(sentence.text, start, end):
                continue
            own = [other for other in facts.series(before) if other.when[0] < before.when[0]]
            gaps = [(before.fact.value - other.fact.value, abs(other.fact.value)) for other in own]
            relative = one.operation == "percent change"
            if not any(reads[k].states(abs(100 * gap / size if relative and size else gap)) for gap, size in gaps):
                reason = f"what changed so is {new.fact}, not {before.fact}"
                yield claim_of(text, one.span, "change", False, [before, new], reason), [k - 1]
    if sentence.ids is not None:
        return
    for place, i in enumerate(values):
        near = contexts[i]
        if near.own_names or near.own_measures or not (near.previous or near.own_years) or not near.told_earlier:
            continue
        partner = partner_of(values, place, entries, sentence, facts)
        if partner is None or entries[i].meaning.qualities & BOUNDS:
            continue
        line = facts.series(entries[partner])
        told = [one for one in entries if one is not None]
        if any(one is entries[i] for one in line) or sum(any(one is own for own in told) for one in line) > 1:
            continue
        if line[0].when[0] < entries[partner].when[0]:
            reason = f"the sentence speaks of {entries[partner].fact}, not of {entries[i].fact}"
            yield claim_of(text, numbers[i].span, "change", False, [entries[partner], entries[i]], reason), [i]


_GOES_FROM = re.compile(r"[^.;]{0,40}?\bfrom\s(?:an?\s[a-z]+\s|about\s|some\s)?", re.IGNORECASE)
_GOES_TO = re.compile("(?:至|到|为)(?:约|近|逾)?$")
SIDE_BY_SIDE = re.compile(r"\s(?:against|versus|vs\.?|compared (?:with|to))\s", re.IGNORECASE)
# "a larger slice than the 26.1% of", "a shorter duration than the benchmark, at 4.5 years versus 4.7 years"
_ADJECTIVE_THAN = re.compile(
    rf"\b(?:(?P<up>{MORE}|bigger|more quickly)|(?P<down>{LESS}|more slowly))\b(?:\s[a-z]+){{0,2}}\sthan\b",
    re.IGNORECASE,
)
_JUST_TO = re.compile(r"\s?(?:to|至|到)\s?", re.IGNORECASE)
_THE_BASE = re.compile("(?:的?相比)?[,，]?[^,，;；。0-9]{0,24}")
_SIZE_OF_IT = re.compile("[^,，;；。0-9]{0,3}[,，](?:调整)?(?:幅度|[增降涨跌减]幅)(?:为|是|达|约|近|逾)*")


_LOSS_MOVES = re.compile("(?:(?P<up>增亏|扩亏|亏损(?:扩大|增加))|(?P<down>减亏|亏损(?:收窄|减少|缩小)))了?\\s?$")


def _losses(text: str, sentence: Sentence, numbers, facts: Facts):
    """ "同比增亏2.18亿元" of a loss that grew, 减亏 of one that shrank."""
    for i, one in enumerate(numbers):
        match = _LOSS_MOVES.search(sentence.contexts[i].before[-8:]) if one.operation == "difference" else None
        lines = [facts.line_of(name) for name in one.evidence] if match else []
        if len(lines) != 2 or None in lines or lines[0].when[0] == lines[1].when[0]:
            continue
        old, new = sorted(lines, key=lambda line: line.when)
        if old.fact.value < 0 and new.fact.value < 0:
            right = (new.size > old.size) == bool(match["up"])
            reason = f"the loss goes from {told_value(old)} to {told_value(new)}"
            yield claim_of(text, (one.span[0] - 2, one.span[0]), "change", right, [old, new], reason), [i]


_BALANCE = re.compile(
    r"(?:(?P<up>surplus|net inflows?|顺差|盈余|净流入)|(?P<down>deficit|net outflows?|逆差|赤字|净流出))"
    r"(?:\s(?:of|was|is|at)|[为达约])*\s?$",
    re.IGNORECASE,
)
_COMES_IN = re.compile(
    r"revenue|income|receipt|export|inflow|contribution|\bassets\b|received|new money|出口|收入|流入|资产",
    re.IGNORECASE,
)
_GOES_OUT = re.compile(
    r"expend|expens|spending|import|outflow|liabilit|benefits? paid|payments?|redemption|进口|支出|流出|负债",
    re.IGNORECASE,
)


def _balances(text: str, sentence: Sentence, numbers, facts: Facts):
    """ "A deficit of $7.4m", "贸易逆差" of what comes in and what goes out: which of them is larger."""
    for i, one in enumerate(numbers):
        match = _BALANCE.search(sentence.contexts[i].before[-28:]) if one.operation == "difference" else None
        lines = [facts.line_of(name) for name in one.evidence] if match else []
        if len(lines) != 2 or None in lines or min(line.fact.value for line in lines) < 0:
            continue
        ways = [(bool(_COMES_IN.search(line.fact.label)), bool(_GOES_OUT.search(line.fact.label))) for line in lines]
        if sorted(ways) == [(False, True), (True, False)]:
            comes, goes = lines if ways[0][0] else lines[::-1]
            right = (comes.size > goes.size) == bool(match["up"])
            reason = f"{told_value(comes)} comes in and {told_value(goes)} goes out"
            yield claim_of(text, (one.span[0] - 2, one.span[0]), "compare", right, [comes, goes], reason), [i]


_NET_OF = re.compile("净([\u4e00-\u9fff]{2})(?:约|近|逾|了|额)?\\s?$")


def _net_of(text: str, sentence: Sentence, numbers, facts: Facts):
    """ "净买入43.7亿元" of what was bought and what was paid back: the line that names it is the larger one."""
    for i, one in enumerate(numbers):
        match = _NET_OF.search(sentence.contexts[i].before[-8:]) if one.operation == "difference" else None
        lines = [facts.line_of(name) for name in one.evidence] if match else []
        if len(lines) != 2 or None in lines:
            continue
        named = [match[1] in line.fact.label for line in lines]
        if named[0] != named[1]:
            own, other = lines if named[0] else lines[::-1]
            end = one.span[0]
            reason = f"{own.fact} is the smaller one"
            yield claim_of(text, (end - 3, end), "compare", own.size > other.size, [own, other], reason), [i]


def _beside_computed(text: str, sentence: Sentence, numbers, entries, values, facts: Facts):
    """A value where the words name the line that a computed number rests on: "回款43.5亿元，回款率90.8%"."""
    for i in values:
        entry, near = entries[i], sentence.contexts[i]
        said = {one for one in grams(sentence.text[near.gap : near.span[0]]) if TIMES.isdisjoint(one.split())}
        if not said:
            continue
        own, behind = grams(entry.fact.label), grams(near.tail)
        for k, one in enumerate(numbers):
            if k == i or one.verdict != "derived" or entry.fact.id in one.evidence:
                continue
            for name in one.evidence:
                line = facts.line_of(name)
                if line is None or not alike(line, entry) or any(line is told for told in entries):
                    continue
                named = grams(line.fact.label)
                if (named - own) & said and not (own - named) & (said | behind):
                    reason = f"the sentence speaks of {line.fact}, not of {entry.fact}"
                    yield claim_of(text, near.span, "part", False, [entry, line], reason), [i]


_APART = re.compile(
    r"[;；:：]|\b(?:and|while|but|whereas|though|plus|or|jointly|together|combined|both)\b|[和而但及与合共]",
    re.IGNORECASE,
)
_RESULTS = frozenset({"percent", "ratio", "percent change", "difference"})


def _subjects(text: str, sentence: Sentence, numbers, entries, facts: Facts):
    """A value that a share, a multiple or a change right behind it is told of, and does not rest on.

    "Capital expenditure of $4,126m, 41% of EBITDA": the words around the share name its whole alone, so that its part
    is the value before it, which is the revenue.
    """
    reads = sentence.reads
    for k, one in enumerate(numbers):
        if k == 0 or one.operation not in _RESULTS or len(one.evidence) != 2 or entries[k - 1] is None:
            continue
        told, lines = entries[k - 1], [facts.line_of(name) for name in one.evidence]
        start, end = reads[k - 1].span[1], reads[k].span[0]
        between = sentence.text[start:end]
        if None in lines or told in lines or len(between) > 48 or _APART.search(between):
            continue
        first, last = lines
        change = one.operation in ("percent change", "difference")
        if change and not any(last is other for other in facts.series(first)):
            continue
        own = grams(first.fact.label) & grams(last.fact.label) if change else grams(first.fact.label)
        own -= grams(told.fact.label) if change else grams(last.fact.label)
        own = {name for name in own if TIMES.isdisjoint(name.split())}
        said = grams(between) | grams(sentence.contexts[k].tail)
        known = any(entry is line for entry in entries for line in (lines if change else lines[:1]))
        if not own or own & said or known or not alike(told, first):
            continue
        times = 100.0 if one.operation == "percent" else 1.0
        # of another whole it may be the part all the same
        if change or not any(reads[k].states(times * told.size / other.size) for other in facts.entries if other.size):
            reason = f"what follows is of {first.fact}, not of {told.fact}"
            yield claim_of(text, one.span, "part", False, [told, *lines], reason), [k - 1]


def _pairs(text: str, sentence: Sentence, terms, numbers):
    """Two numbers of which one is computed: "由3.87万元收缩到2.86万元", "市盈率为20.0倍，低于平均的24.5倍"."""
    reads, contexts = sentence.reads, sentence.contexts
    known = [i for i, one in enumerate(numbers) if not reads[i].kind and not reads[i].ignored]
    for i, j in itertools.pairwise(known):
        told = {numbers[k].verdict for k in (i, j)}
        if told - {"quoted", "derived"} or "derived" not in told or reads[i].unit != reads[j].unit:
            continue
        start, end = reads[i].span[1], reads[j].span[0]
        a, b = abs(reads[i].value), abs(reads[j].value)
        moved = numbers[i].operation in ("difference", "percent change")
        adjective = None
        if not moved or numbers[j].operation == "percent change" == numbers[i].operation:
            lead = start - len(contexts[i].lead) - (reads[i].span[1] - reads[i].span[0]), start
            beside = SIDE_BY_SIDE.fullmatch(sentence.text, start, end)
            adjective = _ADJECTIVE_THAN.search(sentence.text, *(lead if beside else (start, end)))
        if adjective and a != b and not NEGATED.search(sentence.text, sentence.clause.start, adjective.start()):
            reason = f"{reads[i].value:,.10g} and {reads[j].value:,.10g}: not so"
            right = (a > b) == bool(adjective["up"])
            yield claim_of(text, adjective.span(), "compare", right, [], reason), [i]
            continue
        if _GOES_FROM.fullmatch(sentence.text, start, end):  # "edged down to 23.0% from 22.2%"
            moves = [one for one in terms if one.tag in ("up", "down") and one.start < end]
            move = next((one for one in reversed(moves) if one.start >= start or one in contexts[i].left), None)
            better = None if move is not None else _said_better(i, contexts, sentence, text)
            if better is not None and a != b:
                reason = f"{reads[j].value:,.10g} to {reads[i].value:,.10g}: not so"
                yield claim_of(text, better[0], "change", (a > b) == better[1], [], reason), [i]
                continue
            if move is not None and a != b and not contexts[i].moves_by:
                reason = f"{reads[j].value:,.10g} to {reads[i].value:,.10g}: not so"
                yield claim_of(text, (move.start, move.end), "change", (a > b) == (move.tag == "up"), [], reason), [i]
                continue
        # "down from 2 % to 3 %"
        if contexts[i].told_earlier and _JUST_TO.fullmatch(sentence.text, start, end) and a != b:
            move = next((one for one in reversed(contexts[i].left) if one.tag in ("up", "down")), None)
            if move is not None:
                reason = f"{reads[i].value:,.10g} to {reads[j].value:,.10g}: not so"
                yield claim_of(text, (move.start, move.end), "change", (b > a) == (move.tag == "up"), [], reason), [i]
                continue
        for term in terms:
            if not start <= term.start < end:
                continue
            word = text[term.start : term.end]
            close = end - start < (12 if contexts[i].told_earlier else 0 if moved else 6)
            if term.tag in ("up", "down") and close:
                right = (b > a) == (term.tag == "up") if _GOES_TO.search(sentence.text, start, end) else None
            elif term.tag in ("beyond", "short") and (
                numbers[i].operation in (None, "ratio", "percent")
                or numbers[i].operation == numbers[j].operation == "percent change"
            ):
                beyond = side_of(word)
                changes = numbers[i].operation == "percent change"
                apart = (contexts[i].moves_by and not changes) or numbers[j].operation == "difference"
                plain = reads[i].unit in ("ratio", "percent") and not apart and beyond is not None
                right = (a > b) == beyond if plain and a != b else None
                right = None if right is not None and NEGATED.search(sentence.text, start, term.start) else right
            else:
                continue
            if right is not None:
                reason = f"{reads[i].value:,.10g} and {reads[j].value:,.10g}: not so"
                kind = "change" if term.tag in ("up", "down") else "compare"
                yield claim_of(text, (term.start, term.end), kind, right, [], reason), [i]
            break


def _ends_of_change(text: str, sentence: Sentence, numbers, entries, facts: Facts):
    """A change told of two values, one of them of another line: "与98.7%相比下降30个基点", "由A上调至B，幅度5%"."""
    for k, one in enumerate(numbers):
        if k == 0 or one.operation not in ("difference", "percent change") or len(one.evidence) != 2:
            continue
        old, new = (facts.line_of(name) for name in one.evidence)
        if (
            old is None
            or new is None
            or (
                not sentence.contexts[k].moves_by
                and not _SIZE_OF_IT.fullmatch(sentence.text, numbers[k - 1].span[1], one.span[0])
            )
        ):
            continue
        last, start = entries[k - 1], numbers[k - 1].span[1]
        if last is None or not alike(last, new):
            continue
        earlier = sentence.contexts[k - 1].told_earlier
        if earlier and _THE_BASE.fullmatch(sentence.text, start, one.span[0]):
            if not {old.fact.id, new.fact.id} & {*numbers[k - 1].evidence}:
                yield claim_of(text, one.span, "change", False, [old, last], f"the change is from {old.fact}"), [k - 1]
        elif (
            k > 1
            and sentence.contexts[k - 2].told_earlier
            and _SIZE_OF_IT.fullmatch(sentence.text, start, one.span[0])
        ):
            for i, right in ((k - 1, new), (k - 2, old)):
                if right.fact.id not in numbers[i].evidence and numbers[i].verdict in ("quoted", "derived"):
                    yield claim_of(text, one.span, "change", False, [right], f"the change is of {right.fact}"), [i]


# over the year, within three months: when, not what
_SPAN = (
    r"(?!\s(?:the\s|a\s)?(?:past|last|same|course|days?|weeks?|months?|quarters?|years?|half|period"
    r"|[a-z]+ (?:months?|weeks?|years?))\b)"
)
_UP_WORDS = (
    f"{MORE}|more|bigger|quicker|broader|richer|older|deeper|steeper|thicker|costlier|pricier"
    f"|above|over{_SPAN}|ahead of|beyond|outside|in excess of|clear of|on top of"
)
_DOWN_WORDS = (
    f"{LESS}|less|poorer|younger|shallower|thinner|below|beneath|under|behind|short of|shy of|inside|within{_SPAN}"
)
# "25.6 points higher than the LCR", "$33m more than corporates", "60 basis points below the headline rate"
_THAN = re.compile(
    rf"(?:\s(?!and\b|or\b|of\b)[a-z]+)?\s(?:(?P<up>{_UP_WORDS})|(?P<down>{_DOWN_WORDS}))\b(?:(?:\s[a-z]+|\s(?:in|at|on|for)\s[^,;]{{1,16}})?\sthan)?\s"
    r"(?P<base>[^,;:()\x00]{2,60})",
    re.IGNORECASE,
)
_AND = re.compile(r"\s(?:although|though|and|but|while|whereas|which|or|as|when|even)\b", re.IGNORECASE)
_OWN_THAN = re.compile("above|over|ahead of|beyond|outside|in excess of|clear of|on top of|below|beneath|under|behind"
                       "|short of|shy of|inside|within", re.IGNORECASE)  # fmt: skip
# "比本周均值高384万元", "高于第二产业12.2个百分点"
_BI = re.compile(
    "(?:比|较)(?P<base>[^,，;；。比较]{1,24}?)(?:又|还|仍|再|要|略|每[\u4e00-\u9fff])?(?:(?P<up>高|多|大|长|快|贵|强|宽)|(?P<down>低|少|小|短|慢|便宜|弱|窄))[出了]?(?:约|近|逾)?\\s?$"
    "|(?:(?P<above>高于|高出|多于|多出|超出|大于|领先|跑赢)|(?P<below>低于|低出|少于|落后|小于|逊于|跑输))(?P<thing>[^,，;；。0-9]{1,16})(?:约|近|逾)?\\s?$"
)


def _relative(text: str, sentence: Sentence, numbers, entries, facts: Facts):
    """Which of two lines is above the other by a computed number: the one told or named."""
    for k, one in enumerate(numbers):
        if one.operation not in ("difference", "percent change") or len(one.evidence) != 2:
            continue
        lines = [facts.line_of(name) for name in one.evidence]
        if None in lines or lines[0].size == lines[1].size:
            continue
        start, end = one.span
        match = _THAN.match(sentence.text, end, sentence.clause.end)
        if match is not None and match[0].lower().find("than") < 0 and not _OWN_THAN.search(match[0]):
            match = None
        if match is not None:
            base, up, span = _AND.split(match["base"])[0], bool(match["up"]), match.span()
            at = match.start("base")
        else:
            match = _BI.search(sentence.text, max(sentence.clause.start, start - 40), start)
            if match is None:
                continue
            base = match["base"] or match["thing"]
            up, span, at = bool(match["up"] or match["above"]), match.span(), match.start()
        below = [line.fact.value < 0 for line in lines]
        if any(below) and not (all(below) and sentence.contexts[k].says(_LOSSES)):
            continue
        what = _compared_with(base, at, k, lines, sentence, entries)
        if what is None:
            continue
        other = lines[0] if what is lines[1] else lines[1]
        right = (other.size > what.size) == up
        reason = f"{told_value(other)} is {'not above' if up else 'not below'} {told_value(what)}"
        yield claim_of(text, span, "compare", right, [other, what], reason), [k]


_LOSSES = re.compile(r"\b(?:loss\w*|los[et]s?|costs?|drawdowns?)\b|亏|损失|回撤", re.IGNORECASE)


def _compared_with(base: str, at: int, k: int, lines: list[Entry], sentence: Sentence, entries) -> Entry | None:
    """The one of two lines that a computed number is told against, by the words for it; None where they do not say."""
    behind = [j for j, read in enumerate(sentence.reads) if at <= read.span[0] < at + len(base) and not read.kind]
    told = [line for line in lines if any(entries[j] is line for j in behind)]
    if behind:
        return told[0] if len(told) == 1 else None
    terms = [one for one in sentence.terms if at <= one.start < at + len(base)]
    times = {*_DATES.findall(lower(base)), *(lower(one.name) for one in terms if one.tag == "quarters")}
    bounds = {one.name for one in terms if one.tag == "qualities"} & BOUNDS
    for own, said in (
        ([set(_DATES.findall(lower(one.fact.label))) for one in lines], times),
        ([one.meaning.qualities for one in lines], bounds),
    ):
        if which := _either(lines, own, said):
            return which
    if "后者" in base or "前者" in base:
        first = [line for entry in entries[:k] for line in lines if entry is line][:2]
        return first["后者" in base] if len(first) == 2 else None
    said, names = grams(base), [grams(one.fact.label) for one in lines]
    if which := _either(lines, names, said):
        return which
    if (names[0] ^ names[1]) & said:
        return None  # both are named
    if any(one.tag == "previous" and one.name == "strong" for one in terms) and lines[0].when[0] != lines[1].when[0]:
        return min(lines, key=lambda line: line.when)
    before = [line for line in lines if any(entry is line for entry in entries[:k])]
    if len(before) == 1:
        return lines[0] if before[0] is lines[1] else lines[1]
    return None


def _either(lines: list[Entry], own: list[Set[str]], said: Set[str]) -> Entry | None:
    """The one of two lines that has something said which the other has not."""
    apart = [bool((own[i] - own[1 - i]) & said) for i in (0, 1)]
    return lines[apart.index(True)] if apart[0] != apart[1] else None


BOUNDS = frozenset({"limit", "budget", "average"})
_GOOD_OR_BAD = {
    "improved": True, "improve": True, "improvement": True, "better": True, "betterment": True, "worsened": False,
    "deteriorated": False, "deterioration": False, "worse": False, "weaken": False, "改善": True, "恶化": False,
}  # fmt: skip
_COVERS = re.compile(r"cover|capital|absor|覆盖|充足", re.IGNORECASE)
_LESS_IS_BETTER = re.compile(
    r"cost|loss|churn|claims ratio|combined (?:operating )?ratio|\bnpl|non-performing|\bbad\b|injur|leverage|gearing"
    r"|default|delinquen|expense|unemployment|cost[-/ ]to[-/ ]income"
    r"|vacan|attrition|leakage|emission|complaint|arrears|不良|成本|费用率|负债率|逾期|赔付|退保|离职|投诉|排放|能耗|损耗",
    re.IGNORECASE,
)
_MORE_IS_BETTER = re.compile(
    r"margin|profit|revenue|sales|cash flow|cash provided|return|\birr\b|ffo|load factor|occupancy|solvency"
    r"|funding (?:ratio|level)|satisfaction|\beps\b|earnings per share|每股收益"
    r"|继续率|毛利率|净利率|利润|收益率|出租率|入住率|客座率|合格率|周转率",
    re.IGNORECASE,
)


def _said_better(
    i: int, contexts: list[Context], sentence: Sentence, text: str
) -> tuple[tuple[int, int], bool] | None:
    """Where a clause says that what a number tells improved or worsened, and whether that is a rise; or None."""
    for term in reversed(contexts[i].left):
        better = _GOOD_OR_BAD.get(lower(text[term.start : term.end])) if term.tag == "change" else None
        more = _more_is_better(sentence.text[sentence.clause.start : term.start])
        if better is not None and more is not None:
            return (term.start, term.end), better == more
    return None


def _more_is_better(what: str) -> bool | None:
    """Whether more of what some words name is better; None where they do not say, or name both."""
    less, more = _LESS_IS_BETTER.search(what), _MORE_IS_BETTER.search(what) or _COVERS.search(what)
    return bool(more) if bool(less) != bool(more) else None


def _better(text: str, sentence: Sentence, terms, numbers, entries, facts: Facts):
    """What improved or worsened, where the line leaves no doubt which way is better."""
    for term in terms:
        better = _GOOD_OR_BAD.get(lower(text[term.start : term.end])) if term.tag == "change" else None
        behind = (k for k, one in enumerate(numbers) if 0 <= term.start - one.span[1] <= 1)  # "6.3 points worse than"
        k = next(behind, next((k for k, one in enumerate(numbers) if one.span[0] >= term.end), None))
        if better is None or k is None:
            continue
        lines = [facts.line_of(name) for name in numbers[k].evidence]
        if numbers[k].operation not in (None, "difference", "percent change"):
            # a share improves, and neither its part nor its whole
            more = _more_is_better(sentence.text[sentence.clause.start : sentence.reads[k].span[0]])
            shares = _shares_over_time(lines, facts) if numbers[k].operation == "percent" else ()
            if shares and more is not None and shares[0] != shares[1]:
                rising = shares[1] > shares[0]
                reason = f"went {'up' if rising else 'down'} from {shares[0]:.4g} %"
                right = (rising == more) == better
                yield claim_of(text, (term.start, term.end), "change", right, [*lines], reason), [k]
            continue
        line = facts.series(lines[-1]) if lines and lines[-1] is not None else []
        if len(line) != 2 or line[0].when[0] == line[1].when[0] or min(one.fact.value for one in line) <= 0:
            continue
        label = line[0].fact.label
        less = not _COVERS.search(label) and bool(_LESS_IS_BETTER.search(label))
        if less or _MORE_IS_BETTER.search(label) or _COVERS.search(label):
            rising = line[1].size > line[0].size
            right = (rising != less) == better
            reason = f"went {'up' if rising else 'down'}: {line[1].fact}"
            yield claim_of(text, (term.start, term.end), "change", right, [*line], reason), [k]


def _shares_over_time(lines: list[Entry | None], facts: Facts) -> tuple[float, float] | tuple[()]:
    """In percent what a part was of its whole the one time before, and what it is; nothing where that is not told."""
    if len(lines) != 2 or None in lines or not lines[1].size:
        return ()
    part, whole = lines
    old = [100.0 * a.size / b.size for a in facts.series(part) for b in facts.series(whole)
           if a.when[0] == b.when[0] < whole.when[0] and a.when[0] < part.when[0] and b.size]  # fmt: skip
    return (old[0], 100.0 * part.size / whole.size) if len(old) == 1 else ()


# --- what claims have in common


def partner_of(amounts, place, entries, sentence, facts: Facts) -> int | None:
    """The later value that an earlier one is compared with: the one before it, else the one behind it."""
    i = amounts[place]
    for other in (place - 1, place + 1):
        if not 0 <= other < len(amounts):
            continue
        j = amounts[other]
        one, two = entries[i], entries[j]
        if not alike(one, two) or two.fact.role == "previous" or sentence.contexts[j].told_earlier:
            continue
        if facts.of_case and one.fact.id != two.fact.id:
            continue  # a step of the bridge beside yesterday's value is no later value of it
        a, b = one.meaning.measures, two.meaning.measures
        if (a and b and not a & b) or (one.fact.unit == "percent") != (two.fact.unit == "percent"):
            continue
        if one.fact.role in ("utilisation",) and two.fact.role != "utilisation":
            continue
        return j
    return None


def alike(one: Entry, two: Entry) -> bool:
    a, b = one.fact, two.fact
    if a.unit != b.unit and not {a.unit, b.unit} <= {None, "money"} and not {a.unit, b.unit} <= MONEY:
        return False
    return not (a.currency and b.currency and a.currency != b.currency)


def claim_of(text: str, term: tuple[int, int], kind: str, right: bool, entries: list[Entry], reason: str) -> Claim:
    ids = list(dict.fromkeys(one.fact.id for one in entries))
    return Claim(
        span=term, text=text[slice(*term)], kind=kind, verdict="supported" if right else "contradicted",
        evidence=ids, reason=None if right else reason,
    )  # fmt: skip


def told_value(entry: Entry) -> str:
    return f"{entry.fact.value:,.10g}"
