"""TAT-QA as sentences on evidence: what people asked of annual reports, with the answers they worked out.

"What was the percentage change in Sensors in 2019 from 2018?", -0.44 percent, becomes "The percentage change in
Sensors in 2019 from 2018 was -0.44%." on a table whose every number is a line of evidence. Nobody wrote its tables or
its words for the grounding engine. A question is left out, and counted by reason, where it is no sentence turned
round, or where its arithmetic does not give its answer from numbers of the table.

Source: Zhu et al., TAT-QA: A Question Answering Benchmark on a Hybrid of Tabular and Textual Content in Finance, ACL
2021, https://github.com/NExTplusplus/TAT-QA (CC BY 4.0). Nothing of it is part of this project: its files are read.
"""

import re
from collections import Counter
from pathlib import Path
from typing import NamedTuple

from pydantic import BaseModel

from riskscribe.errors import InputError
from riskscribe.evaluate.tables import Part, Table, check, compute, tells
from riskscribe.files import parse_json, read_text, validate

_SIGNS = {"US$": "USD", "HK$": "HKD", "A$": "AUD", "$": "USD", "£": "GBP", "€": "EUR", "¥": "JPY", "RMB": "CNY"}
_SIGN = "|".join(map(re.escape, _SIGNS))
_CELL = re.compile(
    rf"[-–—(]?\s?(?P<sign>{_SIGN})?\s?(?P<minus>[-–—(])?\s?(?P<digits>\d[\d,]*(?:\.\d+)?|\.\d+)\s?\)?"
    r"\s?(?P<percent>%)?\s?\)?"
)
_YEAR = re.compile(r"(?:FY|Fiscal\s)?(?:19|20)\d\d(?:\s?\(\d\))?")
# "(in millions, except per share)", "$’000", "£m": what the numbers of a table or a column are told in
_TOLD_IN = re.compile(
    r"\(?(?:(?:dollars?|amounts?|expressed|U\.?\s?S\.?)\s)*[$£€]?\s?\(?\bin\s?[^()]*?(?:thousand|million|billion)s?"
    r"[^()]*\)?|(?:US|HK|A)?[$£€]\s?[’'‘]?(?:000|m|bn|thousands?|millions?|billions?)\b|RMB[’'‘]?(?:000|million)",
    re.IGNORECASE,
)
_SCALE = re.compile(r"\b(thousand|million|billion)s?\b|(000)\b|(?<=[$£€])\s?(mm?|bn)\b", re.IGNORECASE)
_SCALES = {"000": "thousand", "m": "million", "mm": "million", "bn": "billion"}
_FOOTNOTE = re.compile(r"\s?\(\d{1,2}\)|\s?\*+")
_PER_SHARE = re.compile(r"\bper\b.{0,30}\bshares?\b|\bshare price|\beps\b", re.IGNORECASE)
_COUNTED = re.compile(
    r"\b(?:shares|options|units|awards|rsus|psus|number|employees|stores|restaurants|customers|headcount)\b",
    re.IGNORECASE,
)
_LETTERS = "abcdefgijklnoprstuvwxyz"  # `tables.series` reads h, m and q before a digit as a period
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?|\.\d+")
_WORDS = re.compile(r"[a-z]{2,}|\d+")
_SHARE_ASKED = re.compile(
    r"what (?:percentage|percent|proportion) of (?P<whole>.+?) (?P<verb>is|are|was|were) (?P<subject>.+)",
    re.IGNORECASE,
)
_ASKED = re.compile(r"(?:what|how much) (?P<verb>is|are|was|were) (?P<subject>.+)", re.IGNORECASE)
_LEAD = re.compile(r"(?:in|for|from|between|as of|as at|at|during)\s[^?]+?,\s(?=(?:what|how much)\s)", re.IGNORECASE)
_NO_SENTENCE = re.compile(r"\b(?:respective\w*|which|what|expressed as|if|would)\b|[{}\[\]<>|]", re.IGNORECASE)
_EITHER_WAY = re.compile(r"\b(?:difference|gap)\b", re.IGNORECASE)
_INCREASE = re.compile(r"\b(?:increase|growth|rise)\b", re.IGNORECASE)
_DECREASE = re.compile(r"\b(?:decrease|decline|reduction|drop|fall)\b", re.IGNORECASE)
NO_NUMBER = "its answer is no number of the table"
NO_SENTENCE = "no sentence turned round"
NO_CELLS = "its numbers are none of the table, or stand in it several times"
NO_RESULT = "its arithmetic gives another answer, or has no plain unit"


class _Grid(BaseModel):
    uid: str
    table: list[list[str]]


class _Question(BaseModel):
    question: str
    answer: float | int | str | list[str]
    derivation: str
    answer_type: str
    answer_from: str
    scale: str


class _Document(BaseModel):
    table: _Grid
    questions: list[_Question]


class _Cell(NamedTuple):
    id: str
    label: str
    words: frozenset[str]  # of its section, row and column
    value: float  # as written
    unit: str  # as evidence has it
    currency: str | None


class _LeftOut(Exception):
    """Why a question makes no sentence."""


def read_tatqa(path: Path, part: Part = "dev") -> tuple[list[Table], Counter]:
    """The tables of a TAT-QA file that have at least one sentence, and how many questions were left out, by reason.

    Args:
        path: tatqa_dataset_dev.json or tatqa_dataset_test_gold.json.
        part: what the tables are called.

    Raises InputError where the file is none of TAT-QA's.
    """
    documents = parse_json(read_text(path), str(path))
    if not isinstance(documents, list):
        raise InputError(f"{path}: must be a list of objects with table and questions, as TAT-QA has it")
    found, left_out = [], Counter()
    for number, given in enumerate(documents, start=1):
        one = validate(_Document, given, f"{path}: document {number}")
        cells = _cells(one)
        table = Table(
            table=f"tatqa_{one.table.uid}", part=part, language="en", kind="TAT-QA", sentences=[],
            rows={cell.id: [cell.label, cell.value, cell.unit, cell.currency] for cell in cells},
        )  # fmt: skip
        for question in one.questions:
            try:
                sentence = _sentence(question, cells)
                check(table, sentence)
            except _LeftOut as reason:
                left_out[str(reason)] += 1
            except InputError:
                left_out[NO_RESULT] += 1
            else:
                table.sentences.extend([sentence] if sentence not in table.sentences else [])
        if table.sentences:
            found.append(table)
    return found, left_out


# --- the table


def _number(cell: str) -> re.Match | None:
    return _CELL.fullmatch(cell.strip())


def _is_header(row: list[str]) -> bool:
    """Whether a row has no amounts: the head of columns, or the name of a section."""
    return all(_YEAR.fullmatch(one) for one in row[1:] if _number(one))


def _scale_of(text: str) -> str:
    match = _SCALE.search(text)
    return _SCALES.get((match[2] or match[3] or "").lower(), (match[1] or "").lower()) if match else ""


def _own_scale(name: str) -> str:
    match = _TOLD_IN.search(name)
    return _scale_of(match[0]) if match else ""


def _told_in(rows: list[list[str]], questions: list[_Question]) -> tuple[str, str | None]:
    """The scale and the currency of a table's amounts; the scale of its answers where the table says none."""
    data = [row for row in rows if not _is_header(row)]
    told = [one for row in rows for one in row if _TOLD_IN.search(one) and not (row in data and one == row[0])]
    asked = (one.scale for one in questions if one.scale in ("thousand", "million", "billion"))
    scale = "" if any(_own_scale(row[0]) for row in data) else _scale_of(" ".join(told)) or next(asked, "")
    sign = re.search(_SIGN, " ".join([*told, *(one for row in data for one in row[1:] if _number(one))]))
    return scale, _SIGNS[sign[0]] if sign else None


def _cells(document: _Document) -> list[_Cell]:
    """Every number of the table with what its section, its row and its column are called, and its unit."""
    rows = [[one.strip() for one in row] for row in document.table.table if row]
    scale, currency = _told_in(rows, document.questions)
    names = Counter(row[0] for row in rows if any(map(_number, row[1:])))
    found: list[_Cell] = []
    headers: list[list[str]] = []
    section, in_headers = "", True
    for number, row in enumerate(rows):
        if _is_header(row):
            if any(row[1:]):
                headers = [*headers, row] if in_headers else [row]
                in_headers = True
            elif row[0]:
                section = _FOOTNOTE.sub("", row[0]).rstrip(":： ")
            continue
        if not row[0]:
            continue  # a total that has no name
        in_headers = False
        name = _FOOTNOTE.sub("", _TOLD_IN.sub("", row[0])).strip(":： -")
        full = f"{section}: {name}" if section and (names[row[0]] > 1 or len(name.split()) < 3) else name
        for column, cell in enumerate(row[1:], start=1):
            match = _number(cell)
            if match is None:
                continue
            head = _header(headers, column)
            above = " ".join(row[column] for row in headers if column < len(row))
            unit, money = _unit(match, f"{section} {name}", above, scale or _own_scale(row[0]), currency)
            label = re.sub(r"\s+", " ", f"{full} {head}").strip()
            value = float(match["digits"].replace(",", "")) * (-1 if match["minus"] or cell[0] in "-–—(" else 1)
            words = frozenset(_WORDS.findall(f"{section} {label}".lower()))
            found.append(_Cell(f"r{_letters(number)}{column:02d}", label, words, value, unit, money))
    return found


def _letters(number: int) -> str:
    """A number of a row in letters, two at least."""
    rest, last = divmod(number, len(_LETTERS))
    return (_letters(rest) if rest >= len(_LETTERS) else _LETTERS[rest]) + _LETTERS[last]


def _header(headers: list[list[str]], column: int) -> str:
    """What stands above a column, from top to bottom; a title of several columns is in the first of them, or alone."""
    found = []
    for row in headers:
        told = [(i, one) for i, one in enumerate(row) if i and one]
        own = row[column] if column < len(row) else ""
        if not own and len(told) == 1 and told[0][0] < len(row) - 1:
            own = told[0][1]
        own = own or next((one for i, one in reversed(told) if i < column), "")
        own = _FOOTNOTE.sub("", _TOLD_IN.sub("", own)).strip(" ,:")
        if own and own not in found and own not in ("$", "%"):
            found.append(own)
    return " ".join(found)


def _unit(match: re.Match, row: str, column: str, scale: str, currency: str | None) -> tuple[str, str | None]:
    """Unit and currency of a cell, as evidence has them."""
    both = f"{row} {column}".lower()
    if match["percent"] or "%" in column or (not match["sign"] and ("%" in row or "percent" in both)):
        return "%", None
    if re.search(r"\(in years\)|\(years\)|\bin years\b", both):
        return "years", None
    money = _SIGNS.get(match["sign"] or "", currency)
    if _PER_SHARE.search(row):
        return f"{money} per share" if money else "", money
    if _COUNTED.search(both) and not match["sign"]:
        return f"{scale} shares" if scale and "share" in both else scale, None
    return f"{money} {scale}".strip() if money else scale, money


# --- the question


def _sentence(question: _Question, cells: list[_Cell]) -> str:
    """The marked sentence that a question and its answer make."""
    if question.answer_type not in ("span", "arithmetic") or question.answer_from == "text":
        raise _LeftOut(NO_NUMBER)
    asked = re.sub(r"\s+", " ", question.question).strip(" ?")
    lead = _LEAD.match(asked)
    start = lead.end() if lead else 0
    share = _SHARE_ASKED.fullmatch(asked, start)
    match = share or _ASKED.fullmatch(asked, start)
    if match is None or _NO_SENTENCE.search(match["subject"]):
        raise _LeftOut(NO_SENTENCE)
    answers = question.answer if isinstance(question.answer, list) else [question.answer]
    told = _number(str(answers[0])) if len(answers) == 1 else None
    if told is None:
        raise _LeftOut(NO_NUMBER)
    quoted = question.answer_type == "span"
    expression, used = _expression(told["digits"] if quoted else question.derivation, asked, cells)
    if quoted:
        expression = used[0].id
    number, expression = _told(question, told, expression, used, match["subject"])
    if share and "%" not in number:
        raise _LeftOut(NO_SENTENCE)
    of = f" of {share['whole']}" if share else ""
    words = f"{asked[:start]}{match['subject'].strip(' ,.')} {match['verb']} {{{number}:{expression}}}{of}."
    return words[0].upper() + words[1:]


def _expression(derivation: str, asked: str, cells: list[_Cell]) -> tuple[str, list[_Cell]]:
    """A derivation as arithmetic over ids, and its cells; of several with one number the one asked for."""
    plain = re.sub(rf"{_SIGN}|%", "", derivation)
    plain = plain.translate(str.maketrans("[]–—−×x÷", "()---**/"))
    words = set(_WORDS.findall(asked.lower()))
    used, pieces, at = [], [], 0
    for match in _NUMBER.finditer(plain):
        size = float(match[0].replace(",", ""))
        fits = [one for one in cells if abs(one.value) == size]
        best = max((len(one.words & words) for one in fits), default=0)
        fits = [one for one in fits if len(one.words & words) == best]
        before, after = plain[at : match.start()], plain[match.end() :]
        at = match.end()
        if len(fits) == 1:
            used.append(fits[0])
            # "(1,074)" and "-71" of a cell below zero are its value; "1,074" is what it is without its sign
            if fits[0].value < 0 and re.search(r"(?:^|[(*/+-])\s*-\s*$", before):
                before = before.rstrip(" -")
            elif fits[0].value < 0 and not re.search(r"\(\s*$", before) and not re.match(r"\s*\)", after):
                before += "-"
            pieces += [before, fits[0].id]
        elif not fits and size in (2, 3, 4, 5, 100) and "." not in match[0]:
            pieces += [before, match[0]]
        else:
            raise _LeftOut(NO_CELLS)
    expression = re.sub(r"\s+", "", "".join([*pieces, plain[at:]]))
    if not used or not re.fullmatch(r"[\w+\-*/().]+", expression):
        raise _LeftOut(NO_CELLS)
    return expression, used


def _told(question: _Question, answer: re.Match, expression: str, used: list[_Cell], subject: str) -> tuple[str, str]:
    """The answer as prose tells it, and the arithmetic that it stands for."""
    units = {(one.unit, one.currency) for one in used}
    try:
        result = compute(expression, {one.id: one.value for one in used})
    except (SyntaxError, ZeroDivisionError):
        raise _LeftOut(NO_RESULT) from None
    digits = answer["digits"]
    if question.scale == "percent" and not tells(digits, result):  # "(44.1-56.7)/56.7", with or without "*100"
        expression, result = f"100*({expression})", 100 * result
    if len(units) != 1 or not result or not tells(digits, result):
        raise _LeftOut(NO_RESULT)
    unit, currency = units.pop()
    quoted = question.answer_type == "span"
    up, down = _INCREASE.search(subject), _DECREASE.search(subject)
    if (up and not down and result < 0) or (down and not up and result > 0 and "/" in expression):
        raise _LeftOut(NO_RESULT)  # an increase of less than nothing
    minus = "-" if result < 0 and not _EITHER_WAY.search(subject) and (up or not down) else ""
    if not quoted and result > 0 and (_EITHER_WAY.search(subject) or any(one.value < 0 for one in used)):
        expression = f"-({expression})"  # of a difference, and of expenses below zero, either sign is true
    size = digits if quoted or not (whole := digits.replace(",", "")).isdigit() else f"{int(whole):,}"
    quotient = "/" in expression and not re.search(r"/\d", expression)
    if question.scale == "percent" and unit != "%":
        return f"{minus}{size}%", expression
    if unit == "%" and not quotient:
        points = not quoted and re.fullmatch(r"[-()]*\w+\)?-\(?\w+\)*", expression)
        return f"{minus}{size}{' percentage points' if points else '%'}", expression
    if unit == "%":
        raise _LeftOut(NO_RESULT)
    if quotient:
        return f"{minus}{size}", expression
    if unit == "years":
        return f"{minus}{size} years", expression
    scale = _scale_of(unit)
    if question.scale not in ("", scale):
        raise _LeftOut(NO_RESULT)
    sign = next((one for one, name in _SIGNS.items() if name == currency and one != "US$"), "")
    tail = f" {scale}" if scale else ""
    if quoted:  # as the answer has it
        return f"{sign}({size}){tail}" if minus and answer["minus"] else f"{sign}{size}{tail}", expression
    return f"{minus}{sign}{size}{tail}", expression
