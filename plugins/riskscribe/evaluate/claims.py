"""Comparisons that a sentence makes, checked against the values it speaks of.

Rose or fell against the earlier value, exceeds or within, largest or smallest, "of which", "respectively": a
comparison that the evidence contradicts makes the number it speaks of unsupported. What cannot be told is no claim.
"""

import itertools
import re
from collections.abc import Iterator

from riskscribe.evaluate.computed import (
    BOUNDS,
    NEGATED,
    SIDE_BY_SIDE,
    alike,
    claim_of,
    of_computed,
    partner_of,
    side_of,
    told_value,
)
from riskscribe.evaluate.context import Sentence
from riskscribe.evaluate.derive import same_time
from riskscribe.evaluate.facts import Entry, Facts
from riskscribe.evaluate.naming import TOTAL, grams, words_of
from riskscribe.evaluate.numbers import DURATIONS
from riskscribe.evaluate.prose import Term, lower
from riskscribe.evaluate.verdicts import Claim, Number

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
    yield from of_computed(text, sentence, numbers, entries, values, facts)
    if values:
        if tags & {"up", "down"}:
            yield from _changes(text, sentence, terms, numbers, entries, values, facts)
        if tags & {"beyond", "short"}:
            yield from _compared(text, sentence, terms, numbers, entries, values)
            if not facts.of_case:
                yield from _with_untold(text, sentence, terms, entries, values, facts)
                yield from _to_limit(text, sentence, terms, entries, values, facts)
    if tags & {"largest", "smallest"} and (values or not facts.of_case):  # of a list a share may be it, too
        yield from _extremes(text, sentence, terms, numbers, entries, values, facts)
    if values:
        if "of_which" in tags:
            yield from _parts(text, sentence, terms, entries, values)
        if "respectively" in tags:
            yield from _ordered(text, sentence, terms, entries, values, facts)


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


# --- rose and fell


_PLANNED = re.compile(
    r"\s(?:planned|budgeted|expected|forecast|foreseen|targeted|projected|hoped|feared)\b", re.IGNORECASE
)


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
        partner = partner_of(amounts, place, entries, sentence, facts)
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
                claim_of(text, (move.start, move.end), "change", False, [later], f"twice the same: {later.fact}"),
                [partner],
            )
            continue
        signs = {entry.fact.value < 0 for entry in (earlier, later)}
        if len(signs) > 1 or earlier.size == later.size or (facts.of_case and True in signs):
            continue
        if True in signs and (reads[i].sign or reads[partner].sign):
            if not (reads[i].sign and reads[partner].sign) and earlier in facts.series(later):
                reason = f"one with its minus, one without: {earlier.fact} and {later.fact}"
                yield claim_of(text, (move.start, move.end), "change", False, [later, earlier], reason), [partner]
            continue
        rising = later.size > earlier.size
        reason = f"{told_value(earlier)} to {told_value(later)} is {'up' if rising else 'down'}, not {move.tag}"
        yield (
            claim_of(text, (move.start, move.end), "change", rising == (move.tag == "up"), [later, earlier], reason),
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
                yield claim_of(text, (move.start, move.end), "change", False, [entry], f"is a rise: {entry.fact}"), [i]
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
        last = earlier[-1]
        rising = entry.size > last.size
        reason = f"{told_value(last)} to {told_value(entry)} is {'up' if rising else 'down'}, not {move.tag}"
        yield (
            claim_of(text, (move.start, move.end), "change", rising == (move.tag == "up"), [entry, last], reason),
            [i],
        )


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


def _compared(text, sentence: Sentence, terms, numbers, entries, values):
    reads, contexts = sentence.reads, sentence.contexts
    for one, two in itertools.pairwise(values):
        start, end = reads[one].span[1], reads[two].span[0]
        between = (k for k in range(one + 1, two) if not reads[k].kind and not reads[k].ignored)
        shares = (
            numbers[k].operation == "percent" and entries[one].fact.id == numbers[k].evidence[0] for k in between
        )
        if not all(shares) or not alike(entries[one], entries[two]):
            continue
        if entries[one] is entries[two]:
            continue  # "118.7 %, above the required 100 %": what one line is told to be beyond
        if (contexts[one].moves_by and reads[one].unit != "percent") or re.search(
            r"\bby\s?$", sentence.text[max(0, reads[one].span[0] - 4) : reads[one].span[0]]
        ):
            continue
        against = SIDE_BY_SIDE.fullmatch(sentence.text, start, end)  # "behind its benchmark, 8.95% against 9.72%"
        for term in (*terms, *(reversed(contexts[one].left) if against else ())):
            own = start <= term.start < end or (against and term.end <= reads[one].span[0])
            if term.tag not in ("beyond", "short") or not own:
                continue
            word = text[term.start : term.end]
            beyond = side_of(word)
            if beyond is None:
                continue
            between = sentence.text[start : term.start]
            if NEGATED.search(between) or re.search(r"[,，]\s?(?:and|while|but|而)\b", between):
                continue
            a, b = entries[one], entries[two]
            if word.lower() in ("within", "以内", "不超过", "未超过"):
                right = a.size <= b.size
            else:
                right = a.size > b.size if beyond else a.size < b.size
            reason = f"{told_value(a)} is {'not above' if beyond else 'not below'} {told_value(b)}"
            yield claim_of(text, (term.start, term.end), "compare", right, [a, b], reason), [one]
            break


def _to_limit(text, sentence: Sentence, terms, entries, values, facts: Facts):
    """ "VaR is over its limit of 3.5m": the use is not told, and is in the evidence all the same."""
    i = values[0]
    limit = entries[i]
    told = [one for one in sentence.reads if not one.kind and not one.ignored and one.unit not in DURATIONS]
    both = sentence.ids is not None and len(sentence.ids) == 2 and len(told) == 1
    if "limit" not in limit.meaning.qualities and not both:
        return
    start = sentence.reads[i].span[0]
    near = [one for one in terms if one.tag in ("beyond", "short") and start - 40 <= one.start < start]
    words = [(one, text[one.start : one.end]) for one in near]
    words = [(one, word) for one, word in words if side_of(word) is not None]
    if "limit" not in limit.meaning.qualities:
        words = [(one, word) for one, word in words if word.lower() not in _OF_TIME]
    uses = [
        one
        for name, some in sorted(facts.by_id.items())
        for one in some
        if (sentence.ids is None or name in sentence.ids) and alike(one, limit) and one is not limit
        and (both or (one.meaning.measures & limit.meaning.measures and "limit" not in one.meaning.qualities))
        and not one.meaning.previous
    ]  # fmt: skip
    if len(words) != 1 or len(uses) != 1 or NEGATED.search(sentence.text, sentence.clause.start, words[0][0].start):
        return
    term, word = words[0]
    over = side_of(word)
    right = (uses[0].size > limit.size) == over
    reason = f"{told_value(uses[0])} is {'not above' if over else 'above'} {told_value(limit)}"
    yield claim_of(text, (term.start, term.end), "limit", right, [uses[0], limit], reason), [i]


# "over six months", "debt over assets": these compare only with a limit
_OF_TIME = frozenset({"over", "under", "within", "inside"})
_UNTIL = re.compile(r"[,，;；。(（\[\x00]|\b(?:and|but|while|which|with|at|by|on)\b", re.IGNORECASE)


def _with_untold(text, sentence: Sentence, terms, entries, values, facts: Facts):
    """ "VaR is 12.9m, above that of the rates desk": the line behind the word is cited, its value is not told."""
    reads = sentence.reads
    for term in terms:
        word = text[term.start : term.end]
        beyond = side_of(word) if term.tag in ("beyond", "short") else None
        if beyond is None or word.lower() in _OF_TIME:
            continue
        before = [i for i in values if reads[i].span[1] <= term.start]
        if not before or NEGATED.search(sentence.text, sentence.clause.start, term.start):
            continue
        own = entries[before[-1]]
        stop = _UNTIL.search(sentence.text, term.end + 1, sentence.clause.end)
        base = sentence.text[term.end : stop.start() if stop else sentence.clause.end]
        if any(term.end <= one.span[0] < term.end + len(base) and not one.kind for one in reads):
            continue
        told = {one.order for one in entries if one is not None}
        others = [
            one for name in sorted(sentence.ids or ()) for one in facts.by_id.get(name, ())
            if one.order not in told and alike(one, own) and one.fact.value * own.fact.value > 0
            and (grams(one.fact.label) - grams(own.fact.label)) & grams(base)
        ]  # fmt: skip
        if len(others) == 1 and not (grams(own.fact.label) - grams(others[0].fact.label)) & grams(base):
            right = (own.size > others[0].size) == beyond
            reason = f"{told_value(own)} is {'not above' if beyond else 'not below'} {told_value(others[0])}"
            yield claim_of(text, (term.start, term.end), "compare", right, [own, others[0]], reason), [before[-1]]


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
            if not match or NEGATED.search(plain, max(start, match.start() - 20), match.start()):
                continue
            right = (use.fact.value > 100.0) == (over != bool(match["not"]))
            where = f"{ids[0]} uses {use.fact.value:,.6g} % of hard"
            places = [i for i, one in enumerate(numbers) if ids[0] in one.evidence and start <= one.span[0] < end]
            yield claim_of(text, match.span(), "limit", right, [use], where), places


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
        if NEGATED.search(plain, max(start, match.start() - 20), match.start()):
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
        yield claim_of(text, match.span(), "extreme", right, [own], reason), places


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


def _extremes(text, sentence: Sentence, terms, numbers, entries, values, facts: Facts):
    reads, contexts = sentence.reads, sentence.contexts
    wholes = {} if facts.of_case else _wholes(numbers, facts)
    found = [one for one in terms if one.tag in ("largest", "smallest")]
    for i in sorted({*values, *wholes}):
        entry, whole = wholes.get(i, (entries[i], None))
        near = contexts[i]
        behind = next((one.end for one in sentence.grouped if one.start >= reads[i].span[1]), None)
        if behind is not None:  # "64.2% [LIM-A], the highest"
            behind = [one for one in terms if one.start >= behind and _IS_SO.fullmatch(text, behind, one.start)]
        alone = found if not facts.of_case and len(found) == 1 == len({*values, *wholes}) else ()
        for term in (*reversed(near.left), *near.right, *(behind or ()), *alone):
            word = text[term.start : term.end]
            if term.tag not in ("largest", "smallest") or not _EXTREMES.fullmatch(word):
                continue
            if not facts.of_case and word.lower() in entry.fact.label.lower():
                break  # a name: 最大回撤
            if _FOLLOWED.search(sentence.text, term.end, max(term.end, reads[i].span[0])):
                continue
            if _NOT_FIRST.search(text[max(0, term.start - 14) : term.start]):
                break
            peers = [one for one in _peers(entry, facts) if one is not whole]
            if len(peers) < 2 and not facts.of_case:
                other = _beyond(entry, term.tag, sentence, entries, whole, facts)
                if other is not None:
                    reason = f"is not the {word}: {entry.fact}, but {other.fact}"
                    yield claim_of(text, (term.start, term.end), "extreme", False, [entry, other], reason), [i]
                    break
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
                claim_of(text, (term.start, term.end), "extreme", right, [entry], f"is not the {word}: {entry.fact}"),
                [i],
            )
            break


def _wholes(numbers: list[Number], facts: Facts) -> dict[int, tuple[Entry, Entry]]:
    """The part and the whole of every share but of limits, by the place of its number."""
    shares = [i for i, one in enumerate(numbers) if one.operation == "percent" and len(one.evidence) == 2]
    lines = {i: tuple(facts.line_of(name) for name in numbers[i].evidence) for i in shares}
    return {i: both for i, both in lines.items() if None not in both and not both[1].meaning.qualities & BOUNDS}


def _beyond(entry: Entry, tag: str, sentence: Sentence, entries, whole: Entry | None, facts: Facts) -> Entry | None:
    """A line cited or told beside one that is called the largest, or smallest, and is more so; None if none surely is.

    A line that is told, or that shares a word of its label; or two that share none, of which one may be the whole. Of
    a whole, what is more than half is not the smallest part.
    """
    if whole is not None and tag == "smallest" and 0 < 0.5 * whole.size < entry.size <= whole.size:
        return whole
    told = {one.order for one in entries if one is not None}
    cited = [one for name in sorted(sentence.ids or ()) for one in facts.by_id.get(name, ())]
    found = {}
    for one in [*cited, *(one for one in entries if one is not None)]:
        line = one.fact.role == "value" and alike(one, entry) and (one.fact.value < 0) == (entry.fact.value < 0)
        larger = one.size > entry.size if tag == "largest" else one.size < entry.size
        own = one is not whole and one not in facts.series(entry) and not TOTAL.search(one.fact.label)
        if line and larger and own and same_time(one, entry):
            found[one.order] = one
    more, words, measures = [*found.values()], words_of(entry.fact.label), entry.meaning.measures
    kin = [one for one in more if words_of(one.fact.label) & words or one.meaning.measures & measures
           or (one.order in told and not (measures and one.meaning.measures))]  # fmt: skip
    if tag == "largest":
        together = entry.size + sum(one.size for one in more)
        kin = [one for one in kin if len(more) > 1 and 2 * one.size < together]
    return (kin or (more if len(more) > 1 else [None]))[0]


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
        if not alike(whole, part) or part.fact.unit == "percent" or whole.fact.value < 0 or part.fact.value < 0:
            continue
        if {one.fact.id[:4] for one in (whole, part)} & {"PNL-", "CMP-", "CHG-"}:
            continue  # signed parts offset each other: the unexplained P&L may exceed the whole
        reason = f"{told_value(part)} is no part of {told_value(whole)}"
        right = part.size <= whole.size
        yield claim_of(text, (term.start, term.end), "part", right, [whole, part], reason), [after[0]]


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
    yield claim_of(text, (term.start, term.end), "order", right, [entries[i] for i in values], reason), list(values)
