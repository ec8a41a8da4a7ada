"""What is true of a case: its quantities, and sentences that say them, each with twins that are false.

The truth side of planted faults (mutations.py): everything here comes from the fields of the case and the written
policy, nothing from the grounding engine.
"""

import random
import re
from collections.abc import Iterator
from datetime import timedelta
from typing import NamedTuple

from riskscribe import policy as rules
from riskscribe.case import (
    Backtest,
    Case,
    Change,
    Component,
    Counterparty,
    DataQuality,
    Evidence,
    Limit,
    PnL,
    Stress,
    ValueAtRisk,
)
from riskscribe.prompt import amount, limit_name, utilisation


class Quantity(NamedTuple):
    """One number that a line of the case holds or defines; `unit` is "", "/bp", "/vol" or "%"."""

    id: str
    name: str
    value: float
    unit: str


_UNIT = {"money": "", "money_per_bp": "/bp", "money_per_vol_point": "/vol", "percent": "%"}
SCALES = {"": 1.0, "k": 1e3, "m": 1e6, "bn": 1e9, "万": 1e4, "亿": 1e8}
# numbers as the gold writer writes them
WRITTEN = re.compile(r"(?<![A-Za-z0-9.\-])(\d+(?:\.\d+)?)(bn|m|k|亿|万)?(/bp|/vol|%)?(?![A-Za-z0-9.]*[A-Za-z0-9])")


def quantities(item: Evidence, case: Case) -> list[Quantity]:
    """Every number a line of the case holds, and the ones the policy defines on it (utilisation, excess, ...)."""
    match item:
        case Limit():
            unit = _UNIT[item.unit]
            found = {
                "value": item.value,
                "hard": item.hard,
                "soft": item.soft,
                "previous": item.previous,
                "five_days_ago": item.five_days_ago,
                "reduction": rules.reduction_to_soft(item),
                "excess": rules.excess(item),
            }
            listed = [Quantity(item.id, name, value, unit) for name, value in found.items() if value is not None]
            return [Quantity(item.id, "utilisation", rules.utilisation_pct(item), "%"), *listed]
        case Component():
            found = {"contribution": item.contribution, "standalone": item.standalone, "previous": item.previous}
            listed = [Quantity(item.id, name, value, "") for name, value in found.items() if value is not None]
            return [*listed, Quantity(item.id, "share", item.share_pct, "%")]
        case ValueAtRisk():
            names = ("value", "previous", "five_days_ago", "undiversified", "standard_error")
        case Stress():
            names = ("pnl", "previous")
        case PnL():
            names = ("value", "previous")
        case Change():
            return [Quantity(item.id, "value", item.value, _UNIT[case.unit_of(item.of)])]
        case DataQuality():
            return [Quantity(item.id, "coverage", rules.coverage_pct(case), "%")]
        case _:
            return []
    return [Quantity(item.id, name, value, "") for name in names if (value := getattr(item, name)) is not None]


def interval(text: str) -> tuple[float, float]:
    """The magnitudes that a number as the gold writer writes it may stand for: 6.3m is 6.25m to 6.35m."""
    digits, scale, _ = WRITTEN.fullmatch(text).groups()
    factor = SCALES[scale or ""]
    half = 0.5 * 10.0 ** -len(digits.partition(".")[2]) * factor
    value = float(digits) * factor
    return value - half * 1.000001, value + half * 1.000001


def tells(text: str, value: float) -> bool:
    """Whether a written number stands for the magnitude `value`."""
    low, high = interval(text)
    return low <= abs(value) <= high


def capital(text: str) -> str:
    """The text with its first letter in upper case; the rest stays, as VaR and names do."""
    return text[:1].upper() + text[1:]


# --- sentences beyond those of a gold report


class Statement(NamedTuple):
    """A true sentence of one case, and false ones by the kind of their fault."""

    kind: str
    text: str
    faults: dict[str, list[str]]


def _off(rng: random.Random, value: float, language: str, unit_name: str, *also: float | None) -> list[str]:
    """Wrong results in place of `value`: other amounts (`also`), or the right one with an error of 4 to 60 %."""
    tries = [abs(one) for one in also if one is not None]
    tries += [abs(value) * (1 + sign * rng.uniform(0.04, 0.6)) for sign in (1, -1)]
    written = [amount(one, language, unit=unit_name) for one in tries if one]
    return [one for one in written if not tells(one, value)]


def _limit_statements(case: Case, rng: random.Random) -> Iterator[Statement]:
    zh = case.language == "zh"
    limits = case.of_kind(Limit)
    for one in limits:
        used, name, over = rules.exposure(one), limit_name(one, case.language), rules.excess(one)
        if used == 0 or used == one.hard:
            continue
        bounds = (one.soft, one.hard)
        value = amount(used, case.language, *bounds, unit=one.unit)
        hard = amount(one.hard, case.language, unit=one.unit)
        if value == hard:
            continue
        use = utilisation(rules.utilisation_pct(one))
        # of which words: (text, the same with limit and usage exchanged)
        shapes = [
            "{name}为{v}，限额{h} [{id}]。", "{name}已用{v}，硬限为{h} [{id}]。",
            "{name}的硬限是{h}，目前使用{v} [{id}]。",
        ] if zh else [
            "{Name} stands at {v} against a limit of {h} [{id}].", "{Name} uses {v} of a limit of {h} [{id}].",
            "The hard limit on {name} is {h}, of which {v} is used [{id}].",
            "{Name} is {v}; the hard limit is {h} [{id}].",
        ]  # fmt: skip
        if over > 0:  # what is used is no part of a limit that it exceeds
            shapes = [one for one in shapes if "of which" not in one]
        shape = rng.choice(shapes)
        fill = {"name": name, "Name": capital(name), "id": one.id}
        swapped = {"limit_usage_swapped": [shape.format(v=hard, h=value, **fill)]}
        yield Statement("limit_and_use", shape.format(v=value, h=hard, **fill), swapped)
        if over > 0:
            size, wrong = amount(over, case.language, unit=one.unit), _off(rng, over, case.language, one.unit, used)
            shape = rng.choice(
                ["{name}超出硬限{s} [{id}]。", "{name}较硬限高出{s} [{id}]。"]
                if zh
                else ["{Name} exceeds its hard limit by {s} [{id}].", "The excess of {name} over hard is {s} [{id}]."]
            )
        else:
            left = one.hard - used
            size, wrong = (
                amount(left, case.language, unit=one.unit),
                _off(rng, left, case.language, one.unit, one.soft),
            )
            shape = rng.choice(
                ["{name}距硬限还有{s}的余量 [{id}]。", "{name}比硬限低{s} [{id}]。"]
                if zh
                else [
                    "Headroom of {name} to its hard limit is {s} [{id}].",
                    "{Name} is {s} below its hard limit [{id}].",
                ]
            )
        wrong_texts = [shape.format(s=text, **fill) for text in wrong]
        yield Statement("derivation", shape.format(s=size, **fill), {"wrong_derivation": wrong_texts})
        inside, outside = (
            ("{name}使用{v}，低于硬限{h} [{id}]。", "{name}使用{v}，超过硬限{h} [{id}]。")
            if zh
            else (
                "{Name} at {v} is within its hard limit of {h} [{id}].",
                "{Name} at {v} exceeds its hard limit of {h} [{id}].",
            )
        )
        right, turned = (outside, inside) if over > 0 else (inside, outside)
        fill |= {"v": value, "h": hard}
        yield Statement("comparison", right.format(**fill), {"reversed_comparison": [turned.format(**fill)]})
        other = rng.choice(limits)
        gap = rules.utilisation_pct(one) - rules.utilisation_pct(other)
        if other.id != one.id and gap > 1 and f"{gap:.1f}" not in (use, utilisation(rules.utilisation_pct(other))):
            fill |= {"g": f"{gap:.1f}", "other": limit_name(other, case.language), "two": other.id}
            shape = (
                "{name}的使用率比{other}高{g}{u} [{id}] [{two}]。"
                if zh
                else "Use of {name} is {g}{u} above that of {other} [{id}] [{two}]."
            )
            u = "个百分点" if zh else " percentage points"
            relative = 100 * (rules.utilisation_pct(one) / max(rules.utilisation_pct(other), 1e-9) - 1)
            wrong = [] if tells(f"{gap:.1f}%", relative) else [shape.format(u="%", **fill)]
            yield Statement("points", shape.format(u=u, **fill), {"percent_for_points": wrong})


def _var_statements(case: Case, rng: random.Random) -> Iterator[Statement]:
    zh, language = case.language == "zh", case.language
    lines = case.of_kind(ValueAtRisk)
    for one in lines:
        value = amount(one.value, language)
        conf = f"{one.confidence_pct:g}%"
        name = ("预期尾部损失" if zh else "ES") if one.measure == "ES" else "VaR"
        swapped = "VaR" if one.measure == "ES" else ("预期尾部损失" if zh else "ES")
        stressed = ("压力期" if zh else "stressed ") if one.window == "stressed" else ""
        shape = rng.choice(
            ["{d}天{c} {w}{m}为{v} [{id}]。", "{w}{m}（{d}天，置信水平{c}）为{v} [{id}]。"]
            if zh
            else [
                "The {d}-day {c} {w}{m} is {v} [{id}].",
                "{W}{m} over a {d}-day horizon at {c} confidence comes to {v} [{id}].",
                "At {c} and a horizon of {d}d, {w}{m} stands at {v} [{id}].",
            ]
        )
        fill = {"w": stressed, "W": capital(stressed), "id": one.id, "v": value}
        right = {"d": one.horizon_days, "c": conf, "m": name}
        faults = {
            "var_for_es": [shape.format(**fill, **(right | {"m": swapped}))],
            "horizon": [shape.format(**fill, **(right | {"d": 10 if one.horizon_days == 1 else 1}))],
            "confidence": [shape.format(**fill, **(right | {"c": "99%" if one.confidence_pct == 97.5 else "97.5%"}))],
        }
        # the number of another line (10 days, ES) in place of this one's
        for other in lines:
            theirs = amount(other.value, language)
            if other.id != one.id and not tells(theirs, one.value):
                kind = "var_for_es" if other.measure != one.measure else "horizon"
                if kind == "var_for_es" or other.horizon_days != one.horizon_days:
                    faults[kind].append(shape.format(**(fill | {"v": theirs}), **right))
        yield Statement("measure", shape.format(**fill, **right), faults)
        day = rng.choice(
            [case.as_of.isoformat(), f"{case.as_of.year}年{case.as_of.month}月{case.as_of.day}日"]
            if zh
            else [case.as_of.isoformat(), f"{case.as_of.day} {case.as_of:%B} {case.as_of.year}"]
        )
        wrong_day = case.as_of + timedelta(days=rng.choice([-365, -31, -7, -1, 1, 7, 30]))
        wrong = (
            [wrong_day.isoformat(), f"{wrong_day.year}年{wrong_day.month}月{wrong_day.day}日"]
            if zh
            else [wrong_day.isoformat(), f"{wrong_day.day} {wrong_day:%B} {wrong_day.year}"]
        )
        shape = "截至{day}，{w}{m}为{v} [{id}]。" if zh else "As of {day}, {w}{m} is {v} [{id}]."
        fill |= {"m": name}
        # a number that has not moved is true of an earlier day too
        moved = not any(then is not None and tells(value, then) for then in (one.previous, one.five_days_ago))
        faults = {"as_of": [shape.format(day=text, **fill) for text in wrong if moved]}
        yield Statement("as_of", shape.format(day=day, **fill), faults)
        if one.previous and one.previous != one.value:
            yield from _trend_statements(one, name, stressed, case, rng)
        if one.undiversified is not None and not tells(value, one.undiversified):
            gross = amount(one.undiversified, language)
            shape = (
                "未分散的{m}为{g}，分散后为{v} [{id}]。"
                if zh
                else "Undiversified {m} is {g}, against {v} after diversification [{id}]."
            )
            fill |= {"v": value, "g": gross}
            faults = {"gross_for_net": [shape.format(**(fill | {"v": gross, "g": value}))]}
            yield Statement("gross_and_net", shape.format(**fill), faults)
            saved = one.undiversified - one.value
            shape = "分散效应使{m}减少{s} [{id}]。" if zh else "Diversification takes {s} off {m} [{id}]."
            wrong = [shape.format(s=text, **fill) for text in _off(rng, saved, language, "money")]
            text = shape.format(s=amount(saved, language), **fill)
            yield Statement("derivation", text, {"wrong_derivation": wrong})


def _trend_statements(
    one: ValueAtRisk, name: str, stressed: str, case: Case, rng: random.Random
) -> Iterator[Statement]:
    zh, language = case.language == "zh", case.language
    diff = one.value - one.previous
    change = 100 * diff / one.previous
    up, down = rng.choice(
        [("上升", "下降"), ("增加", "减少")]
        if zh
        else [("rose", "fell"), ("increased", "decreased"), ("is up", "is down")]
    )
    word, turned = (up, down) if diff > 0 else (down, up)
    size, rate = amount(abs(diff), language), f"{abs(change):.1f}%"
    shape = (
        "{w}{m}较昨日{word}{s} [{id}]。"
        if zh
        else "{W}{m} {word} by {s} from yesterday [{id}]."
    )  # fmt: skip
    fill = {"w": stressed, "W": capital(stressed), "m": name, "id": one.id}
    ago = one.five_days_ago
    wrong = _off(rng, diff, language, "money", None if ago is None else one.value - ago)
    faults = {
        "wrong_derivation": [shape.format(word=word, s=text, **fill) for text in wrong],
        "reversed_comparison": [shape.format(word=turned, s=size, **fill)],
    }
    if abs(diff) > 1:
        yield Statement("derivation", shape.format(word=word, s=size, **fill), faults)
    if abs(change) >= 0.1:
        off = [100 * diff / one.value, change * 1.3, change * 0.6]
        faults = {
            "wrong_derivation": [
                shape.format(word=word, s=text, **fill)
                for text in (f"{abs(x):.1f}%" for x in off)
                if not tells(text, change)
            ],
            "reversed_comparison": [shape.format(word=turned, s=rate, **fill)],
        }
        yield Statement("derivation", shape.format(word=word, s=rate, **fill), faults)


def _component_statements(case: Case, rng: random.Random) -> Iterator[Statement]:
    zh, language = case.language == "zh", case.language
    for line in case.of_kind(ValueAtRisk):
        own = [one for one in case.of_kind(Component) if one.of == line.id]
        own.sort(key=lambda one: -one.contribution)
        m = ("预期尾部损失" if zh else "ES") if line.measure == "ES" else "VaR"
        if len(own) < 2:
            continue
        first, second = own[:2]
        if second.contribution > 0:
            total, part = first.contribution + second.contribution, first.share_pct + second.share_pct
            shape, fill = (
                ("{a}和{b}合计{word}{s} [{i}] [{j}]。" if zh else "{a} and {b} together {word} {s} [{i}] [{j}]."),
                {"a": first.factor, "b": second.factor, "i": first.id, "j": second.id},
            )
            word = "贡献" if zh else "add"
            wrong = [shape.format(word=word, s=text, **fill) for text in _off(rng, total, language, "money")]
            text = shape.format(word=word, s=amount(total, language), **fill)
            yield Statement("derivation", text, {"wrong_derivation": wrong})
            word = f"占{m}的" if zh else "make up"
            tail = "" if zh else f" of {m}"
            wrong = [
                shape.format(word=word, s=text + tail, **fill)
                for text in (f"{x:.1f}%" for x in (part + rng.uniform(2, 20), part - rng.uniform(2, 20)))
            ]
            text = shape.format(word=word, s=f"{part:.1f}%" + tail, **fill)
            yield Statement("derivation", text, {"wrong_derivation": wrong})
        if first.contribution > 1.02 * max(abs(one.contribution) for one in own[1:]):
            shape = (
                "{f}是{m}的最大来源，为{s} [{id}]。" if zh else "{f} is the largest component of {m}, at {s} [{id}]."
            )
            told = [
                shape.format(f=one.factor, s=amount(abs(one.contribution), language), id=one.id, m=m)
                for one in (first, second)
            ]
            yield Statement("comparison", told[0], {"reversed_comparison": told[1:]})
        for one in own:
            alone, part = one.standalone, amount(abs(one.contribution), language)
            if alone is None or one.contribution <= 0 or tells(part, alone):
                continue
            shape = (
                "{f}单独风险为{g}，在{m}中的贡献为{v} [{id}]。"
                if zh
                else "{f} alone would be {g}; its contribution to {m} is {v} [{id}]."
            )
            fill = {"f": one.factor, "m": m, "id": one.id}
            gross = amount(alone, language)
            faults = {"gross_for_net": [shape.format(g=part, v=gross, **fill)]}
            yield Statement("gross_and_net", shape.format(g=gross, v=part, **fill), faults)


def _other_statements(case: Case, rng: random.Random) -> Iterator[Statement]:
    zh, language = case.language == "zh", case.language
    kinds = {
        "actual": ("actual", "实际"),
        "hypothetical": ("hypothetical", "假设"),
        "risk_theoretical": ("risk-theoretical", "风险理论"),
        "unexplained": ("unexplained", "未解释"),
    }
    for one in case.of_kind(PnL):
        if one.measure not in kinds or abs(one.value) < 1:
            continue
        size = amount(abs(one.value), language)
        shape = "{k}损益为{word}{s} [{id}]。" if zh else "{K} P&L is a {word} of {s} [{id}]."
        fill = {"k": kinds[one.measure][1], "K": capital(kinds[one.measure][0]), "id": one.id, "s": size}
        words = ("盈利", "亏损") if zh else ("gain", "loss")
        right, turned = words if one.value > 0 else words[::-1]
        yield Statement(
            "gain_or_loss", shape.format(word=right, **fill), {"gain_for_loss": [shape.format(word=turned, **fill)]}
        )
    for one in case.of_kind(Stress):
        if abs(one.pnl) < 1:
            continue
        shape = "{n}情景下{word}{s} [{id}]。" if zh else "Under {n} the book {word} {s} [{id}]."
        words = ("盈利", "亏损") if zh else ("gains", "loses")
        right, turned = words if one.pnl > 0 else words[::-1]
        fill = {"n": one.scenario, "s": amount(abs(one.pnl), language), "id": one.id}
        yield Statement(
            "gain_or_loss", shape.format(word=right, **fill), {"gain_for_loss": [shape.format(word=turned, **fill)]}
        )
    worst, lines = rules.worst_stress(case), case.of_kind(ValueAtRisk)
    if worst and worst.pnl < 0 and lines and lines[0].value > 0:
        times = -worst.pnl / lines[0].value
        m = ("预期尾部损失" if zh else "ES") if lines[0].measure == "ES" else "VaR"
        shape = (
            "{n}情景的亏损是{m}的{x}倍 [{i}] [{j}]。"
            if zh
            else "The loss in {n} is {x} times {m} [{i}] [{j}]."
        )  # fmt: skip
        fill = {"n": worst.scenario, "m": m, "i": worst.id, "j": lines[0].id}
        wrong = [f"{x:.1f}" for x in (times * rng.uniform(1.2, 1.9), times / rng.uniform(1.2, 1.9))]
        faults = {"wrong_derivation": [shape.format(x=x, **fill) for x in wrong if x != f"{times:.1f}"]}
        yield Statement("derivation", shape.format(x=f"{times:.1f}", **fill), faults)
    for one in case.of_kind(Counterparty):
        if one.collateral and one.collateral != one.exposure:
            shape = (
                "对{n}的敞口为{e}，担保品为{c} [{id}]。"
                if zh
                else "Exposure to {n} is {e}, with {c} of collateral held [{id}]."
            )
            e, c = amount(one.exposure, language), amount(one.collateral, language)
            fill = {"n": one.name, "id": one.id}
            faults = {"gross_for_net": [shape.format(e=c, c=e, **fill)]}
            yield Statement("gross_and_net", shape.format(e=e, c=c, **fill), faults)
    for one in case.of_kind(Backtest):
        shape = "返回检验{d}天内有{n}次例外 [{id}]。" if zh else "Exceptions of the back-test: {n} in {d} days [{id}]."
        wrong = [shape.format(n=max(0, one.exceptions + k), d=one.days, id=one.id) for k in (-2, -1, 1, 3)]
        text = shape.format(n=one.exceptions, d=one.days, id=one.id)
        yield Statement("count", text, {"count": [two for two in wrong if two != text]})


def statements(case: Case, rng: random.Random) -> list[Statement]:
    """True sentences on a case beyond those of its gold report."""
    makers = (_limit_statements, _var_statements, _component_statements, _other_statements)
    return [one for make in makers for one in make(case, rng)]
