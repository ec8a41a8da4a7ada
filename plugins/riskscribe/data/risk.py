"""Risk of a book from full revaluation: VaR, ES, components, stress, P&L explain, back-test and the bridge.

Every number comes from QuantLib values (pricing.py) of every trade in every market state; nothing is approximated by
Greeks but the risk-theoretical P&L, which is meant to be. Values are in USD, converted at the state's own rate, so
that currency risk is part of VaR. Trades' results are additive and cached by trade, day and market view.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path

import numpy as np

from riskscribe.data import pricing
from riskscribe.data.history import FACTORS, History, history
from riskscribe.data.pricing import PricingError, Trade
from riskscribe.files import read_yaml

BASE = "USD"
WINDOWS = 500
BACKTEST_DAYS = 250
# the first trading day of the stressed window; it is as long as a back-test
STRESSED_FROM = "2008-07-01"
STRESSED_WINDOWS = 250
HORIZON = 10
# VaR 99 % of 500 windows: mean of the 3rd to 7th worst, around the 5th, so that components average and add up
TAIL_99 = (2, 7)
# currency -> factor that converts it, and whether USD is its base
_FX = {
    "EUR": ("EURUSD", False),
    "GBP": ("GBPUSD", False),
    "JPY": ("USDJPY", True),
    "CHF": ("USDCHF", True),
    "CNH": ("USDCNH", True),
    "CNY": ("USDCNH", True),
}


@dataclass(frozen=True)
class View:
    """The market as the risk system sees it on a day: `stale` factors show the level of an earlier day."""

    day: int
    stale: tuple[tuple[str, int], ...] = ()

    def level(self, name: str) -> float:
        """Today's level of a factor, or the one it is stuck at."""
        return float(history().levels[name][dict(self.stale).get(name, self.day)])


@dataclass(frozen=True)
class Scenario:
    """A named stress; `year` is when it happened, None for a hypothetical one."""

    name: str
    zh: str
    year: int | None
    shocks: tuple[tuple[str, float], ...]
    reverse: bool = False

    def move(self, factor: str, gap: str | None) -> float:
        """Shock of a factor in the file's units; 0 where the scenario leaves it alone. `gap` is the name that gaps."""
        shocks = dict(self.shocks)
        if "gap" in shocks:
            return self._signed(shocks["gap"]) if factor == gap else 0.0
        one = FACTORS[factor]
        curve = factor.split(".")[0]
        group = f"{one.desk}.vol" if one.kind == "vol" else one.desk
        keys = [factor, group] if one.kind != "rate" else [factor, curve, group]
        found = next((key for key in keys if key in shocks), None)
        if found is None:
            return 0.0
        dollar_is_quote = one.desk == "FX" and one.kind == "price" and factor.endswith("USD")
        value = shocks[found] / (1 + shocks[found]) * -1 if found == "FX" and dollar_is_quote else shocks[found]
        return self._signed(value, relative=one.kind in ("price", "spread"))

    def _signed(self, value: float, relative: bool = True) -> float:
        if not self.reverse:
            return value
        return 1 / (1 + value) - 1 if relative else -value

    def change(self, factor: str, gap: str | None) -> tuple[float, float]:
        """(scale, shift) of the factor's level under the scenario: level x scale + shift; a vol keeps a tenth."""
        fixed = dict(self.shocks).get(f"{factor}.level")
        if fixed is not None:
            return (2.0, 0.0) if self.reverse else (0.0, fixed)
        move = self.move(factor, gap)
        kind = FACTORS[factor].kind
        if kind == "rate":
            return 1.0, move / 1e4
        if kind == "vol":
            return 1.0, move * (1e-4 if FACTORS[factor].desk == "rates" else 1e-2)
        return 1 + move, 0.0

    def touches(self, factors: Iterable[str], gap: str | None) -> bool:
        """Whether any of the factors moves."""
        shocks = dict(self.shocks)
        return any(f"{one}.level" in shocks or self.move(one, gap) for one in factors)

    def label(self, year: int, language: str) -> str:
        """Its name in a case of `year`: an event that has not happened yet is called by its type."""
        name = self.name if language == "en" else self.zh
        if self.year is not None:
            happened = self.year <= year
            if language == "en":
                name = f"{name} {self.year}" if happened else f"{name} type"
            else:
                name = f"{self.year}年{name}" if happened else f"{name}型"
        if self.reverse:
            name = f"Reverse {name}" if language == "en" else f"反向{name}"
        return name


@cache
def scenarios() -> tuple[Scenario, ...]:
    """Every scenario of scenarios.yaml, each followed by its reverse."""
    found = []
    for one in read_yaml(Path(__file__).with_name("scenarios.yaml")):
        terms = (one["name"], one["zh"], one.get("year"), tuple(one["shocks"].items()))
        found += [Scenario(*terms), Scenario(*terms, reverse=True)]
    return tuple(found)


@cache
def _changes(factor: str, gap: str | None) -> np.ndarray:
    return np.array([one.change(factor, gap) for one in scenarios()]).T


def shocked_levels(factor: str, level: float, gap: str | None) -> np.ndarray:
    """The factor's level under every scenario (len(scenarios()),)."""
    scale, shift = _changes(factor, gap)
    levels = level * scale + shift
    return np.maximum(levels, 0.1 * level) if FACTORS[factor].kind == "vol" else levels


@dataclass(frozen=True)
class Priced:
    """One trade under one view, USD: `value`, and P&L arrays against it.

    `one_day` (750,) the last moves, oldest first; `ten_day` (500,) overlapping; `stressed` (250,); `stress` one a
    scenario, nan where `failed` says why it could not be priced. `greeks` as pricing.greeks gives them, in `currency`,
    with `rate` USD a unit. `carry` is the P&L of one day's passing alone.
    """

    value: float
    one_day: np.ndarray
    ten_day: np.ndarray
    stressed: np.ndarray
    stress: np.ndarray
    failed: tuple[str, ...]
    greeks: tuple[tuple[str, str | None, float, str], ...]
    currency: str
    rate: float
    own: float


def factors_of(trade: Trade) -> tuple[str, ...]:
    """Every factor a trade's USD value depends on: its pricing's and its currency's."""
    needed = pricing.depends_on(trade)
    fx = _FX.get(trade.currency)
    return needed if fx is None or fx[0] in needed else (*needed, fx[0])


def _to_usd(trade: Trade, values: np.ndarray, states: Mapping[str, np.ndarray]) -> np.ndarray:
    fx = _FX.get(trade.currency)
    if fx is None:
        return values
    return values / states[fx[0]] if fx[1] else values * states[fx[0]]


def rate_of(currency: str, view: View) -> float:
    """USD price of one unit of a currency."""
    if currency == BASE:
        return 1.0
    name, usd_base = _FX[currency]
    return 1.0 / view.level(name) if usd_base else view.level(name)


@cache
def _stressed_start() -> int:
    return next(i for i, day in enumerate(history().dates) if day.isoformat() >= STRESSED_FROM)


@cache
def _moves(name: str, horizon: int) -> np.ndarray:
    return history().moves(name, horizon)


def _moved(name: str, level: float, day: int) -> np.ndarray:
    """Levels of a factor after each recent one-day, ten-day and stressed move."""
    start = _stressed_start()
    moves = np.concatenate(
        [
            _moves(name, 1)[day - WINDOWS - BACKTEST_DAYS + 1 : day + 1],
            _moves(name, HORIZON)[day - WINDOWS + 1 : day + 1],
            _moves(name, 1)[start : start + STRESSED_WINDOWS],
        ]
    )
    return level + moves if FACTORS[name].kind == "rate" else level * np.exp(moves)


@dataclass
class Engine:
    """Values trades under market views, once each. `gap` is the single name that the gap scenario hits."""

    gap: str | None = None
    held: dict[tuple[Trade, View], Priced] = field(default_factory=dict)
    pricings: int = 0

    def priced(self, trade: Trade, view: View) -> Priced:
        """A trade under a view. Raises PricingError when today's own market cannot price it."""
        key = (trade, view)
        if key not in self.held:
            self.held[key] = self._price(trade, view)
        return self.held[key]

    def _price(self, trade: Trade, view: View) -> Priced:
        market: History = history()
        as_of = market.dates[view.day]
        names = factors_of(trade)
        level = {name: view.level(name) for name in names}
        moved = {name: _moved(name, level[name], view.day) for name in names}
        shocked = {name: shocked_levels(name, level[name], self.gap) for name in names}
        sizes = [1, WINDOWS + BACKTEST_DAYS, WINDOWS, STRESSED_WINDOWS]
        states = {name: np.concatenate([[level[name]], moved[name], shocked[name]]) for name in names}
        failed: list[str] = []
        try:
            values = _to_usd(trade, pricing.price(trade, as_of, states), states)
        except PricingError:
            count = sum(sizes)
            core = {name: array[:count] for name, array in states.items()}
            values = _to_usd(trade, pricing.price(trade, as_of, core), core)
            tail = []
            for i in range(count, count + len(scenarios())):
                one = {name: array[i : i + 1] for name, array in states.items()}
                try:
                    tail.append(_to_usd(trade, pricing.price(trade, as_of, one), one)[0])
                except PricingError as error:
                    tail.append(np.nan)
                    failed.append(str(error))
            values = np.concatenate([values, tail])
        self.pricings += len(values)
        cuts = np.cumsum(sizes)
        pnl = values - values[0]
        now = {name: float(level[name]) for name in names}
        return Priced(
            value=float(values[0]),
            one_day=pnl[cuts[0] : cuts[1]],
            ten_day=pnl[cuts[1] : cuts[2]],
            stressed=pnl[cuts[2] : cuts[3]],
            stress=pnl[cuts[3] :],
            failed=tuple(dict.fromkeys(failed)),
            greeks=tuple(pricing.greeks(trade, as_of, now)),
            currency=trade.currency,
            rate=rate_of(trade.currency, view),
            own=float(values[0]) / rate_of(trade.currency, view),
        )

    def carry(self, trade: Trade, view: View, next_day: int) -> float:
        """USD P&L of a trade from `view` to the next day with nothing moving."""
        names = factors_of(trade)
        states = {name: np.array([view.level(name)]) for name in names}
        as_of = history().dates[next_day]
        later = _to_usd(trade, pricing.price(trade, as_of, states), states)
        return float(later[0]) - self.priced(trade, view).value

    def value(self, trade: Trade, view: View) -> float:
        """USD value of a trade under a view, also on the day it expires."""
        if history().dates[view.day] < trade.expiry:
            return self.priced(trade, view).value
        states = {name: np.array([view.level(name)]) for name in factors_of(trade)}
        return float(_to_usd(trade, pricing.price(trade, history().dates[view.day], states), states)[0])

    def total(self, trades: Sequence[Trade], view: View, what: str) -> np.ndarray:
        """Sum over trades of one of Priced's arrays."""
        return np.sum([getattr(self.priced(one, view), what) for one in trades], axis=0)


def tail_days(pnl: np.ndarray) -> np.ndarray:
    """Window numbers around the 99 % quantile of 500 windows."""
    return np.argsort(pnl, kind="stable")[TAIL_99[0] : TAIL_99[1]]


def value_at_risk(pnl: np.ndarray) -> float:
    """VaR 99 %, a positive loss: mean of the 3rd to 7th worst of 500 windows, in proportion for other lengths."""
    scale = len(pnl) / WINDOWS
    first, last = round(TAIL_99[0] * scale), round(TAIL_99[1] * scale)
    worst = np.sort(np.partition(pnl, last)[:last])
    return float(max(0.0, -worst[first:].mean()))


def expected_shortfall(pnl: np.ndarray, confidence_pct: float = 97.5) -> float:
    """ES, a positive loss: the mean of the worst 1 - confidence of windows, the last of them in part."""
    count = len(pnl) * (1 - confidence_pct / 100)
    worst = np.sort(pnl)[: int(np.ceil(count))]
    weights = np.ones(len(worst))
    weights[-1] -= np.ceil(count) - count
    return float(max(0.0, -(worst * weights).sum() / count))


def standard_error(pnl: np.ndarray, seed: int) -> float:
    """Bootstrap standard error of VaR 99 % over 200 resamples of the windows."""
    rng = np.random.default_rng(seed)
    drawn = pnl[rng.integers(0, len(pnl), (200, len(pnl)))]
    part = np.partition(drawn, TAIL_99[1], axis=1)[:, : TAIL_99[1]]
    return float(np.sort(part, axis=1)[:, TAIL_99[0] :].mean(axis=1).std())


def exceptions(pnl: np.ndarray) -> int:
    """Back-test of today's book: days of the last 250 whose loss exceeds the VaR of the 500 windows before each."""
    count = 0
    for i in range(BACKTEST_DAYS):
        count += pnl[i + WINDOWS] < -value_at_risk(pnl[i : i + WINDOWS])
    return int(count)


def risk_theoretical(trades: Sequence[Trade], engine: Engine, before: View, after: View) -> float:
    """One-day USD P&L that yesterday's Greeks, the market's moves and a day's carry explain (as in a PLA test)."""
    total = 0.0
    for trade in trades:
        one = engine.priced(trade, before)
        total += engine.carry(trade, before, after.day)
        for measure, factor, value, _ in one.greeks:
            total += value * one.rate * _greek_move(trade, measure, factor, before, after)
        fx = _FX.get(trade.currency)
        if fx is not None:
            total += one.own * (rate_of(trade.currency, after) - rate_of(trade.currency, before))
    return total


def _greek_move(trade: Trade, measure: str, factor: str | None, before: View, after: View) -> float:
    """The move a Greek multiplies; 0 for Greeks that another one already covers."""
    if measure in ("delta", "gamma"):
        move = after.level(trade.underlying) / before.level(trade.underlying) - 1
        # gamma is the change of delta for 1 %
        return move if measure == "delta" else 0.5 * 100 * move * move
    if measure == "vega":
        per_point = 1e-4 if trade.kind in ("swaption", "cap") else 1e-2
        name = f"{trade.underlying}.vol"
        return (after.level(name) - before.level(name)) / per_point
    if measure == "bucket_pv01":
        name = str(factor).replace(" ", ".")
        return (after.level(name) - before.level(name)) * 1e4
    if measure == "cs01":
        name = f"{trade.underlying}.spread"
        return (after.level(name) - before.level(name)) * 1e4
    return 0.0
