"""What a sentence says of each of its numbers: its measure, its period, whose it is, and which evidence it rests on.

Words belong to the number they stand nearest to: the text between two numbers is cut at the first comma, bracket,
citation or joining word. A number that has no measure of its own has that of the number before it.
"""

import re
from bisect import bisect_left
from typing import NamedTuple

from riskscribe.evaluate.facts import Entry, Facts, quarter, tenor_name
from riskscribe.evaluate.numbers import DURATIONS, Read, lower
from riskscribe.evaluate.prose import Citation, Clause, Reading, Term, Words, beside, clauses, groups

_NEARBY = 300  # characters of a clause that are read for cues: keeps the work linear in the text
_CUT = re.compile(
    r"[,;，；、()（）]|\b(?:and|while|but|from|to|versus|vs|compared|after|than|against|with|whereas|plus|or|up|down|leaving)\b"
    r"|[和与及而较至到由从比]",
    re.IGNORECASE,
)
_CONFIDENCE = re.compile(
    r"[\s,]{0,2}(?:[0-9]+[-\s]?(?:day|d|天|日)\s?)?(?:VaR|ES\b|expected shortfall|value at risk"
    r"|confidence|置信|分位|预期尾部|风险价值)",
    re.IGNORECASE,
)
_CONFIDENCE_BEFORE = re.compile(
    r"(?:confidence(?: level)?(?: of| at|:)?|置信(?:水平|度)?为?|VaR\s?\(?)\s?$", re.IGNORECASE
)
_HORIZON = re.compile(
    r"[-\s]?(?:VaR|ES\b|expected shortfall|value at risk|horizon|holding|持有期|预期尾部|风险价值|[0-9.]+%)",
    re.IGNORECASE,
)
_HORIZON_BEFORE = re.compile(r"(?:horizon(?: of)?|VaR\s?\(|over|持有期为?)\s?$", re.IGNORECASE)
_BASE = re.compile(
    r"(?:\b(?:compared (?:with|to)|than|versus|vs\.?|over|from|on|against|relative to|of|since|below"
    r"|above)(?: the| that of| those of)?(?:\s(?:a|an|one|two|three|four|five|six|nine|ten|twelve|[0-9]{1,2})"
    r"(?:\s(?:day|week|month|quarter)s?)?)?"
    r"|[较比同与]|相比)\s?$",
    re.IGNORECASE,
)
_THEN = re.compile(
    r"(?:'s|’s|的|同期|同月|[一二三四1-4上下]?(?:季度|半年)|年?[末底初]|[0-9]{1,2}月[份末底]?|\s|of|was|were|为|是|level|figure|value|close|:|：|,|at|[(])*",
    re.IGNORECASE,
)
_OBJECT = re.compile(
    r"(?:\b(?:than|behind|lag\w*|trail\w*|ahead of|versus|vs\.?|against|beat\w*|outperform\w*|underperform\w*|over"
    r"|relative to|compared (?:with|to)|outsold|outpac\w*|above|below|exceed\w*)"
    r"\s(?:the |its |our |their |that of |those of )?"
    r"|[较比于过赢输])$"
)
_OF = re.compile(r"(?:'s|’s|的|\s|of|at|for|was|is|为|是|,|，|[a-z]+ing)*")
# what caused a number says nothing of what it is
_PART = re.compile(
    r"[,，;；]|\b(?:on (?:the back of |a )?(?:lower|higher|weaker|stronger|fewer|more|better|rising|falling)|due to"
    r"|because|driven by|thanks to|reflecting|amid|helped by|owing to|as a result|following|on account of|given"
    r"|supported by|led by|hurt by)\b"
    r"|由于|得益于|随着|主要系|受益于",
    re.IGNORECASE,
)
_AGAIN = re.compile(r"[\s,(]*(?:or|that is|i\.e\.)\b", re.IGNORECASE)
_LIMIT_AFTER = re.compile(
    r"\s?(?:(?:VaR|ES|hard|soft|stress|loss|delta|vega|gamma|exposure|risk|board|desk|regulatory|internal)\s){0,3}"
    r"(?:limit|cap|ceiling|threshold)s?\b|的?(?:VaR|硬|软|压力|风险|止损|授信)?(?:限额|上限|额度)(?!的|使用)",
    re.IGNORECASE,
)
_IN_USE = re.compile(
    r"\s(?:drawn|used|utilised|utilized|in use|taken|outstanding|deployed)\b|的?(?:已用|占用|使用)", re.IGNORECASE
)
_LIMIT_BEFORE = re.compile(
    r"(?:\b(?:limit|cap|ceiling|threshold)(?:\s(?:of|is|was|at|stands at|remains|set at))?[:\s]*"
    r"|(?:限额|上限)(?:为|是|：|:|设为)?\s?)$",
    re.IGNORECASE,
)
_LIMIT_IS = re.compile(
    r"(?:\blimit(?:\s(?:on|for|of)\s[^,;0-9]{1,40})?\s(?:is|was|stands at|at|of)|(?:限额|硬限|软限)(?:为|是))\s?$",
    re.IGNORECASE,
)
_LIMIT_LINK = re.compile(
    r"(?:\b(?:against|within|exceed(?:s|ed|ing)?|below|above|over|under|vs\.?|versus|than|breach(?:es|ed|ing)?|beyond)"
    r"|限额|超过|低于|高于|突破|对比)\s?(?:the|its|a|an|their|our)?\s?$|/\s?$",
    re.IGNORECASE,
)
_OF_BEFORE = re.compile(r"(?:\bof|/)\s?(?:the|its|a)?\s?$", re.IGNORECASE)
_FROM = re.compile(
    r"(?:\b(?:from|after|versus|vs\.?|against|compared (?:with|to)|opposed to|than)|[由从较比])"
    r"(?:\s|about|around|roughly|nearly|some|大?约|近|逾|超|the|prior|previous|last|yesterday|year|day|quarter|period|earlier|in|of|a|an|'s|’s|上年|去年|昨日|前值|同期|上期|的|[0-9年月末底季度一二三四上下半初期]|[A-Z]{3}|[(（]|\x00|,)*$",
    re.IGNORECASE,
)
_FROM_WORDS = frozenset(("from", "after", "versus", "vs", "against", "compared", "opposed", "than", *"由从较比"))
# behind the number, or behind its citation
_OF_DAY = re.compile(
    r"[\s,]*(?:of|from|on)\s(?:yesterday|the (?:day before|previous day))"
    r"|\s?(?:[a-z]+|\d+)\s(?:trading\s)?days?\s(?:ago|earlier)",
    re.IGNORECASE,
)
_WAS = re.compile(r"\b(?:was|were|been)\b", re.IGNORECASE)
# the book as the subject of a sentence is no name of a limit: "the book is at high risk"
_BOOK = ("book", "账簿")
_SUBJECT = re.compile(
    r"\s(?:is|are|was|were|at|has|had|stands?|would|could|will|may|loses?|lost|gains?|made|makes?|takes?|remains?|stays?"
    r"|covered|risk|level|low|moderate|high|critical)\b|\s?(?:[,.;:：，；。)）\x00]|$)|的?(?:风险|在|已|将|会|为|整体|总体|共"
    r"|无|没|有|评|处|亏|盈|应|需|仍)"
)
# 升至 is followed by where it went, "more than" by what is exceeded
_MOVES_TO = ("至", "到", "than")
_MOVES_BY = re.compile(
    r"\s?(?:by|of|about|around|nearly|some|just|over|almost|了|约|近|逾|超|达|为)?\s?", re.IGNORECASE
)


# the same time a year before, but for "同期收入": of the period told before
_SAME_PERIOD = re.compile(r"(?<![较比与于及和年月的])同期(?![为是数的水相])")


class Context:
    """What stands around one number."""

    __slots__ = (
        "_earlier",
        "_region",
        "_said",
        "after",
        "all_qualities",
        "before",
        "chosen",
        "cited",
        "clause",
        "confidence",
        "dates",
        "follows",
        "gap",
        "horizon",
        "lead",
        "left",
        "may_be_previous",
        "measures",
        "moves_by",
        "own_measures",
        "own_names",
        "own_years",
        "phrases",
        "places",
        "previous",
        "qualities",
        "quarters",
        "reads",
        "region_source",
        "right",
        "span",
        "tail",
        "text",
        "word_names",
        "words",
        "years",
    )  # fmt: skip

    left: list[Term]
    right: list[Term]
    places: list[tuple[int, str]]  # where the clause has names of a list's evidence
    phrases: list[str]  # the names of a case's evidence that the clause has
    gap: int  # where the number before ends

    def says(self, pattern: re.Pattern) -> bool:
        """Whether the clause around the number, which is `#`, matches."""
        if self._said is None:
            self._said = f"{self.before}#{self.after}"
        return bool(pattern.search(self._said))

    def tags(self) -> set[str]:
        """The groups of the lexicon around the number."""
        return {one.tag for one in self.left} | {one.tag for one in self.right}

    @property
    def names(self) -> frozenset[str]:
        """The names of evidence around the number."""
        if self.word_names is None:
            self.word_names = _mentioned(*self._region, self.phrases)
        return self.word_names

    @property
    def told_earlier(self) -> bool:
        """Whether the words beside the number make it the earlier one: "from 5m", "yesterday's 5m", "昨日为5万"."""
        if self._earlier is None:
            told = not self.words.all.isdisjoint(_FROM_WORDS) and _FROM.search(self.before[-40:])
            self._earlier = self.previous or bool(told or _OF_DAY.match(self.after))
        return self._earlier

    @property
    def told_past(self) -> bool:
        """The same, and "was 5m", which may as well be today's."""
        return self.told_earlier or bool(_WAS.search(self.lead))

    def tells(self, entry: Entry) -> bool:
        """Whether another number of the clause tells the value of an entry."""
        return any(
            one.span != self.span and not one.kind and not one.ignored and one.states(entry.size, entry.fact.exact)
            for one in self.reads
        )

    @property
    def names_before(self) -> frozenset[str]:
        """The names of evidence between the number before and this one, commas or not."""
        return frozenset(_between(self.places, self.gap, self.span[0]))

    def lists(self, entry: Entry) -> bool:
        """Whether a clause tells several lines "respectively", an entry among them; their order is a claim."""
        if self.words.all.isdisjoint(("respectively", "别")):
            return False
        listed = any(one.tag == "respectively" for one in self.words.between(*self.clause))
        return listed and (not entry.names or not entry.names.isdisjoint(name for _, name in self.places))

    def compares_with(self, name: str) -> bool:
        """Whether a name is that of what the number's own is compared with: "ahead of the benchmark"."""
        head = lower(self.before)
        at = head.rfind(name)
        match = _OBJECT.search(head, max(0, at - 28), at) if at >= 0 else None
        if match and match[0].startswith("than") and head[at + len(name) : at + len(name) + 1] == ",":
            return True  # "longer than the benchmark, at 4.7 years"
        return bool(match) and not _OF.fullmatch(head, at + len(name))

    @property
    def region_text(self) -> str:
        """The part of the clause that the citation speaks for."""
        _, start, end = self._region
        return self.region_source[start:end]

    @property
    def names_limit(self) -> bool:
        """Whether the words beside the number call it a limit."""
        if _IN_USE.match(self.after):  # "inside its limit: 143m drawn"
            return False
        return bool(_LIMIT_AFTER.match(self.after) or _LIMIT_BEFORE.search(self.before[-48:]))

    @property
    def may_be_limit(self) -> bool:
        """Whether the words around the number allow it to be a limit."""
        head = self.before[-48:]
        if "limit" in self.qualities or self.names_limit or _LIMIT_LINK.search(head):
            return True
        return self.follows and bool(_OF_BEFORE.search(head))

    @property
    def limit_leads(self) -> bool:
        """Whether the words before the number make it the amount of a limit: "the limit on delta is 5m"."""
        return bool(_LIMIT_IS.search(self.before[-60:]))

    def allowed(self, facts: Facts) -> list[Entry]:
        """The facts that may be quoted here: of the evidence cited or beside it; all where nothing is cited."""
        if self.cited is None:
            return facts.entries
        found = [*facts.everywhere, *facts.cited(self.cited)]
        if not facts.beside.keys().isdisjoint(self.cited):
            # the horizon of the line cited itself goes before that of another
            beside = {one.order: one for name in self.cited for one in facts.beside.get(name, ())}
            own = {one.fact.role for one in found if one.fact.id in self.cited} if facts.of_case else ()
            found += (one for one in beside.values() if one.fact.role not in own and one.fact.id not in self.cited)
        return found


class Sentence(NamedTuple):
    """A clause with a context for each of its numbers."""

    text: str
    clause: Clause
    grouped: list[Citation]
    words: Words
    terms: list[Term]  # of the clause
    tags: set[str]  # of its terms
    reads: list[Read]
    contexts: list[Context]
    ids: frozenset[str] | None  # every id the whole sentence cites


def sentences(reading: Reading, facts: Facts, cited: list[str] | None) -> list[Sentence]:
    """The clauses of a text that have numbers, or citations of a case, with what each says of its numbers.

    Args:
        reading: the text.
        facts: what may be named.
        cited: what a clause without citations rests on; None for anything.
    """
    found = []
    text, words = reading.plain, reading.words
    split = clauses(text, reading.citations, reading.reads)
    for i, clause in enumerate(split):
        if not clause.reads and not (facts.of_case and clause.citations):
            continue
        grouped = groups(clause, text)
        ids = {name for one in clause.citations for name in one.ids}
        own = bool(ids)
        # a semicolon does not end what a derivation may rest on, nor what the ids at the end of a sentence speak for
        for step in (-1, 1):
            j = i
            while (
                (own or (step > 0 and not facts.of_case))
                and 0 <= j + step < len(split)
                and text[split[min(j, j + step)].end - 1] in ";；"
            ):
                j += step
                ids |= {name for one in split[j].citations for name in one.ids}
        known = frozenset(ids) if ids else (frozenset(cited) if cited is not None else None)
        terms = words.between(clause.start, clause.end)
        if facts.in_names:
            terms = [one for one in terms if reading.small[one.start : one.end + 1] not in facts.in_names]
        contexts = _contexts(reading, clause, grouped, terms, facts, known) if clause.reads else []
        tags = {one.tag for one in terms}
        found.append(Sentence(text, clause, grouped, words, terms, tags, clause.reads, contexts, known))
    return found


def _is_value(read: Read) -> bool:
    return not read.kind and not read.ignored and read.unit not in DURATIONS


_NOTHING: frozenset = frozenset()


def _contexts(reading: Reading, clause, grouped, terms, facts, known) -> list[Context]:
    text, words, reads = reading.plain, reading.words, clause.reads
    leads = bool(grouped) and grouped[0].start < reads[0].span[0]
    confidences = {}
    horizons = {}
    values = []
    timed = False
    for i, one in enumerate(reads):
        start, end = one.span
        if (
            one.unit == "percent"
            and 50 < one.value < 100
            and (_CONFIDENCE.match(text, end) or _CONFIDENCE_BEFORE.search(text, max(clause.start, start - 24), start))
        ):
            confidences[i] = one.value
            continue
        if (
            one.unit in DURATIONS
            and not one.kind
            and (_HORIZON.match(text, end) or _HORIZON_BEFORE.search(text, max(clause.start, start - 16), start))
        ):
            horizons[i] = one.value * DURATIONS[one.unit]
        if one.kind:
            timed = True
        elif _is_value(one) and text[end : end + 1] != "+":  # 30+ days
            values.append(i)
    bounds = _bounds(text, clause, reads, values)
    contexts: list[Context] = []
    before: Context | None = None
    led_back = False
    low = reading.small[clause.start : clause.end]
    places = [] if facts.of_case else _places(reading, clause, terms, facts)
    phrases = [one for one in facts.phrases if one in low]
    all_qualities = frozenset([one.name for one in terms if one.tag == "qualities"])
    starts = [one.start for one in terms]
    outside: Context | None = None
    brackets = "(" in low or "（" in low
    for i, read in enumerate(reads):
        near = Context()
        start, end = near.span = read.span
        if brackets:  # "152% (Q1: 147%) and": what stands behind the brackets goes on from before them
            if _is_aside(text, clause.start, start):
                outside = outside or before
            elif outside is not None:
                before, outside = outside, None
        near.text, near.words, near.reads = text, words, reads
        near.clause = clause.start, clause.end
        near._said = near._earlier = None
        near.before = text[max(clause.start, start - _NEARBY) : start]
        near.after = text[end : min(clause.end, end + _NEARBY)]
        near.cited = beside(read, grouped, leads, text)
        if near.cited is None:
            near.cited = known
        near.all_qualities = all_qualities
        first, last = bounds[i]
        near.lead, near.tail = text[first:start], text[end:last]
        near.left = terms[bisect_left(starts, first) : bisect_left(starts, start)]
        near.right = terms[bisect_left(starts, end) : bisect_left(starts, last)]
        measures, qualities, quarters, strong, weak = set(), set(), set(), [], False
        for one in (*near.left, *near.right):
            tag, name = one.tag, one.name
            if tag == "measures":
                measures.add(name)
            elif tag == "qualities":
                qualities.add(name)
            elif tag == "quarters":
                quarters.add(name)
            elif tag == "previous":
                if name == "strong":
                    if not _SAME_PERIOD.match(text, one.start):
                        strong.append(one)
                elif name == "weak":
                    weak = weak or _is_weak(text, one)
        near.own_measures = measures
        near.measures = measures or (before.measures if before else _NOTHING)
        near.qualities = qualities if qualities or measures or not before else before.qualities
        near.years = near.dates = _NOTHING
        near.horizon = near.confidence = None
        if timed or horizons or confidences:
            near_by = _neighbours(i, reads, first, last)
            times = [reads[j] for j in near_by if reads[j].kind and not _is_base(text, reads[j], start)]
            near.years = frozenset(
                y for one in times if one.kind in ("year", "period", "date") and (y := year_of(one))
            )
            quarters |= {quarter(text[slice(*one.span)]) for one in times if one.kind == "period"}
            near.dates = frozenset(one.value for one in times if one.kind == "date" and one.value >= 10000)
            near.horizon = next((horizons[j] for j in near_by if j in horizons), None)
            near.confidence = next((confidences[j] for j in near_by if j in confidences), None)
        near.quarters = quarters - {""}
        near.previous = bool(strong) and any(_is_told_of(text, one, start) for one in strong)
        near.may_be_previous = bool(strong) or weak or led_back
        # "a year ago sales were 5m and costs 3m"
        led_back = led_back or (before is None and near.previous and strong[0].end <= start and not facts.of_case)
        near.own_years = bool(near.years or near.quarters)
        if before and not near.may_be_previous and not before.may_be_previous:
            near.years = near.years or before.years
            near.quarters = near.quarters or before.quarters
        near.follows = bool(values) and i > values[0]
        near.moves_by = False
        for one in reversed(near.left):
            if one.tag in ("up", "down") and not reading.small.endswith(_MOVES_TO, one.start, one.end):
                near.moves_by = bool(_MOVES_BY.fullmatch(text, one.end, start))
                break
        if before:
            near.horizon = before.horizon if near.horizon is None else near.horizon
            near.confidence = before.confidence if near.confidence is None else near.confidence
        if facts.of_case:
            near.word_names, near.own_names, near.phrases = None, True, phrases
            region = _region(clause, grouped, start, leads)
            near.region_source = text[clause.start : clause.end]
            near._region = (low, region[0] - clause.start, region[1] - clause.start)
        else:
            place = bisect_left(values, i)
            near.gap = reads[values[place - 1]].span[1] if place else clause.start
            near.places = places
            near.word_names = frozenset([*_between(places, first, start), *_between(places, end, last)])
            near.own_names = bool(near.word_names)
            if not near.word_names and before:
                near.word_names = near.names_before or before.word_names
                if _AGAIN.match(near.lead):  # "the US had 55 % of the total, or 1.5bn"
                    near.word_names |= before.word_names
        contexts.append(near)
        if _is_value(read) and i not in confidences:
            before = near
    return contexts


def _is_aside(text: str, first: int, start: int) -> bool:
    """Whether a place stands inside brackets."""
    opened = max(text.rfind("(", first, start), text.rfind("（", first, start))
    return opened > max(text.rfind(")", first, start), text.rfind("）", first, start))


def _neighbours(i: int, reads: list[Read], first: int, last: int) -> list[int]:
    """The other numbers, years and tenors among the words of number i."""
    found = []
    j = i - 1
    while j >= 0 and reads[j].span[0] >= first:
        found.append(j)
        j -= 1
    j = i + 1
    while j < len(reads) and reads[j].span[0] < last:
        found.append(j)
        j += 1
    return found


def year_of(read: Read) -> int:
    """The year of a year, a period or a date; 0 where it has none."""
    value = int(read.value)
    return value // 10000 if read.kind == "date" else value


def _is_weak(text: str, term: Term) -> bool:
    return text[term.start : term.end].lower() not in ("was", "were")


def _is_told_of(text: str, term: Term, start: int) -> bool:
    """Whether "last year" is when the number was, not what it is compared with."""
    head = text[max(0, term.start - 28) : term.start]
    base = _BASE.search(head)
    if not base:
        return True
    if base[0].lower().startswith("than") and text[term.end : term.end + 1] in ",，":
        return False  # "leaner than a year before, at £634 million"
    return term.end <= start and bool(_THEN.fullmatch(text, term.end, start))


_INTO = re.compile(r"\b(?:begin|began|start|started|enter|entered|entering|into|ahead of)\s$", re.IGNORECASE)


def _is_base(text: str, time: Read, start: int) -> bool:
    """Whether a period is the one that a number is compared with: "up 27.8m from Q2 to 214.8m"."""
    at, end = time.span
    if _INTO.search(text, max(0, at - 16), at):  # "we begin 2025 with": the end of the year before
        return True
    if at > start:  # "to 96% since 2022"
        return text[max(0, at - 6) : at].lower() == "since "
    return end <= start and bool(_BASE.search(text, max(0, at - 28), at)) and not _THEN.fullmatch(text, end, start)


def _bounds(text: str, clause: Clause, reads: list[Read], values: list[int]) -> list[tuple[int, int]]:
    """Where the words of each number begin and end; years, tenors and names divide nothing."""
    starts = [one.start for one in clause.citations]
    firsts, lasts = {}, {}
    first = clause.start
    for place, i in enumerate(values):
        start = reads[i].span[1]
        end = reads[values[place + 1]].span[0] if place + 1 < len(values) else clause.end
        at = bisect_left(starts, start)
        cut = starts[at] if at < len(starts) and starts[at] < end else None
        match = (_CUT if end < clause.end else _PART).search(text, start, end)
        if match and (cut is None or match.start() < cut):
            cut = match.start()
        if cut is None:
            cut = start if end < clause.end else end
        firsts[i], lasts[i] = first, cut
        first = cut
    bounds = []
    at = 0
    for i in range(len(reads)):
        while at < len(values) and values[at] < i:
            at += 1
        if at == len(values):  # behind the last value
            bounds.append((lasts[values[-1]] if values else clause.start, clause.end))
        else:
            own = values[at]
            end = lasts[own] if own == i else reads[own].span[0]
            bounds.append((firsts[own], max(end, reads[i].span[1])))
    return bounds


def _region(clause: Clause, grouped: list[Citation], start: int, leads: bool) -> tuple[int, int]:
    """The part of a clause that a citation speaks for."""
    if not grouped:
        return clause.start, clause.end
    at = bisect_left(grouped, (start,))
    first = grouped[at - 1].end if at else clause.start
    if at == len(grouped):  # behind the last citation: what that one speaks for
        first = grouped[at - 2].end if at > 1 else clause.start
        return first, clause.end
    if leads and at:
        first = grouped[at - 1].start
    return first, grouped[at].end


def _mentioned(text: str, start: int, end: int, phrases: list[str]) -> frozenset[str]:
    """The names of a case's evidence in a part of a lower-case text, the longer before the shorter they contain."""
    part = text[start:end]
    found = []
    for name in phrases:
        at = part.find(name)
        while at >= 0:
            stop = at + len(name)
            outside = part[at - 1 : at] + part[stop : stop + 1]
            apart = not any(one.isalnum() and one.isascii() for one in outside) or not name.isascii()
            if apart and not (name in _BOOK and _SUBJECT.match(part, stop)):
                found.append(name)
                part = part[:at] + "\x00" * len(name) + part[stop:]
            at = part.find(name, at + 1)
    return frozenset(found)


def _places(reading: Reading, clause: Clause, terms: list[Term], facts: Facts) -> list[tuple[int, str]]:
    """Where a clause has the words that labels of the evidence have as names; Chinese ones are pairs of characters."""
    vocabulary = facts.vocabulary
    if not vocabulary:
        return []
    start, end = clause.start, clause.end
    rest, small = reading.words.rest, reading.small
    found = []
    for at, word in rest[bisect_left(rest, (start,)) : bisect_left(rest, (end,))]:
        if word in vocabulary:
            found.append((at, word))
        elif len(word) > 3 and word[-1] in "se" and word[:-1] in vocabulary:
            found.append((at, word[:-1]))
    if "total" in vocabulary:
        found += ((one.start, "total") for one in terms if one.tag == "sum" and small[one.start : one.end] in _TOTAL)
    found += ((one.span[0], name) for one in clause.reads if (name := tenor_name(one)) in vocabulary)
    if names := facts.chinese_names:
        found += ((i, small[i : i + 2]) for i in range(start, end - 1) if small[i : i + 2] in names)
    found.sort()
    return found


_TOTAL = ("total", "合计", "总计", "总额")


def _between(places: list[tuple[int, str]], start: int, end: int) -> list[str]:
    """The names in text[start:end]."""
    return [name for _, name in places[bisect_left(places, (start,)) : bisect_left(places, (end,))]]
