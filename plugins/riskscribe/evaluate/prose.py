"""A text read once: its citations, its numbers, and the words that say what a number is about.

The words are data: lexicon.yaml holds them in both languages.
"""

import re
from bisect import bisect_left
from collections.abc import Iterable
from functools import cache, lru_cache
from pathlib import Path
from typing import Any, NamedTuple

from riskscribe.case import ID_PATTERN, ID_REST
from riskscribe.evaluate.numbers import Read, lower, normalise, scan
from riskscribe.files import read_yaml

_BRACKETS = re.compile(r"\[([^\[\]]{1,400})\]")
_ID = re.compile(rf"[A-Z](?<![A-Za-z0-9-].){ID_REST}(?![A-Za-z0-9-])")
_ID_SHAPE = re.compile(rf"{ID_PATTERN}|[A-Z]{{2,6}}-(?=[A-Z]*[0-9])[A-Z0-9]{{1,10}}")
_BARE_ID = re.compile(r"[A-Za-z]{1,6}[-_#]?[0-9]{1,5}[A-Za-z]?|[A-Za-z]{2,6}-[A-Za-z0-9]{1,10}")
_BETWEEN_IDS = re.compile(r"[\s,，;；、&]+")
_TOKEN = re.compile(r"[A-Za-z][A-Za-z0-9_.:-]*")
_CODE = re.compile(r"[A-Za-z]+[0-9_.:-][A-Za-z0-9_.:-]*")  # a token of more than letters
# patterns begin with one set of characters where they can: `re` skips the rest of a text by it
_CLAUSE_END = re.compile(r"[.。！？!?;；\n](?:(?<!\.)|(?=\s|$))")
# full stops that end no sentence
_ABBREVIATION = re.compile(
    r"(?:\b(?:approx|ca|c|vs|no|nr|inc|ltd|corp|co|u\.s|u\.k|e\.g|i\.e|cf|est|mr|mrs|dr|st|jan|feb|mar|apr|jun|jul|aug"
    r"|sept?|oct|nov|dec))$",
    re.IGNORECASE,
)
# of a text in lower case, where ı, ſ and İ are left
_WORD = re.compile(
    "[a-zıſİ\u4e00-\u9fff](?:(?<=[a-zıſİ])"
    "(?:(?:(?<=[pd])v|(?<=c)s|(?<=s)pread)01|(?<=c)et1|[a-zıſİ]*(?:&[a-zıſİ]+)?)|)"
)


class Term(NamedTuple):
    """A word of the lexicon in a text: `tag` is its group, `name` its entry within the group."""

    start: int
    end: int
    tag: str
    name: str


class Words(NamedTuple):
    """The words of a text: those of the lexicon, the rest in lower case with their place, and all as they stand."""

    terms: list[Term]
    rest: list[tuple[int, str]]
    all: frozenset[str]

    def between(self, start: int, end: int) -> list[Term]:
        """The terms that begin in text[start:end]."""
        terms = self.terms
        return terms[bisect_left(terms, (start,)) : bisect_left(terms, (end,))]

    def rest_between(self, start: int, end: int) -> list[str]:
        """The other words that begin in text[start:end]."""
        rest = self.rest
        return [word for _, word in rest[bisect_left(rest, (start,)) : bisect_left(rest, (end,))]]


@cache
def lexicon() -> dict[str, Any]:
    """The words by group, as lexicon.yaml has them."""
    return read_yaml(Path(__file__).with_name("lexicon.yaml"))


_TABLES = ("loose", "rates", "quotients", "differences")  # these relate measures, they hold no words


@cache
def _phrases() -> tuple[dict[str, list], dict[str, list]]:
    """First word (first character in Chinese) -> its phrases, the longest first, with length and tags."""
    tags: dict[str, list[tuple[str, str]]] = {}
    for group, entries in lexicon().items():
        if group in _TABLES:
            continue
        named = entries if isinstance(entries, dict) else {"": entries}
        for name, phrases in named.items():
            for phrase in phrases:
                tags.setdefault(str(phrase), []).append((group, name))
    latin: dict[str, list] = {}
    chinese: dict[str, list] = {}
    for phrase, found in tags.items():
        if phrase.isascii():
            words = [singular(one) for one in _WORD.findall(phrase.lower())]
            latin.setdefault(words[0], []).append((words, len(words), found))
        else:
            chinese.setdefault(phrase[0], []).append((phrase.lower(), len(phrase.lower()), found))
    for table in (latin, chinese):
        for phrases in table.values():
            phrases.sort(key=lambda one: -one[1])
    return latin, chinese


def singular(word: str) -> str:
    """A word without its plural s."""
    if len(word) > 4 and word.endswith("ies"):
        return word[:-3] + "y"
    if len(word) > 3 and word.endswith("s") and not word.endswith(("ss", "us", "is")):
        return word[:-1]
    return word


@cache
def _known(word: str) -> tuple[str, list]:
    """A word without its plural s, and the phrases that begin with it."""
    latin, chinese = _phrases()
    if word >= "一":
        return word, chinese.get(word, [])
    return singular(word), latin.get(singular(word), [])


def read_words(small: str) -> Words:
    """The words of a text, normalised, ids blanked, in lower case."""
    found = [*_WORD.finditer(small)]
    words = [one[0] for one in found]
    known = [*map(_known, words)]
    singles = [one[0] for one in known]
    terms: list[Term] = []
    rest: list[tuple[int, str]] = []
    end = 0  # of the last phrase
    for i, (word, phrases) in enumerate(known):
        start = found[i].start()
        if start < end:
            continue
        for phrase, size, tags in phrases:
            if word >= "一":
                if not small.startswith(phrase, start):
                    continue
                end = start + size
            else:
                if size > 1 and singles[i : i + size] != phrase:
                    continue
                stop = found[i + size - 1].end()
                if size > 1 and stop - start > 12 * size:
                    continue
                end = stop
            for tag, name in tags:
                terms.append(Term(start, end, tag, name))
            break
        else:
            rest.append((start, word))
    return Words(terms, rest, frozenset(words))


class Citation(NamedTuple):
    """Ids in brackets and where they stand."""

    start: int
    end: int
    ids: tuple[str, ...]


class Clause(NamedTuple):
    """A sentence, or a part of one up to a semicolon, with its citations and numbers."""

    start: int
    end: int
    citations: list[Citation]
    reads: list[Read]


def cited_ids(text: str, known: Iterable[str] = ()) -> list[str]:
    """The evidence ids a text names, in brackets or not, each once.

    Args:
        text: prose of a report.
        known: the ids of the evidence; whatever has an id's shape counts as well, so that invented ids are found.
    """
    plain = normalise(text)
    return _named(plain, _in_brackets(plain, frozenset(known))[0])


def _named(text: str, citations: list[Citation]) -> list[str]:
    return list(dict.fromkeys([name for one in citations for name in one.ids] + _ID.findall(text)))


def _in_brackets(text: str, known: frozenset[str]) -> tuple[list[Citation], list[tuple[int, int]]]:
    """The citations in brackets, and the brackets that hold nothing else."""
    citations, whole = [], []
    for match in _BRACKETS.finditer(text) if "[" in text else ():
        content = match[1]
        if content in known:
            citations.append(Citation(*match.span(), (content,)))
            whole.append(match.span())
            continue
        names = [one for one in _BETWEEN_IDS.split(content) if one]
        ids = tuple(one for one in names if one in known or _ID_SHAPE.fullmatch(one))
        if not ids and names and all(_BARE_ID.fullmatch(one) for one in names):
            ids = tuple(names)  # nothing but what looks like an id: an id that is no evidence
        if ids:
            citations.append(Citation(*match.span(), ids))
        if len(ids) == len(names):
            whole.append(match.span())
    return citations, whole


def _cut_ids(text: str, known: frozenset[str]) -> tuple[str, list[Citation]]:
    """The text with every id blanked, so that its digits are no numbers, and the citations in brackets."""
    citations, whole = _in_brackets(text, known)
    text = _blank(text, whole)
    cuts = []
    for match in (_TOKEN if _has_words(known) else _CODE).finditer(text):
        token = match[0]
        if not token.isalpha():
            token = token.rstrip(".:-_")
            if token in known or _ID_SHAPE.fullmatch(token):
                cuts.append((match.start(), match.start() + len(token)))
        elif len(token) > 1 and token in known and not token.islower():
            cuts.append(match.span())
    return _blank(text, cuts), citations


@lru_cache(maxsize=1024)
def _has_words(ids: frozenset[str]) -> bool:
    """Whether an id is letters alone, and must be looked for among the words."""
    return any(one.isalpha() and not one.islower() for one in ids)


def _blank(text: str, spans: list[tuple[int, int]]) -> str:
    if not spans:
        return text
    pieces, at = [], 0
    for start, end in spans:
        pieces += [text[at:start], " " * (end - start)]
        at = end
    return "".join([*pieces, text[at:]])


class Reading(NamedTuple):
    """A text read once, for every part that asks what it says.

    `text` is normalised; `plain` is the same with ids blanked, `small` that in lower case.
    """

    text: str
    plain: str
    small: str
    citations: list[Citation]
    words: Words
    reads: list[Read]

    @property
    def cited(self) -> list[str]:
        """The evidence ids it names, in brackets or not, each once."""
        return _named(self.text, self.citations)


def reading_of(text: str, known: frozenset[str]) -> Reading:
    """Citations, words and numbers of a text, where `known` are the ids of the evidence."""
    text = normalise(text)
    plain, citations = _cut_ids(text, known)
    small = lower(plain)
    words = read_words(small)
    return Reading(text, plain, small, citations, words, scan(plain, words.all, small))


def clauses(text: str, citations: list[Citation], reads: list[Read]) -> list[Clause]:
    """Sentences, cut at semicolons too, each with its citations and numbers.

    A citation behind a full stop ("VaR is 5m. [VAR-1] Stress ...") belongs to the sentence before it.
    """
    ends = []
    for match in _CLAUSE_END.finditer(text):
        end = match.end()
        if end == len(text):  # abbreviation or not
            break
        if match[0] == "." and _ABBREVIATION.search(text, max(0, end - 6), end - 1):
            continue
        ends.append(end)
    ends.append(len(text))
    found: list[Clause] = []
    next_read = next_citation = 0
    start = 0
    for end in ends:
        clause = Clause(start, end, [], [])
        while next_citation < len(citations) and citations[next_citation].start < end:
            one = citations[next_citation]
            next_citation += 1
            leads = not clause.citations and not text[start : one.start].strip()
            behind = leads and bool(found) and found[-1].reads
            if behind and found[-1].citations:  # unless the first of several behind the full stop
                behind = found[-1].citations[-1].start >= start
            goes_on = text[one.end : end].strip()[:1].islower()
            (found[-1] if behind and not goes_on else clause).citations.append(one)
        while next_read < len(reads) and reads[next_read].span[0] < end:
            clause.reads.append(reads[next_read])
            next_read += 1
        found.append(clause)
        start = end
    return found


_COMMA = re.compile("[,，]")
_JOINED = re.compile(r"(?:[\s,，、和及与&]|and){0,9}")


def groups(clause: Clause, text: str) -> list[Citation]:
    """The citations of a clause, neighbours ("[LIM-1], [VAR-2]") as one."""
    if len(clause.citations) < 2:
        return clause.citations
    found: list[Citation] = []
    for one in clause.citations:
        if found and _JOINED.fullmatch(text, found[-1].end, one.start):
            one = Citation(found[-1].start, one.end, found.pop().ids + one.ids)
        found.append(one)
    return found


def beside(read: Read, grouped: list[Citation], leads: bool, text: str) -> frozenset[str] | None:
    """The ids beside a number: the next citation, or the last one where none follows; None without any.

    Where the clause begins with a citation (`leads`: "[LIM-1] uses 5m"), the one before the number counts too,
    unless a comma parts them ("The note [NOTE-1] is wrong, as VaR is 5m [VAR-1]").
    """
    if not grouped:
        return None
    at = bisect_left(grouped, (read.span[0],))
    if leads and at and not _COMMA.search(text, grouped[at - 1].end, read.span[0]):
        return frozenset(name for one in grouped[at - 1 : at + 1] for name in one.ids)
    return frozenset((grouped[at] if at < len(grouped) else grouped[-1]).ids)
