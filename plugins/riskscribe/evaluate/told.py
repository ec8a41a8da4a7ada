"""Numbers that follow from others of the same clause: told again, or computed from results told beside them.

"Both came to 290m, 34 % of spending": 34 % is no operation on two lines of the evidence but on a result told before.
Lists of evidence alone; a case's numbers rest on its own lines.
"""

import math
import re

from riskscribe.evaluate.context import Context, Sentence
from riskscribe.evaluate.derive import direction_of, has_currency, same_time
from riskscribe.evaluate.facts import Entry, Facts
from riskscribe.evaluate.infer import of_lines
from riskscribe.evaluate.naming import TOTAL, best_named
from riskscribe.evaluate.numbers import MONEY, Read
from riskscribe.evaluate.verdicts import LENIENT, Number


def restate(own: list[Number], sentence: Sentence) -> None:
    """A number told again, less exactly, beside one that is supported: "more than half, 55.2 %"."""
    for i, one in enumerate(own):
        read = sentence.reads[i]
        if one.verdict != "unsupported" or one.fault == "comparative" or not read.bound or read.sign:
            continue
        for j, other in enumerate(own):
            more = sentence.reads[j]
            same = more.unit == read.unit and more.half < read.half and read.states(abs(more.value))
            if same and other.verdict in ("quoted", "derived"):
                own[i] = other.model_copy(update={"span": one.span, "text": one.text, "value": one.value})
                break


def of_told(own: list[Number], sentence: Sentence, facts: Facts) -> None:
    """What is told of a result told before: "both came to 290m, 34 % of spending", "the margin is up 0.3 points".

    A share of another line, or the change since the same result of the time before.
    """
    for i, one in enumerate(own):
        if one.fault != "not_found":
            continue
        found = (
            _adds_up(i, own, sentence)
            or _in_next(i, own, sentence, facts)
            or _from_told(own[:i], sentence.reads[i], sentence.contexts[i], sentence, facts)
        )
        if found is not None:
            operation, evidence, reason = found
            if sentence.ids is None:
                reason += LENIENT
            derived = {"verdict": "derived", "operation": operation, "evidence": evidence, "reason": reason}
            own[i] = one.model_copy(update={**derived, "fault": None})


def _adds_up(i: int, own: list[Number], sentence: Sentence) -> tuple[str, list[str], str] | None:
    """A number that the computed amounts of its clause add up to: rises of 256m and 152m less a fall of 37m."""
    read = sentence.reads[i]
    parts, total, slack = [], 0.0, read.half
    for other, more, near in zip(own, sentence.reads, sentence.contexts, strict=True):
        if more is read or more.unit != read.unit or other.verdict == "ignored":
            continue
        if other.verdict != "derived" or more.bound or more.currencies != read.currencies:
            return None
        parts.append(other)
        total += -abs(more.value) if {one.tag for one in near.left} & {"down", "loss"} else abs(more.value)
        slack += more.half
    amount = read.unit is None or read.unit in MONEY
    if not amount or read.sign or not 2 <= len(parts) <= 5 or slack > 0.01 * abs(read.value):
        return None
    if abs(abs(total) - abs(read.value)) > slack:
        return None
    evidence = list(dict.fromkeys(name for one in parts for name in one.evidence))
    return "sum", evidence, f"what {', '.join(one.text for one in parts)} add up to"


def _from_told(
    before: list[Number], read: Read, near: Context, sentence: Sentence, facts: Facts
) -> tuple[str, list[str], str] | None:
    """The operation, the ids and the reason by which a number follows from those told before it."""
    uncited = sentence.ids is None
    if uncited and before and (evidence := _amount_of(before[-1], read, sentence, facts)):
        return "product", evidence, f"{evidence[0]} of {evidence[1]}"
    if found := _of_both(before, read, near, facts):
        return found
    if evidence := _share_together(before, read, sentence, facts):
        return "percent", evidence, f"the share of all of {', '.join(evidence[:-1])} in {evidence[-1]}"
    told = next((other for other in reversed(before) if other.verdict in ("quoted", "derived")), None)
    if told is None:
        return None
    if uncited and any(one.operation for one in before):
        names = dict.fromkeys(name for one in before if one.verdict in ("quoted", "derived") for name in one.evidence)
        if several := of_lines(read, list(names), facts):
            return "sum", several, f"sums and quotients of {', '.join(several)}"
    if told.operation is None:
        line = _sum_with(told, read, sentence, facts)
        return ("sum", [*told.evidence, line], f"sum of {told.evidence[0]} and {line}") if line else None
    if told.operation not in ("sum", "difference", "percent", "ratio", "average", "product"):
        return None
    lines = [facts.line_of(name) for name in told.evidence]
    if None in lines:
        return None
    evidence = _apart_from(told, lines, read, near, sentence, facts) or _change_of(told, lines, read, near, facts)
    if not evidence and not near.moves_by and (uncited or told.operation == "product"):
        evidence = _share_of(told, lines, read, sentence, facts)
    operation = "percent" if read.unit == "percent" else "difference"
    return (operation, evidence, f"of what is told before it, by {', '.join(evidence)}") if evidence else None


def _of_both(before: list[Number], read: Read, near: Context, facts: Facts) -> tuple[str, list[str], str] | None:
    """A percentage of the two quoted right before it: "28.6m, after 26.5m the day before, up 8.1%".

    What no word of a label says of two lines, their standing side by side does.
    """
    both = [one for one in before if one.verdict != "ignored"][-2:]
    lines = [facts.line_of(one.evidence[0]) for one in both if one.verdict == "quoted" and len(one.evidence) == 1]
    if read.unit != "percent" or read.sign or len(lines) != 2 or None in lines or lines[0] is lines[1]:
        return None
    one, two = lines
    units = {line.fact.unit for line in lines} | {line.fact.currency for line in lines}
    if "percent" in units or (one.fact.currency != two.fact.currency) or not (one.size and two.size):
        return None
    less, more = sorted(lines, key=lambda line: line.size)
    evidence = [one.fact.id, two.fact.id]
    direction = direction_of((), near)
    if direction or near.moves_by:
        last = max(lines, key=lambda line: line.when) if one.when[0] != two.when[0] else one
        rises = last is more
        base = less if rises else more
        alike = one.fact.unit == two.fact.unit and (
            one.names & two.names or one.meaning.measures & two.meaning.measures
        )
        if (
            alike
            and direction
            and (direction == "up") == rises
            and read.states(100.0 * (more.size - less.size) / base.size)
        ):
            return "percent change", evidence, f"percent change between {one.fact} and {two.fact}"
        return None
    if read.states(100.0 * less.size / more.size):
        return "percent", evidence, f"percent: {less.fact} of {more.fact}"
    if _OF_THE_WHOLE.match(near.after) and same_time(one, two):
        for line in lines:
            if read.states(100.0 * line.size / (one.size + two.size)):
                return "percent", evidence, f"percent: {line.fact} of {' and '.join(evidence)}"
    return None


_OF_THE_WHOLE = re.compile(r"\s?of (?:the|all|total|our|its)\b", re.IGNORECASE)


_WITH = re.compile("(?:与|和|加上?|连同|叠加)[^,，;；。0-9]{2,16}(?:合计|共计?|之和|相加|加总)(?:为|达|是|约)*$")


def _sum_with(told: Number, read: Read, sentence: Sentence, facts: Facts) -> str:
    """The id of the line named behind a quoted number that adds up with it: "关注类占比1.96%，与不良率合计3.14%"."""
    match = _WITH.search(sentence.text[told.span[1] : read.span[0]])
    if not match or read.sign or len(told.evidence) != 1:
        return ""
    for first in (one for one in facts.by_id[told.evidence[0]] if one.fact.role == "value"):
        for line in best_named(match[0], facts):
            alike = line is not first and line.fact.unit == first.fact.unit and same_time(line, first)
            if alike and read.states(abs(line.fact.value + first.fact.value)):
                return line.fact.id
    return ""


_ALL_OF_THEM = re.compile(
    r"[两二三四五]者|前[两二三四五][大项类]|上述|\b(?:both|(?:the )?pair|together|jointly|the (?:two|three))\b",
    re.IGNORECASE,
)


def _share_together(before: list[Number], read: Read, sentence: Sentence, facts: Facts) -> list[str]:
    """The ids by which a percentage is the share of what is quoted before it: "128亿元、139亿元，合占收入的65%"."""
    if read.unit != "percent" or read.sign or len(before) < 2:
        return []
    between = sentence.words.between(before[-1].span[1], read.span[0])
    text = sentence.text[before[-1].span[1] : read.span[0]]
    if not any(one.tag == "sum" for one in between) and not _ALL_OF_THEM.search(text):
        return []
    parts: list[Entry] = []
    for one in reversed(before):
        lines = [line for name in one.evidence for line in facts.by_id[name] if line.fact.role == "value"]
        if one.verdict != "quoted" or len(lines) != 1 or (parts and lines[0].fact.unit != parts[0].fact.unit):
            break
        parts.insert(0, lines[0])
    if len(parts) < 2 or parts[0].fact.unit == "percent" or any(one.fact.value < 0 for one in parts):
        return []
    for whole in _wholes(text, facts):
        fits = whole not in parts and whole.fact.unit == parts[0].fact.unit and whole.size
        if fits and all(same_time(whole, one) for one in parts):
            share = 100.0 * sum(one.size for one in parts) / whole.size
            if share <= 100.5 and read.states(share):
                return [*(one.fact.id for one in parts), whole.fact.id]
    return []


def _wholes(text: str, facts: Facts) -> list[Entry]:
    """The lines that a text names best, and those that are totals by their label: "49% of planned spending"."""
    named = best_named(text, facts)
    return named + [one for one in facts.entries if TOTAL.search(one.fact.label) and one not in named]


_OR_SO_MUCH = re.compile(
    r"\b(?:or|equivalent to|equat\w+ to|correspond\w* to|amount\w* to|represent\w*|that is|i\.e\.)\b"
    r"|[折约]合|相当于|即",
    re.IGNORECASE,
)


def _amount_of(told: Number, read: Read, sentence: Sentence, facts: Facts) -> list[str]:
    """The ids by which an amount is a share told before it: "2.1% of the portfolio, or about €39 million"."""
    quoted = told.verdict == "quoted" and told.unit == "percent" and len(told.evidence) == 1
    rate = facts.line_of(told.evidence[0]) if quoted else None
    between = sentence.text[told.span[1] : read.span[0]]
    amount = read.unit is None or read.unit in MONEY
    if rate is None or rate.fact.unit != "percent" or not amount or read.sign or not _OR_SO_MUCH.search(between):
        return []
    for line in facts.entries:
        fits = line.fact.role == "value" and (line.fact.unit is None or line.fact.unit in MONEY)
        if fits and has_currency(read, line) and same_time(line, rate) and read.states(line.size * rate.size / 100.0):
            return [rate.fact.id, line.fact.id]
    return []


_OF_NEXT = re.compile(r"\s?of (?:the|its|all|a total of)?\s?", re.IGNORECASE)


def _in_next(i: int, own: list[Number], sentence: Sentence, facts: Facts) -> tuple[str, list[str], str] | None:
    """A share of an amount computed right behind it: "R&D made up 65% of the $130.9m in operating expenses"."""
    read, more = sentence.reads[i], own[i + 1 : i + 2]
    if read.unit != "percent" or read.sign or not more or more[0].operation != "sum":
        return None
    if not _OF_NEXT.fullmatch(sentence.text, read.span[1], more[0].span[0]):
        return None
    lines = [facts.line_of(name) for name in more[0].evidence]
    if None in lines:
        return None
    named = best_named(sentence.text[sentence.clause.start : read.span[0]], facts)
    if not any(read.states(100.0 * one.size / _exactly(more[0], lines)) for one in lines if one in named):
        return None
    return "percent", more[0].evidence, f"the share of one of {', '.join(more[0].evidence)} in all of them"


_PREMIUM = re.compile(r"\b(?:premium|above|higher|more|over|better|ahead)\b", re.IGNORECASE)
_DISCOUNT = re.compile(r"\b(?:discount|below|lower|less|under|short|behind|fewer)\b", re.IGNORECASE)


def _apart_from(
    told: Number, parts: list[Entry], read: Read, near: Context, sentence: Sentence, facts: Facts
) -> list[str]:
    """The ids by which a told result is so many percent above or below another line: a discount to the sector."""
    above, below = _PREMIUM.search(near.after), _DISCOUNT.search(near.after)
    if read.unit != "percent" or read.sign or len(parts) != 2 or not (above or below):
        return []
    one, two = (entry.fact.value for entry in parts)
    result = {
        "sum": one + two,
        "difference": abs(one - two),
        "average": (one + two) / 2,
        "ratio": two and one / two,
    }.get(told.operation, 0.0)
    higher = bool(above) and (not below or above.start() < below.start())
    times = told.unit == "ratio"
    named = [] if sentence.ids is not None else best_named(near.after, facts)
    for line in facts.cited(sentence.ids):
        like = line.fact.unit == ("ratio" if times else parts[0].fact.unit)
        if not like or line in parts or not line.fact.value or line.fact.role != "value":
            continue
        if sentence.ids is None and not (near.tells(line) or line in named or line.meaning.quarters & near.quarters):
            continue
        gap = 100.0 * (result - line.fact.value) / line.size
        if (gap > 0) == higher and read.states(abs(gap)):
            return [*told.evidence, line.fact.id]
    return []


def _share_of(told: Number, parts: list[Entry], read: Read, sentence: Sentence, facts: Facts) -> list[str]:
    """The ids by which a number is the share of a told amount in the line named behind it, or of a part in it."""
    if read.unit != "percent" or told.operation == "percent":
        return []
    amount = _exactly(told, parts)
    end = sentence.clause.end if told.operation == "sum" else read.span[0]
    for line in _wholes(sentence.text[told.span[1] : end], facts):
        if read.sign:
            break
        if told.operation == "sum" and line in parts and read.states(100.0 * line.size / amount):
            return told.evidence
        if sentence.ids is not None and line.fact.id not in sentence.ids:
            continue
        fits = line not in parts and line.size and all(same_time(line, other) for other in parts)
        share = 100.0 * amount / line.size if fits and line.fact.unit == parts[0].fact.unit else 0.0
        if share and share <= 100.5 and read.states(share):
            return [*told.evidence, line.fact.id]
    return []


def _exactly(told: Number, parts: list[Entry]) -> float:
    """The amount that was told rounded, from its parts; as told where they do not give it."""
    values = [one.fact.value for one in parts]
    size = abs(told.value)
    exact = {"sum": abs(sum(values)), "difference": abs(values[0] - values[-1])}.get(told.operation, 0.0)
    if told.operation == "product" and size:
        exact = abs(math.prod(values))
        exact /= 10.0 ** round(math.log10(exact / size)) if exact else 1.0  # a rate, or a price of ten units
    return exact if abs(exact - size) < 0.02 * size else size


def _change_of(told: Number, lines: list[Entry], read: Read, near: Context, facts: Facts) -> list[str]:
    """The ids by which a number is the change of a told result since the same lines a time before."""
    series = [[one for one in facts.series(line) if one.when[0] < line.when[0]] for line in lines]
    for base in series[0]:
        before = [next((one for one in some if same_time(base, one)), None) for some in series]
        if all(before) and _changed(told, before, lines, read, near):
            return [one.fact.id for one in (*before, *lines)]
    return []


def _changed(told: Number, earlier: list[Entry], lines: list[Entry], read: Read, near: Context) -> bool:
    pairs = [[one.fact.value for one in some] for some in (earlier, lines)]
    if told.operation == "percent" and len(lines) == 2:
        then, now = (100.0 * part / whole if whole else 0.0 for part, whole in pairs)
        change = (now - then) * {"points": 1.0, "bp": 100.0}.get(read.unit, 0.0)
    elif told.operation in ("sum", "difference"):
        then, now = (sum(some) if told.operation == "sum" else abs(some[0] - some[-1]) for some in pairs)
        change = 100.0 * (now - then) / abs(then) if read.unit == "percent" and then else now - then
        rates = all(one.fact.unit in ("percent", "bp") for one in lines)
        if read.unit == "ratio" or (read.unit in ("points", "bp")) != rates:
            return False
        if read.unit == "bp" and lines[0].fact.unit == "percent":
            change *= 100.0
    else:
        return False
    direction = direction_of((), near)
    return (
        bool(change and direction)
        and (change > 0) == (direction == "up")
        and read.states(abs(change))
        and not read.sign
    )
