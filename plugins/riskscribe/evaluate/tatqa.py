"""TAT-QA as sentences on evidence: questions that people asked of annual reports, with the answers they gave.

"What was the percentage change in Sensors in 2019 from 2018?", -0.44 percent, becomes "The percentage change in Sensors
in 2019 from 2018 was -0.44%." on a table whose every cell is a line of evidence. Neither its tables nor its words were
written for the grounding engine, or by anyone who knew of it. A question is left out, and counted by reason, where its
arithmetic does not give its answer from cells that it names, or where it is no sentence turned round.

Source: Zhu et al., TAT-QA: A Question Answering Benchmark on a Hybrid of Tabular and Textual Content in Finance, ACL
2021, https://github.com/NExTplusplus/TAT-QA (CC BY 4.0). None of it is part of this project: a file of it is read.
"""

import re
from collections import Counter, defaultdict
from pathlib import Path
from typing import Any, NamedTuple

from riskscribe.errors import InputError
from riskscribe.evaluate.tables import Part, Table, compute, tells
from riskscribe.files import parse_json, read_text

_CELL = re.compile(
    r"[-–—(]?\s?(?P<sign>US\$|HK\$|A\$|\$|£|€|¥|RMB)?\s?[-–—(]?\s?(?P<digits>\d[\d,]*(?:\.\d+)?|\.\d+)\s?\)?\s?(?P<percent>%)?\s?\)?"
)
_YEAR = re.compile(r"(?:FY|Fiscal\s)?(?:19|20)\d\d(?:\s?\(\d\))?")
_SCALE = re.compile(r"\b(thousand|million|billion)s?\b|[’'‘]?(000)s?\b|(?<=[$£€])\s?(mm?|bn)\b", re.IGNORECASE)
_SCALES = {"000": "thousand", "m": "million", "mm": "million", "bn": "billion"}
_ABOUT_UNITS = re.compile(
    r"\(?(?:(?:dollars?|amounts?|expressed|U\.?\s?S\.?)\s)*[$£€]?\s?\(?\bin\s?[^()]*?(?:thousand|million|billion)s?[^()]*\)?"
    r"|(?:US|HK|A)?[$£€][’'‘]?(?:000|m|bn)\b|RMB[’'‘]?(?:000|million)|(?:US|HK|A)?[$£€]\s?(?:thousand|million|billion)s?",
    re.IGNORECASE,
)
_CURRENCIES = {"US$": "USD", "HK$": "HKD", "A$": "AUD", "$": "USD", "£": "GBP", "€": "EUR", "¥": "JPY", "RMB": "CNY"}
_CURRENCY = re.compile("|".join(map(re.escape, _CURRENCIES)))
_FOOTNOTE = re.compile(r"\s?\(\d{1,2}\)|\s?\*+")
_PER_SHARE = re.compile(r"\bper\b.{0,30}\bshares?\b|\bshare price|\beps\b", re.IGNORECASE)
_SHARES = re.compile(
    r"\b(?:shares|options|units|awards|rsus|psus|number|employees|stores|restaurants|customers|headcount)\b",
    re.IGNORECASE,
)
_PERCENT = re.compile(r"%|\bpercent", re.IGNORECASE)
_YEARS = re.compile(r"\(?in years\)?|\(years\)", re.IGNORECASE)
_LETTERS = "abcdefgijklnoprstuvwxyz"  # `series` reads h, m and q before a digit as a period
_NUMBER = re.compile(r"\d[\d,]*(?:\.\d+)?|\.\d+")
_ASKED = (
    re.compile(
        r"what (?:percentage|percent|proportion) of (?P<whole>.+?) (?P<verb>is|are|was|were) (?P<subject>.+)", re.I
    ),
    re.compile(r"(?:what|how much) (?P<verb>is|are|was|were) (?P<subject>.+)", re.IGNORECASE),
)
_LEADS = re.compile(
    r"(?P<lead>(?:in|for|from|between|as of|as at|at|during)\s[^?]+?,\s)(?=(?:what|how much)\s)", re.IGNORECASE
)
_NO_SENTENCE = re.compile(r"\b(?:respective\w*|which|what|expressed as|if|would)\b", re.IGNORECASE)
_EITHER_WAY = re.compile(r"\bdifference\b|\bgap\b", re.IGNORECASE)
_INCREASE = re.compile(r"\b(?:increase|growth|rise)\b", re.IGNORECASE)
_DECREASE = re.compile(r"\b(?:decrease|decline|reduction|drop|fall)\b", re.IGNORECASE)


class _Cell(NamedTuple):
    id: str
    label: str
    words: frozenset[str]  # of its row and column
    value: float  # as written
    unit: str  # as evidence has it
    currency: str | None
    text: str  # its digits


def read_tatqa(path: Path, part: Part = "dev") -> tuple[list[Table], Counter]:
    """The tables of a TAT-QA file that have at least one sentence, and how many questions were left out, by reason.

    Args:
        path: tatqa_dataset_dev.json or tatqa_dataset_test_gold.json.
        part: what the tables are called.

    Raises InputError where the file is no such list.
    """
    documents = parse_json(read_text(path), str(path))
    if not isinstance(documents, list) or not all(
        isinstance(one, dict) and {"table", "questions"} <= one.keys() for one in documents
    ):
        raise InputError(f"{path}: must be a list of objects with table and questions, as TAT-QA has it")
    found, left_out = [], Counter()
    for one in documents:
        cells = _cells(one)
        sentences = []
        for question in one["questions"]:
            if question["answer_type"] not in ("span", "arithmetic") or question["answer_from"] == "text":
                left_out["no number of the table"] += 1
                continue
            told = _sentence(question, cells)
            if told.startswith("! "):
                left_out[told[2:]] += 1
            elif told not in sentences:
                sentences.append(told)
        if len(cells) > 1 and sentences:
            rows = {cell.id: [cell.label, cell.value, cell.unit, cell.currency] for cell in cells}
            name = f"tatqa_{one['table']['uid']}"
            found.append(Table(table=name, part=part, language="en", kind="TAT-QA", rows=rows, sentences=sentences))
    return found, left_out


# --- the table


def _number(cell: str) -> re.Match | None:
    return _CELL.fullmatch(cell.strip())


def _cells(document: dict[str, Any]) -> list[_Cell]:
    """Every number of the table with what its row, its section and its column are called, and its unit."""
    rows = [[one.strip() for one in row] for row in document["table"]["table"]]
    told = [
        one
        for row in rows
        for one in row
        if _ABOUT_UNITS.search(one) and not (row[0] == one and any(map(_number, row)))
    ]
    scale = _scale_of(" ".join(told)) or next(
        (one["scale"] for one in document["questions"] if one["scale"] in ("thousand", "million", "billion")), ""
    )
    if any(_scale_of(_own_unit(row[0])) for row in rows if any(map(_number, row[1:]))):
        scale = ""  # every row says its own
    sign = _CURRENCY.search(" ".join([*told, *(one for row in rows for one in row[1:] if _number(one))]))
    currency = _CURRENCIES[sign[0]] if sign else None
    found: list[_Cell] = []
    names = Counter(_FOOTNOTE.sub("", row[0]) for row in rows if any(_number(one) for one in row[1:]))
    headers: list[list[str]] = []
    section, in_headers = "", True
    for number, row in enumerate(rows):
        numbers = [one for one in row[1:] if _number(one)]
        years = all(_YEAR.fullmatch(one) for one in numbers)
        if not row[0] and not years:
            continue  # a total that has no name
        if years:
            if any(row[1:]):
                headers = [*headers, row] if in_headers else [row]
                in_headers = True
            elif row[0]:
                section = _FOOTNOTE.sub("", row[0]).rstrip(":： ")
            continue
        in_headers = False
        name = _FOOTNOTE.sub("", _ABOUT_UNITS.sub("", row[0])).strip(":： -")
        vague = names[_FOOTNOTE.sub("", row[0])] > 1 or len(name.split()) < 3
        full = f"{section}: {name}" if section and vague else name
        for column, cell in enumerate(row[1:], start=1):
            match = _number(cell)
            if not match:
                continue
            head = _header(headers, column)
            unit, money = _unit(match, f"{section} {name}", f"{head} {_raw(headers, column)}",
                                scale or _scale_of(_own_unit(row[0])), currency)  # fmt: skip
            minus = cell.lstrip("$£€ ")[:1] in "-–—(" or "(" in cell
            label = re.sub(r"\s+", " ", f"{full} {head}").strip()
            found.append(
                _Cell(
                    f"r{_LETTERS[number // 23 % 23]}{_LETTERS[number % 23]}{column:02d}", label,
                    frozenset(re.findall(r"[a-z]{2,}|\d+", f"{section} {label}".lower())),
                    (-1 if minus else 1) * float(match["digits"].replace(",", "")), unit, money, match["digits"],
                )
            )  # fmt: skip
    return found


def _own_unit(name: str) -> str:
    match = _ABOUT_UNITS.search(name)
    return match[0] if match else ""


def _scale_of(text: str) -> str:
    match = _SCALE.search(text)
    return _SCALES.get((match[2] or match[3] or "").lower(), (match[1] or "").lower()) if match else ""


def _raw(headers: list[list[str]], column: int) -> str:
    return " ".join(row[column] for row in headers if column < len(row))


def _header(headers: list[list[str]], column: int) -> str:
    """What stands above a column, from top to bottom; a word above several columns stands at the first, or alone."""
    found = []
    for row in headers:
        told = [(i, one) for i, one in enumerate(row) if i and one]
        own = row[column] if column < len(row) else ""
        if not own and len(told) == 1 and told[0][0] < len(row) - 1:  # in the middle of the columns that it is above
            own = told[0][1]
        elif not own:
            own = next((one for i, one in reversed(told) if i < column), "")
        own = _FOOTNOTE.sub("", _ABOUT_UNITS.sub("", own)).strip(" ,:")
        if own and own not in found and own not in ("$", "%"):
            found.append(own)
    return " ".join(found)


def _unit(match: re.Match, row: str, column: str, scale: str, currency: str | None) -> tuple[str, str | None]:
    """Unit and currency of a cell."""
    if match["percent"] or _PERCENT.search(column) or (_PERCENT.search(row) and not match["sign"]):
        return "%", None
    if _YEARS.search(f"{row} {column}"):
        return "years", None
    money = _CURRENCIES.get(match["sign"] or "", currency)
    if _PER_SHARE.search(row):
        return f"{money} per share" if money else "", money
    if _SHARES.search(f"{row} {column}") and not match["sign"]:
        return f"{scale} shares" if scale and "share" in f"{row} {column}".lower() else scale, None
    return f"{money} {scale}".strip() if money else scale, money


# --- the question


def _sentence(question: dict[str, Any], cells: list[_Cell]) -> str:
    """The marked sentence that a question and its answer make, or "! " and why there is none."""
    asked = re.sub(r"\s+", " ", question["question"]).strip(" ?")
    lead = _LEADS.match(asked)
    match = next((one for one in (shape.fullmatch(asked, lead.end() if lead else 0) for shape in _ASKED) if one), None)
    if match is None or _NO_SENTENCE.search(match["subject"]):
        return "! not a sentence turned round"
    if question["answer_type"] == "span":
        answer = question["answer"]
        told = _number(answer[0]) if isinstance(answer, list) and len(answer) == 1 else None
        derivation = told["digits"] if told else ""
    else:
        derivation = question["derivation"]
    if not derivation:
        return "! no number"
    expression, used = _expression(derivation, asked, cells)
    if not expression:
        return "! its numbers are no cells, or several"
    if question["answer_type"] == "span":
        expression = used[0].id
    elif question["scale"] == "percent" and {one.unit for one in used} != {"%"}:
        expression = f"100*({expression})"
    number = _told(question, expression, used, match["subject"])
    if not number:
        return "! its arithmetic gives something else, or has no plain unit"
    subject, verb = match["subject"].strip(" ,."), match["verb"]
    if "whole" in match.re.groupindex:
        if "%" not in number:
            return "! not a sentence turned round"
        words = f"{subject} {verb} {{{number}:{expression}}} of {match['whole']}"
    else:
        words = f"{subject} {verb} {{{number}:{expression}}}"
    told = f"{lead['lead'] if lead else ''}{words}."
    if any(one in subject for one in "{}[]<>|"):
        return "! not a sentence turned round"
    return told[0].upper() + told[1:]


def _expression(derivation: str, asked: str, cells: list[_Cell]) -> tuple[str, list[_Cell]]:
    """The arithmetic over ids, and its cells; nothing where a number is no cell, or several that the question may mean."""
    plain = re.sub(r"[$£€%]|RMB", "", derivation.strip().strip("()") if derivation.count("(") == 0 else derivation)
    for one, other in (("[", "("), ("]", ")"), ("–", "-"), ("—", "-"), ("−", "-"), ("×", "*"), ("÷", "/"), ("x", "*")):
        plain = plain.replace(one, other)
    words = set(re.findall(r"[a-z]{2,}|\d+", asked.lower()))
    by_size: dict[float, list[_Cell]] = defaultdict(list)
    for one in cells:
        by_size[abs(one.value)].append(one)
    used, pieces, at = [], [], 0
    for match in _NUMBER.finditer(plain):
        size = float(match[0].replace(",", ""))
        fits = by_size.get(size, [])
        if len(fits) > 1:
            scores = [len(one.words & words) for one in fits]
            fits = [one for one, score in zip(fits, scores, strict=True) if score == max(scores)]
        if len(fits) > 1:
            return "", []
        pieces.append(plain[at : match.start()])
        if fits:
            # "(1,074)" and "-71" of a cell below zero are its value, "44.1 - 56.7" subtracts one above it
            used.append(fits[0])
            negative = fits[0].value < 0
            if negative and re.search(r"(?:^|[(*/+-])\s*-\s*$", pieces[-1]):
                pieces[-1] = re.sub(r"-\s*$", "", pieces[-1])
            elif negative and not re.search(r"\(\s*$", pieces[-1]) and not re.match(r"\s*\)", plain[match.end() :]):
                pieces.append("-")
            pieces.append(fits[0].id)
        elif size in (2, 3, 4, 5, 100) and "." not in match[0]:
            pieces.append(match[0])
        else:
            return "", []
        at = match.end()
    expression = re.sub(r"\s+", "", "".join([*pieces, plain[at:]]))
    return (expression, used) if used and re.fullmatch(r"[\w+\-*/().]+", expression) else ("", [])


def _told(question: dict[str, Any], expression: str, used: list[_Cell], subject: str) -> str:
    """The answer as prose tells it, or nothing where its arithmetic or its unit is not plain."""
    values = {one.id: one.value for one in used}
    units = {(one.unit, one.currency) for one in used}
    answer = question["answer"][0] if isinstance(question["answer"], list) else question["answer"]
    match = _number(str(answer))
    if len(units) != 1 or match is None:
        return ""
    unit, currency = next(iter(units))
    digits = match["digits"]
    try:
        result = compute(expression, values)
    except (SyntaxError, InputError, ZeroDivisionError):
        return ""
    of_percent = unit == "%"
    if not tells(digits, result) or not result:
        return ""
    size = f"{float(digits.replace(',', '')):,}" if "." in digits else f"{int(digits.replace(',', '')):,}"
    size = size if question["answer_type"] != "span" else digits
    minus = "" if _EITHER_WAY.search(subject) else "-" if result < 0 else ""
    if minus and _DECREASE.search(subject) and not _INCREASE.search(subject):
        minus = ""
    elif minus and _INCREASE.search(subject) and not _DECREASE.search(subject):
        return ""  # an increase of less than nothing
    elif result > 0 and _DECREASE.search(subject) and not _INCREASE.search(subject) and "/" in expression:
        return ""
    if question["scale"] == "percent" and not of_percent:
        return f"{minus}{size}%"
    quotient = "/" in expression and not re.search(r"/\d", expression)
    if of_percent:
        if quotient:
            return ""
        points = re.fullmatch(r"\(?\w+\)?-\(?\w+\)?", expression)
        return f"{minus}{size} percentage points" if points else f"{minus}{size}%"
    if quotient:
        return f"{minus}{size}"
    if unit == "years":
        return f"{minus}{size} years"
    scale = _scale_of(unit)
    if question["scale"] not in ("", scale):
        return ""
    sign = {"USD": "$", "GBP": "£", "EUR": "€", "JPY": "¥", "CNY": "RMB", "HKD": "HK$", "AUD": "A$"}.get(
        currency or "", ""
    )
    tail = f" {scale}" if scale else ""
    if question["answer_type"] == "span":  # as the answer has it
        return f"{sign}({size}){tail}" if minus and re.search("[(-]", str(answer)) else f"{sign}{size}{tail}"
    return f"{minus}{sign}{size}{tail}"
