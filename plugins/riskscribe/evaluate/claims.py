"""Comparisons that a sentence makes, checked against the values it speaks of.

Rose or fell against the earlier value, exceeds or within, largest or smallest, "of which", "respectively": a
comparison that the evidence contradicts makes the number it speaks of unsupported. What cannot be told is no claim.
"""

import itertools
import re
from collections.abc import Iterator
from typing import Literal

from pydantic import BaseModel

from riskscribe.evaluate.context import Context, Sentence
from riskscribe.evaluate.facts import Entry, Facts
from riskscribe.evaluate.infer import TIMES, grams
from riskscribe.evaluate.numbers import DURATIONS, MONEY
from riskscribe.evaluate.prose import Term, lower
from riskscribe.evaluate.verdicts import Number


class Claim(BaseModel):
    """A comparison that a text makes ("rose", "within its limit") and whether the evidence bears it out.

    `span` and `text` are the words that compare.
    """

    span: tuple[int, int]
    text: str
    kind: Literal["change", "compare", "limit", "extreme", "part", "order"]
    verdict: Literal["supported", "contradicted"]
    evidence: list[str] = []
    reason: str | None = None


_BEYOND = re.compile(
    r"exceed(?:s|ed|ing)?|above|over|in excess of|surpass(?:ed|es|ing)?|greater than|higher than|more than(?! that\b)"
    r"|larger than|top(?:s|ped)|beat(?:s|ing)?|outstrip(?:s|ped)?|outpaced|eclipsed|overshot|clear(?:s|ed)|overtook|outweighed|outsold|outside"
    r"|ahead of|outperformed|超过|超出|高于|突破|大于|多于|超|跑赢|快于|好于|强于|长于|宽于|优于",
    re.IGNORECASE,
)
_SHORT = re.compile(
    r"below|under|less than|lower than|within|short of|fewer than|smaller than|behind|underperformed"
    r"|fell short of|miss(?:ed|es|ing)|undershot|undershoots|undershooting|undercut|trail(?:s|ed|ing)|lag(?:s|ged|ging)|shy of|inside|低于|小于|少于|未超过|不超过|以内|不足|跑输|慢于|差于|弱于|短于|窄于|不及",
    re.IGNORECASE,
)
_EXTREMES = re.compile(
    r"largest|biggest|highest|greatest|smallest|lowest|最大|最高|最多|最小|最低|最少",
    re.IGNORECASE,
)
_NOT_FIRST = re.compile(
    r"(?:\b(?:second|third|next|two|three|among(?:st)? the|one of the|another of the)[\s-]?|第[二三四]"
    r"|之一|前[二三四五])$",
    re.IGNORECASE,
)
_OVER_LIMIT = re.compile(
    r"\b(?:is|are|was|stands?|now|has gone|gone)\s(?P<not>not |no longer )?"
    r"(?:in breach|(?:over|above) (?:hard|its (?:hard )?limit|the (?:hard )?limit)\b)"
    r"|\b(?:exceeds|breaches)\s(?:hard|its (?:hard )?limit|the (?:hard )?limit)|已?突破(?:限额|硬限)|已超限|超出硬限",
    re.IGNORECASE,
)
_IN_LIMIT = re.compile(
    r"\b(?:is|are|remains?|stays?|stands?|now|gone|back)\s(?P<not>not |no longer )?(?:well |comfortably |still )?"
    r"(?:within|below|under|inside) (?:hard\b|(?:its |the )?(?:hard )?limits?\b)"
    r"|\bwithin its (?:hard )?limit\b|(?:处于|仍在|保持在|在)限额(?:之|以)?内|未超限|未突破(?:限额|硬限)|低于硬限",
    re.IGNORECASE,
)
_NEGATED = re.compile(
    r"(?:\b(?:not|no|never|without|neither|nor|none|yet to|n't|would|could|may|might|if)\b|[未没无不非会将可]"
    r"|如果|若)[^,，;；]{0,16}$",
    re.IGNORECASE,
)
_FALLS = re.compile(r"decreas|declin|reduc|降|减|跌", re.IGNORECASE)
_UP_TO = re.compile(
    r"(?:\s?(?:to|at|by|,|，|了|至|到|为|达|的|约|近|逾|slightly|sharply|further|again|now|strongly)\s?){0,4}",
    re.IGNORECASE,
)


def claims_of(text: str, sentence: Sentence, numbers: list[Number], facts: Facts) -> Iterator[tuple[Claim, list[int]]]:
    """The claims of a sentence, each with the places of the numbers it speaks of.

    Args:
        text: as written.
        sentence: its clause, read.
        numbers: the verdicts on its numbers, in order.
        facts: the evidence.
    """
    if facts.of_case and sentence.grouped:
        yield from _limits(text, sentence, numbers, facts)
        yield from _stresses(text, sentence, numbers, facts)
    terms, tags = sentence.terms, sentence.tags
    if not numbers or (tags.isdisjoint(_COMPARING) and (facts.of_case or (len(numbers) < 2 and "change" not in tags))):
        return
    entries = [_entry(sentence, i, one, facts) for i, one in enumerate(numbers)]
    values = [
        i
        for i, one in enumerate(entries)
        if one is not None and not (facts.of_case and sentence.reads[i].unit in DURATIONS)
        and not sentence.reads[i].kind
        and not (one.fact.exact and one.fact.unit != "count")
    ]  # fmt: skip
    yield from _stale(text, sentence, numbers, entries, facts)
    if not facts.of_case:
        yield from _twice(text, sentence, numbers, entries, values, facts)
        yield from _shares(text, sentence, numbers, entries, facts)
        yield from _above(text, sentence, numbers, entries, facts)
        yield from _relative(text, sentence, numbers, entries, facts)
        yield from _of_another(text, sentence, numbers, entries, values, facts)
        if "change" in tags:
            yield from _better(text, sentence, terms, numbers, entries, facts)
        yield from _of_computed(text, sentence, terms, numbers)
        yield from _net_of(text, sentence, numbers, facts)
        yield from _beside_computed(text, sentence, numbers, entries, values, facts)
        yield from _ends_of_change(text, sentence, numbers, entries, facts)
    if values:
        if tags & {"up", "down"}:
            yield from _changes(text, sentence, terms, numbers, entries, values, facts)
        if tags & {"beyond", "short"}:
            yield from _compared(text, sentence, terms, entries, values)
            if not facts.of_case:
                yield from _to_limit(text, sentence, terms, entries, values, facts)
        if tags & {"largest", "smallest"}:
            yield from _extremes(text, sentence, terms, entries, values, facts)
        if "of_which" in tags:
            yield from _parts(text, sentence, terms, entries, values)
        if "respectively" in tags:
            yield from _ordered(text, sentence, terms, entries, values, facts)


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
                if _TO.fullmatch(between) and _alike(entry, new[0]):
                    reason = f"the change is to {new[0].fact}, not to {entry.fact}"
                    yield _claim(text, numbers[i].span, "change", False, [entry, new[0]], reason), [i]
                continue
            near = sentence.contexts[i]
            if near.told_earlier or _AT_FIRST.search(near.lead) or _is_dated(entry, new[0], near):
                continue
            if not entry.meaning.years & near.years:
                reason = f"the change is to {new[0].fact}, not to {entry.fact}"
                yield _claim(text, numbers[i].span, "change", False, [entry, new[0]], reason), [i]


# what stands before, at the beginning, or at a date, whatever it is called
_AGAINST = re.compile(r"\b(?:against|versus|vs\.?|compared (?:with|to)|than)\s$", re.IGNORECASE)
_AT_FIRST = re.compile(
    r"\bhad\b|\b(?:starting|opening|initial|original|base)\b|\bat the (?:end|start|beginning) of\b|期初|起初|起点|原先|原本|原来",
    re.IGNORECASE,
)


def _is_dated(old: Entry, new: Entry, near: Context) -> bool:
    """Whether the words before a number name the month or the day of the earlier line, and not that of the later."""
    own, other = (set(_DATES.findall(lower(one.fact.label))) for one in (old, new))
    said = set(_DATES.findall(lower(near.lead)))
    return bool(said & (own - other)) and not said & (other - own)


_DATES = re.compile(r"\b(?:q[1-4]|h[12]|(?:19|20)[0-9]{2})\b|\b(?:jan|feb|mar|apr|may|jun|jul|aug|sep|oct|nov|dec)|[0-9]{1,2}[月日]|[0-9]{1,2}(?=\s[a-z])")


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
            if other is not line and _alike(other, line) and not any(other is told for told in entries)
        ]  # fmt: skip
        if others:
            yield _claim(text, numbers[two].span, "change", False, [line], f"twice the same: {line.fact}"), [two]


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
            yield _claim(text, one.span, "part", False, [part, whole], reason), [k - 1]


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
            if known or not _alike(before, new) or not _IT_MOVED.fullmatch(sentence.text, start, end):
                continue
            own = [other for other in facts.series(before) if other.when[0] < before.when[0]]
            gaps = [(before.fact.value - other.fact.value, abs(other.fact.value)) for other in own]
            relative = one.operation == "percent change"
            if not any(reads[k].states(abs(100 * gap / size if relative and size else gap)) for gap, size in gaps):
                reason = f"what changed so is {new.fact}, not {before.fact}"
                yield _claim(text, one.span, "change", False, [before, new], reason), [k - 1]
    if sentence.ids is not None:
        return
    for place, i in enumerate(values):
        near = contexts[i]
        if near.own_names or near.own_measures or not (near.previous or near.own_years) or not near.told_earlier:
            continue
        partner = _partner(values, place, entries, sentence, facts)
        if partner is None or entries[i].meaning.qualities & _BOUNDS:
            continue
        line = facts.series(entries[partner])
        told = [one for one in entries if one is not None]
        if any(one is entries[i] for one in line) or sum(any(one is own for own in told) for one in line) > 1:
            continue
        if line[0].when[0] < entries[partner].when[0]:
            reason = f"the sentence speaks of {entries[partner].fact}, not of {entries[i].fact}"
            yield _claim(text, numbers[i].span, "change", False, [entries[partner], entries[i]], reason), [i]


_GOES_FROM = re.compile(r"[^.;]{0,40}?\bfrom\s(?:an?\s[a-z]+\s|about\s|some\s)?", re.IGNORECASE)
_GOES_TO = re.compile("(?:至|到|为)(?:约|近|逾)?$")
_THE_BASE = re.compile("(?:的?相比)?[,，]?[^,，;；。0-9]{0,24}")
_SIZE_OF_IT = re.compile("[^,，;；。0-9]{0,3}[,，](?:调整)?(?:幅度|[增降涨跌减]幅)(?:为|是|达|约|近|逾)*")


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
            yield _claim(text, (end - 3, end), "compare", own.size > other.size, [own, other], reason), [i]


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
                if line is None or not _alike(line, entry) or any(line is told for told in entries):
                    continue
                named = grams(line.fact.label)
                if (named - own) & said and not (own - named) & (said | behind):
                    reason = f"the sentence speaks of {line.fact}, not of {entry.fact}"
                    yield _claim(text, near.span, "part", False, [entry, line], reason), [i]


def _of_computed(text: str, sentence: Sentence, terms, numbers):
    """Two numbers of which one is computed: "由3.87万元收缩到2.86万元", "市盈率为20.0倍，低于平均的24.5倍"."""
    reads, contexts = sentence.reads, sentence.contexts
    known = [i for i, one in enumerate(numbers) if not reads[i].kind and not reads[i].ignored]
    for i, j in itertools.pairwise(known):
        told = {numbers[k].verdict for k in (i, j)}
        if told - {"quoted", "derived"} or "derived" not in told or reads[i].unit != reads[j].unit:
            continue
        start, end = reads[i].span[1], reads[j].span[0]
        a, b = abs(reads[i].value), abs(reads[j].value)
        if _GOES_FROM.fullmatch(sentence.text, start, end):  # "edged down to 23.0% from 22.2%"
            moves = [one for one in terms if one.tag in ("up", "down") and one.start < end]
            move = next((one for one in reversed(moves) if one.start >= start or one in contexts[i].left), None)
            if move is not None and a != b and not contexts[i].moves_by:
                reason = f"{reads[j].value:,.10g} to {reads[i].value:,.10g}: not so"
                yield _claim(text, (move.start, move.end), "change", (a > b) == (move.tag == "up"), [], reason), [i]
                continue
        for term in terms:
            if not start <= term.start < end:
                continue
            word = text[term.start : term.end]
            if term.tag in ("up", "down") and contexts[i].told_earlier and end - start < 12:
                right = (b > a) == (term.tag == "up") if _GOES_TO.search(sentence.text, start, end) else None
            elif term.tag in ("beyond", "short") and numbers[i].operation in (None, "ratio", "percent"):
                beyond, short = _BEYOND.fullmatch(word), _SHORT.fullmatch(word)
                apart = contexts[i].moves_by or numbers[j].operation == "difference"
                plain = reads[i].unit in ("ratio", "percent") and not apart and (beyond or short)
                right = (a > b) == bool(beyond) if plain and a != b else None
                right = None if right is not None and _NEGATED.search(sentence.text, start, term.start) else right
            else:
                continue
            if right is not None:
                reason = f"{reads[i].value:,.10g} and {reads[j].value:,.10g}: not so"
                kind = "change" if term.tag in ("up", "down") else "compare"
                yield _claim(text, (term.start, term.end), kind, right, [], reason), [i]
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
        if last is None or not _alike(last, new):
            continue
        earlier = sentence.contexts[k - 1].told_earlier
        if earlier and _THE_BASE.fullmatch(sentence.text, start, one.span[0]):
            if not {old.fact.id, new.fact.id} & {*numbers[k - 1].evidence}:
                yield _claim(text, one.span, "change", False, [old, last], f"the change is from {old.fact}"), [k - 1]
        elif (
            k > 1
            and sentence.contexts[k - 2].told_earlier
            and _SIZE_OF_IT.fullmatch(sentence.text, start, one.span[0])
        ):
            for i, right in ((k - 1, new), (k - 2, old)):
                if right.fact.id not in numbers[i].evidence and numbers[i].verdict in ("quoted", "derived"):
                    yield _claim(text, one.span, "change", False, [right], f"the change is of {right.fact}"), [i]


_ABOVE = re.compile(
    r"\s?(?:(?P<above>above|in excess of|ahead of|over|higher than|more than|better than|greater than)"
    r"|below|short of|under|lower than|less than|behind|fewer than)\b",
    re.IGNORECASE,
)


def _above(text: str, sentence: Sentence, numbers, entries, facts: Facts):
    """Which of two lines is so many percent above the other: the one told before, or the one of another year."""
    for k, one in enumerate(numbers):
        if one.operation != "percent change" or len(one.evidence) != 2:
            continue
        match = _ABOVE.match(sentence.text, one.span[1])
        lines = [facts.line_of(name) for name in one.evidence]
        if match is None or None in lines or min(line.fact.value for line in lines) <= 0:
            continue
        years = {int(read.value) for read in sentence.reads[k + 1 : k + 2] if read.kind == "year"}
        before = [line for line in lines if any(entry is line for entry in entries[:k])]
        after = [line for line in lines if any(entry is line for entry in entries[k + 1 :])]
        after = after or [line for line in lines if years and line.meaning.years == years]
        if len(before) > 1 or len(after) > 1 or not (before or after) or before == after:
            continue
        base = after[0] if after else next(line for line in lines if line is not before[0])
        what = next(line for line in lines if line is not base)
        right = (what.size > base.size) == bool(match["above"])
        reason = f"{_told(what)} is {'not above' if match['above'] else 'not below'} {_told(base)}"
        yield _claim(text, match.span(), "compare", right, [what, base], reason), [k]


_UP_WORDS = (
    "more|higher|larger|greater|bigger|longer|faster|quicker|wider|broader|stronger|heavier|dearer|richer|older|deeper|steeper"
    "|thicker|costlier|pricier|above|over|ahead of|beyond|outside|in excess of|clear of|on top of"
)
_DOWN_WORDS = (
    "less|fewer|lower|smaller|shorter|slower|narrower|tighter|weaker|lighter|cheaper|poorer|younger|shallower|thinner|softer"
    "|below|beneath|under|behind|short of|shy of|inside|within"
)
# "25.6 points higher than the LCR", "$33m more than corporates", "60 basis points below the headline rate"
_THAN = re.compile(
    rf"(?:\s(?!and\b|or\b|of\b)[a-z]+)?\s(?:(?P<up>{_UP_WORDS})|(?P<down>{_DOWN_WORDS}))\b(?:(?:\s[a-z]+)?\sthan)?\s"
    r"(?!(?:the\s|a\s)?(?:past|last|same|course|days?|weeks?|months?|quarters?|years?|half|period|[a-z]+ (?:months?|weeks?|years?))\b)"
    r"(?P<base>[^,;:()\x00]{2,60})",
    re.IGNORECASE,
)
_OWN_THAN = re.compile("above|over|ahead of|beyond|outside|in excess of|clear of|on top of|below|beneath|under|behind"
                       "|short of|shy of|inside|within", re.IGNORECASE)  # fmt: skip
# "比本周均值高384万元", "高于第二产业12.2个百分点"
_BI = re.compile(
    "(?:比|较)(?P<base>[^,，;；。比较]{1,24}?)(?:又|还|仍|再|要|略|每[\u4e00-\u9fff])?(?:(?P<up>高|多|大|长|快|贵|强|宽)|(?P<down>低|少|小|短|慢|便宜|弱|窄))[出了]?(?:约|近|逾)?\\s?$"
    "|(?:(?P<above>高于|高出|多于|多出|超出|大于|领先|跑赢)|(?P<below>低于|低出|少于|落后|小于|逊于|跑输))(?P<thing>[^,，;；。0-9]{1,16})(?:约|近|逾)?\\s?$"
)


def _relative(text: str, sentence: Sentence, numbers, entries, facts: Facts):
    """Which of two lines is above the other by a computed number: the one told or named, not what it is compared with."""
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
            base, up, span = match["base"], bool(match["up"]), match.span()
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
        reason = f"{_told(other)} is {'not above' if up else 'not below'} {_told(what)}"
        yield _claim(text, span, "compare", right, [other, what], reason), [k]


_LOSSES = re.compile(r"\b(?:loss\w*|los[et]s?|costs?|drawdowns?)\b|亏|损失|回撤", re.IGNORECASE)


def _compared_with(base: str, at: int, k: int, lines: list[Entry], sentence: Sentence, entries) -> Entry | None:
    """The one of two lines that a computed number is told against, by the words for it; None where they do not say."""
    behind = [j for j, read in enumerate(sentence.reads) if at <= read.span[0] < at + len(base) and not read.kind]
    told = [line for line in lines if any(entries[j] is line for j in behind)]
    if behind:
        return told[0] if len(told) == 1 else None
    said = grams(base) | set(_DATES.findall(lower(base)))
    said |= {lower(one.name) for one in sentence.terms if one.tag == "quarters" and at <= one.start < at + len(base)}
    named = [grams(one.fact.label) | set(_DATES.findall(lower(one.fact.label))) for one in lines]
    apart = [bool((named[i] - named[1 - i]) & said) for i in (0, 1)]
    times = [set(_DATES.findall(lower(one.fact.label))) for one in lines]
    dated = [bool((times[i] - times[1 - i]) & said) for i in (0, 1)]
    if dated[0] != dated[1]:
        return lines[dated.index(True)]
    words = {one.name for one in sentence.terms if one.tag == "qualities" and at <= one.start < at + len(base)}
    words &= _BOUNDS
    bounds = [bool(words & one.meaning.qualities) for one in lines]
    if bounds[0] != bounds[1]:
        return lines[bounds.index(True)]
    then = any(one.tag == "previous" and one.name == "strong" and at <= one.start < at + len(base) for one in sentence.terms)
    if then and apart[0] == apart[1] and lines[0].when[0] != lines[1].when[0]:
        return min(lines, key=lambda line: line.when)
    if "后者" in base or "前者" in base:
        first = [line for entry in entries[:k] for line in lines if entry is line][:2]
        return first["后者" in base] if len(first) == 2 else None
    if apart[0] != apart[1]:
        return lines[apart.index(True)]
    before = [line for line in lines if any(entry is line for entry in entries[:k])]
    if not any(apart) and len(before) == 1:
        return lines[0] if before[0] is lines[1] else lines[1]
    return None


_BOUNDS = frozenset({"limit", "budget", "average"})
_GOOD_OR_BAD = {
    "improved": True, "improve": True, "improvement": True, "better": True, "betterment": True, "worsened": False,
    "deteriorated": False, "deterioration": False, "worse": False, "weaken": False, "改善": True, "恶化": False,
}  # fmt: skip
_COVERS = re.compile(r"cover|capital|absor|覆盖|充足", re.IGNORECASE)
_LESS_IS_BETTER = re.compile(
    r"cost|loss|churn|\bnpl|non-performing|\bbad\b|injur|leverage|gearing|default|delinquen|expense|combined ratio"
    r"|vacan|attrition|leakage|emission|complaint|arrears|不良|成本|费用率|负债率|逾期|赔付|退保|离职|投诉|排放|能耗|损耗",
    re.IGNORECASE,
)
_MORE_IS_BETTER = re.compile(
    r"margin|profit|revenue|sales|cash flow|cash provided|return|\birr\b|ffo|load factor|occupancy|solvency"
    r"|funding ratio|satisfaction|继续率|毛利率|净利率|利润|收益率|出租率|入住率|客座率|合格率|周转率",
    re.IGNORECASE,
)


def _better(text: str, sentence: Sentence, terms, numbers, entries, facts: Facts):
    """What improved or worsened, where the line leaves no doubt which way is better."""
    for term in terms:
        better = _GOOD_OR_BAD.get(lower(text[term.start : term.end])) if term.tag == "change" else None
        k = next((k for k, one in enumerate(numbers) if one.span[0] >= term.end), None)
        if better is None or k is None:
            continue
        lines = [facts.line_of(name) for name in numbers[k].evidence]
        line = facts.series(lines[-1]) if lines and lines[-1] is not None else []
        if len(line) != 2 or line[0].when[0] == line[1].when[0] or min(one.fact.value for one in line) <= 0:
            continue
        label = line[0].fact.label
        less = not _COVERS.search(label) and bool(_LESS_IS_BETTER.search(label))
        if less or _MORE_IS_BETTER.search(label) or _COVERS.search(label):
            rising = line[1].size > line[0].size
            right = (rising != less) == better
            reason = f"went {'up' if rising else 'down'}: {line[1].fact}"
            yield _claim(text, (term.start, term.end), "change", right, [*line], reason), [k]


_COMPARING = frozenset({"up", "down", "beyond", "short", "largest", "smallest", "of_which", "respectively"})


def _entry(sentence: Sentence, i: int, number: Number, facts: Facts) -> Entry | None:
    """The fact that a quoted number rests on."""
    if number.verdict != "quoted" or number.reason == "in the label":
        return None
    read = sentence.reads[i]
    if read.compares and not facts.of_case:
        read = read._replace(bound="")  # "crept up to 5.82" is told exactly
    found = [
        one for name in number.evidence for one in facts.by_id.get(name, ())
        if one.fact.role != "text" and read.states(one.size, one.fact.exact, facts.of_case)
    ]  # fmt: skip
    if len(found) < 2:
        return found[0] if found else None
    earlier = facts.of_case and sentence.contexts[i].told_earlier
    return min(
        found,
        key=lambda one: (
            facts.of_case and (one.fact.role == "previous") != earlier,
            abs(one.size - abs(read.value)),
            one.fact.role,
            one.fact.id,
        ),
    )


def _alike(one: Entry, two: Entry) -> bool:
    a, b = one.fact, two.fact
    if a.unit != b.unit and not {a.unit, b.unit} <= {None, "money"} and not {a.unit, b.unit} <= MONEY:
        return False
    return not (a.currency and b.currency and a.currency != b.currency)


def _claim(text: str, term: tuple[int, int], kind: str, right: bool, entries: list[Entry], reason: str) -> Claim:
    ids = list(dict.fromkeys(one.fact.id for one in entries))
    return Claim(
        span=term, text=text[slice(*term)], kind=kind, verdict="supported" if right else "contradicted",
        evidence=ids, reason=None if right else reason,
    )  # fmt: skip


def _told(entry: Entry) -> str:
    return f"{entry.fact.value:,.10g}"


# --- rose and fell


_PLANNED = re.compile(r"\s(?:planned|budgeted|expected|forecast|foreseen|targeted|projected|hoped|feared)\b", re.IGNORECASE)


def _changes(text, sentence: Sentence, terms, numbers, entries, values, facts: Facts):
    nouns = ("growth", "more than", "less than", "higher than", "lower than", "fewer than")
    moves = [
        one for one in terms if one.tag in ("up", "down")
        and (text[one.start : one.end].lower() not in nouns or _PLANNED.match(sentence.text, one.end))
    ]  # fmt: skip
    reads, contexts = sentence.reads, sentence.contexts
    done: set[int] = set()
    amounts = [i for i in values if not contexts[i].moves_by or reads[i].unit not in ("percent", "points", "bp")]
    for place, i in enumerate(amounts):
        if not sentence.contexts[i].told_earlier or i in done:
            continue
        partner = _partner(amounts, place, entries, sentence, facts)
        if partner is None:
            continue
        low, high = sorted((i, partner))
        move = _governing(moves, reads, values, low, high, sentence)
        if move is None and not facts.of_case:  # "shrank by 5.5m, from 38.6m to 33.1m"
            pair = {entries[i].fact.id, entries[partner].fact.id}
            told = [k for k in range(low) if set(numbers[k].evidence) == pair and numbers[k].operation]
            move = next((one for k in told for one in reversed(contexts[k].left) if one in moves), None)
        done |= {i, partner}
        if move is None:
            continue
        earlier, later = entries[i], entries[partner]
        if earlier is later and sentence.reads[i].value == sentence.reads[partner].value:
            yield (
                _claim(text, (move.start, move.end), "change", False, [later], f"twice the same: {later.fact}"),
                [partner],
            )
            continue
        signs = {entry.fact.value < 0 for entry in (earlier, later)}
        if len(signs) > 1 or earlier.size == later.size or (facts.of_case and True in signs):
            continue
        if True in signs and (reads[i].sign or reads[partner].sign):
            if not (reads[i].sign and reads[partner].sign) and earlier in facts.series(later):
                reason = f"one with its minus, one without: {earlier.fact} and {later.fact}"
                yield _claim(text, (move.start, move.end), "change", False, [later, earlier], reason), [partner]
            continue
        rising = later.size > earlier.size
        reason = f"{_told(earlier)} to {_told(later)} is {'up' if rising else 'down'}, not {move.tag}"
        yield (
            _claim(text, (move.start, move.end), "change", rising == (move.tag == "up"), [later, earlier], reason),
            [partner],
        )
    for i in values:
        near, read = contexts[i], reads[i]
        if i in done:
            continue
        entry = entries[i]
        move = next((one for one in reversed(near.left) if one.tag in ("up", "down")), None)
        if move is None or not _UP_TO.fullmatch(text, move.end, read.span[0]):
            continue
        if near.moves_by and read.unit in ("percent", "points", "bp"):
            told_down = move.tag == "down" and not _FALLS.search(entry.fact.label)
            if told_down and {"growth", "change"} & entry.meaning.qualities and entry.fact.value > 0:
                yield _claim(text, (move.start, move.end), "change", False, [entry], f"is a rise: {entry.fact}"), [i]
            continue
        if near.moves_by and not re.search(
            r"to|at|[至到为达]|升至|降至|增至|减至", text[move.start : read.span[0]], re.IGNORECASE
        ):
            continue
        series = facts.series(entry)
        earlier = [one for one in series if one.when[0] < entry.when[0]]
        if not earlier and not facts.of_case:  # of what is forecast the clause tells what it was
            said = entry.meaning
            earlier = [
                one for k, one in enumerate(entries) if one is not None and k < i and one.fact.unit == entry.fact.unit
                and one.meaning.measures == said.measures and one.names == entry.names and one.when[0] < entry.when[0]
            ]  # fmt: skip
        if not earlier or entry.fact.value < 0 or earlier[-1].fact.value < 0 or earlier[-1].size == entry.size:
            continue
        if len(earlier) > 1 and earlier[-1].when[0] == earlier[-2].when[0]:
            continue
        rising = entry.size > earlier[-1].size
        reason = f"{_told(earlier[-1])} to {_told(entry)} is {'up' if rising else 'down'}, not {move.tag}"
        yield (
            _claim(text, (move.start, move.end), "change", rising == (move.tag == "up"), [entry, earlier[-1]], reason),
            [i],
        )


def _partner(amounts, place, entries, sentence, facts: Facts) -> int | None:
    """The later value that an earlier one is compared with: the one before it, else the one behind it."""
    i = amounts[place]
    for other in (place - 1, place + 1):
        if not 0 <= other < len(amounts):
            continue
        j = amounts[other]
        one, two = entries[i], entries[j]
        if not _alike(one, two) or two.fact.role == "previous" or sentence.contexts[j].told_earlier:
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


def _governing(moves: list[Term], reads, values, low: int, high: int, sentence: Sentence) -> Term | None:
    """The word of movement that belongs to a pair of numbers: before it, between, or behind it."""
    start, middle, end = reads[low].span[0], reads[low].span[1], reads[high].span[0]
    left = sentence.contexts[low].left
    own = [one for one in left if one in moves]
    if own:
        return own[-1]
    between = [one for one in moves if middle <= one.start < end]
    if between:
        return between[-1]
    behind = (one.span[0] for one in reads[high + 1 :] if not one.kind and not one.ignored)
    stop = next(behind, sentence.clause.end)
    stop = next((one.start for one in sentence.grouped if end <= one.start < stop), stop)
    behind = [one for one in moves if reads[high].span[1] <= one.start < stop]
    return behind[0] if behind and len({one.tag for one in behind}) == 1 and start >= 0 else None


# --- exceeds and within


def _compared(text, sentence: Sentence, terms, entries, values):
    reads, contexts = sentence.reads, sentence.contexts
    for one, two in itertools.pairwise(values):
        start, end = reads[one].span[1], reads[two].span[0]
        between = range(one + 1, two)
        if any(not reads[k].kind and not reads[k].ignored for k in between) or not _alike(entries[one], entries[two]):
            continue
        if entries[one] is entries[two]:
            continue  # "118.7 %, above the required 100 %": what one line is told to be beyond
        if (contexts[one].moves_by and reads[one].unit != "percent") or re.search(
            r"\bby\s?$", sentence.text[max(0, reads[one].span[0] - 4) : reads[one].span[0]]
        ):
            continue
        for term in terms:
            if term.tag not in ("beyond", "short") or not start <= term.start < end:
                continue
            word = text[term.start : term.end]
            beyond = bool(_BEYOND.fullmatch(word))
            if not beyond and not _SHORT.fullmatch(word):
                continue
            between = sentence.text[start : term.start]
            if _NEGATED.search(between) or re.search(r"[,，]\s?(?:and|while|but|而)\b", between):
                continue
            a, b = entries[one], entries[two]
            if word.lower() in ("within", "以内", "不超过", "未超过"):
                right = a.size <= b.size
            else:
                right = a.size > b.size if beyond else a.size < b.size
            reason = f"{_told(a)} is {'not above' if beyond else 'not below'} {_told(b)}"
            yield _claim(text, (term.start, term.end), "compare", right, [a, b], reason), [one]
            break


def _to_limit(text, sentence: Sentence, terms, entries, values, facts: Facts):
    """ "VaR is over its limit of 3.5m": the use is not told, and is in the evidence all the same."""
    i = values[0]
    limit = entries[i]
    if "limit" not in limit.meaning.qualities:
        return
    start = sentence.reads[i].span[0]
    near = [one for one in terms if one.tag in ("beyond", "short") and start - 40 <= one.start < start]
    words = [(one, text[one.start : one.end]) for one in near]
    words = [(one, word) for one, word in words if _BEYOND.fullmatch(word) or _SHORT.fullmatch(word)]
    uses = [
        one
        for name, some in sorted(facts.by_id.items())
        for one in some
        if (sentence.ids is None or name in sentence.ids) and _alike(one, limit) and one is not limit
        and one.meaning.measures & limit.meaning.measures and "limit" not in one.meaning.qualities
        and not one.meaning.previous
    ]  # fmt: skip
    if len(words) != 1 or len(uses) != 1 or _NEGATED.search(sentence.text, sentence.clause.start, words[0][0].start):
        return
    term, word = words[0]
    over = bool(_BEYOND.fullmatch(word))
    right = (uses[0].size > limit.size) == over
    reason = f"{_told(uses[0])} is {'not above' if over else 'above'} {_told(limit)}"
    yield _claim(text, (term.start, term.end), "limit", right, [uses[0], limit], reason), [i]


# words without which no clause tells of a limit broken or kept
_BREAKS = frozenset({"over", "above", "breach", "breaches", "exceeds", "within", "below", "under", "inside"})
_LIMITS = frozenset({"limit", "limits", "hard", "breach", "breaches"})


def _limits(text: str, sentence: Sentence, numbers, facts: Facts):
    """Whether a limit that prose calls over or within is."""
    plain, clause, words = sentence.text, sentence.clause, sentence.words.all
    if (words.isdisjoint(_BREAKS) or words.isdisjoint(_LIMITS)) and "限" not in words:
        return
    patterns = ((_OVER_LIMIT, True), (_IN_LIMIT, False))
    told = [(pattern, over) for pattern, over in patterns if pattern.search(plain, clause.start, clause.end)]
    if not told:
        return
    for at, group in enumerate(sentence.grouped):
        ids = [name for name in group.ids if any(one.fact.role == "utilisation" for one in facts.by_id.get(name, ()))]
        if len(ids) != 1:
            continue
        start = sentence.grouped[at - 1].end if at else clause.start
        last = at + 1 == len(sentence.grouped)
        end = clause.end if last else group.end
        use = next(one for one in facts.by_id[ids[0]] if one.fact.role == "utilisation")
        for pattern, over in told:
            match = pattern.search(plain, start, end)
            if not match or _NEGATED.search(plain, max(start, match.start() - 20), match.start()):
                continue
            right = (use.fact.value > 100.0) == (over != bool(match["not"]))
            where = f"{ids[0]} uses {use.fact.value:,.6g} % of hard"
            places = [i for i, one in enumerate(numbers) if ids[0] in one.evidence and start <= one.span[0] < end]
            yield _claim(text, match.span(), "limit", right, [use], where), places


# --- worst and mildest, largest, of which, respectively


_WORST = re.compile(
    r"\b(?:(?P<worst>worst|severest|most severe)|(?P<best>mildest|best))"
    r"(?=(?:\s(?:supplied|tested|given|stress))*\s(?:stress|scenario|case|loss|result|outcome)\b)"
    r"|\bstress is (?:(?P<is_worst>worst)|(?P<is_best>mildest|best))\b|(?P<zui>最[差坏])|(?P<hao>最[好轻])",
    re.IGNORECASE,
)


_SUPERLATIVES = frozenset({"worst", "severest", "most", "mildest", "best"})


def _stresses(text: str, sentence: Sentence, numbers, facts: Facts):
    """Whether the stress that prose calls the worst or the mildest of all is; a component speaks of its own stress."""
    plain = sentence.text
    if _SUPERLATIVES.isdisjoint(sentence.words.all) and "最" not in plain:
        return
    if not _WORST.search(plain, sentence.clause.start, sentence.clause.end):
        return
    for at, group in enumerate(sentence.grouped):
        cited = [one for name in group.ids for one in facts.by_id.get(name, ()) if one.fact.role == "value"]
        lines = {one.fact.id if one.fact.id.startswith("STR-") else one.fact.of for one in cited}
        lines = {name for name in lines if name.startswith("STR-") and name in facts.by_id}
        if len(lines) != 1:
            continue
        own = next(one for one in facts.by_id[lines.pop()] if one.fact.role == "value")
        sizes = [one.fact.value for one in _all_stresses(own, facts)]
        start = sentence.grouped[at - 1].end if at else sentence.clause.start
        end = sentence.clause.end if at + 1 == len(sentence.grouped) else group.end
        match = _WORST.search(plain, start, end)
        if not match or len(sizes) < 2:
            continue
        if _NOT_FIRST.search(plain[max(start, match.start() - 14) : match.start()]):
            continue
        if _NEGATED.search(plain, max(start, match.start() - 20), match.start()):
            continue
        worst = bool(match["worst"] or match["is_worst"] or match["zui"])
        right = own.fact.value == (min(sizes) if worst else max(sizes))
        places = [  # its amount, not the 200 of "Rates up 200"
            i
            for i, (one, read) in enumerate(zip(numbers, sentence.reads, strict=True))
            if start <= one.span[0] < end
            and set(group.ids) & set(one.evidence)
            and any(read.states(each.size, each.fact.exact, True) for each in cited)
        ]
        reason = f"is not the {'worst' if worst else 'mildest'}: {own.fact}"
        yield _claim(text, match.span(), "extreme", right, [own], reason), places


def _all_stresses(entry: Entry, facts: Facts) -> list[Entry]:
    return [
        one for one in facts.of_kind("STR")
        if one.fact.role == "value" and one.fact.currency == entry.fact.currency
    ]  # fmt: skip


_SOME = re.compile(
    r"bucket|tenor|desk|name|桶|期限|交易台|名称", re.IGNORECASE
)  # the highest of these, not of all limits
_PART_OF = re.compile(r"component|contribut|driver|source|来源|贡献|驱动|因素|分量", re.IGNORECASE)
_IS_SO = re.compile(r"[\s,，]*(?:为|是|is the\s|the\s)?")
_FOLLOWED = re.compile(r"\b(?:followed by|then|next|ahead of|before|against|versus)\b|其次|次之", re.IGNORECASE)


def _extremes(text, sentence: Sentence, terms, entries, values, facts: Facts):
    reads, contexts = sentence.reads, sentence.contexts
    for i in values:
        near, entry = contexts[i], entries[i]
        behind = next((one.end for one in sentence.grouped if one.start >= reads[i].span[1]), None)
        if behind is not None:  # "64.2% [LIM-A], the highest"
            behind = [one for one in terms if one.start >= behind and _IS_SO.fullmatch(text, behind, one.start)]
        for term in (*reversed(near.left), *near.right, *(behind or ())):
            word = text[term.start : term.end]
            if term.tag not in ("largest", "smallest") or not _EXTREMES.fullmatch(word):
                continue
            if not facts.of_case and word.lower() in entry.fact.label.lower():
                break  # a name: 最大回撤
            if _FOLLOWED.search(sentence.text, term.end, max(term.end, reads[i].span[0])):
                continue
            if _NOT_FIRST.search(text[max(0, term.start - 14) : term.start]):
                break
            peers = _peers(entry, facts)
            if len(peers) < 2 or (reads[i].unit != entry.fact.unit and entry.fact.unit == "percent"):
                break
            if entry.fact.of and not _PART_OF.search(text, term.end, term.end + 16):
                continue
            low, high = sorted((term.start, reads[i].span[0]))
            if facts.of_case and _SOME.search(text, low, high):
                peers = [one for one in peers if one.fact.label == entry.fact.label]
            # the largest loss is the largest of the losses
            sizes = [one.size for one in peers if (one.fact.value < 0) == (entry.fact.value < 0)]
            right = entry.size >= max(sizes) if term.tag == "largest" else entry.size <= min(sizes)
            yield (
                _claim(text, (term.start, term.end), "extreme", right, [entry], f"is not the {word}: {entry.fact}"),
                [i],
            )
            break


def _peers(entry: Entry, facts: Facts) -> list[Entry]:
    """The same measure of other names at the same time."""
    fact, said = entry.fact, entry.meaning
    if facts.of_case:
        kind = fact.id.partition("-")[0]
        if (kind, fact.role) not in (("LIM", "utilisation"), ("STR", "value"), ("CMP", "value")):
            return []
        return [
            one for one in facts.of_kind(kind)
            if one.fact.role == fact.role and one.fact.unit == fact.unit
            and one.fact.currency == fact.currency and one.fact.of == fact.of
        ]  # fmt: skip
    if not entry.names or "total" in entry.names or not said.measures:
        return []
    return [
        one
        for one in facts.entries
        if one.meaning.measures == said.measures and one.fact.unit == fact.unit and one.fact.currency == fact.currency
        and one.meaning.years == said.years and one.meaning.quarters == said.quarters
        and one.meaning.previous == said.previous and one.meaning.qualities == said.qualities
        and one.names and "total" not in one.names and _is_of_which(one) == _is_of_which(entry)
        and (one is entry or not entry.names < one.names)  # potential future exposure is no current one
    ]  # fmt: skip


def _is_of_which(entry: Entry) -> bool:
    """Whether a line is by its label a part of one before it, which is then no peer of it."""
    return entry.fact.label.lower().startswith(("of which", "其中"))


def _parts(text, sentence: Sentence, terms, entries, values):
    reads = sentence.reads
    for term in terms:
        if term.tag != "of_which":
            continue
        before = [i for i in values if reads[i].span[1] <= term.start]
        after = [i for i in values if reads[i].span[0] >= term.end]
        if not before or not after:
            continue
        whole, part = entries[before[-1]], entries[after[0]]
        if not _alike(whole, part) or part.fact.unit == "percent" or whole.fact.value < 0 or part.fact.value < 0:
            continue
        if {one.fact.id[:4] for one in (whole, part)} & {"PNL-", "CMP-", "CHG-"}:
            continue  # signed parts offset each other: the unexplained P&L may exceed the whole
        reason = f"{_told(part)} is no part of {_told(whole)}"
        yield _claim(text, (term.start, term.end), "part", part.size <= whole.size, [whole, part], reason), [after[0]]


def _ordered(text, sentence: Sentence, terms, entries, values, facts: Facts):
    """ "Respectively": the first name or year goes with the first number."""
    term = next(one for one in terms if one.tag == "respectively")
    years = [int(one.value) for one in sentence.reads if one.kind in ("year", "period") and one.value]
    start, end = sentence.clause.start, sentence.clause.end
    right = True
    low = lower(sentence.text[start:end])
    names = [entries[i].names.difference(*(entries[j].names for j in values if j != i)) for i in values]
    # those of the list itself, if it stands between two commas
    comma = max(low.rfind(one, 0, term.start - start) for one in ",，:：")
    for after in (comma + 1, 0):
        places = [min((at for one in some if (at := low.find(one, after)) >= 0), default=-1) for some in names]
        if min(places) >= 0:
            break
    if len(years) == len(values) > 1:
        right = all(not one.meaning.years or year in one.meaning.years
                    for year, one in zip(years, (entries[i] for i in values), strict=True))  # fmt: skip
    elif len(values) > 1 and min(places) >= 0:
        right = places == sorted(places)
    else:
        return
    reason = "the numbers are not in the order of what they are of"
    yield _claim(text, (term.start, term.end), "order", right, [entries[i] for i in values], reason), list(values)
