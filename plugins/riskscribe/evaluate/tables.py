"""Evidence tables of other kinds than ours with hand-written sentences, and the faults planted in them.

A sentence marks its numbers and its directions, so that its truth is checked without the grounding engine:
`Revenue <rose|fell> {5.8%:g(rev25,rev24)} to {$4.21bn:rev25} [rev25] [rev24].` In braces stands the text, then the
value it tells, from the ids of the table; in angle brackets the true word, then its opposite. A number rounds as it
is written: 4.21bn is any value from 4.205bn to 4.215bn.
"""

import ast
import operator
import random
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Literal, NamedTuple

from riskscribe.case import Strict
from riskscribe.errors import InputError
from riskscribe.files import read_yaml, validate

Part = Literal["dev", "held_out"]


class Table(Strict):
    """An evidence table: `rows` is id -> [label, value, unit, currency]; the table's unit where it is left out."""

    table: str
    part: Part
    language: Literal["en", "zh"]
    kind: str
    unit: str | None = None
    rows: dict[str, list[str | float | int | None]]
    sentences: list[str]

    def evidence(self) -> list[dict[str, Any]]:
        """The rows as `riskscribe ground` takes them."""
        listed = []
        for name, (label, value, *rest) in self.rows.items():
            given = {"unit": rest[0] if rest else self.unit, "currency": rest[1] if len(rest) > 1 else None}
            listed.append({"id": name, "label": label, "value": value, **{k: v for k, v in given.items() if v}})
        return listed

    def values(self) -> dict[str, float]:
        """id -> value in single units: 4,210 of USD m is 4,210,000,000; a percentage stays as written."""
        return {one["id"]: float(one["value"]) * _unit_scale(one.get("unit", "")) for one in self.evidence()}

    def class_of(self, name: str) -> str:
        """What a row's number measures: money, percent or another unit's own name."""
        row = next(one for one in self.evidence() if one["id"] == name)
        unit = row.get("unit", "")
        return "money" if row.get("currency") or _MONEY.search(unit) else unit


_MONEY = re.compile(r"USD|EUR|GBP|JPY|CNY|HKD|CHF|\$|€|£|元|RMB")
# longest first: 百万 before 万
_SCALES = {
    "trillion": 1e12, "billion": 1e9, "million": 1e6, "thousand": 1e3, "万亿": 1e12, "百亿": 1e10, "十亿": 1e9,
    "千万": 1e7, "百万": 1e6, "亿": 1e8, "万": 1e4, "千": 1e3, "tn": 1e12, "bn": 1e9, "mn": 1e6, "m": 1e6, "k": 1e3,
}  # fmt: skip
_WORD = "|".join(_SCALES)
_WRITTEN = re.compile(rf"(\d[\d,]*(?:\.\d+)?)(?:\)?(\s?)({_WORD})(?![a-zA-Z]))?")
# numbers in words that the sentences use
_IN_WORDS = {
    "一成": 10, "两成": 20, "三成": 30, "四成": 40, "五成": 50, "六成": 60, "七成": 70, "八成": 80, "九成": 90,
    "翻一番": 2, "两倍": 2, "一半": 50, "doubled": 2, "half": 50, "a quarter": 25, "a third": 33.3,
    "two thirds": 66.7, "two-thirds": 66.7, "Three quarters": 75,
}  # fmt: skip
_NUMBER = re.compile(r"\{([^{}:]+):([^{}]+)\}")
_TURN = re.compile(r"<([^<>|]*)\|([^<>|]*)>")
_CITED = re.compile(r"\s?\[([^\[\]]+)\]")


def _unit_scale(unit: str) -> float:
    amount = re.split(r"/|\bper ", unit)[0]
    word = re.search(rf"(?:^|[^a-zA-Z])({_WORD})s?(?:$|[^a-zA-Z])|({_WORD})(?=元|美元|港元)", amount)
    return _SCALES[word[1] or word[2]] if word else 1.0


def written(text: str) -> tuple[float, float]:
    """Magnitude of a number as the sentences write it, and half of its last digit."""
    if text in _IN_WORDS:
        return float(_IN_WORDS[text]), 0.05 * _IN_WORDS[text]
    match = _WRITTEN.search(text)
    if match is None:
        raise InputError(f"{text!r} holds no number")
    scale = _SCALES.get(match[3] or "", 1.0)
    half = 0.5 * 10.0 ** -len(match[1].partition(".")[2]) * scale
    return float(match[1].replace(",", "")) * scale, half


def tells(text: str, value: float) -> bool:
    """Whether a written number stands for a value; the sign is told in words."""
    size, half = written(text)
    return abs(size - abs(value)) <= half * (1 + 1e-9) + 1e-9


_OPERATORS = {ast.Add: operator.add, ast.Sub: operator.sub, ast.Mult: operator.mul, ast.Div: operator.truediv}
_FUNCTIONS: dict[str, Callable[..., float]] = {
    "g": lambda new, old: 100 * (new / old - 1),  # growth in per cent
    "s": lambda part, whole: 100 * part / whole,  # share in per cent
    "bp": lambda new, old: 100 * (new - old),  # difference of two percentages in basis points
    "avg": lambda *values: sum(values) / len(values),
}


def compute(expression: str, values: dict[str, float]) -> float:
    """The value of an expression over row ids: + - * /, g(new,old), s(part,whole), bp(new,old), avg(...)."""

    def walk(node: ast.AST) -> float:
        match node:
            case ast.Expression():
                return walk(node.body)
            case ast.Constant(value=int() | float() as value):
                return float(value)
            case ast.Name(id=name) if name in values:
                return values[name]
            case ast.BinOp(left=left, op=op, right=right) if type(op) in _OPERATORS:
                return _OPERATORS[type(op)](walk(left), walk(right))
            case ast.UnaryOp(op=ast.USub(), operand=inner):
                return -walk(inner)
            case ast.Call(func=ast.Name(id=name), args=args) if name in _FUNCTIONS:
                return _FUNCTIONS[name](*map(walk, args))
        raise InputError(f"expression {expression!r}: unknown id or operation")

    return walk(ast.parse(expression.strip(), mode="eval"))


def ids_in(expression: str) -> list[str]:
    """Row ids an expression uses, in order."""
    calls = {
        node.func.id for node in ast.walk(ast.parse(expression.strip(), mode="eval")) if isinstance(node, ast.Call)
    }
    names = [node.id for node in ast.walk(ast.parse(expression.strip(), mode="eval")) if isinstance(node, ast.Name)]
    return list(dict.fromkeys(one for one in names if one not in calls))


def load(folder: Path) -> list[Table]:
    """Every table of the YAML files of a folder. Raises InputError naming table, sentence and number."""
    tables = []
    for path in sorted(Path(folder).glob("tables_*.yaml")):
        for i, one in enumerate(read_yaml(path), start=1):
            tables.append(validate(Table, one, f"{path.name}: table {i}"))
    for one in tables:
        for sentence in one.sentences:
            check(one, sentence)
    return tables


def check(table: Table, sentence: str) -> None:
    """A sentence must be true of its table, by arithmetic alone."""
    values = table.values()
    where = f"table {table.table}: {sentence}"
    for text, expression in _NUMBER.findall(sentence):
        try:
            right = compute(expression, values)
        except (SyntaxError, InputError) as error:
            raise InputError(f"{where}: {error}") from None
        if not tells(text, right):
            raise InputError(f"{where}: {text} is written, {expression} is {right:,.6g}")
    for name in _CITED.findall(_TURN.sub(r"\1", _NUMBER.sub(r"\1", sentence))):
        if name not in values:
            raise InputError(f"{where}: {name} is no row")
    if not _NUMBER.search(sentence):
        raise InputError(f"{where}: no number is marked")


class Item(NamedTuple):
    """A text on a table: true, or with one planted fault. `cited` tells whether it keeps its ids."""

    table: Table
    kind: str
    fault: bool
    cited: bool
    text: str
    why: str


def plain(marked: str) -> str:
    """A marked sentence as a reader sees it."""
    return _TURN.sub(r"\1", _NUMBER.sub(r"\1", marked))


def uncited(text: str) -> str:
    """A text without its ids."""
    return _CITED.sub("", text)


def _with_ids(table: Table, marked: str) -> str:
    """The sentence with the ids its numbers use at its end, where it cites none itself."""
    if _CITED.search(_TURN.sub("", _NUMBER.sub("", marked))):
        return marked
    names = dict.fromkeys(name for _, expression in _NUMBER.findall(marked) for name in ids_in(expression))
    ids = " ".join(f"[{one}]" for one in names)
    end = re.search(r"[.。!！]?$", marked)
    return f"{marked[: end.start()]} {ids}{end[0]}"


def items(table: Table, seed: int) -> Iterator[Item]:
    """Every text of a table: its sentences, harmless rewritings and planted faults, cited and uncited."""
    for i, sentence in enumerate(table.sentences):
        marked = _with_ids(table, sentence)
        made = [("as written", False, marked, "true as written")]
        for kind, make in HARMLESS.items():
            made += [(kind, False, text, why) for text, why in make(table, marked, _rng(seed, table, i, kind))]
        for kind, make in FAULTS.items():
            made += [(kind, True, text, why) for text, why in make(table, marked, _rng(seed, table, i, kind))]
        for kind, fault, text, why in made:
            shown = plain(text)
            yield Item(table, kind, fault, True, shown, why)
            if kind not in _CITED_ONLY:
                yield Item(table, kind, fault, False, uncited(shown), why)


_CITED_ONLY = {"wrong_id"}


def _rng(seed: int, table: Table, i: int, kind: str) -> random.Random:
    return random.Random(f"{seed}/{table.table}/{i}/{kind}")


Made = Iterator[tuple[str, str]]


def _one_number(
    table: Table, marked: str, rng: random.Random, change: Callable[[str, str, float], str | None], still_true=False
) -> Made:
    """The sentence with one of its numbers changed; nothing where no change applies or leaves the truth as wanted."""
    values = table.values()
    found = list(_NUMBER.finditer(marked))
    rng.shuffle(found)
    for match in found:
        text, expression = match[1], match[2]
        if text in _IN_WORDS:
            continue
        right = compute(expression, values)
        new = change(text, expression, right)
        if new is None or new == text:
            continue
        after = marked[: match.start()] + "{" + new + ":" + expression + "}" + marked[match.end() :]
        yield after, f"{text} stands for {expression} = {right:,.6g}; written {new}"
        return


def _digits(text: str) -> tuple[int, int]:
    return _WRITTEN.search(text).span(1)


def _sized(text: str, value: float) -> str | None:
    """`value` in the format of `text`, or None where nothing would be left of it."""
    match = _WRITTEN.search(text)
    decimals = len(match[1].partition(".")[2])
    grouped = "," if "," in match[1] or (abs(value) >= 1e5 and not match[3]) else ""
    digits = f"{abs(value) / _SCALES.get(match[3] or '', 1.0):{grouped}.{decimals}f}"
    if not digits.strip("0.,"):
        return None
    return text[: match.start(1)] + digits + text[match.end(1) :]


def _value(table: Table, marked: str, rng: random.Random) -> Made:
    """One digit is another one."""

    def change(text: str, _: str, right: float) -> str | None:
        start, end = _digits(text)
        places = [i for i in range(start, end) if text[i].isdigit()]
        i = rng.choice(places)
        other = rng.choice([one for one in "123456789" if one != text[i]])
        new = text[:i] + other + text[i + 1 :]
        return None if tells(new, right) else new

    return _one_number(table, marked, rng, change)


def _scale(table: Table, marked: str, rng: random.Random) -> Made:
    """Another scale word."""
    swaps = {
        "billion": "million", "million": "billion", "thousand": "million", "trillion": "billion", "bn": "m", "m": "bn",
        "mn": "bn", "k": "m", "tn": "bn", "亿": "万", "万": "亿", "百万": "亿", "千万": "亿", "万亿": "亿",
        "千": "万", "千亿": "亿", "百亿": "亿", "十亿": "亿", "十万": "亿",
    }  # fmt: skip

    def change(text: str, _: str, right: float) -> str | None:
        match = _WRITTEN.search(text)
        if not match[3]:
            return None
        return text[: match.start(3)] + swaps[match[3]] + text[match.end(3) :]

    return _one_number(table, marked, rng, change)


def _sign(table: Table, marked: str, rng: random.Random) -> Made:
    """A minus where the number, or the words around it, say otherwise."""

    def change(text: str, expression: str, right: float) -> str | None:
        if "-" in text or "−" in text or right == 0:
            return None
        # "a loss of 12m" for -12 is right: a minus there is a second one; "-12m" alone would be true
        if right < 0 and not _TURN.search(marked):
            return None
        at = re.search(r"[\d$€£¥]|US|USD|EUR|GBP|HKD|CNY|RMB|人民币", text).start()
        return text[:at] + "-" + text[at:]

    return _one_number(table, marked, rng, change)


def _unit(table: Table, marked: str, rng: random.Random) -> Made:
    """Basis points for per cent, points for per cent, per cent for points or basis points."""
    zh = table.language == "zh"

    def change(text: str, expression: str, right: float) -> str | None:
        if re.search(r"百分点|percentage points?|pp\b", text):
            new = re.sub(r"\s?个?百分点|\s?percentage points?|\s?pp\b", "%", text)
            # a relative change that happens to be equal would be true
            names = ids_in(expression)
            values = table.values()
            if (
                len(names) == 2
                and values[names[1]]
                and tells(new, _FUNCTIONS["g"](values[names[0]], values[names[1]]))
            ):
                return None
            return new
        if re.search(r"基点|basis points?|bps?\b", text):
            return re.sub(r"\s?个?基点|\s?basis points?|\s?bps?\b", "%", text)
        if "%" in text or "per cent" in text or "percent" in text:
            return re.sub(r"\s?%|\s?per ?cent", "个基点" if zh else " basis points", text)
        return None

    return _one_number(table, marked, rng, change)


_MONEY_WORDS = (
    ("US$", "€"), ("HK$", "US$"), ("$", "€"), ("€", "$"), ("£", "€"), ("USD", "EUR"), ("EUR", "GBP"), ("GBP", "USD"),
    ("JPY", "USD"), ("CNY", "USD"), ("RMB", "USD"), ("美元", "欧元"), ("港元", "美元"), ("欧元", "美元"),
    ("人民币", "港币"), ("元", "美元"),
)  # fmt: skip


def _currency(table: Table, marked: str, rng: random.Random) -> Made:
    """Another currency's sign or name."""

    def change(text: str, _: str, __: float) -> str | None:
        own = next(((one, other) for one, other in _MONEY_WORDS if one in text), None)
        return text.replace(*own) if own else None

    return _one_number(table, marked, rng, change)


def series(name: str) -> tuple[str, str]:
    """`rev25` is the series `rev` at `25`; `rev_q3` is `rev` at `q3`. Without a period, a row is its own series."""
    match = re.fullmatch(r"(.+?)_?((?:[qhm]\d)?\d{0,2}|[qh]\d)", name)
    return (match[1], match[2]) if match else (name, "")


def _another_row(table: Table, marked: str, rng: random.Random, same_series: bool) -> Made:
    values = table.values()

    def change(text: str, expression: str, right: float) -> str | None:
        if expression not in values:
            return None
        own = series(expression)
        others = [
            name
            for name in values
            if name != expression
            and (series(name)[0] == own[0]) == same_series
            and (same_series or series(name)[1] == own[1])
            and table.class_of(name) == table.class_of(expression)
            and values[name] * right > 0
        ]
        rng.shuffle(others)
        for name in others:
            new = _sized(text, values[name])
            # neither the truth nor a number that the sentence tells elsewhere anyway
            if new and not tells(new, right) and 0.02 < abs(values[name] / right) < 50:
                return new
        return None

    return _one_number(table, marked, rng, change)


_PERIOD_WORDS = re.compile(
    r"\d{4}|Q[1-4]|H[12]|last|prior|previous|year|quarter|earlier|ago|today|yesterday"
    r"|上年|去年|同期|上季|年末|期末|年初|季度|月|年|昨日"
)


def _period(table: Table, marked: str, rng: random.Random) -> Made:
    """The same line's number of another period, where the sentence says which period it is about."""
    if not _PERIOD_WORDS.search(_NUMBER.sub("", marked)):
        return iter(())
    return _another_row(table, marked, rng, same_series=True)


def _label(table: Table, marked: str, rng: random.Random) -> Made:
    """The number of another line."""
    return _another_row(table, marked, rng, same_series=False)


def _direction(table: Table, marked: str, rng: random.Random) -> Made:
    """The opposite word."""
    found = list(_TURN.finditer(marked))
    if found:
        match = rng.choice(found)
        yield marked[: match.start()] + match[2] + marked[match.end() :], f"it is {match[1]!r}, not {match[2]!r}"


def _wrong_id(table: Table, marked: str, rng: random.Random) -> Made:
    """A quoted number beside the id of another row, whose number it is not."""
    values = table.values()
    quoted = {name: text for text, name in _NUMBER.findall(marked) if name in values}
    for match in rng.sample(found := list(_CITED.finditer(marked)), len(found)):
        name = match[1]
        if name not in quoted or len(re.findall(rf"\[{re.escape(name)}\]", marked)) > 1:
            continue
        others = [
            one
            for one in values
            if f"[{one}]" not in marked
            and table.class_of(one) == table.class_of(name)
            and not tells(quoted[name], values[one])
        ]
        if others:
            other = rng.choice(others)
            yield marked.replace(f"[{name}]", f"[{other}]"), f"{quoted[name]} is {name}, not {other}"
            return


def _derivation(table: Table, marked: str, rng: random.Random) -> Made:
    """A growth, share, difference, sum or ratio that is off."""
    values = table.values()

    def change(text: str, expression: str, right: float) -> str | None:
        if expression in values:
            return None
        names = ids_in(expression)
        tries = [right * (1 + sign * rng.uniform(0.06, 0.5)) for sign in (1, -1)]
        if len(names) == 2:
            turned = {names[0]: names[1], names[1]: names[0]}
            swapped = re.sub(r"\b\w+\b", lambda one: turned.get(one[0], one[0]), expression)
            other = compute(swapped, values)
            # the change on the wrong base: 5.5 % for 5.8 %
            if abs(other) < 20 * abs(right):
                tries.append(other)
        rng.shuffle(tries)
        told = [one for one, _ in _NUMBER.findall(marked)]
        for value in tries:
            new = _sized(text, value)
            if new and not tells(new, right) and new not in told:
                return new
        return None

    return _one_number(table, marked, rng, change)


_INVENTED = {
    "en": [", helped by {n} of one-off gains", ", after {n} of restructuring costs", ", against a plan of {n}",
           ", with a further {n} still under review", ", ahead of the {n} that analysts expected"],
    "zh": ["，其中一次性收益{n}", "，此外计提重组费用{n}", "，预算为{n}", "，另有{n}尚待核实", "，市场预期为{n}"],
}  # fmt: skip


def _invented(table: Table, marked: str, rng: random.Random) -> Made:
    """A clause with a number that no row gives."""
    values = table.values()
    money = [abs(value) for name, value in values.items() if table.class_of(name) == "money" and value]
    base = rng.choice(money) if money else None
    for _ in range(20):
        if base is None:
            number = f"{rng.uniform(3, 97):.1f}%"
        elif table.language == "zh":
            size = base * rng.uniform(0.02, 0.9)
            number = f"{size / 1e8:.2f}亿元" if size >= 1e8 else f"{size / 1e4:,.1f}万元"
        else:
            size = base * rng.uniform(0.02, 0.9)
            number = (
                f"{size / 1e9:.2f}bn" if size >= 1e9 else f"{size / 1e6:.1f}m" if size >= 1e6 else f"{size / 1e3:.1f}k"
            )
        close = [value for value in values.values() if value and tells(number, value)]
        if number.strip("0.bnmk%亿万元") and not close:
            end = re.search(r"(?:\s?\[[^\[\]]+\])*[.。!！]?$", marked)
            clause = rng.choice(_INVENTED[table.language]).format(n=f"{{{number}:0}}")
            yield marked[: end.start()] + clause + marked[end.start() :], f"no row gives {number}"
            return


def _rounded(table: Table, marked: str, rng: random.Random) -> Made:
    """One digit less."""

    def change(text: str, _: str, right: float) -> str | None:
        match = _WRITTEN.search(text)
        decimals = len(match[1].partition(".")[2])
        if not decimals or len(re.sub(r"\D", "", match[1]).lstrip("0")) < 3:
            return None
        shorter = text[: match.start(1)] + f"{0:.{decimals - 1}f}" + text[match.end(1) :]
        new = _sized(shorter, right)
        # two numbers that become one could no longer be said to differ
        told = [written(one)[0] for one, _ in _NUMBER.findall(marked) if one != text]
        # 7.35 lies on the edge of 7.3 and of 7.4: binary arithmetic would choose
        if new is None or abs(abs(written(new)[0] - abs(right)) / written(new)[1] - 1) < 1e-6:
            return None
        return new if all(abs(written(new)[0] - one) > 2 * written(new)[1] for one in told) else None

    return _one_number(table, marked, rng, change)


_WIDE = str.maketrans("0123456789.%,", "０１２３４５６７８９．％，")


def _full_width(table: Table, marked: str, rng: random.Random) -> Made:
    """Full-width digits and signs."""
    if table.language == "zh":
        yield from _one_number(table, marked, rng, lambda text, _, __: text.translate(_WIDE))


_NOT_EXACT = re.compile(
    r"(?:nearly|almost|over|more than|above|under|close to|below|less than|just|近|逾|超过?|不到|不足)\s?$"
)


def _rescaled(table: Table, marked: str, rng: random.Random) -> Made:
    """The true value at another scale: 4.21bn as 4,210m."""
    smaller = {"billion": "million", "bn": "m", "亿": "万", "million": "thousand", "m": "k"}

    def change(text: str, _: str, right: float) -> str | None:
        match = _WRITTEN.search(text)
        if match[3] not in smaller:
            return None
        word = smaller[match[3]]
        digits = f"{abs(right) / _SCALES[word]:,.0f}"
        return text[: match.start(1)] + digits + (match[2] or "") + word + text[match.end(3) :]

    for after, why in _one_number(table, marked, rng, change):
        number = next(one for one in _NUMBER.finditer(after) if one[0] not in marked)
        exact = written(number[1])[0] == abs(compute(number[2], table.values()))
        if not (exact and _NOT_EXACT.search(after[: number.start()])):  # "nearly 1,175m" of 1,175m is not true
            yield after, why


FAULTS: dict[str, Callable[[Table, str, random.Random], Made]] = {
    "value": _value,
    "scale": _scale,
    "sign": _sign,
    "unit": _unit,
    "currency": _currency,
    "period": _period,
    "label": _label,
    "direction": _direction,
    "wrong_id": _wrong_id,
    "wrong_derivation": _derivation,
    "invented": _invented,
}
HARMLESS: dict[str, Callable[[Table, str, random.Random], Made]] = {
    "rounded": _rounded,
    "full_width": _full_width,
    "rescaled": _rescaled,
}
