"""Generated books: trades of a desk, limits set so that a wanted level is reached, and a case for every date of a run.

A book lives for a run of consecutive trading days: trades enter and mature, quotes go stale, the market moves. Each
case shows yesterday beside today, and for VaR, the worst stress and the limits in heavy use the bridge between them.
"""

import random
import string
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from datetime import date, timedelta
from importlib import metadata

import numpy as np

from riskscribe import policy as rules
from riskscribe.case import (
    Authority,
    Backtest,
    Case,
    Cause,
    Change,
    Component,
    Counterparty,
    DataQuality,
    Engine,
    Evidence,
    Language,
    Limit,
    PnL,
    Position,
    Sensitivity,
    Source,
    Stress,
    TemporaryIncrease,
    Unit,
    ValueAtRisk,
)
from riskscribe.data import history as market
from riskscribe.data import risk
from riskscribe.data.faults import applicable, apply
from riskscribe.data.notes import NoteTruth, kinds_possible
from riskscribe.data.notes import write as write_note
from riskscribe.data.pricing import Trade
from riskscribe.data.risk import View
from riskscribe.prompt import BUMPS
from riskscribe.report import Level

DESKS = ("equity", "rates", "FX", "commodity", "credit", "mixed")
SIZES = {"compact": (3, 4), "usual": (5, 9), "long": (13, 25)}
# instrument and limit combinations that training and validation never see
HELD_OUT = (("barrier", "vega"), ("cds", "jump_to_default"))
_HELD_WORDS = {"barrier": ("down-and-in", "向下敲入"), "cds": (" CDS",)}
# what a book may be made to show beside its level, and the slice its cases then belong to
FEATURES = {
    "raw": "raw",
    "gains only": "gain-only stress",
    "approved": "approved excess",
    "passive": "passive breach",
    "boundary": "boundary",
    "side effect": "hedge worsens another limit",
    "desk within": "desk within, book over",
}
HOT_PCT = 75.0
_ENGINE = f"QuantLib {metadata.version('QuantLib')}"
_GREEKS = ("delta", "vega", "pv01", "cs01", "open_position")
_LETTERS = "".join(sorted(set(string.ascii_uppercase) - set("IO")))
_CODE = "".join(sorted(set(string.ascii_uppercase + string.digits) - set("IO01")))
_COUNTERPARTIES = ("Norvale", "Ostbank", "Lumen", "Caspia", "Meridian", "Tarn", "Aldgate", "Sirocco")
_STOCKS = tuple(name for name, one in market.FACTORS.items() if one.source.startswith("skfolio"))
_INDICES = ("SPX", "COMP", "CSI300")
_PAIRS = ("EURUSD", "USDJPY", "USDCNH", "GBPUSD", "USDCHF")
_COMMODITIES = ("WTI", "GOLD", "COPPER")
_CURVES = ("USD", "EUR", "CNY", "GBP")
_NAMES = ("Harbor Air", "Northwind Steel", "Kestrel Foods", "Pine Telecom", "Redwood Chemicals", "Delta Grid")
_WORDS = {
    "en": {"book": "book", "desk": "desk", "other": "Other", "rates": "{} rates", "of": "{} desk"},
    "zh": {"book": "账簿", "desk": "交易台", "other": "其他", "rates": "{}利率", "of": "{}交易台"},
}
_DESK_NAMES = {
    "en": {one: one for one in DESKS},
    "zh": {"equity": "股票", "FX": "外汇", "commodity": "商品", "rates": "利率", "credit": "信用", "mixed": "综合"},
}
_GROUPS = {
    "en": {"equity": "equity", "FX": "USD", "commodity": "commodity", "credit": "spreads", "rates": "rates"},
    "zh": {"equity": "股票", "FX": "美元", "commodity": "商品", "credit": "利差", "rates": "利率"},
}


def features(level: Level) -> tuple[str, ...]:
    """The features a book of a level may show: a side effect and a desk limit need a breach."""
    rare = ("side effect", "desk within")
    if level in ("high", "critical"):
        return (*FEATURES, *rare, *rare[:1] * 3)  # a reduction rarely has a side effect
    return tuple(one for one in FEATURES if one not in rare)


def held_out_combination(case: Case) -> tuple[str, str] | None:
    """The instrument and limit combination of a case that only tests may hold, or None."""
    text = " ".join(one.instrument for one in case.of_kind(Position))
    measures = {one.measure for one in case.of_kind(Limit)}
    for kind, measure in HELD_OUT:
        if measure in measures and any(word in text for word in _HELD_WORDS[kind]):
            return kind, measure
    return None


@dataclass(frozen=True)
class Plan:
    """What a generated book is meant to show; `feature` is one of FEATURES or empty.

    `held_out` opens what only test splits may hold.
    """

    seed: tuple[int, ...]
    level: Level
    language: Language
    desk: str
    size: str
    first_day: int
    days: int
    feature: str = ""
    held_out: bool = False


@dataclass(frozen=True)
class BookCase:
    """One case of a book, and the truth about its notes."""

    book: str
    case: Case
    notes: tuple[NoteTruth, ...] = ()


class _Ids:
    """Random evidence ids, unique in a case."""

    def __init__(self, rng: random.Random):
        self.rng, self.used = rng, set()

    def __call__(self, prefix: str) -> str:
        while True:
            # two characters are enough in one case and every character costs a token; a letter first, so that no
            # id looks like a running number
            made = f"{prefix}-{self.rng.choice(_LETTERS)}{self.rng.choice(_CODE)}"
            if made not in self.used:
                self.used.add(made)
                return made


# --- trades


def _short(value: float, digits: int = 3) -> float:
    return float(f"{value:.{digits}g}")


def _one_trade(rng: random.Random, desk: str, day: int, number: int, expiry: date, start: date) -> Trade:
    """A trade of a desk with the sizes of the desk table; `expiry` counts for options and futures."""
    levels, today = market.history().levels, market.history().dates[day]
    sign = rng.choice([1, 1, -1])
    terms = {"name": f"T{number}", "start": start, "expiry": expiry}

    def years(choices: Sequence[int]) -> date:
        return today.replace(day=min(today.day, 28), year=today.year + rng.choice(choices))

    if desk == "rates":
        curve = rng.choice(_CURVES)
        rate = levels[f"{curve}.10Y"][day]
        strike = round(rate + rng.uniform(-0.006, 0.006), 4)
        kind = rng.choice(["swap", "swap", "swap", "swaption", "cap"])
        notional = sign * rng.choice([50, 80, 100, 150, 200] + ([300, 500] if kind == "swap" else [])) * 1e6
        if kind == "swap":
            return Trade(**terms | {"expiry": years([2, 3, 5, 7, 10])}, kind=kind, underlying=curve,
                         quantity=notional, strike=max(strike, 0.001))  # fmt: skip
        if kind == "cap":
            return Trade(**terms | {"expiry": years([2, 3, 5])}, kind=kind, underlying=curve, quantity=notional,
                         strike=max(strike, 0.005))  # fmt: skip
        return Trade(**terms | {"expiry": years([1, 2])}, kind=kind, underlying=curve, quantity=notional,
                     strike=max(strike, 0.005), option=rng.choice(["call", "put"]),
                     tenor_years=rng.choice([5, 10]))  # fmt: skip
    if desk == "credit":
        name = rng.choice(_NAMES)
        spread = levels[f"{name}.spread"][day]
        return Trade(**terms | {"expiry": years([3, 5])}, kind="cds", underlying=name,
                     quantity=sign * rng.choice([10, 15, 20, 30, 50]) * 1e6,
                     strike=round(spread * rng.uniform(0.85, 1.15), 4))  # fmt: skip
    if desk == "equity":
        name = rng.choice(_INDICES) if rng.random() < 0.5 else rng.choice(_STOCKS)
        kind = rng.choice(["option", "option", "option", "future"])
        if name in ("CSI300", "SPX") and rng.random() < 0.3:
            kind = "barrier"
        dollars = rng.uniform(5, 50) * 1e6 if name in _INDICES else rng.uniform(2, 15) * 1e6
    elif desk == "FX":
        name, kind = rng.choice(_PAIRS), rng.choice(["forward", "option", "option"])
        dollars = rng.uniform(10, 100) * 1e6
    else:
        name, kind = rng.choice(_COMMODITIES), rng.choice(["future", "option", "option"])
        dollars = rng.uniform(8, 40) * 1e6
    level = levels[name][day]
    units = dollars if name.startswith("USD") else dollars / level
    if kind == "barrier":
        return Trade(**terms, kind=kind, underlying=name, quantity=sign * _short(units, 2), strike=_short(level),
                     option="put", barrier=_short(level * rng.uniform(0.72, 0.88)))  # fmt: skip
    width = 0.04 if desk == "FX" else 0.08
    strike = _short(level * rng.uniform(1 - width, 1 + width), 4 if desk == "FX" else 3)
    return Trade(**terms, kind=kind, underlying=name, quantity=sign * _short(units, 2), strike=strike,
                 option=rng.choice(["call", "put"]) if kind == "option" else None)  # fmt: skip


def _trades(rng: random.Random, plan: Plan) -> list[Trade]:
    """Trades alive somewhere in the run; some enter and some mature inside it."""
    days = market.history().dates
    last = plan.first_day + plan.days
    count = rng.randint(*SIZES[plan.size])
    parties = rng.sample(_COUNTERPARTIES, min(4, 1 + count // 3))
    trades: list[Trade] = []
    pool = [one for one in DESKS if one != "mixed"] if plan.desk == "mixed" else [plan.desk]
    extra = rng.choice([0, 1, 1, 2]) if plan.size != "compact" else rng.choice([0, 0, 1])
    for number in range(count + extra):
        entered, matured = plan.first_day - rng.randint(2, 60), last + rng.choice([20, 40, 60, 120])
        if number >= count:  # a trade that comes or goes while the book is watched
            if rng.random() < 0.5:
                entered = rng.randint(plan.first_day, last - 2)
            else:
                matured = rng.randint(plan.first_day + 1, last - 1)
        desk = rng.choice(pool)
        made = _one_trade(rng, desk, min(entered, plan.first_day), number, days[matured], days[entered])
        if made.barrier is not None and market.history().levels[made.underlying][entered:last].min() <= made.barrier:
            made = replace(made, kind="option", barrier=None)  # what knocked in is a plain put
        party = None if made.kind == "future" else rng.choice(parties)
        trades.append(replace(made, counterparty=party, netting_set=party and f"{party} ISDA"))
    return trades


def _instrument(trade: Trade, language: Language) -> str:
    """A trade in words: side, underlying, kind, strike, expiry."""
    en, long = language == "en", trade.quantity > 0
    month = f"{trade.expiry:%Y-%m}"
    side = ("long" if long else "short") if en else ("多" if long else "空")
    if trade.kind == "swap":
        side = ("pay" if long else "receive") if en else ("付固定" if long else "收固定")
        return f"{side} {trade.strike:.2%} {trade.underlying} {'swap' if en else '互换'} {month}"
    if trade.kind == "swaption":
        kind = ("payer" if trade.option == "call" else "receiver") if en else "付" if trade.option == "call" else "收"
        words = "swaption" if en else "固定互换期权"
        return f"{side} {trade.underlying} {kind}{' ' if en else ''}{words} {trade.strike:.2%} {month}"
    if trade.kind == "cap":
        return f"{side} {trade.underlying} {'cap' if en else '利率上限'} {trade.strike:.2%} {month}"
    if trade.kind == "cds":
        side = ("buy" if long else "sell") if en else ("买入" if long else "卖出")
        words = f"{trade.underlying} CDS" if en else f"{trade.underlying} CDS保护"
        return f"{side} {words} {trade.strike * 1e4:.0f}bp {month}"
    if trade.kind == "barrier":
        words = f"down-and-in put {trade.strike:g}/{trade.barrier:g}" if en else (
            f"向下敲入看跌 {trade.strike:g}/{trade.barrier:g}"
        )  # fmt: skip
        return f"{side} {trade.underlying} {words} {month}"
    words = {"call": ("call", "看涨"), "put": ("put", "看跌"), None: (trade.kind, "")}[trade.option][not en]
    if trade.option is None and not en:
        words = {"future": "期货", "forward": "远期"}[trade.kind]
    return f"{side} {trade.underlying} {words} {trade.strike:g} {month}"


def _label(trade: Trade, language: Language) -> str:
    """The risk factor a trade's contribution is booked under."""
    return _WORDS[language]["rates"].format(trade.underlying) if trade.underlying in _CURVES else trade.underlying


def _shocks(scenario: risk.Scenario, trades: Sequence[Trade], language: Language) -> str:
    """The scenario's moves of what the book holds, in words: `equity -20%, vol +25`."""
    words = _GROUPS[language]
    parts: dict[str, None] = {}
    for factor in dict.fromkeys(name for one in trades for name in risk.factors_of(one)):
        one = market.FACTORS[factor]
        fixed = dict(scenario.shocks).get(f"{factor}.level")
        move = scenario.move(factor, _gap(trades))
        if fixed is not None and not scenario.reverse:
            parts[f"{factor} {fixed:g}"] = None
        elif fixed is not None:
            parts[f"{factor} +100%"] = None
        elif move and one.kind == "rate":
            curve = factor.split(".")[0]
            parts[f"{curve} {move:+.0f}bp" if _parallel(scenario, curve) else f"{factor} {move:+.0f}bp"] = None
        elif move and one.kind == "vol":
            vol = "vol" if language == "en" else "波动率"
            parts[f"{words[one.desk]}{' ' if language == 'en' else ''}{vol} {move:+.0f}"] = None
        elif move:
            specific = factor in dict(scenario.shocks) or "gap" in dict(scenario.shocks) or one.desk == "FX"
            parts[f"{factor.removesuffix('.spread') if specific else words[one.desk]} {move:+.0%}"] = None
    return (", " if language == "en" else "，").join(list(parts)[:4])


def _parallel(scenario: risk.Scenario, curve: str) -> bool:
    return not any(key.startswith(f"{curve}.") for key, _ in scenario.shocks)


def _gap(trades: Sequence[Trade]) -> str | None:
    """The single name that the gap scenario hits: the stock with the largest underlying amount."""
    sizes: dict[str, float] = {}
    for one in trades:
        if one.underlying in _STOCKS:
            sizes[one.underlying] = sizes.get(one.underlying, 0.0) + abs(one.quantity * one.strike)
    return max(sorted(sizes), key=lambda name: sizes[name], default=None)


# --- what a book measures on a day


_UNITS: dict[str, Unit] = {
    "vega": "money_per_vol_point",
    "pv01": "money_per_bp",
    "bucket_pv01": "money_per_bp",
    "cs01": "money_per_bp",
    "concentration": "percent",
}
_SHOWN = ("delta", "vega", "pv01", "cs01", "open_position", "jump_to_default")
Key = tuple[str, str]


def _greeks(engine: risk.Engine, trade: Trade, view: View) -> list[tuple[str, str, float, str]]:
    """(measure, factor, USD value, bump); the FX desk calls its delta an open position."""
    one = engine.priced(trade, view)
    found = []
    for measure, factor, value, bump in one.greeks:
        if measure in ("pv01", "bucket_pv01") and trade.underlying not in _CURVES:
            continue  # the discounting of an option or a CDS is no interest-rate position
        name = "open_position" if measure == "delta" and trade.underlying in _PAIRS else measure
        found.append((name, factor or trade.underlying, value * one.rate, bump))
    return found


def _exposures(engine: risk.Engine, trades: Sequence[Trade], view: View, netted: set[str]) -> dict[str, float]:
    """Positive exposure by counterparty: netted inside an enforceable netting set, else the sum of what is owed."""
    owed: dict[str, list[float]] = {}
    for one in trades:
        if one.counterparty:
            owed.setdefault(one.counterparty, []).append(engine.priced(one, view).value)
    return {
        name: max(0.0, sum(values)) if name in netted else sum(max(0.0, value) for value in values)
        for name, values in sorted(owed.items())
    }


@dataclass
class _Book:
    """A book's trades and what is known of them by day."""

    plan: Plan
    name: str
    trades: list[Trade]
    engine: risk.Engine
    netted: set[str]
    stale: dict[str, tuple[int, int]]  # factor -> days [first, last) on which its quote does not move
    rest: list[Trade] = field(default_factory=list)  # the desk's other trades, where a desk limit needs them
    _values: dict = field(default_factory=dict)

    def alive(self, day: int) -> list[Trade]:
        today = market.history().dates[day]
        return [one for one in self.trades if one.start <= today < one.expiry]

    def view(self, day: int, stuck_on: int | None = None) -> View:
        """The market seen on a day; with `stuck_on`, quotes stale on that earlier day stay so."""
        stuck = []
        for name, (first, last) in sorted(self.stale.items()):
            if first <= day < last or (stuck_on is not None and first <= stuck_on < last):
                stuck.append((name, first - 1))
        return View(day, tuple(stuck))

    def values(self, trades: Sequence[Trade], view: View) -> dict[Key, float]:
        """Every limitable measure of a set of trades, (measure, scope) -> USD (percent for concentration)."""
        key = (tuple(trades), view)
        if key not in self._values:
            self._values[key] = self._measure(list(trades), view)
        return self._values[key]

    def _measure(self, trades: list[Trade], view: View) -> dict[Key, float]:
        engine = self.engine
        one_day = engine.total(trades, view, "one_day")[-risk.WINDOWS :]
        stress = engine.total(trades, view, "stress")
        found: dict[Key, float] = {("var", "book"): risk.value_at_risk(one_day)}
        found["stress", "book"] = float(np.nanmin(stress))
        for one in trades:
            for measure, factor, value, bump in _greeks(engine, one, view):
                if measure == "vega" and (bump != BUMPS["vega"]) != (self.plan.desk == "rates"):
                    continue  # a vol point and a basis point of normal vol do not add
                found[measure, factor] = found.get((measure, factor), 0.0) + value
        for measure in _GREEKS:
            parts = [value for (name, _), value in found.items() if name == measure]
            if len(parts) > 1 or (parts and measure in ("vega", "pv01", "cs01")):
                found[measure, "book"] = sum(parts)
        stocks = [abs(value) for (name, _), value in found.items() if name == "delta" and _ != "book"]
        if len(stocks) >= 3:
            found["concentration", "book"] = 100.0 * max(stocks) / sum(stocks)
        for name, value in _exposures(engine, trades, view, self.netted).items():
            found["exposure", name] = value
        for measure in _GREEKS:
            if (measure, "book") in found and self.rest:
                others = sum(
                    value for one in self.rest for name, _, value, _ in _greeks(engine, one, view) if name == measure
                )
                found[measure, "desk"] = found[measure, "book"] + others
        return found

    def stages(self, day: int) -> list[dict[Key, float]]:
        """Measures along the bridge: yesterday, with new trades, without matured ones, on today's market, today."""
        before, after = self.view(day - 1), self.view(day)
        old, new = self.alive(day - 1), self.alive(day)
        joined = [one for one in self.trades if one in old or one in new]
        stuck = self.view(day, stuck_on=day - 1)
        return [
            self.values(old, before),
            self.values(joined, before),
            self.values(new, before),
            self.values(new, stuck),
            self.values(new, after),
        ]


# --- limits


@dataclass(frozen=True)
class _Terms:
    """A limit of the book, fixed for its run."""

    key: Key
    hard: float
    authority: Authority
    increase: TemporaryIncrease | None = None
    first_days_open: int = 0


def _wanted(rng: random.Random, level: Level) -> list[dict]:
    """Limits to aim at, worst first: use of hard, which measures may carry it, who has authority."""
    calm = [{"use": rng.uniform(0.15, 0.78)} for _ in range(rng.choice([2, 2, 3]))]
    watch = [{"use": rng.uniform(0.81, 0.94), "not": ()}] * rng.choice([0, 0, 0, 1])
    loose, major = ("desk", "business"), ("CRO", "board")
    edge = rng.random() < 0.2
    if level == "low":
        return [{"use": rng.uniform(0.4, 0.795)}, *calm]
    if level == "moderate":
        first = rng.choice(["warning", "warning", "edge", "approved"])
        if first == "approved":
            return [{"use": rng.uniform(1.02, 1.12), "approved": True, "not": ("stress",)}, *watch, *calm]
        use = rng.uniform(0.98, 1.0) if first == "edge" else rng.uniform(0.81, 0.94)
        return [{"use": use, "not": ("var", "stress") if first == "edge" else ()}, *watch, *calm]
    if level == "high":
        first = rng.choice(["breach", "breach", "near"])
        if first == "near":
            return [{"use": rng.uniform(0.952, 0.999), "only": ("var", "stress")}, *watch, *calm]
        use = rng.uniform(1.001, 1.02) if edge else rng.uniform(1.02, 1.19)
        second = [{"use": rng.uniform(1.01, 1.18), "authority": loose, "not": ("stress",)}] * rng.choice([0, 0, 1])
        return [{"use": use, "authority": loose, "not": ("stress",)}, *second, *watch, *calm]
    first = rng.choice(["major", "severe", "three", "stress"])
    if first == "major":
        use = rng.uniform(1.001, 1.02) if edge else rng.uniform(1.02, 1.4)
        return [{"use": use, "authority": major}, *watch, *calm]
    if first == "severe":
        return [{"use": rng.uniform(1.205, 1.9), "authority": loose, "not": ("stress",)}, *watch, *calm]
    if first == "three":
        three = [{"use": rng.uniform(1.02, 1.18), "authority": loose, "not": ("stress",)} for _ in range(3)]
        return [*three, *calm[:1]]
    return [{"use": rng.uniform(1.005, 1.3), "only": ("stress",)}, *watch, *calm]


_OWN = {
    "equity": ("delta", "vega", "concentration", "var", "stress", "exposure"),
    "rates": ("pv01", "bucket_pv01", "vega", "var", "stress", "exposure"),
    "FX": ("open_position", "vega", "var", "stress", "exposure"),
    "commodity": ("delta", "vega", "var", "stress"),
    "credit": ("cs01", "jump_to_default", "var", "stress", "exposure"),
    "mixed": ("delta", "vega", "pv01", "cs01", "open_position", "var", "stress", "exposure"),
}
_FLOOR = {"concentration": 5.0, "pv01": 500.0, "bucket_pv01": 500.0, "cs01": 200.0, "vega": 500.0}


def _limitable(book: _Book, values: dict[Key, float]) -> list[Key]:
    kinds = {one.kind for one in book.trades}
    closed = set() if book.plan.held_out else {measure for kind, measure in HELD_OUT if kind in kinds}
    return [
        key
        for key, value in values.items()
        if key[0] in _OWN[book.plan.desk]
        and key[0] not in closed
        and key[1] != "desk"
        and abs(value) > _FLOOR.get(key[0], 20_000.0)
        and (key[0] != "stress" or value < 0)
    ]


def _set_limits(rng: random.Random, book: _Book, day: int) -> list[_Terms]:
    """Limits that give the wanted level on `day`; they hold for the whole run."""
    values = book.values(book.alive(day), book.view(day))
    pool = _limitable(book, values)
    rng.shuffle(pool)
    # VaR and stress limits are on nearly every book
    pool.sort(key=lambda key: key[0] not in ("var", "stress") or rng.random() < 0.5)
    start = market.history().dates[book.plan.first_day]
    chosen: list[_Terms] = []
    if book.plan.feature == "passive":
        chosen += _crossing(rng, book, day, pool)
    wanted = _wanted(rng, book.plan.level)
    if book.plan.feature == "approved":
        wanted.insert(0, {"use": rng.uniform(1.02, 1.15), "approved": True, "not": ("stress",)})
    if book.plan.feature == "boundary":
        wanted.insert(0, {"use": rng.uniform(0.98, 1.02)})
    if book.plan.feature in ("side effect", "desk within") and wanted[0]["use"] > 1:
        wanted[0] = wanted[0] | {"only": _GREEKS, "book": book.plan.feature == "desk within"}
    for want in wanted:
        fits = [
            key
            for key in pool
            if key[0] in want.get("only", (key[0],))
            and key[0] not in want.get("not", ())
            and (key[1] == "book" or not want.get("book"))
        ]
        if not fits:
            continue
        key = fits[0]
        pool.remove(key)
        authority = rng.choice(want.get("authority", ("desk", "business", "CRO", "board")))
        hard = _short(abs(values[key]) / want["use"], 4 if 0.97 < want["use"] < 1.03 else 3)
        increase = None
        if want.get("approved") or rng.random() < 0.04:
            # one approval in six has expired: it counts as none
            expires = start + timedelta(days=rng.choice([-2, 9, 14, 20, 30, 45]))
            increase = TemporaryIncrease(amount=_short(0.2 * hard), approved_by="CRO", expires=expires)
        chosen.append(_Terms(key, hard, authority, increase, rng.choice([1, 1, 2, 3, 5])))
    chosen += _worsened(rng, book, day, values, chosen, pool)
    return chosen


def _crossing(rng: random.Random, book: _Book, day: int, pool: list[Key]) -> list[_Terms]:
    """A limit that the market alone brought over hard on `day`: a passive breach."""
    if day == book.plan.first_day or book.alive(day) != book.alive(day - 1):
        return []
    before, now = book.values(book.alive(day), book.view(day - 1)), book.values(book.alive(day), book.view(day))
    for key in pool:
        low, high = abs(before.get(key, 0.0)), abs(now[key])
        hard = _short((low + high) / 2, 4)
        if key[0] != "stress" and low < hard < high:
            pool.remove(key)
            return [_Terms(key, hard, rng.choice(["desk", "business", "CRO"]))]
    return []


def _worsened(
    rng: random.Random, book: _Book, day: int, values, chosen: list[_Terms], pool: list[Key]
) -> list[_Terms]:
    """A limit just below soft that the reduction of a breached one would push over it, where there is one."""
    if book.plan.feature != "side effect":
        return []
    positions = _positions(book, day, _Ids(random.Random(0)))
    for breached in chosen:
        if abs(values[breached.key]) <= breached.hard or breached.increase:
            continue
        first = _limit(book, breached, values[breached.key], "LIM-AA")
        for key in [one for one in pool if one[0] in _GREEKS]:
            terms = _Terms(key, _short(abs(values[key]) / rng.uniform(0.775, 0.795)), rng.choice(["desk", "business"]))
            second = _limit(book, terms, values[key], "LIM-BB")
            if rules.pushed_over_soft(_shell(book, day, [*positions, first, second]), first):
                return [terms]
    return []


def _scope(key: Key, language: Language) -> str:
    return _WORDS[language].get(key[1], key[1]) if key[1] in ("book", "desk") else key[1]


def _limit(book: _Book, terms: _Terms, value: float, made: str, **more) -> Limit:
    measure, language = terms.key[0], book.plan.language
    side = "lower" if measure == "stress" else "upper" if measure in ("var", "exposure", "concentration") else "both"
    return Limit(
        id=made,
        measure=measure,
        scope=_scope(terms.key, language),
        value=round(value, 2),
        unit="money_per_bp" if measure == "vega" and book.plan.desk == "rates" else _UNITS.get(measure, "money"),
        side=side,
        soft=round(0.8 * terms.hard, 6),
        hard=terms.hard,
        authority=terms.authority,
        owner=_WORDS[language]["of"].format(_DESK_NAMES[language][book.plan.desk]),
        temporary_increase=terms.increase,
        currency=risk.BASE,
        **more,
    )


# --- evidence


def _positions(book: _Book, day: int, ids: _Ids) -> list[Position]:
    view, before = book.view(day), book.view(day - 1)
    old = set(book.alive(day - 1))
    made = []
    for trade in book.alive(day):
        one = book.engine.priced(trade, view)
        was = book.engine.priced(trade, before) if trade in old else None
        standalone = risk.value_at_risk(one.one_day[-risk.WINDOWS :])
        made.append(
            Position(
                id=ids("POS"),
                instrument=_instrument(trade, book.plan.language),
                mtm=round(one.own, 2),
                currency=trade.currency,
                previous=None if was is None else round(was.own, 2),
                standalone_var=round(standalone, 2),
                notional=abs(trade.quantity) if trade.kind in ("swap", "swaption", "cap", "cds") else None,
                counterparty=trade.counterparty,
                netting_set=trade.netting_set,
                sensitivities=[
                    Sensitivity(
                        measure=measure,
                        factor=factor,
                        value=round(value, 2),
                        bump=bump,
                        currency=risk.BASE,
                    )
                    for measure, factor, value, bump in _greeks(book.engine, trade, view)
                    if measure in _SHOWN
                ],
            )
        )
    return made


def _shell(book: _Book, day: int, evidence: list[Evidence], case_id: str = "c-000000") -> Case:
    view, language = book.view(day), book.plan.language
    foreign = {getattr(one, "currency", risk.BASE) for one in evidence} - {risk.BASE}
    as_of = market.history().dates[day]
    return Case(
        case_id=case_id,
        as_of=as_of,
        desk=_DESK_NAMES[language][book.plan.desk],
        base_currency=risk.BASE,
        language=language,
        engine=Engine(name=_ENGINE, snapshot=f"{as_of.isoformat()} close"),
        fx={one: round(risk.rate_of(one, view), 8) for one in sorted(foreign)},
        evidence=evidence,
    )


def _adding_up(parts: list[float], total: float) -> list[float]:
    """`parts` in cents that add up to `total`; the rounding goes to the largest."""
    rounded = [round(one, 2) for one in parts]
    if rounded:
        largest = max(range(len(rounded)), key=lambda i: abs(rounded[i]))
        rounded[largest] = round(rounded[largest] + total - sum(rounded), 2)
    return rounded


def _components(book: _Book, day: int, of: str, total: float, part: Callable[[Trade], float], alone, ids) -> list:
    """Contributions by risk factor to a total loss; all but the six largest are one line."""
    language = book.plan.language
    groups: dict[str, list[Trade]] = {}
    for trade in book.alive(day):
        groups.setdefault(_label(trade, language), []).append(trade)
    sums = {label: sum(part(one) for one in trades) for label, trades in groups.items()}
    ranked = sorted(sums, key=lambda label: (-abs(sums[label]), label))
    if len(ranked) > 7:
        other = _WORDS[language]["other"]
        groups[other] = [one for label in ranked[6:] for one in groups[label]]
        sums[other] = sum(sums[label] for label in ranked[6:])
        ranked = [*ranked[:6], other]
    cents = _adding_up([sums[label] for label in ranked], total)
    return [
        Component(
            id=ids("CMP"),
            factor=label,
            contribution=value,
            share_pct=round(100 * value / total, 4),
            currency=risk.BASE,
            of=of,
            standalone=alone(groups[label]) if alone else None,
        )
        for label, value in zip(ranked, cents, strict=True)
    ]


def _bridge(stages: list[dict[Key, float]], key: Key, of: str, ids: _Ids) -> list[Change]:
    """CHG- lines from yesterday's value of a measure to today's, in cents, so that they add up exactly."""
    if any(key not in one for one in stages):
        return []
    cents = [round(one[key] * 100) for one in stages]
    steps = zip(("new_trades", "matured", "market", "model_or_data"), cents, cents[1:], strict=False)
    return [
        Change(id=ids("CHG"), of=of, step=step, value=(after - before) / 100, currency=risk.BASE)
        for step, before, after in steps
        if after != before
    ]


@dataclass(frozen=True)
class _Look:
    """What a case of the book shows beside positions, limits, VaR, components and stress."""

    bridge: bool
    more_var: bool
    explain: bool
    backtest: bool
    counterparties: bool
    stress_components: bool
    scenarios: int
    gains_only: bool
    raw: bool


def _look(rng: random.Random, plan: Plan) -> _Look:
    wide = plan.size != "compact"
    return _Look(
        bridge=rng.random() < (0.7 if wide else 0.35),
        more_var=wide and rng.random() < 0.7,
        explain=wide and rng.random() < 0.6,
        backtest=wide and rng.random() < 0.5,
        counterparties=wide and rng.random() < 0.5,
        stress_components=wide and rng.random() < 0.4,
        scenarios=rng.choice([3, 4, 5]) if wide else 2,
        gains_only=plan.feature == "gains only",
        raw=plan.feature == "raw",
    )


def book_cases(plan: Plan) -> list[BookCase]:
    """The cases of one book, one a date of its run. Empty when the book has no risk to report.

    Deterministic for a plan.
    """
    rng = random.Random("/".join(map(str, plan.seed)))
    book = _make_book(rng, plan)
    target = plan.first_day + rng.randrange(plan.days)
    if any(
        book.values(book.alive(day), book.view(day))["var", "book"] <= 1000 for day in (plan.first_day - 1, target)
    ):
        return []
    terms = _set_limits(rng, book, target)
    if not terms:
        return []
    terms += _desk_limit(rng, book, target, terms)
    look = _look(rng, plan)
    rows, seen = [], {}
    for step in range(plan.days):
        day = plan.first_day + step
        if not book.alive(day) or not book.alive(day - 1):
            continue
        case_rng = random.Random(f"{rng.random()}")
        case = _case(case_rng, book, day, terms, look, seen)
        if case is not None:
            rows.append(_disturbed(case_rng, book, case))
    return rows


def _make_book(rng: random.Random, plan: Plan) -> _Book:
    trades = _trades(rng, plan)
    parties = sorted({one.counterparty for one in trades if one.counterparty})
    stale = {}
    if plan.days > 2 and rng.random() < 0.15:
        named = sorted({one.underlying for one in trades if one.underlying in market.FACTORS})
        if named:
            first = plan.first_day + rng.randrange(plan.days - 1)
            stale[rng.choice(named)] = (first, first + rng.randint(1, 3))
    return _Book(
        plan=plan,
        name="book-" + "".join(rng.choices(_CODE.lower(), k=6)),
        trades=trades,
        engine=risk.Engine(gap=_gap(trades)),
        netted={one for one in parties if rng.random() < 0.8},
        stale=stale,
    )


def _desk_limit(rng: random.Random, book: _Book, day: int, terms: list[_Terms]) -> list[_Terms]:
    """A desk limit within while the book's own is over: the desk's other trades offset the book."""
    over = [one for one in terms if one.key[1] == "book" and one.key[0] in _GREEKS]
    values = book.values(book.alive(day), book.view(day))
    over = [one for one in over if abs(values[one.key]) > one.hard]
    if not over or book.plan.feature != "desk within":
        return []
    measure = over[0].key[0]
    use: dict[str, float] = {}
    for trade in book.alive(day):
        use[trade.name] = sum(
            value for name, _, value, _ in _greeks(book.engine, trade, book.view(day)) if name == measure
        )
    last = market.history().dates[book.plan.first_day + book.plan.days]
    lasting = [one for one in book.alive(day) if one.expiry > last]
    if not lasting:
        return []
    biggest = max(lasting, key=lambda one: (use[one.name] * np.sign(values[over[0].key]), one.name))
    if not use[biggest.name]:
        return []
    scale = -rng.uniform(0.4, 0.6) * values[over[0].key] / use[biggest.name]
    book.rest.append(replace(biggest, name="R0", quantity=biggest.quantity * scale))
    book._values.clear()
    total = abs(book.values(book.alive(day), book.view(day))[measure, "desk"])
    return [_Terms((measure, "desk"), _short(total / rng.uniform(0.45, 0.75)), "business")]


def _case(rng: random.Random, book: _Book, day: int, terms, look: _Look, seen: dict) -> Case | None:
    plan, engine, language = book.plan, book.engine, book.plan.language
    view, trades, ids = book.view(day), book.alive(day), _Ids(rng)
    stages = book.stages(day)
    before, now = stages[0], stages[-1]
    # before annotation, so that five days later the past is what was reported then
    seen[day - 1], seen[day] = before, now
    money = {"currency": risk.BASE}
    windows = engine.total(trades, view, "one_day")
    recent = windows[-risk.WINDOWS :]
    var = round(risk.value_at_risk(recent), 2)
    if var <= 0:
        return None

    def past(key: Key) -> dict[str, float | None]:
        old = seen.get(day - 5, {}).get(key)
        return {
            "previous": round(before[key], 2) if key in before else None,
            "five_days_ago": None if old is None else round(old, 2),
        }

    positions = _positions(book, day, ids)
    tail = risk.tail_days(recent)
    labels: dict[str, list[Trade]] = {}
    for one in trades:
        labels.setdefault(_label(one, language), []).append(one)

    def alone(group: Sequence[Trade]) -> float:
        return round(risk.value_at_risk(engine.total(group, view, "one_day")[-risk.WINDOWS :]), 2)

    error = risk.standard_error(recent, seed=day)
    line = ValueAtRisk(
        id=ids("VAR"),
        value=var,
        confidence_pct=99,
        horizon_days=1,
        windows=risk.WINDOWS,
        tail_count=risk.TAIL_99[1] - risk.TAIL_99[0],
        standard_error=round(error, 2),
        undiversified=round(sum(alone(group) for group in labels.values()), 2) if look.more_var else None,
        **past(("var", "book")),
        **money,
    )
    evidence: list[Evidence] = [*positions, line]
    evidence += _components(
        book, day, line.id, var,
        lambda one: float(-engine.priced(one, view).one_day[-risk.WINDOWS :][tail].mean()), alone, ids,
    )  # fmt: skip
    if look.more_var:
        evidence += _more_var(book, day, view, trades, recent, ids)
    lines: dict[Key, Evidence] = {("var", "book"): line}
    stresses = _stresses(book, day, view, trades, look, ids)
    evidence += [one for one, _ in stresses]
    if stresses and stresses[0][0].pnl < 0:
        worst, number = stresses[0]
        lines["stress", "book"] = worst
        if look.stress_components:
            evidence += _components(
                book, day, worst.id, -worst.pnl,
                lambda one: -float(np.nan_to_num(engine.priced(one, view).stress[number])), None, ids,
            )  # fmt: skip
    for one in terms:
        if one.key not in now or (look.gains_only and one.key[0] == "stress"):
            continue
        limit = _limit(book, one, now[one.key], ids("LIM"), **past(one.key), **_open(book, day, one, stages))
        evidence.append(limit)
        if rules.utilisation_pct(limit) >= HOT_PCT and one.key[0] not in ("var", "stress"):
            lines[one.key] = limit
    if look.bridge:
        hot = list(lines) if plan.size != "compact" else [("var", "book")]
        for key in hot:
            target = lines[key]
            if target.previous is not None and (key != ("stress", "book") or _same_worst(target, before, now)):
                evidence += _bridge(stages, key, target.id, ids)
    if look.explain:
        evidence += _explain(book, day, ids)
    if look.backtest:
        evidence.append(
            Backtest(id=ids("BT"), exceptions=risk.exceptions(windows), days=risk.BACKTEST_DAYS, confidence_pct=99)
        )
    if look.counterparties:
        for name, value in _exposures(engine, trades, view, book.netted).items():
            threshold = 1e6 * (len(name) % 4) * 2.5
            collateral = max(0.0, value - threshold)
            evidence.append(
                Counterparty(
                    id=ids("CPT"), name=name, netting_set=f"{name} ISDA", enforceable=name in book.netted,
                    exposure=round(value, 2), threshold=threshold, **money,
                    collateral=round(collateral if collateral >= 5e5 else 0.0, 2),
                )
            )  # fmt: skip
    as_of = market.history().dates[day]
    factors = list(dict.fromkeys(name for one in trades for name in risk.factors_of(one)))
    evidence.append(
        Source(
            id=ids("SRC"),
            system="market data" if language == "en" else "市场数据",
            detail=market.describe(factors, as_of, language),
        )
    )
    evidence += _own_flags(book, day, trades, positions, evidence, look, ids)
    rng.shuffle(evidence)
    case = _shell(book, day, evidence, "c-" + "".join(rng.choices(_CODE.lower(), k=8)))
    if look.raw:
        case = case.model_copy(update={"layout": "raw"})
    return case


def _same_worst(line: Stress, before, now) -> bool:
    """The bridge of the worst stress is of the worst P&L, whichever scenario gave it."""
    return line.previous == round(before["stress", "book"], 2) and line.pnl == round(now["stress", "book"], 2)


def _open(book: _Book, day: int, terms: _Terms, stages: list[dict[Key, float]]) -> dict:
    """Days a breach is open and what caused it: trades, the market, or data; unknown when it was there before."""
    key = terms.key
    if abs(stages[-1][key]) <= terms.hard or (key[0] == "stress" and stages[-1][key] > 0):
        return {}
    days, at = 0, day
    while at >= book.plan.first_day:
        before, *steps = [abs(one.get(key, 0.0)) for one in book.stages(at)]
        days += 1
        if before <= terms.hard:
            names: tuple[Cause, ...] = ("active", "active", "passive", "technical")
            crossed = next(i for i, use in enumerate(steps) if use > terms.hard)
            return {"days_open": days, "cause": names[crossed]}
        at -= 1
    return {"days_open": days + terms.first_days_open, "cause": "unknown"}


def _more_var(book: _Book, day: int, view: View, trades, recent, ids: _Ids) -> list[ValueAtRisk]:
    engine, old, before = book.engine, book.alive(day - 1), book.view(day - 1)
    money = {"currency": risk.BASE}
    ten, stressed = (engine.total(trades, view, one) for one in ("ten_day", "stressed"))
    was = {what: engine.total(old, before, what) for what in ("one_day", "ten_day", "stressed")}
    return [
        ValueAtRisk(
            id=ids("VAR"), measure="ES", value=round(risk.expected_shortfall(recent), 2), confidence_pct=97.5,
            horizon_days=1, windows=risk.WINDOWS, tail_count=13,
            previous=round(risk.expected_shortfall(was["one_day"][-risk.WINDOWS :]), 2), **money,
        ),
        ValueAtRisk(
            id=ids("VAR"), value=round(risk.value_at_risk(ten), 2), confidence_pct=99, horizon_days=risk.HORIZON,
            horizon_method="overlapping", windows=risk.WINDOWS,
            previous=round(risk.value_at_risk(was["ten_day"]), 2), **money,
        ),
        ValueAtRisk(
            id=ids("VAR"), value=round(risk.value_at_risk(stressed), 2), confidence_pct=99, horizon_days=1,
            window="stressed", windows=risk.STRESSED_WINDOWS,
            previous=round(risk.value_at_risk(was["stressed"]), 2), **money,
        ),
    ]  # fmt: skip


def _stresses(book: _Book, day: int, view: View, trades, look: _Look, ids: _Ids) -> list[tuple[Stress, int]]:
    """(line, scenario number), worst first: the worst scenarios and the best one, or only those that gain."""
    engine, language = book.engine, book.plan.language
    pnl = engine.total(trades, view, "stress")
    was = engine.total(book.alive(day - 1), book.view(day - 1), "stress")
    gap, year = _gap(trades), market.history().dates[day].year
    factors = list(dict.fromkeys(name for one in trades for name in risk.factors_of(one)))
    touched = [i for i, one in enumerate(risk.scenarios()) if one.touches(factors, gap) and np.isfinite(pnl[i])]
    ranked = sorted(touched, key=lambda i: (pnl[i], i))
    if look.gains_only:
        gains = [i for i in ranked if pnl[i] > 0 and not risk.scenarios()[i].reverse]
        ranked = gains[: look.scenarios] if len(gains) >= 2 else ranked
    if len(ranked) > look.scenarios:
        ranked = [*ranked[: look.scenarios - 1], ranked[-1]]
    worst_before = float(np.nanmin(was)) if len(was) else None
    made = []
    for place, i in enumerate(ranked):
        scenario = risk.scenarios()[i]
        # yesterday's worst stress beside today's: the line a bridge explains
        previous = worst_before if place == 0 and pnl[i] == np.nanmin(pnl) else was[i] if np.isfinite(was[i]) else None
        made.append(
            (
                Stress(
                    id=ids("STR"), scenario=scenario.label(year, language),
                    shocks=_shocks(scenario, trades, language), pnl=round(float(pnl[i]), 2), currency=risk.BASE,
                    previous=None if previous is None else round(float(previous), 2),
                ),
                i,
            )
        )  # fmt: skip
    return made


def _explain(book: _Book, day: int, ids: _Ids) -> list[PnL]:
    """Actual, hypothetical, risk-theoretical and unexplained P&L of the day, USD."""
    engine, before, after = book.engine, book.view(day - 1), book.view(day)
    old, new = book.alive(day - 1), book.alive(day)
    hypothetical = sum(engine.value(one, after) - engine.value(one, before) for one in old)
    day_one = sum(engine.value(one, after) - engine.value(one, before) for one in new if one not in old)
    theoretical = risk.risk_theoretical(old, engine, before, after)
    found = {
        "actual": hypothetical + day_one,
        "hypothetical": hypothetical,
        "risk_theoretical": theoretical,
        "unexplained": round(hypothetical, 2) - round(theoretical, 2),
    }
    return [
        PnL(id=ids("PNL"), measure=measure, value=round(value, 2), currency=risk.BASE)
        for measure, value in found.items()
    ]


def _own_flags(book: _Book, day: int, trades, positions, evidence, look: _Look, ids: _Ids) -> list[DataQuality]:
    """Flags on what the engine itself met: stale quotes, a model that cannot price a scenario, no loss tested."""
    zh, view, flags = book.plan.language == "zh", book.view(day), []
    limits = [one for one in evidence if isinstance(one, Limit)]
    gross = sum(abs(book.engine.priced(one, view).value) for one in trades)
    for name, since in view.stale:
        hit = [(one, line) for one, line in zip(trades, positions, strict=True) if one.underlying == name]
        if not hit:
            continue
        fed = [one.id for one in limits if one.scope == name]
        share = sum(abs(book.engine.priced(one, view).value) for one, _ in hit) / gross if gross else 0.0
        days = day - since
        detail = (
            f"{name}行情已{days}天未更新" if zh else f"{name} quote is {days} day{'s' * (days > 1)} old"
        )  # fmt: skip
        flags.append(
            DataQuality(
                id=ids("DQ"), issue="stale_quote", affects=[*(line.id for _, line in hit), *fed],
                material=share >= 0.05 or any(rules.exposure(one) >= one.soft for one in limits if one.id in fed),
                detail=detail,
            )
        )  # fmt: skip
    for one, line in zip(trades, positions, strict=True):
        if book.engine.priced(one, view).failed:
            name = risk.scenarios()[int(np.flatnonzero(np.isnan(book.engine.priced(one, view).stress))[0])]
            detail = (
                f"{one.underlying}价格为负，对数正态模型无法定价，负油价情景未计入该交易" if zh
                else f"the lognormal model cannot price it at a negative {one.underlying}; left out of {name.name}"
            )  # fmt: skip
            flags.append(
                DataQuality(id=ids("DQ"), issue="failed_pricing", affects=[line.id], material=False, detail=detail)
            )
            break
    stresses = [one for one in evidence if isinstance(one, Stress)]
    if stresses and all(one.pnl >= 0 for one in stresses):
        detail = "所给情景均无亏损，反向情景未提供" if zh else "no supplied scenario loses; the reverse was not run"
        flags.append(
            DataQuality(
                id=ids("DQ"), issue="untested_loss", affects=[one.id for one in stresses], material=False,
                detail=detail,
            )
        )  # fmt: skip
    return flags


def _disturbed(rng: random.Random, book: _Book, case: Case) -> BookCase:
    """The case with the faults and notes that real data brings."""
    truths = []
    for _ in range(rng.choice([0, 0, 0, 0, 1, 1, 2]) if rng.random() < 0.5 else 0):
        kinds = applicable(case)
        if kinds:
            case = apply(rng.choice(kinds), case, rng)
    for _ in range(rng.choice([1, 1, 2]) if rng.random() < 0.3 else 0):
        kind = rng.choice(kinds_possible(case))
        case, truth = write_note(case, rng, kind, held_out=book.plan.held_out)
        truths.append(truth)
    return BookCase(book.name, rules.annotate(case), tuple(truths))
