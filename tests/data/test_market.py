"""Prices and sensitivities against formulas written down again here, without QuantLib."""

from datetime import date, timedelta
from itertools import pairwise
from math import erf, exp, log, sqrt
from pathlib import Path

import numpy as np
import pytest

from riskscribe.case import Component, ValueAtRisk
from riskscribe.data import market
from riskscribe.data.books import TAIL
from riskscribe.data.market import DISCOUNT_RATE, UNDERLYINGS, Scenario, Trade
from riskscribe.data.splits import read_rows

V0 = Path(__file__).parents[2] / "datasets" / "v0"
PRICES = [one.name for one in UNDERLYINGS.values() if one.kind == "price"]
RATES = [one.name for one in UNDERLYINGS.values() if one.kind == "rate"]


def normal(x: float) -> float:
    return (1 + erf(x / sqrt(2))) / 2


def black(kind: str, spot: float, strike: float, vol: float, years: float, carry: float, rate: float) -> float:
    """Black-Scholes with cost of carry (Hull, Options, Futures and Other Derivatives, ch. 15 and 17)."""
    forward = spot * exp(carry * years)
    d1 = (log(forward / strike) + vol**2 * years / 2) / (vol * sqrt(years))
    d2 = d1 - vol * sqrt(years)
    sign = 1 if kind == "call" else -1
    return sign * exp(-rate * years) * (forward * normal(sign * d1) - strike * normal(sign * d2))


def price(trade: Trade, level: float, vol: float = 0.2) -> float:
    return float(market.value(trade, np.array([level]), np.array([vol]))[0])


def test_hulls_example(monkeypatch):
    # S = 42, K = 40, r = 10 %, sigma = 20 %, T = 0.5: call 4.76, put 0.81
    monkeypatch.setitem(market.UNDERLYINGS, "stock", market.Underlying("stock", "equity", "price", 42, 0.2, 0.1))
    monkeypatch.setattr(market, "DISCOUNT_RATE", 0.1)
    assert price(Trade("stock", "call", 1, 40, 0.5), 42) == pytest.approx(4.76, abs=0.005)
    assert price(Trade("stock", "put", 1, 40, 0.5), 42) == pytest.approx(0.81, abs=0.005)


@pytest.mark.parametrize("name", PRICES)
@pytest.mark.parametrize("moneyness", [0.8, 1.0, 1.25])
def test_options_and_forwards(name, moneyness):
    one = UNDERLYINGS[name]
    level, strike, years = one.level, one.level * moneyness, 0.75
    in_usd = 1 / level if name.startswith("USD") else 1.0
    values = {kind: price(Trade(name, kind, 10, strike, years), level, one.vol) for kind in ("call", "put", "forward")}
    for kind in ("call", "put"):
        expected = 10 * in_usd * black(kind, level, strike, one.vol, years, one.carry, DISCOUNT_RATE)
        assert values[kind] == pytest.approx(expected, rel=1e-9)
    assert values["call"] - values["put"] == pytest.approx(values["forward"], rel=1e-9)  # put-call parity


@pytest.mark.parametrize("name", PRICES)
@pytest.mark.parametrize("kind", ["call", "put"])
def test_sensitivities(name, kind):
    day, years, carry = 700, 0.5, UNDERLYINGS[name].carry
    level, _, vol = market.history()[name][day]
    risk = market.revalue([Trade(name, kind, -3, level, years)], day)

    def value(spot: float, sigma: float) -> float:
        return (
            -3 * black(kind, spot, level, sigma, years, carry, DISCOUNT_RATE) / (spot if name.startswith("USD") else 1)
        )

    h = 1e-5
    delta = (value(level * (1 + h), vol) - value(level * (1 - h), vol)) / (2 * h)
    vega = (value(level, vol + h) - value(level, vol - h)) / (2 * h) * 0.01
    if not name.startswith("USD"):
        d1 = (carry + vol**2 / 2) * years / (vol * sqrt(years))
        analytic = exp((carry - DISCOUNT_RATE) * years) * (normal(d1) - (kind == "put")) * level
        assert delta == pytest.approx(-3 * analytic, rel=1e-6)
    assert risk.values[0] == pytest.approx(value(level, vol), rel=1e-9)
    assert risk.deltas[0] == pytest.approx(delta, rel=5e-3)
    assert risk.vegas[0] == pytest.approx(vega, rel=5e-3)


def half_years(years: int) -> list[float]:
    """Payment times in years of 365 days, every six months from 15 January 2024."""
    start = date(2024, 1, 15)
    days = [date(2024 + i // 2, 7 if i % 2 else 1, 15) for i in range(2 * years + 1)]
    return [(day - start) / timedelta(days=365) for day in days]


def annuity(rate: float, years: int) -> float:
    times = half_years(years)
    return sum((b - a) * exp(-rate * b) for a, b in pairwise(times))


@pytest.mark.parametrize("years", [2, 5, 10])
@pytest.mark.parametrize("rate", [0.01, 0.04])
def test_swaps(years, rate):
    payer, receiver = (Trade("USD SOFR", "swap", sign * 1e8, 0.03, years) for sign in (1, -1))
    expected = 1e8 * (1 - exp(-rate * half_years(years)[-1]) - 0.03 * annuity(rate, years))
    assert price(payer, rate) == pytest.approx(expected, abs=0.01)
    assert price(receiver, rate) == -price(payer, rate)


@pytest.mark.parametrize("name", RATES)
@pytest.mark.parametrize("years", [2, 5, 10])
def test_the_pv01_of_a_par_swap_is_its_annuity_times_a_basis_point(name, years):
    day = 700
    rate = market.history()[name][day, 0]
    par = (1 - exp(-rate * half_years(years)[-1])) / annuity(rate, years)
    risk = market.revalue([Trade(name, "swap", 1e8, par, years)], day)
    assert risk.values[0] == pytest.approx(0, abs=1)
    assert risk.deltas[0] == pytest.approx(1e8 * annuity(rate, years) * 1e-4, rel=0.04)
    assert risk.vegas[0] == 0


@pytest.mark.parametrize("name", UNDERLYINGS)
@pytest.mark.parametrize("sign", [1, -1])
def test_the_var_of_a_linear_book_is_about_2_33_delta_sigma(name, sign):
    one, day = UNDERLYINGS[name], 900
    level = market.history()[name][day, 0]
    trade = Trade(
        name, *(("swap", sign * 1e8, level, 5) if one.kind == "rate" else ("forward", sign * 1e6, level, 0.5))
    )
    risk = market.revalue([trade], day)
    var = -np.sort(risk.windows[0])[slice(*TAIL)].mean()
    assert 0.5 < var / (2.33 * abs(risk.deltas[0]) * one.vol / sqrt(252)) < 2


def test_components_add_up_to_their_var():
    for row in read_rows(V0 / "train.jsonl"):
        for line in row.case.of_kind(ValueAtRisk):
            own = [one for one in row.case.of_kind(Component) if one.of == line.id]
            if own:
                assert sum(one.contribution for one in own) == pytest.approx(line.value, abs=0.01 * (len(own) + 1))
                assert sum(one.share_pct for one in own) == pytest.approx(100, abs=0.001)


@pytest.mark.parametrize("name", ["EURUSD", "GBPUSD", "USDJPY", "USDCNH"])
def test_a_dollar_rally_moves_every_pair_the_same_way(name):
    day = 800
    level = market.history()[name][day, 0]
    long_foreign = Trade(name, "forward", 1e6 * (-1 if name.startswith("USD") else 1), level, 0.5)
    rally, slump = (market.stress([long_foreign], day, Scenario("", "", price=move)) for move in (0.08, -0.08))
    assert rally < 0 < slump


def test_rates_up_gains_for_a_payer():
    day = 800
    trades = [Trade("CNY FR007", "swap", 1e8, 0.02, 5)]
    up, down = (market.stress(trades, day, Scenario("", "", rate=bp)) for bp in (100, -100))
    assert down < 0 < up
    assert up == pytest.approx(100 * market.revalue(trades, day).deltas[0], rel=0.1)


def test_the_history_is_long_enough_and_as_volatile_as_it_says():
    days = market.calendar()
    assert len(days) == market.DAYS == len(set(days)) and days == sorted(days)
    assert all(day.weekday() < 5 for day in days) and days[0] == market.FIRST_DAY
    for name, path in market.history().items():
        assert path.shape == (market.DAYS, 3) and np.isfinite(path).all()
        assert path[:, 1].std() * sqrt(252) == pytest.approx(UNDERLYINGS[name].vol, rel=0.2)
        if UNDERLYINGS[name].kind == "price":
            assert path[:, 0].min() > 0 and path[:, 2].min() > 0
