"""Planted faults and harmless edits of gold reports: the truth a benchmark of verification needs.

A gold report says what its case says. An edit changes one thing in it: a *fault* makes one statement false, a
*harmless* edit leaves every statement true. Which of the two it is comes from the fields of the case and never from
the grounding engine, whose words and patterns are not read here: a benchmark must not mirror what it measures.
"""

import random
import re
from collections.abc import Callable, Iterator
from datetime import timedelta
from typing import NamedTuple

from riskscribe import policy as rules
from riskscribe.case import (
    Case,
    Change,
    Component,
    DataQuality,
    Limit,
    Stress,
    ValueAtRisk,
)
from riskscribe.evaluate.statements import (
    SCALES,
    WRITTEN,
    Quantity,
    capital,
    quantities,
    statements,
    tells,
)
from riskscribe.prompt import amount, limit_name, percent, thresholds, utilisation
from riskscribe.report import LEVELS, LimitBreach, Report


class Edit(NamedTuple):
    """One changed report. `before` and `after` are the changed text, or the changed field's value as text."""

    kind: str
    harmless: bool
    path: str
    before: str
    after: str
    report: Report
    why: str


class Gold(NamedTuple):
    """A case and the report that is true of it."""

    case: Case
    report: Report


class Mention(NamedTuple):
    """A number of the prose with the quantity it tells."""

    path: str
    start: int
    end: int
    text: str
    scale: str
    decimals: int
    quantity: Quantity


_ID = re.compile(r"\[([A-Z]+-[A-Z0-9]+)\]")
_ENDS = re.compile(r"(?<=[\]\w%)][.;])\s+|(?<=[。；])")


def sentences(text: str) -> Iterator[tuple[int, int]]:
    """Spans of the sentences of a prose field; a semicolon ends one."""
    start = 0
    for match in _ENDS.finditer(text):
        yield start, match.start()
        start = match.end()
    if start < len(text):
        yield start, len(text)


def _names(case: Case) -> list[str]:
    """Names of this case that may hold digits: they are no numbers."""
    found = {one.factor for one in case.of_kind(Component)} | {one.scenario for one in case.of_kind(Stress)}
    found |= {limit_name(one, case.language) for one in case.of_kind(Limit)}
    found |= {one.scope for one in case.of_kind(Limit)}
    return sorted((one for one in found if any(map(str.isdigit, one))), key=len, reverse=True)


def mentions(gold: Gold) -> list[Mention]:
    """The numbers of a gold report's prose that tell a quantity of the evidence cited in their own sentence."""
    by_id = {one.id: one for one in gold.case.evidence}
    names = _names(gold.case)
    found = []
    for path, text, _ in gold.report.prose():
        masked = _ID.sub(lambda one: "§" * len(one[0]), text)
        for name in names:
            masked = masked.replace(name, "§" * len(name)).replace(name[:1].upper() + name[1:], "§" * len(name))
        for start, end in sentences(text):
            cited = [by_id[name] for name in _ID.findall(text, start, end) if name in by_id]
            own = [one for item in cited for one in quantities(item, gold.case)]
            for match in WRITTEN.finditer(masked, start, end):
                unit = match[3] or ""
                fits = [one for one in own if one.unit == unit and tells(match[0], one.value)]
                if fits and (match[2] or unit):
                    decimals = len(match[1].partition(".")[2])
                    found.append(Mention(path, *match.span(), match[0], match[2] or "", decimals, fits[0]))
    return found


# --- writing a changed report


def _with(report: Report, path: str, text: str) -> Report:
    """The report with one prose field replaced."""
    fields = report.model_dump()
    *parents, last = [int(part) if part.isdigit() else part for part in path.split(".")]
    inner = fields
    for part in parents:
        inner = inner[part]
    inner[last] = text
    return Report.model_validate(fields)


def _prose(report: Report, path: str) -> str:
    return next(text for where, text, _ in report.prose() if where == path)


def _replace(
    gold: Gold, kind: str, path: str, span: tuple[int, int], new: str, why: str, harmless=False
) -> Edit | None:
    text = _prose(gold.report, path)
    after = text[: span[0]] + new + text[span[1] :]
    if after == text:
        return None
    return Edit(kind, harmless, path, text, after, _with(gold.report, path, after), why)


def _add(gold: Gold, kind: str, sentence: str, why: str, harmless=False) -> Edit:
    """The report with one more sentence at the end of its summary."""
    text = gold.report.summary
    after = text + ("" if gold.case.language == "zh" else " ") + sentence
    return Edit(kind, harmless, "summary", text, after, _with(gold.report, "summary", after), why)


def _pick(rng: random.Random, found: list):
    return rng.choice(found) if found else None


# --- faults in the gold report's own words


def _renumbered(gold: Gold, rng: random.Random, kind: str, change: Callable[[Mention], str | None]) -> Edit | None:
    """Another number in place of one; None where it would still be true."""
    one = _pick(rng, mentions(gold))
    new = change(one) if one else None
    if new is None or (WRITTEN.fullmatch(new) and WRITTEN.fullmatch(new)[3] == WRITTEN.fullmatch(one.text)[3]
                       and tells(new, one.quantity.value)):  # fmt: skip
        return None
    why = f"{one.quantity.id} {one.quantity.name} is {one.quantity.value:,.6g}{one.quantity.unit}, written {new}"
    return _replace(gold, kind, one.path, (one.start, one.end), new, why)


def digit(gold: Gold, rng: random.Random) -> Edit | None:
    """One digit is another one."""

    def change(one: Mention) -> str:
        places = [i for i, char in enumerate(one.text) if char.isdigit()]
        i = rng.choice(places)
        first = i == places[0]
        other = rng.choice([char for char in "123456789" if char != one.text[i]] + ([] if first else ["0"]))
        return one.text[:i] + other + one.text[i + 1 :]

    return _renumbered(gold, rng, "digit", change)


def scale(gold: Gold, rng: random.Random) -> Edit | None:
    """k for m, m for bn, 万 for 亿, or the other way."""
    swaps = {"k": ["m"], "m": ["k", "bn"], "bn": ["m"], "万": ["亿"], "亿": ["万"]}

    def change(one: Mention) -> str | None:
        other = _pick(rng, swaps.get(one.scale, []))
        return other and one.text.replace(one.scale, other)

    return _renumbered(gold, rng, "scale", change)


SAYS_MINUS = re.compile(
    r"(?:\b(?:los(?:es|ing|e)|cuts?|hedges|offsets|mitigates|lowers|reduces|loss of|drop of|by)"
    r"|亏损|下降|减少|抵减|压低|对冲)\s?$"
)


def sign(gold: Gold, rng: random.Random) -> Edit | None:
    """A minus before a number whose sentence gives its sign in words, or that cannot be negative."""

    def change(one: Mention) -> str | None:
        # a negative number may be told with its own sign ("a hedge of -1.4m", "the largest stress loss: -6.2m"): that
        # is false only behind a verb that says the minus already
        before = _prose(gold.report, one.path)[: one.start]
        own = one.quantity.value < 0 and not SAYS_MINUS.search(before)
        return None if own or not one.quantity.value else rng.choice("-−") + one.text

    return _renumbered(gold, rng, "sign", change)


def unit(gold: Gold, rng: random.Random) -> Edit | None:
    """bp for %, /vol for /bp and the other way, or % for an amount."""
    zh = gold.case.language == "zh"

    def change(one: Mention) -> str:
        match one.quantity.unit:
            case "%":
                return one.text.rstrip("%") + rng.choice(["个基点", "bp"] if zh else [" bp", "bp", " basis points"])
            case "/bp":
                return one.text.replace("/bp", "/vol")
            case "/vol":
                return one.text.replace("/vol", "/bp")
            case _:
                digits = WRITTEN.fullmatch(one.text)[1]
                return digits + rng.choice(["%", "/bp"])

    return _renumbered(gold, rng, "unit", change)


def currency(gold: Gold, rng: random.Random) -> Edit | None:
    """An amount in a currency that is not its own."""
    zh = gold.case.language == "zh"
    own = {one.id: getattr(one, "currency", gold.case.base_currency) for one in gold.case.evidence}
    words = {"EUR": ("€", "欧元"), "GBP": ("£", "英镑"), "JPY": ("JPY ", "日元"), "CNY": ("CNY ", "人民币"),
             "USD": ("$", "美元"), "HKD": ("HK$", "港元")}  # fmt: skip

    def change(one: Mention) -> str | None:
        if one.quantity.unit or not one.scale:
            return None
        code = rng.choice([name for name in words if name != own[one.quantity.id]])
        if zh:
            return rng.choice([one.text + words[code][1], f"{code} {one.text}"])
        return rng.choice([words[code][0], code + " "]) + one.text

    return _renumbered(gold, rng, "currency", change)


def stale(gold: Gold, rng: random.Random) -> Edit | None:
    """Yesterday's number where today's belongs."""
    by_id = {one.id: one for one in gold.case.evidence}
    found = []
    for one in mentions(gold):
        item, now = by_id[one.quantity.id], one.quantity
        before = getattr(item, "previous", None)
        if before is None or isinstance(item, Component):
            continue
        if now.name in ("value", "pnl"):
            new = amount(abs(before), gold.case.language, unit=getattr(item, "unit", "money"))
        elif now.name == "utilisation":
            new = percent(rules.utilisation_pct(item.model_copy(update={"value": before})))
        else:
            continue
        if not tells(new, now.value):
            found.append((one, new))
    if not found:
        return None
    one, new = rng.choice(found)
    why = f"{one.quantity.id} {one.quantity.name} is {one.text} today; {new} was yesterday's"
    return _replace(gold, "stale", one.path, (one.start, one.end), new, why)


def swapped_id(gold: Gold, rng: random.Random) -> Edit | None:
    """A number beside the id of another line of the same kind, whose numbers it is not."""
    by_id = {one.id: one for one in gold.case.evidence}
    found = []
    for one in mentions(gold):
        text = _prose(gold.report, one.path)
        start, end = next(span for span in sentences(text) if span[0] <= one.start < span[1])
        places = [match for match in _ID.finditer(text, start, end) if match[1] == one.quantity.id]
        for other in gold.case.evidence:
            if other.kind != by_id[one.quantity.id].kind or other.id == one.quantity.id:
                continue
            told = [two for two in quantities(other, gold.case) if two.unit == one.quantity.unit]
            if places and not any(tells(one.text, two.value) for two in told):
                found.append((one, places[0], other.id))
    if not found:
        return None
    one, place, other = rng.choice(found)
    return _replace(gold, "swapped_id", one.path, place.span(1), other, f"{one.text} is of {one.quantity.id}")


def swapped_name(gold: Gold, rng: random.Random) -> Edit | None:
    """A factor, a limit or a scenario of the case under another one's name."""
    case, language = gold.case, gold.case.language
    by_id = {one.id: one for one in case.evidence}
    groups = {
        Component: {one.id: one.factor for one in case.of_kind(Component)},
        Limit: {one.id: limit_name(one, language) for one in case.of_kind(Limit)},
        Stress: {one.id: one.scenario for one in case.of_kind(Stress)},
    }
    found = []
    for one in mentions(gold):
        names = groups.get(type(by_id[one.quantity.id]))
        if names is None:
            continue
        own = names[one.quantity.id]
        text = _prose(gold.report, one.path)
        start, end = next(span for span in sentences(text) if span[0] <= one.start < span[1])
        at = text.lower().find(own.lower(), start, end)
        for other in sorted(set(names.values())):
            # "book delta" inside "book delta hedge" would not be another name
            if at >= 0 and own.lower() not in other.lower() and other.lower() not in own.lower():
                new = capital(other) if text[at].isupper() and language == "en" else other
                found.append((one, (at, at + len(own)), new))
    if not found:
        return None
    one, span, new = rng.choice(found)
    return _replace(gold, "swapped_name", one.path, span, new, f"{one.quantity.id} is not {new}")


_INVENTED = {
    "en": ["Euro break-up type", "Dollar funding squeeze", "Cyber outage type", "Property crash type",
           "Emerging-market stop", "Taiwan strait type", "Bank run type", "Carbon tax shock"],
    "zh": ["欧元区解体型", "美元流动性枯竭", "网络中断型", "房地产崩盘型", "新兴市场骤停", "银行挤兑型", "碳税冲击"],
}  # fmt: skip


def invented_scenario(gold: Gold, rng: random.Random) -> Edit | None:
    """A scenario the case does not have: in place of a real one, or in a sentence of its own."""
    case, language = gold.case, gold.case.language
    name = rng.choice(_INVENTED[language])
    scenarios = case.of_kind(Stress)
    if not scenarios or any(name == one.scenario for one in scenarios):
        return None
    if rng.random() < 0.5:
        for path, text, _ in gold.report.prose():
            told = [one for one in scenarios if f"[{one.id}]" in text and one.scenario in text]
            if told:
                at = text.index(told[0].scenario)
                why = f"the case has no scenario {name}"
                return _replace(gold, "invented_scenario", path, (at, at + len(told[0].scenario)), name, why)
        return None
    size = amount(abs(rng.choice(scenarios).pnl) * rng.uniform(0.3, 0.9), language)
    if any(tells(size, two.value) for one in case.evidence for two in quantities(one, case) if not two.unit):
        return None
    cited = f" [{rng.choice(scenarios).id}]" if rng.random() < 0.5 else ""
    texts = {
        "en": [f"Under {name} the book would lose {size}{cited}.", f"{name} costs a further {size}{cited}."],
        "zh": [f"在{name}情景下亏损{size}{cited}。", f"{name}情景另亏损{size}{cited}。"],
    }
    return _add(gold, "invented_scenario", rng.choice(texts[language]), f"the case has no scenario {name}")


_OPPOSITES = {
    "en": [
        ("rose to", "fell to"), ("rose from", "fell from"), ("so it rose", "so it fell"), ("is up at", "is down at"),
        ("increased from", "decreased from"), ("went up to", "went down to"), ("climbed from", "dropped from"),
        ("above yesterday", "below yesterday"), ("is higher at", "is lower at"), ("raised it by", "lowered it by"),
        ("added", "cut"), ("brought it up by", "brought it down by"), ("increased it by", "reduced it by"),
        ("raises VaR by", "lowers VaR by"), ("over hard", "within hard"), ("exceeds hard", "is within hard"),
        ("is over its limit", "is within its limit"), ("breaches its limit", "is within its limit"),
        ("is in breach", "is within its limit"), ("is the highest use", "is the lowest use"),
        ("is highest at", "is lowest at"), ("the highest use is", "the lowest use is"),
        ("the worst stress", "the mildest stress"), ("adds", "offsets"),
    ],
    "zh": [
        ("升至", "降至"), ("上升", "下降"), ("增至", "减至"), ("高于昨日", "低于昨日"), ("使其增加", "使其减少"),
        ("推高", "压低"), ("突破硬限", "低于硬限"), ("突破限额", "未突破限额"), ("已超限", "未超限"),
        ("超出硬限", "低于硬限"), ("最高", "最低"), ("最差", "最好"), ("使VaR增加", "使VaR减少"),
    ],
}  # fmt: skip


def _reversed_word(
    gold: Gold, rng: random.Random, kind: str, pairs: list[tuple[str, str]], paths: tuple
) -> Edit | None:
    turns = [*pairs, *((b, a) for a, b in pairs)]
    found = []
    for path, text, _ in gold.report.prose():
        if not path.startswith(paths):
            continue
        for word, other in turns:
            pattern = re.escape(word) if gold.case.language == "zh" else rf"\b{re.escape(word)}\b"
            # 未突破硬限 holds 突破硬限, but says the opposite already
            found += [
                (path, match.span(), word, capital(other) if match[0][0].isupper() else other)
                for match in re.finditer(pattern, text, re.IGNORECASE)
                if text[match.start() - 1 : match.start()] not in ("未", "无", "没")
            ]
    if not found:
        return None
    path, span, word, other = rng.choice(found)
    return _replace(gold, kind, path, span, other, f"it is {word!r}, not {other!r}")


def reversed_comparison(gold: Gold, rng: random.Random) -> Edit | None:
    """Up for down, over for within, highest for lowest."""
    if rng.random() < 0.5:
        return _false_twin(gold, rng, "reversed_comparison")
    pairs = _OPPOSITES[gold.case.language]
    return _reversed_word(gold, rng, "reversed_comparison", pairs, ("summary", "key_drivers"))


def gain_for_loss(gold: Gold, rng: random.Random) -> Edit | None:
    """A loss told as a gain, or the other way."""
    if rng.random() < 0.4:
        return _false_twin(gold, rng, "gain_for_loss")
    pairs = {
        "en": [("loses", "gains"), ("losing", "gaining"), ("would lose", "would gain"), ("a loss of", "a gain of")],
        "zh": [("亏损", "盈利"), ("亏损", "收益")],
    }[gold.case.language]
    worst = rules.worst_stress(gold.case)
    text = gold.report.summary
    places = [
        (match.span(), other)
        for start, end in sentences(text)
        if worst and worst.pnl < 0 and worst.id in _ID.findall(text, start, end)
        for word, other in pairs
        for match in re.compile(word).finditer(text, start, end)
    ]
    if not places:
        return None
    span, other = rng.choice(places)
    return _replace(gold, "gain_for_loss", "summary", span, other, f"{worst.id} is a loss of {-worst.pnl:,.0f}")


def measure(gold: Gold, rng: random.Random) -> Edit | None:
    """ES where it is VaR, or VaR where it is ES."""
    if rng.random() < 0.5:
        return _false_twin(gold, rng, "var_for_es")
    by_id = {one.id: one for one in gold.case.evidence}
    words = {"en": ["ES", "expected shortfall"], "zh": ["预期尾部损失", "ES"]}[gold.case.language]
    found = []
    for one in mentions(gold):
        item = by_id[one.quantity.id]
        if isinstance(item, ValueAtRisk) and item.measure == "VaR":
            text = _prose(gold.report, one.path)
            start, end = next(span for span in sentences(text) if span[0] <= one.start < span[1])
            at = text.find("VaR", start, end)
            if at >= 0:
                found.append((one, at))
    if not found:
        return None
    one, at = rng.choice(found)
    new = rng.choice(words)
    return _replace(gold, "var_for_es", one.path, (at, at + 3), capital(new), f"{one.quantity.id} is VaR")


def horizon(gold: Gold, rng: random.Random) -> Edit | None:
    """10 days for 1 day, or the other way."""
    found = []
    for path, text, _ in gold.report.prose():
        found += [(path, one.span(1), one[1]) for one in re.finditer(r"(?<![\d.])(1|10)(?:-day|天) ?(?=VaR|\d)", text)]
    if not found or rng.random() < 0.5:
        return _false_twin(gold, rng, "horizon")
    path, span, days = rng.choice(found)
    return _replace(gold, "horizon", path, span, "10" if days == "1" else "1", f"the horizon is {days} days")


def confidence(gold: Gold, rng: random.Random) -> Edit | None:
    """97.5 % for 99 %, or the other way."""
    found = []
    for path, text, _ in gold.report.prose():
        found += [(path, one.span()) for one in re.finditer(r"(?<![\d.])99%(?= VaR| confidence|下)", text)]
    if not found or rng.random() < 0.5:
        return _false_twin(gold, rng, "confidence")
    path, span = rng.choice(found)
    return _replace(gold, "confidence", path, span, rng.choice(["97.5%", "95%"]), "the confidence is 99 %")


def points(gold: Gold, rng: random.Random) -> Edit | None:
    """Percentage points where it is per cent, or per cent where it is points."""
    if rng.random() < 0.5:
        return _false_twin(gold, rng, "percent_for_points")
    word = "个百分点" if gold.case.language == "zh" else " percentage points"
    shares = [one for one in mentions(gold) if one.quantity.unit == "%" and one.quantity.name != "coverage"]
    one = _pick(rng, shares)
    if one is None:
        return None
    new = one.text.rstrip("%") + word
    return _replace(gold, "percent_for_points", one.path, (one.start, one.end), new, "a share is no difference")


def expiry(gold: Gold, rng: random.Random) -> Edit | None:
    """An approval that expires on another date."""
    dates = {one.temporary_increase.expires for one in gold.case.of_kind(Limit) if one.temporary_increase}
    for path, text, _ in gold.report.prose():
        for date in dates:
            at = text.find(date.isoformat())
            new = date + timedelta(days=rng.choice([-30, -7, -1, 1, 7, 10, 31, 365]))
            if at >= 0 and new not in dates:
                span = (at, at + 10)
                return _replace(gold, "expiry", path, span, new.isoformat(), f"the approval expires {date}")
    return None


# --- faults in the structured fields


def _field(gold: Gold, kind: str, path: str, why: str, **changes) -> Edit:
    before = ", ".join(str(getattr(gold.report, name)) for name in changes)
    after = ", ".join(str(value) for value in changes.values())
    return Edit(kind, False, path, before, after, gold.report.model_copy(update=changes), why)


def understated(gold: Gold, rng: random.Random) -> Edit | None:
    """A level below the policy's."""
    official = rules.assess(gold.case).risk_level
    lower = LEVELS[: LEVELS.index(official)]
    return (
        _field(gold, "understated", "risk_level", f"it is {official}", risk_level=rng.choice(lower)) if lower else None
    )


def overstated(gold: Gold, rng: random.Random) -> Edit | None:
    """A level above the policy's."""
    official = rules.assess(gold.case).risk_level
    higher = LEVELS[LEVELS.index(official) + 1 :]
    return (
        _field(gold, "overstated", "risk_level", f"it is {official}", risk_level=rng.choice(higher))
        if higher
        else None
    )


def level_in_prose(gold: Gold, rng: random.Random) -> Edit | None:
    """A summary whose level is not the report's."""
    text, level = gold.report.summary, gold.report.risk_level
    if gold.case.language == "en":
        words = dict(zip(LEVELS, LEVELS, strict=True))
        pattern = rf"\b{level}\b"
    else:
        words = {"low": "低", "moderate": "中等", "high": "高", "critical": "严重"}
        pattern = rf"(?:(?<=风险等级)|(?<=等级为)|(?<=定为)|(?<=评为)){words[level]}|{words[level]}(?=风险：)"
    places = [one.span() for one in re.finditer(pattern, text)]
    if not places:
        return None
    other = words[rng.choice([one for one in LEVELS if one != level])]
    return _replace(gold, "level_in_prose", "summary", places[0], other, f"the level is {level}")


def dropped_breach(gold: Gold, rng: random.Random) -> Edit | None:
    """One limit at or above soft is left out."""
    listed = gold.report.limit_breaches
    if not listed:
        return None
    gone = rng.choice(listed)
    kept = [one for one in listed if one is not gone]
    return _field(gold, "dropped_breach", "limit_breaches", f"{gone.limit_id} is {gone.status}", limit_breaches=kept)


def invented_breach(gold: Gold, rng: random.Random) -> Edit | None:
    """A limit below soft is listed."""
    calm = [one for one in gold.case.of_kind(Limit) if rules.limit_status(gold.case, one) == "within"]
    if not calm:
        return None
    one = rng.choice(calm)
    new = LimitBreach(
        limit_id=one.id,
        status=rng.choice(["warning", "breach"]),
        utilisation_pct=float(utilisation(rules.utilisation_pct(one)).rstrip("%")),
        evidence=[one.id],
    )
    listed = [*gold.report.limit_breaches, new]
    return _field(gold, "invented_breach", "limit_breaches", f"{one.id} is within its limit", limit_breaches=listed)


def wrong_status(gold: Gold, rng: random.Random) -> Edit | None:
    """A warning for a breach, an approval where there is none, and the like."""
    listed = gold.report.limit_breaches
    if not listed:
        return None
    i = rng.randrange(len(listed))
    others = [
        one for one in ("warning", "breach", "breach_within_approved_excess", "unconfirmed") if one != listed[i].status
    ]
    changed = [*listed]
    changed[i] = listed[i].model_copy(update={"status": rng.choice(others)})
    why = f"{listed[i].limit_id} is {listed[i].status}"
    return _field(gold, "wrong_status", f"limit_breaches.{i}.status", why, limit_breaches=changed)


def omitted_data_quality(gold: Gold, rng: random.Random) -> Edit | None:
    """A material flag that no limitation cites any more."""
    flags = [one.id for one in gold.case.of_kind(DataQuality) if one.material]
    gone = [text for text in gold.report.limitations if any(f"[{name}]" in text for name in flags)]
    if not gone:
        return None
    text = rng.choice(gone)
    kept = [one for one in gold.report.limitations if one != text]
    return _field(gold, "omitted_data_quality", "limitations", f"missing: {text}", limitations=kept)


def _false_twin(gold: Gold, rng: random.Random, kind: str) -> Edit | None:
    found = [(one, two) for one in statements(gold.case, rng) for two in one.faults.get(kind, []) if two != one.text]
    if not found:
        return None
    one, false = rng.choice(found)
    return _add(gold, kind, false, f"true is: {one.text}")


def _true_statement(gold: Gold, rng: random.Random, kind: str) -> Edit | None:
    one = _pick(rng, [one for one in statements(gold.case, rng) if one.kind == kind])
    return one and _add(gold, kind, one.text, "true of the case", harmless=True)


def _twin_fault(kind: str) -> Callable[[Gold, random.Random], Edit | None]:
    return lambda gold, rng: _false_twin(gold, rng, kind)


FAULTS: dict[str, Callable[[Gold, random.Random], Edit | None]] = {
    "digit": digit,
    "scale": scale,
    "sign": sign,
    "unit": unit,
    "currency": currency,
    "swapped_id": swapped_id,
    "swapped_name": swapped_name,
    "stale": stale,
    "wrong_derivation": _twin_fault("wrong_derivation"),
    "invented_scenario": invented_scenario,
    "understated": understated,
    "overstated": overstated,
    "level_in_prose": level_in_prose,
    "dropped_breach": dropped_breach,
    "invented_breach": invented_breach,
    "wrong_status": wrong_status,
    "reversed_comparison": reversed_comparison,
    "limit_usage_swapped": _twin_fault("limit_usage_swapped"),
    "var_for_es": measure,
    "horizon": horizon,
    "confidence": confidence,
    "as_of": _twin_fault("as_of"),
    "expiry": expiry,
    "gain_for_loss": gain_for_loss,
    "percent_for_points": points,
    "gross_for_net": _twin_fault("gross_for_net"),
    "count": _twin_fault("count"),
    "omitted_data_quality": omitted_data_quality,
}


# --- harmless edits


def _rewritten(gold: Gold, rng: random.Random, kind: str, write: Callable[[Mention], str | None]) -> Edit | None:
    one = _pick(rng, mentions(gold))
    new = write(one) if one else None
    if new is None or new == one.text:
        return None
    why = f"{one.quantity.id} {one.quantity.name} is {one.quantity.value:,.6g}{one.quantity.unit}, as {new}"
    return _replace(gold, kind, one.path, (one.start, one.end), new, why, harmless=True)


def _keeps_order(gold: Gold, one: Mention, shown: float) -> bool:
    """Whether a rounded number stays on its side of every other number it may be compared with."""
    item = next(two for two in gold.case.evidence if two.id == one.quantity.id)
    value = abs(one.quantity.value)
    others = [abs(two.value) for two in quantities(item, gold.case) if two.unit == one.quantity.unit]
    others += list(thresholds()) if one.quantity.unit == "%" else []
    return all(
        (shown > other) - (shown < other) == (value > other) - (value < other) for other in others if other != value
    )


def _rounded(gold: Gold, one: Mention) -> str | None:
    """The true value with one decimal less."""
    if one.decimals == 0:
        return None
    factor = SCALES[one.scale]
    digits = f"{abs(one.quantity.value) / factor:.{one.decimals - 1}f}"
    # a value on the edge of two roundings: binary arithmetic would choose
    if abs(abs(float(digits) * factor - abs(one.quantity.value)) * 2 * 10 ** (one.decimals - 1) / factor - 1) < 1e-6:
        return None
    if len(digits.replace(".", "").lstrip("0")) < 2 or not _keeps_order(gold, one, float(digits) * factor):
        return None
    return digits + one.scale + one.quantity.unit


def rounding(gold: Gold, rng: random.Random) -> Edit | None:
    """6.25m as 6.3m."""
    return _rewritten(gold, rng, "rounding", lambda one: _rounded(gold, one))


def about(gold: Gold, rng: random.Random) -> Edit | None:
    """A rounded number with the word that says so."""
    words = {"en": ["about ", "around ", "roughly ", "some "], "zh": ["约", "大约"]}[gold.case.language]

    def write(one: Mention) -> str | None:
        text, before = _rounded(gold, one), _prose(gold.report, one.path)[: one.start]
        if text is None or before.endswith(("about ", "yesterday's ", "indicative ")):
            return None
        return rng.choice(words) + text

    return _rewritten(gold, rng, "about", write)


def rescaling(gold: Gold, rng: random.Random) -> Edit | None:
    """6.25m as 6,254k, 1.86亿 as 18,613万, and the other way: the true value at another scale."""
    smaller = {"bn": ("m", 1), "m": ("k", 0), "亿": ("万", 0)}
    larger = {"k": ("m", 4), "m": ("bn", 5), "万": ("亿", 5)}

    def write(one: Mention) -> str | None:
        turn = _pick(rng, [table[one.scale] for table in (smaller, larger) if one.scale in table])
        if turn is None:
            return None
        scale_name, decimals = turn
        shown = abs(one.quantity.value) / SCALES[scale_name]
        digits = f"{shown:,.{decimals}f}"
        if shown < 0.001 or not _keeps_order(gold, one, float(digits.replace(",", "")) * SCALES[scale_name]):
            return None
        return digits + scale_name + one.quantity.unit

    return _rewritten(gold, rng, "rescaling", write)


_WIDE = str.maketrans("0123456789.%,", "０１２３４５６７８９．％，")


def full_width(gold: Gold, rng: random.Random) -> Edit | None:
    """Full-width digits and signs."""
    return _rewritten(gold, rng, "full_width", lambda one: one.text.translate(_WIDE))


def full_amount(gold: Gold, rng: random.Random) -> Edit | None:
    """The whole amount with thousands separators: 6,254,318."""

    def write(one: Mention) -> str | None:
        if one.quantity.unit == "%" or not one.scale:
            return None
        if not _keeps_order(gold, one, float(f"{abs(one.quantity.value):.0f}")):
            return None
        return f"{abs(one.quantity.value):,.0f}{one.quantity.unit}"

    return _rewritten(gold, rng, "full_amount", write)


def named_currency(gold: Gold, rng: random.Random) -> Edit | None:
    """An amount with its own currency: USD 6.25m, $6.25m, 625.4万美元."""
    zh = gold.case.language == "zh"
    own = {one.id: getattr(one, "currency", gold.case.base_currency) for one in gold.case.evidence}
    signs = {"USD": ("$", "美元"), "EUR": ("€", "欧元"), "GBP": ("£", "英镑")}

    def write(one: Mention) -> str | None:
        code = own[one.quantity.id]
        if one.quantity.unit or not one.scale or code not in signs:
            return None
        if zh:
            return rng.choice([one.text + signs[code][1], f"{code} {one.text}"])
        return rng.choice([signs[code][0] + one.text, f"{code} {one.text}", f"{one.text} {code}"])

    return _rewritten(gold, rng, "named_currency", write)


def spelled_unit(gold: Gold, rng: random.Random) -> Edit | None:
    """Scale and unit as words: 6.25 million, 78.5 per cent, 百分之78.5."""
    zh = gold.case.language == "zh"
    words = {"bn": [" billion", " bn"], "m": [" million", " mn", "mm", " m"], "k": [" thousand", " k", "K"],
             "万": [" 万"], "亿": [" 亿"]}  # fmt: skip

    def write(one: Mention) -> str | None:
        digits = WRITTEN.fullmatch(one.text)[1]
        if one.quantity.unit == "%":
            return f"百分之{digits}" if zh else digits + rng.choice([" percent", " per cent", " %", " pct"])
        if one.quantity.unit or not one.scale:
            return None
        return digits + rng.choice(words[one.scale])

    return _rewritten(gold, rng, "spelled_unit", write)


def other_language(gold: Gold, rng: random.Random) -> Edit | None:
    """Chinese scales in English reports, English ones and 百万 in Chinese reports."""

    def write(one: Mention) -> str | None:
        value = abs(one.quantity.value)
        if one.quantity.unit or not one.scale:
            return None
        if gold.case.language == "zh":
            if value >= 1e7:
                return rng.choice([f"{value / 1e6:.2f}百万", f"{value / 1e6:.3f}m"])
            return rng.choice([f"{value / 1e3:,.1f}k", f"{value / 1e6:.4f}m"])
        return f"{value / 1e4:,.2f}万" if value < 1e8 else f"{value / 1e8:.4f}亿"

    def kept(one: Mention) -> str | None:
        text = write(one)
        if text is None:
            return None
        number, word = re.fullmatch(r"([\d.,]+)(\D+)", text).groups()
        shown = float(number.replace(",", "")) * (SCALES | {"百万": 1e6})[word]
        return text if _keeps_order(gold, one, shown) else None

    return _rewritten(gold, rng, "other_language", kept)


# sentences that lean on the one before them cannot move
_LEANS = re.compile(r"\b[Ii]t\b|\bits\b|\bthis\b|\b[Tt]hat\b|该|此|其|这")


def reordered(gold: Gold, rng: random.Random) -> Edit | None:
    """Two sentences of the summary exchanged."""
    text = gold.report.summary
    spans = [text[start:end] for start, end in sentences(text)]
    steps = {one.id for one in gold.case.of_kind(Change)}
    free = [
        i
        for i, one in enumerate(spans)
        if one.endswith((".", "。")) and not _LEANS.search(one) and not steps & set(_ID.findall(one))
        and (i == 0 or spans[i - 1].endswith((".", "。")))
    ]  # fmt: skip
    if len(free) < 2:
        return None
    i, j = sorted(rng.sample(free, 2))
    # a step of the bridge follows the VaR it is of
    if any(steps & set(_ID.findall(one)) for one in spans[i : j + 1]):
        return None
    if any(steps & set(_ID.findall(one)) for one in spans[j + 1 : j + 2]):
        return None
    spans[i], spans[j] = spans[j], spans[i]
    after = ("" if gold.case.language == "zh" else " ").join(spans)
    why = "the same sentences in another order"
    return Edit("reordered", True, "summary", text, after, _with(gold.report, "summary", after), why)


def moved_citation(gold: Gold, rng: random.Random) -> Edit | None:
    """The one id of a sentence moved to its beginning, or to just behind its first number."""
    found = []
    for path, text, _ in gold.report.prose():
        for start, end in sentences(text):
            ids = list(_ID.finditer(text, start, end))
            told = [one for one in mentions(gold) if one.path == path and start <= one.start < end]
            if len(ids) == 1 and told and all(one.end <= ids[0].start() for one in told):
                found.append((path, text, start, end, ids[0], told))
    if not found:
        return None
    path, text, start, end, one, told = rng.choice(found)
    without = text[start : one.start()].rstrip() + text[one.end() : end]
    if rng.random() < 0.5:
        new = f"[{one[1]}] {without}"
    else:
        at = told[0].end - start
        new = f"{without[:at]} [{one[1]}]{without[at:]}"
    return _replace(gold, "moved_citation", path, (start, end), new, "the same citation elsewhere", harmless=True)


_SYNONYMS = {
    "en": [
        ("VaR rose to", "VaR climbed to"), ("VaR fell to", "VaR declined to"), ("increased from", "advanced from"),
        ("decreased from", "slid from"), ("climbed from", "moved up from"), ("dropped from", "eased from"),
        ("rose from", "grew from"), ("fell from", "came down from"), ("is up at", "has gone up, at"),
        ("is down at", "has gone down, at"), ("would lose", "would suffer a loss of"), ("loses", "is down by"),
        ("over hard", "above hard"), ("exceeds hard", "is in excess of hard"), ("is higher at", "is greater at"),
        ("is lower at", "is smaller at"), ("raised it by", "pushed it up by"), ("lowered it by", "brought it down by"),
        ("adds", "contributes"), ("offsets", "takes off"), ("the highest use", "the largest use"),
    ],
    "zh": [
        ("升至", "攀升至"), ("降至", "回落至"), ("增至", "上升至"), ("减至", "下降至"), ("高于昨日", "大于昨日"),
        ("低于昨日", "小于昨日"), ("亏损", "损失"), ("突破硬限", "超过硬限"), ("使其增加", "使其上升"),
        ("使其减少", "使其下降"), ("带来", "贡献"), ("上升到", "上涨到"), ("下降到", "回落到"), ("占比", "比重为"),
    ],
}  # fmt: skip


def synonym(gold: Gold, rng: random.Random) -> Edit | None:
    """Another word for the same comparison."""
    found = []
    for path, text, _ in gold.report.prose():
        if path.startswith(("summary", "key_drivers")):
            found += [
                (path, match.span(), new)
                for word, new in _SYNONYMS[gold.case.language]
                for match in re.finditer(re.escape(word), text)
                if text[match.start() - 1 : match.start()] not in ("未", "无", "没")
            ]
    if not found:
        return None
    path, span, new = rng.choice(found)
    return _replace(gold, "synonym", path, span, new, "the same in other words", harmless=True)


def reordered_lists(gold: Gold, rng: random.Random) -> Edit | None:
    """Limitations in another order."""
    listed = list(gold.report.limitations)
    if len(listed) < 2:
        return None
    changed = listed[1:] + listed[:1]
    report = gold.report.model_copy(update={"limitations": changed})
    return Edit("reordered_lists", True, "limitations", str(listed), str(changed), report, "the same, reordered")


def _statement_kind(kind: str) -> Callable[[Gold, random.Random], Edit | None]:
    return lambda gold, rng: _true_statement(gold, rng, kind)


HARMLESS: dict[str, Callable[[Gold, random.Random], Edit | None]] = {
    "rounding": rounding,
    "about": about,
    "rescaling": rescaling,
    "full_width": full_width,
    "full_amount": full_amount,
    "named_currency": named_currency,
    "spelled_unit": spelled_unit,
    "other_language": other_language,
    "reordered": reordered,
    "reordered_lists": reordered_lists,
    "moved_citation": moved_citation,
    "synonym": synonym,
    "derivation": _statement_kind("derivation"),
    "comparison": _statement_kind("comparison"),
    "limit_and_use": _statement_kind("limit_and_use"),
    "measure": _statement_kind("measure"),
    "as_of_right": _statement_kind("as_of"),
    "gain_or_loss": _statement_kind("gain_or_loss"),
    "points": _statement_kind("points"),
    "gross_and_net": _statement_kind("gross_and_net"),
    "count_right": _statement_kind("count"),
}


def draw(golds: list[Gold], kind: str, harmless: bool, count: int, seed: int) -> tuple[list[tuple[Gold, Edit]], int]:
    """`count` edits of one kind from one language's reports, spread over the reports; and the tries in vain.

    The same seed gives the same edits. Fewer where the reports do not give as many distinct ones.
    """
    make = (HARMLESS if harmless else FAULTS)[kind]
    rng = random.Random(f"{seed}/{kind}/{harmless}")
    found: dict[tuple[str, str, str], tuple[Gold, Edit]] = {}
    skipped = 0
    for _ in range(6):
        for gold in rng.sample(golds, len(golds)):
            if len(found) >= count:
                return list(found.values()), skipped
            edit = make(gold, rng)
            key = edit and (gold.case.case_id, edit.path, edit.after)
            if edit is None or key in found:
                skipped += 1
            else:
                found[key] = (gold, edit._replace(kind=kind))
    return list(found.values()), skipped
