"""Risk by full revaluation against loops that apply every move by hand and value every trade one state at a time."""

from collections.abc import Callable
from datetime import date
from math import erf, exp, log, sqrt

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from riskscribe.data import pricing, risk
from riskscribe.data.history import FACTORS, history
from riskscribe.data.pricing import Trade
from riskscribe.data.risk import Engine, View, expected_shortfall, scenarios, value_at_risk

LEVELS, DATES = history().levels, history().dates
DAY = 3000  # 2010-12-03
START = DATES[DAY - 20]
OPTION = Trade("T0", "option", "SPX", 40_000, 1200.0, DATES[DAY + 60], START, option="put")
SWAP = Trade("T1", "swap", "EUR", 50e6, 0.031, date(2015, 12, 3), START)
FORWARD = Trade("T2", "forward", "USDJPY", -30e6, 84.0, DATES[DAY + 40], START)
CDS = Trade("T3", "cds", "Harbor Air", 20e6, 0.02, date(2014, 12, 20), START)
BOOK = [OPTION, SWAP, FORWARD, CDS]

State = dict[str, float]


def normal(x: float) -> float:
    return (1 + erf(x / sqrt(2))) / 2


def put(state: State) -> float:
    """Black-Scholes-Merton (Hull, Options, Futures and Other Derivatives, ch. 17), dividend yield 1.8 %."""
    years = (OPTION.expiry - DATES[DAY]).days / 365
    spot, vol, rate = state["SPX"], state["SPX.vol"], state["USD.2Y"]
    d1 = (log(spot / OPTION.strike) + (rate - 0.018 + vol**2 / 2) * years) / (vol * sqrt(years))
    d2 = d1 - vol * sqrt(years)
    return OPTION.quantity * (
        OPTION.strike * exp(-rate * years) * normal(-d2) - spot * exp(-0.018 * years) * normal(-d1)
    )


def forward(state: State) -> float:
    """In JPY: the dollars earn the USD rate, the yen 0.1 %."""
    years = (FORWARD.expiry - DATES[DAY]).days / 365
    return FORWARD.quantity * (state["USDJPY"] * exp(-state["USD.2Y"] * years) - FORWARD.strike * exp(-0.001 * years))


def one_state(trade: Trade) -> Callable[[State], float]:
    """A trade in its own currency, one state at a time."""

    def value(state: State) -> float:
        alone = {name: np.array([state[name]]) for name in pricing.depends_on(trade)}
        return float(pricing.price(trade, DATES[DAY], alone)[0])

    return value


def in_usd(state: State) -> list[float]:
    """USD value of every trade of the book in one state of the market."""
    return [put(state), one_state(SWAP)(state) * state["EURUSD"], forward(state) / state["USDJPY"],
            one_state(CDS)(state)]  # fmt: skip


NAMES = (
    "SPX", "SPX.vol", "EUR.2Y", "EUR.5Y", "EUR.10Y", "EUR.30Y", "EURUSD", "USDJPY", "Harbor Air.spread",
    "USD.2Y", "USD.5Y", "USD.10Y", "USD.30Y",
)  # fmt: skip
TODAY: State = {name: float(LEVELS[name][DAY]) for name in NAMES}


def after_move(last: int, horizon: int = 1) -> State:
    """Today's market after the move of the `horizon` days that end on day `last`."""
    state = {}
    for name, level in TODAY.items():
        new, old = float(LEVELS[name][last]), float(LEVELS[name][last - horizon])
        state[name] = level + new - old if name[:3] in ("EUR", "USD") and "Y" in name[4:] else level * new / old
    state["EURUSD"] = TODAY["EURUSD"] * float(LEVELS["EURUSD"][last]) / float(LEVELS["EURUSD"][last - horizon])
    state["USDJPY"] = TODAY["USDJPY"] * float(LEVELS["USDJPY"][last]) / float(LEVELS["USDJPY"][last - horizon])
    return state


def pnl(states: list[State]) -> np.ndarray:
    """(states, trades) P&L against today."""
    return np.array([in_usd(one) for one in states]) - np.array(in_usd(TODAY))


@pytest.fixture(scope="module")
def windows() -> np.ndarray:
    """(750, trades) one-day P&L by hand, oldest first."""
    return pnl([after_move(day) for day in range(DAY - 749, DAY + 1)])


@pytest.fixture(scope="module")
def engine() -> Engine:
    return Engine()


def mean_of_worst(losses: np.ndarray, first: int, last: int) -> float:
    """Mean loss of the `first`th to `last`th worst day."""
    return -float(np.mean(sorted(losses.tolist())[first - 1 : last]))


def test_the_book_needs_exactly_the_factors_that_are_moved_by_hand():
    assert {name for one in BOOK for name in risk.factors_of(one)} == set(NAMES)


def test_one_day_var_and_es_are_full_revaluation(engine, windows):
    found = engine.total(BOOK, View(DAY), "one_day")
    assert found == pytest.approx(windows.sum(axis=1), rel=1e-9, abs=1e-3)
    recent = windows[-500:].sum(axis=1)
    assert value_at_risk(found[-500:]) == pytest.approx(mean_of_worst(recent, 3, 7))
    worst = sorted(recent)
    assert expected_shortfall(found[-500:]) == pytest.approx(-(sum(worst[:12]) + worst[12] / 2) / 12.5)
    for trade, own in zip(BOOK, windows.T, strict=True):
        assert engine.priced(trade, View(DAY)).one_day == pytest.approx(own, rel=1e-9, abs=1e-3)


def test_the_greeks_alone_would_give_another_var(engine, windows):
    """Or the comparison above would also pass for an approximation."""
    view = View(DAY)
    greek = np.zeros(500)
    for trade in BOOK:
        one = engine.priced(trade, view)
        for i, day in enumerate(range(DAY - 499, DAY + 1)):
            state = after_move(day)
            for measure, factor, value, _ in one.greeks:
                if measure == "delta":
                    greek[i] += value * one.rate * (state[trade.underlying] / TODAY[trade.underlying] - 1)
                if measure == "bucket_pv01":
                    name = factor.replace(" ", ".")
                    greek[i] += value * one.rate * (state[name] - TODAY[name]) * 1e4
    assert value_at_risk(greek) != pytest.approx(value_at_risk(windows[-500:].sum(axis=1)), rel=0.02)


def test_ten_day_and_stressed_windows(engine):
    ten = pnl([after_move(day, 10) for day in range(DAY - 499, DAY + 1)]).sum(axis=1)
    assert engine.total(BOOK, View(DAY), "ten_day") == pytest.approx(ten, rel=1e-9, abs=1e-3)
    first = next(i for i, day in enumerate(DATES) if day >= date(2008, 7, 1))
    stressed = pnl([after_move(day) for day in range(first, first + 250)]).sum(axis=1)
    found = engine.total(BOOK, View(DAY), "stressed")
    assert found == pytest.approx(stressed, rel=1e-9, abs=1e-3)
    assert value_at_risk(found) == pytest.approx(mean_of_worst(stressed, 2, 4))


def test_back_test_exceptions(engine, windows):
    counts = set()
    for trades in (BOOK, [OPTION], [FORWARD], [SWAP, CDS]):
        found, by_hand = engine.total(trades, View(DAY), "one_day"), windows[:, [BOOK.index(one) for one in trades]]
        # 2008 lies in the windows before every day of 2010: only a book that grows has exceptions
        for scale in (np.ones(750), -np.ones(750), np.linspace(0.2, 2, 750), np.geomspace(0.01, 3, 750)):
            total = scale * by_hand.sum(axis=1)
            count = sum(total[i] < -mean_of_worst(total[i - 500 : i], 3, 7) for i in range(500, 750))
            assert risk.exceptions(scale * found) == count
            counts.add(int(count))
    assert len(counts) > 3 and max(counts) > 9


@pytest.mark.parametrize(
    ("name", "reverse", "shocked"),
    [
        ("Lehman", False, {"SPX": 0.72, "SPX.vol": "+0.40", "rates": "-0.0060", "USDJPY": 1.06, "EURUSD": 1 / 1.06,
                           "Harbor Air.spread": 1.8}),
        ("Lehman", True, {"SPX": 1 / 0.72, "SPX.vol": "-0.40", "rates": "+0.0060", "USDJPY": 1 / 1.06,
                          "EURUSD": 1.06, "Harbor Air.spread": 1 / 1.8}),
        ("Yen unwind", False, {"SPX": 0.94, "SPX.vol": "+0.20", "rates": "-0.0025", "USDJPY": 0.92}),
        ("Steepener", False, {"EUR.2Y": "-0.0050", "EUR.30Y": "+0.0050", "USD.2Y": "-0.0050", "USD.30Y": "+0.0050"}),
        ("Name gap", False, {}),
    ],
)  # fmt: skip
def test_a_stress_is_full_revaluation(engine, name, reverse, shocked):
    state = dict(TODAY)
    for key, move in shocked.items():
        for factor in [one for one in NAMES if one[4:] in ("2Y", "5Y", "10Y", "30Y")] if key == "rates" else [key]:
            state[factor] = TODAY[factor] + float(move) if isinstance(move, str) else TODAY[factor] * move
    state["SPX.vol"] = max(state["SPX.vol"], 0.1 * TODAY["SPX.vol"])
    number = next(i for i, one in enumerate(scenarios()) if (one.name, one.reverse) == (name, reverse))
    for trade, by_hand in zip(BOOK, pnl([state])[0], strict=True):
        assert engine.priced(trade, View(DAY)).stress[number] == pytest.approx(by_hand, rel=1e-9, abs=1e-3)


def test_a_stale_quote_moves_by_todays_moves_from_its_old_level(engine):
    found = engine.priced(OPTION, View(DAY, (("SPX", DAY - 3),)))
    stuck = TODAY | {"SPX": float(LEVELS["SPX"][DAY - 3])}
    moved = [after_move(day) for day in range(DAY - 9, DAY + 1)]
    moved = [one | {"SPX": one["SPX"] / TODAY["SPX"] * stuck["SPX"]} for one in moved]
    assert found.value == pytest.approx(put(stuck))
    assert found.one_day[-10:] == pytest.approx([put(one) - put(stuck) for one in moved], rel=1e-9, abs=1e-3)


def test_components_add_up_around_the_quantile_and_keep_hedges_apart(engine):
    view = View(DAY)
    hedge = Trade("T9", "option", "SPX", -35_000, 1150.0, DATES[DAY + 60], START, option="put")
    book = [*BOOK, hedge]
    recent = engine.total(book, view, "one_day")[-500:]
    tail = risk.tail_days(recent)
    parts = [-engine.priced(one, view).one_day[-500:][tail].mean() for one in book]
    assert sum(parts) == pytest.approx(value_at_risk(recent))
    by_size = np.argsort(recent)
    assert sorted(tail) == sorted(by_size[2:7])
    assert parts[0] * parts[-1] < 0, "the sold put hedges the bought one"
    alone = sum(value_at_risk(engine.priced(one, view).one_day[-500:]) for one in book)
    assert alone > value_at_risk(recent)


def test_a_scenario_that_cannot_be_priced_is_said_and_left_out(engine):
    oil = Trade("T5", "option", "WTI", 100_000, 90.0, DATES[DAY + 60], START, option="put")
    found = engine.priced(oil, View(DAY))
    number = next(i for i, one in enumerate(scenarios()) if one.name == "Negative oil" and not one.reverse)
    assert np.flatnonzero(np.isnan(found.stress)).tolist() == [number]
    (said,) = found.failed
    assert said.startswith("T5: WTI of -37.63 has no lognormal model")
    future = Trade("T6", "future", "WTI", 100_000, 90.0, DATES[DAY + 60], START)
    expected = 100_000 * (-37.63 - float(LEVELS["WTI"][DAY]))
    assert engine.priced(future, View(DAY)).stress[number] == pytest.approx(expected)


def test_the_pnl_explain_of_a_linear_book_is_its_pnl(engine):
    before, after = View(DAY - 1), View(DAY)
    future = Trade("T7", "future", "GOLD", 2_000, 1380.0, DATES[DAY + 60], START)
    actual = engine.value(future, after) - engine.value(future, before)
    assert risk.risk_theoretical([future], engine, before, after) == pytest.approx(actual)
    book = [*BOOK, future]
    moved = sum(engine.value(one, after) - engine.value(one, before) for one in book)
    assert risk.risk_theoretical(book, engine, before, after) == pytest.approx(moved, rel=0.1)


def test_carry_is_what_a_day_alone_makes(engine):
    view = View(DAY - 1)
    before = {name: np.array([LEVELS[name][DAY - 1]]) for name in pricing.depends_on(OPTION)}
    made = pricing.price(OPTION, DATES[DAY], before) - pricing.price(OPTION, DATES[DAY - 1], before)
    assert engine.carry(OPTION, view, DAY) == pytest.approx(float(made[0]))
    assert made[0] < 0, "a bought option decays"


def test_on_its_expiry_a_trade_is_worth_its_payoff(engine):
    last = Trade("T8", "option", "SPX", 1000, 1300.0, DATES[DAY], START, option="put")
    assert engine.value(last, View(DAY)) == pytest.approx(1000 * (1300 - TODAY["SPX"]))


@pytest.mark.parametrize("currency", ["USD", "EUR", "GBP", "JPY", "CHF", "CNH", "CNY"])
def test_rates_of_exchange(currency):
    pair = {"EUR": "EURUSD", "GBP": "GBPUSD", "CNY": "USDCNH"}.get(currency, f"USD{currency}")
    expected = 1.0 if currency == "USD" else float(LEVELS[pair][DAY])
    expected = expected if pair.endswith("USD") else 1 / expected
    assert risk.rate_of(currency, View(DAY)) == pytest.approx(expected)


# --- scenarios


@pytest.mark.parametrize("i", range(0, len(scenarios()), 2))
def test_the_reverse_of_a_scenario_is_the_inverse_move(i):
    there, back = scenarios()[i : i + 2]
    assert (there.name, there.reverse, back.reverse) == (back.name, False, True)
    moved = []
    for name, factor in FACTORS.items():
        gap = "AAPL"
        one, other = (each.move(name, gap) for each in (there, back))
        if (f"{name}.level", "WTI.level") == ("WTI.level", there.shocks[0][0]):
            assert back.change(name, gap) == (2.0, 0.0) and there.change(name, gap) == (0.0, -37.63)
            continue
        if factor.kind in ("price", "spread"):
            assert (1 + one) * (1 + other) == pytest.approx(1)
        else:
            assert one == -other
        moved += [name] if one else []
    assert moved, "a scenario that moves nothing"
    for names in (moved, [name for name in FACTORS if name not in moved and name != "WTI"]):
        assert there.touches(names, "AAPL") == back.touches(names, "AAPL") == (names is moved)


def test_a_dollar_rally_moves_every_pair_the_same_way():
    rally = next(one for one in scenarios() if one.name == "Dollar rally")
    for name in ("EURUSD", "GBPUSD", "USDJPY", "USDCNH", "USDCHF"):
        scale, shift = rally.change(name, None)
        assert shift == 0 and scale == pytest.approx(1.08 if name.startswith("USD") else 1 / 1.08)


def test_a_vol_never_falls_below_a_tenth():
    for name in ("EURUSD.vol", "USD.vol", "SPX.vol"):
        level = float(LEVELS[name][DAY])
        levels = risk.shocked_levels(name, level, None)
        assert levels.min() == pytest.approx(max(0.1 * level, levels.min())) and levels.min() > 0
    assert risk.shocked_levels("EURUSD.vol", 0.03, None).min() == pytest.approx(0.003)


def test_only_the_name_that_gaps_gaps():
    gap = next(one for one in scenarios() if one.name == "Name gap")
    assert gap.change("AAPL", "AAPL") == (pytest.approx(0.8), 0.0)
    assert gap.change("JPM", "AAPL") == gap.change("AAPL", None) == (1.0, 0.0)


@pytest.mark.parametrize(
    ("name", "reverse", "year", "en", "zh"),
    [
        ("Lehman", False, 2010, "Lehman 2008", "2008年雷曼"),
        ("Lehman", True, 2010, "Reverse Lehman 2008", "反向2008年雷曼"),
        ("Pandemic", False, 2010, "Pandemic type", "疫情冲击型"),
        ("Steepener", False, 2010, "Steepener", "曲线陡峭化"),
    ],
)
def test_an_event_that_has_not_happened_is_called_by_its_type(name, reverse, year, en, zh):
    one = next(one for one in scenarios() if (one.name, one.reverse) == (name, reverse))
    assert (one.label(year, "en"), one.label(year, "zh")) == (en, zh)


# --- measures


def test_var_99_of_500_known_losses():
    losses = -np.arange(1.0, 501.0)  # the worst are 500, 499, ...
    assert value_at_risk(losses) == np.mean([498, 497, 496, 495, 494])
    assert expected_shortfall(losses) == pytest.approx((sum(range(489, 501)) + 0.5 * 488) / 12.5)
    assert value_at_risk(-losses) == expected_shortfall(-losses) == 0.0, "no loss, no VaR"
    assert value_at_risk(losses[:250]) == np.mean([249, 248, 247])


def test_the_standard_error_is_that_of_the_estimate():
    rng = np.random.default_rng(1)
    samples = rng.standard_t(4, (400, 500)) * 1e5
    spread = np.std([value_at_risk(one) for one in samples])
    claimed = np.mean([risk.standard_error(one, seed=7) for one in samples[:60]])
    assert 0.6 < claimed / spread < 1.4
    assert risk.standard_error(samples[0], seed=7) == risk.standard_error(samples[0], seed=7)


PNL = arrays(float, st.sampled_from([250, 500]), elements=st.floats(-1e9, 1e9, width=32))


@settings(deadline=None, max_examples=60)
@given(PNL, st.floats(0, 1e6), st.floats(0.01, 100))
def test_var_and_es_are_coherent_where_they_must_be(pnl, loss, scale):
    for measure in (value_at_risk, expected_shortfall):
        base, size = measure(pnl), 1 + np.abs(pnl).max()
        assert 0 <= base <= max(0.0, -pnl.min()) + 1e-6 * size
        assert measure(pnl * scale) == pytest.approx(scale * base, rel=1e-9, abs=1e-6 * size * scale)
        assert measure(pnl - loss) >= base - 1e-6 * size
        if base > 0:
            assert measure(pnl - loss) == pytest.approx(base + loss, abs=1e-6 * size)
        worse = np.minimum(pnl, np.roll(pnl, 1))
        assert measure(worse) >= base - 1e-6 * size
        assert measure(np.flip(pnl)) == pytest.approx(base, abs=1e-6 * size)


LINEAR = [
    *((name, "future") for name in ("SPX", "COMP", "CSI300", "AAPL", "XOM", "WTI", "GOLD", "COPPER")),
    *((name, "forward") for name in ("EURUSD", "GBPUSD", "USDJPY", "USDCNH", "USDCHF")),
    *((name, "swap") for name in ("USD", "EUR", "GBP", "CNY")),
    *((name, "cds") for name in ("Harbor Air", "Delta Grid")),
]


@pytest.mark.parametrize("sign", [1, -1])
@pytest.mark.parametrize(("name", "kind"), LINEAR)
def test_the_var_of_a_linear_book_is_about_2_33_delta_sigma(engine, name, kind, sign):
    curve = {"swap": f"{name}.10Y", "cds": f"{name}.spread"}.get(kind, name)
    level = float(LEVELS[curve][DAY])
    expiry = date(2020, 12, 3) if kind in ("swap", "cds") else DATES[DAY + 60]
    trade = Trade("T0", kind, name, sign * 1e6, level, expiry, START)
    found = engine.priced(trade, View(DAY))
    moves = history().moves(curve)[DAY - 499 : DAY + 1]
    # what the Greek is a P&L of: 100 % of a price, 1bp of a rate or spread
    sigma = {"swap": np.std(moves) * 1e4, "cds": np.std(moves) * level * 1e4}.get(kind, np.std(moves))
    measure = {"swap": "pv01", "cds": "cs01"}.get(kind, "delta")
    delta = next(value * found.rate for what, _, value, _ in found.greeks if what == measure)
    assert 0.5 < value_at_risk(found.one_day[-500:]) / (2.33 * abs(delta) * sigma) < 2
