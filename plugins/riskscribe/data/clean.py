"""Cases, reports or split rows without personal data and without copies: what a user's own files need before training.

Personal data becomes typed placeholders, the same for the same person all through a file; trade references and account
numbers become keyed pseudonyms, the same in every file cleaned with the same key.
"""

import hashlib
import hmac
import json
import re
import secrets
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from pydantic import BaseModel
from tqdm import tqdm

from riskscribe.data.duplicates import near_duplicates
from riskscribe.data.pii import NAME_FIELDS, PLACEHOLDER, PSEUDONYMS, Kind, Languages, Span, find
from riskscribe.errors import InputError
from riskscribe.files import read_lines, write_json, write_lines

KEY = "RISKSCRIBE_PSEUDONYM_KEY"
KEY_LENGTH = 16
EXAMPLES = 3
THRESHOLD = 0.9
_HAN = re.compile("[\u3400-\u9fff]")
_PLACEHOLDER = re.compile(PLACEHOLDER)
# a surname alone is too often a word of another kind
_FULL_NAME = re.compile("[A-Za-z]\\S*\\s|^[\u3400-\u9fff]{2,}$")


class Removed(BaseModel):
    """Personal data of one kind; the examples keep the shape of what was removed, never the characters."""

    count: int = 0
    distinct: int = 0
    examples: list[str] = []


class Dropped(BaseModel):
    """A row that says what an earlier one says; rows count from 1."""

    row: int
    same_as: int
    reason: str


class Cleaned(BaseModel):
    """What was removed from a file and why."""

    rows: int
    kept: int = 0
    language: Languages
    key: str
    removed: dict[str, Removed] = {}
    dropped: list[Dropped] = []

    def summary(self) -> list[str]:
        """What a person reads, a line a thing."""
        lines = [f"{self.kept} of {self.rows} rows kept"]
        for reason in ("exact duplicate", "near duplicate"):
            found = [one for one in self.dropped if one.reason.startswith(reason)]
            if found:
                lines.append(
                    f"{reason}: {len(found)} dropped, for example row {found[0].row} as row {found[0].same_as}"
                )
        for kind, one in sorted(self.removed.items()):
            lines.append(f"{kind}: {one.count} removed, {one.distinct} distinct, for example {one.examples[0]}")
        if not self.removed:
            lines.append("no personal data found")
        return [*lines, f"pseudonyms: {self.key}"]


class Cleaner:
    """Replaces personal data in any JSON value, consistently over everything it sees.

    Args:
        key: for the pseudonyms of trades and accounts; at least 16 characters. None: a random one, for this run only.
        language: whose rules apply.
    """

    def __init__(self, key: str | None = None, language: Languages = "both"):
        if key is not None and len(key) < KEY_LENGTH:
            raise InputError(
                f"{KEY}: has {len(key)} characters; at least {KEY_LENGTH} keep pseudonyms from being guessed"
            )
        self._key = (key or secrets.token_hex(32)).encode()
        self.language = language
        self.removed: dict[Kind, Removed] = {}
        self._placeholders: dict[tuple[Kind, str], str] = {}
        self._last: dict[str, int] = {}
        self._found: dict[tuple[str, str | None], list[Span]] = {}
        self._names: set[str] = set()
        self._known: re.Pattern | None = None

    def learn(self, value: Any, field: str | None = None) -> None:
        """Read `value` before it is cleaned: full names, to find them again where nothing introduces them, and
        placeholders it already holds, whose letters stand for someone else."""
        for text, name in _leaves(value, field):
            for start, end, kind in self._spans(text, name):
                if kind == "PERSON" and _FULL_NAME.search(text[start:end]):
                    self._names.add(text[start:end])
            for placeholder in _PLACEHOLDER.findall(text):
                kind, _, letters = placeholder[1:-1].rpartition("_")
                if letters.isupper():
                    self._last[kind] = max(self._last.get(kind, 0), _number(letters))
        self._known = None

    def __call__(self, value: Any, where: str = "", field: str | None = None) -> Any:
        """`value` with every string leaf cleaned; a JSON text inside a string (a split row's case) stays one."""
        if isinstance(value, dict):
            return {name: self(one, f"{where}.{name}".lstrip("."), name) for name, one in value.items()}
        if isinstance(value, list):
            return [self(one, f"{where}.{i}".lstrip("."), field) for i, one in enumerate(value)]
        if not isinstance(value, str):
            return value
        inner = _inner(value)
        if inner is None:
            return self._text(value, where, field)
        cleaned = self(inner, where)
        return value if cleaned == inner else json.dumps(cleaned, ensure_ascii=False, separators=(",", ":"))

    def _text(self, text: str, where: str, field: str | None) -> str:
        # what was removed may have hidden a neighbour: until nothing is found
        while spans := self._spans(text, field) or self._again(text):
            pieces, at = [], 0
            for start, end, kind in spans:
                pieces += [text[at:start], self._replace(text[start:end], kind, where)]
                at = end
            text = "".join([*pieces, text[at:]])
        return text

    def _spans(self, text: str, field: str | None) -> list[Span]:
        asked = (text, field if field in NAME_FIELDS else None)
        if asked not in self._found:
            self._found[asked] = find(text, self.language, field)
        return self._found[asked]

    def _again(self, text: str) -> list[Span]:
        """Names of elsewhere in a text in which nothing else is found any more."""
        if not self._names:
            return []
        if self._known is None:
            longest_first = sorted(self._names, key=lambda name: (-len(name), name))
            self._known = re.compile("|".join(rf"(?<![A-Za-z]){re.escape(name)}(?![a-z])" for name in longest_first))
        return [Span(*one.span(), "PERSON") for one in self._known.finditer(text)]

    def _replace(self, found: str, kind: Kind, where: str) -> str:
        told = self.removed.setdefault(kind, Removed())
        told.count += 1
        if len(told.examples) < EXAMPLES:
            told.examples.append(f"{where}: {mask(found)}")
        same = (kind, _canonical(found, kind))
        if same not in self._placeholders:
            told.distinct += 1
            self._placeholders[same] = f"<{kind}_{self._code(*same)}>"
        return self._placeholders[same]

    def _code(self, kind: Kind, canonical: str) -> str:
        if kind in PSEUDONYMS:
            digest = hmac.digest(self._key, f"{kind}|{canonical}".encode(), hashlib.sha256)
            return "".join(chr(ord("a") + byte % 26) for byte in digest[:10])
        self._last[kind] = self._last.get(kind, 0) + 1
        return _letters(self._last[kind])


# letters, not digits: a digit in a report is a number that needs evidence
def _letters(number: int) -> str:
    """1, 2, ..., 26, 27 as A, B, ..., Z, AA."""
    above, last = divmod(number - 1, 26)
    return (_letters(above) if above else "") + chr(ord("A") + last)


def _number(letters: str) -> int:
    value = 0
    for one in letters:
        value = 26 * value + ord(one) - ord("A") + 1
    return value


def mask(text: str) -> str:
    """The shape of a text: letters as x or X, digits as 9, Chinese characters as 某; at most 24 characters."""
    shape = "".join(
        "9" if c.isdigit() else "某" if _HAN.match(c) else ("X" if c.isupper() else "x") if c.isalpha() else c
        for c in text
    )
    return shape[:24] + ("…" if len(shape) > 24 else "")


def _canonical(found: str, kind: Kind) -> str:
    """What two spellings of one thing share."""
    if kind == "PHONE":
        digits = re.sub(r"\D", "", found)
        return re.sub("^(?:00)?86(?=1[3-9][0-9]{9}$)", "", digits)
    if kind in ("PERSON", "EMAIL", "URL"):
        return " ".join(found.casefold().split())
    return re.sub(r"[\s-]", "", found).upper()


def _inner(text: str) -> Any:
    """The object or list that a string holds as JSON, or None."""
    if text[:1] not in ("{", "["):
        return None
    try:
        value = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return value if isinstance(value, dict | list) else None


def _leaves(value: Any, field: str | None = None) -> Iterator[tuple[str, str | None]]:
    """Every value that holds no others, as text, with the name of its field."""
    if isinstance(value, dict):
        for name, one in value.items():
            yield from _leaves(one, name)
    elif isinstance(value, list):
        for one in value:
            yield from _leaves(one, field)
    elif isinstance(value, str) and (inner := _inner(value)) is not None:
        yield from _leaves(inner, field)
    else:
        yield str(value), field


def _duplicates(rows: list[Any]) -> list[Dropped]:
    """The rows that repeat an earlier row that stays."""
    dropped: dict[int, Dropped] = {}
    first: dict[str, int] = {}
    for i, row in enumerate(rows):
        text = json.dumps(row, sort_keys=True, ensure_ascii=False)
        if (same := first.setdefault(text, i)) != i:
            dropped[i] = Dropped(row=i + 1, same_as=same + 1, reason="exact duplicate")
    left = [i for i in range(len(rows)) if i not in dropped]
    texts = ["\n".join(text for text, _ in _leaves(rows[i])) for i in left]
    for a, b, similarity in sorted(near_duplicates(texts, THRESHOLD), key=lambda pair: (pair[1], pair[0])):
        i, j = left[a], left[b]
        if i not in dropped and j not in dropped:
            reason = f"near duplicate, {100 * similarity:.1f} % alike"
            dropped[j] = Dropped(row=j + 1, same_as=i + 1, reason=reason)
    return sorted(dropped.values(), key=lambda one: one.row)


def clean(rows: list[Any], key: str | None = None, language: Languages = "both") -> tuple[list[Any], Cleaned]:
    """Rows without personal data and without rows that repeat an earlier one, and what was removed.

    Two rows are near duplicates when 90 % of their shingles are shared once ids and dates are masked. Numbers that are
    JSON numbers, and the names of fields, are left alone. Cleaning the outcome again changes nothing.

    Args:
        rows: JSON values: cases, reports or rows of a split file.
        key: for the pseudonyms; None for a random one.
        language: whose rules apply.

    Raises InputError when the key is too short.
    """
    cleaner = Cleaner(key, language)
    find("1", language)  # loads the analyzer, which takes longer than the rows: before the bar
    for row in tqdm(rows, desc="read", unit="row", delay=5):
        cleaner.learn(row)
    bar = tqdm(rows, desc="clean", unit="row", delay=5)
    found = [cleaner(row, f"row {number}") for number, row in enumerate(bar, start=1)]
    dropped = _duplicates(found)
    gone = {one.row - 1 for one in dropped}
    kept = [row for i, row in enumerate(found) if i not in gone]
    about = f"keyed by {KEY}" if key else f"a random key, for this run only; set {KEY} to keep them from file to file"
    told = Cleaned(
        rows=len(rows), kept=len(kept), language=language, key=about, removed=cleaner.removed, dropped=dropped
    )
    return kept, told


def clean_file(path: Path, out: Path, report: Path, language: Languages = "both", key: str | None = None) -> Cleaned:
    """Clean a JSON Lines file into `out` and write what was removed, masked, to `report`.

    Raises InputError when a file cannot be read or written, or when the outcome would replace its source.
    """
    paths = [Path(one).resolve() for one in (path, out, report)]
    if len(set(paths)) < len(paths):
        raise InputError(f"{path}, {out} and {report}: three different files; the source is never replaced")
    rows = read_lines(path)
    kept, told = clean(rows, key or None, language)
    write_lines(out, kept)
    write_json(report, told)
    return told
