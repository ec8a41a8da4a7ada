"""Generated books: what a case says follows from its trades, and the bridge from revaluing yesterday's book."""

import random
from collections import Counter
from dataclasses import replace
from datetime import date
from decimal import Decimal
from itertools import pairwise
from types import SimpleNamespace

import numpy as np
import pytest

from riskscribe.case import (
    Backtest,
    Case,
    Change,
    Component,
    Counterparty,
    DataQuality,
    Limit,
    PnL,
    Position,
    Source,
    Stress,
    ValueAtRisk,
)
from riskscribe.data import books, pricing, risk
from riskscribe.data.history import FACTORS, history
from riskscribe.data.pricing import Trade
from riskscribe.data.risk import View
from riskscribe.policy import assess, exposure
from riskscribe.report import LEVELS

LEVEL, DATES = history().levels, history().dates
DAY = 3000
PLAN = books.Plan((1,), "high", "en", "equity", "usual", DAY - 4, 6)
LONG = Trade("T0", "option", "SPX", 30_000, 1200.0, DATES[DAY + 60], DATES[DAY - 30], option="put")
SWAP = Trade("T1", "swap", "EUR", 40e6, 0.03, date(2016, 12, 3), DATES[DAY - 30])
GONE = Trade("T2", "option", "SPX", 20_000, 1250.0, DATES[DAY], DATES[DAY - 30], option="call")
NEW = Trade("T3", "forward", "USDJPY", 25e6, 84.0, DATES[DAY + 40], DATES[DAY])


def hand_made(**fields) -> books._Book:
    """SPX does not move on the two days before DAY; one trade enters and one matures on DAY."""
    given = {"plan": PLAN, "name": "book-aaaaaa", "trades": [LONG, SWAP, GONE, NEW], "engine": risk.Engine(),
             "netted": set(), "stale": {"SPX": (DAY - 2, DAY)}}  # fmt: skip
    return books._Book(**given | fields)


def by_hand(trades: list[Trade], day: int, stuck: dict[str, float]) -> float:
    """VaR of trades on a day: every factor's last 500 moves put on its level, the book revalued after each."""
    total = np.zeros(501)
    for trade in trades:
        states = {}
        for name in {*pricing.depends_on(trade), "EURUSD", "USDJPY"}:
            today, series = stuck.get(name, LEVEL[name][day]), LEVEL[name]
            old, new = series[day - 500 : day], series[day - 499 : day + 1]
            moved = today + (new - old) if FACTORS[name].kind == "rate" else today * (new / old)
            states[name] = np.concatenate([[today], moved])
        own = pricing.price(trade, DATES[day], {name: states[name] for name in pricing.depends_on(trade)})
        total += own * states["EURUSD"] if trade is SWAP else own / states["USDJPY"] if trade is NEW else own
    return -np.mean(sorted(total[1:] - total[0])[2:7])


def test_the_bridge_revalues_yesterdays_book_on_todays_market():
    stages = hand_made().stages(DAY)
    stuck = {"SPX": LEVEL["SPX"][DAY - 3]}
    expected = [
        by_hand([LONG, SWAP, GONE], DAY - 1, stuck),
        by_hand([LONG, SWAP, GONE, NEW], DAY - 1, stuck),
        by_hand([LONG, SWAP, NEW], DAY - 1, stuck),
        by_hand([LONG, SWAP, NEW], DAY, stuck),
        by_hand([LONG, SWAP, NEW], DAY, {}),
    ]
    assert [one["var", "book"] for one in stages] == pytest.approx(expected)
    assert min(abs(after - before) for before, after in pairwise(expected)) > 1000
    steps = books._bridge(stages, ("var", "book"), "VAR-AA", books._Ids(random.Random(1)))
    assert [one.step for one in steps] == ["new_trades", "matured", "market", "model_or_data"]
    assert [one.value for one in steps] == pytest.approx(np.diff(expected), abs=0.011)


def test_a_measure_that_is_not_there_all_the_way_has_no_bridge():
    stages = hand_made().stages(DAY)
    assert ("open_position", "USDJPY") not in stages[0]
    assert books._bridge(stages, ("open_position", "USDJPY"), "LIM-AA", lambda prefix: f"{prefix}-AA") == []


HARD = 100.0
RUNS = {
    # stages of each day, the last one today -> days open, cause
    "a new trade": ([[90, 120, 120, 120, 120]], 1, "active"),
    "a hedge matured": ([[90, 90, 120, 120, 120]], 1, "active"),
    "the market": ([[90, 95, 92, 120, 120]], 1, "passive"),
    "a quote that came back": ([[90, 90, 90, 99, 120]], 1, "technical"),
    "the first step that crosses": ([[90, 110, 95, 120, 120]], 1, "active"),
    "there was none yesterday": ([[None, 120, 120, 120, 120]], 1, "active"),
    "open since two days": ([[90, 90, 90, 120, 120], [120, 120, 120, 130, 130]], 2, "passive"),
    "again after a day within": (
        [[90, 120, 120, 120, 120], [120, 120, 90, 90, 90], [90, 90, 90, 101, 101]], 1, "passive",
    ),
    "before the run": ([[120, 120, 120, 120, 120], [120, 120, 120, 110, 110]], 5, "unknown"),
    "a short position": ([[-90, -90, -90, -120, -120]], 1, "passive"),
    "exactly at hard": ([[100, 100, 100, 100.01, 100.01]], 1, "passive"),
}  # fmt: skip


@pytest.mark.parametrize("name", RUNS)
def test_what_opened_a_breach_and_when(name):
    days, count, cause = RUNS[name]
    key = ("delta", "SPX")
    table = [[{} if value is None else {key: float(value)} for value in stages] for stages in days]
    book = SimpleNamespace(plan=SimpleNamespace(first_day=10), stages=lambda day: table[day - 10])
    terms = books._Terms(key, HARD, "desk", first_days_open=3)
    today = 10 + len(days) - 1
    assert books._open(book, today, terms, table[-1]) == {"days_open": count, "cause": cause}


def test_within_the_limit_nothing_is_open():
    key = ("stress", "book")
    for use in (-90.0, -100.0, 150.0):
        assert books._open(None, 0, books._Terms(key, HARD, "desk"), [{key: use}]) == {}


def test_exposure_nets_only_where_that_is_enforceable():
    worth = {"T0": 5e6, "T1": -3e6, "T2": -4e6, "T3": 1e6, "T4": 9e6}
    trades = [
        SimpleNamespace(name=name, counterparty=party)
        for name, party in zip(worth, ("Tarn", "Tarn", "Lumen", "Lumen", None), strict=True)
    ]
    engine = SimpleNamespace(priced=lambda one, view: SimpleNamespace(value=worth[one.name]))
    assert books._exposures(engine, trades, None, {"Tarn", "Lumen"}) == {"Lumen": 0.0, "Tarn": 2e6}
    assert books._exposures(engine, trades, None, set()) == {"Lumen": 1e6, "Tarn": 5e6}


@pytest.mark.parametrize(("desk", "counted"), [("mixed", "SPX"), ("equity", "SPX"), ("rates", "USD")])
def test_points_of_volatility_and_of_normal_volatility_do_not_add(desk, counted):
    swaption = Trade(
        "T5", "swaption", "USD", 50e6, 0.03, DATES[DAY + 60], DATES[DAY - 30], option="call", tenor_years=5
    )
    book = hand_made(plan=replace(PLAN, desk=desk), stale={})
    found = book.values([LONG, swaption], View(DAY))
    (own,) = [value for key, value in found.items() if key[0] == "vega" and key[1] == counted]
    assert found["vega", "book"] == own
    other = "USD" if counted == "SPX" else "SPX"
    assert ("vega", other) not in found


def test_a_plan_gives_the_same_cases_again(generated):
    for plan, cases, _ in (generated[3], generated[38]):
        assert books.book_cases(plan) == cases


def test_a_book_without_risk_gives_no_case(monkeypatch):
    tiny = Trade("T0", "option", "SPX", 0.001, 1200.0, DATES[DAY + 60], DATES[DAY - 30], option="put")
    monkeypatch.setattr(books, "_make_book", lambda rng, plan: hand_made(trades=[tiny], stale={}))
    assert books.book_cases(PLAN) == []


def test_every_plan_gives_valid_cases_of_its_language_and_desk(generated):
    names = [one.book for _, cases, _ in generated for one in cases[:1]]
    ids = [one.case.case_id for _, cases, _ in generated for one in cases]
    assert len(set(names)) == len(names) >= 38 and len(set(ids)) == len(ids)
    for plan, cases, clean in generated:
        assert len({one.book for one in cases}) <= 1
        for one in [*(one.case for one in cases), *clean]:
            assert Case.model_validate_json(one.model_dump_json(exclude_none=True)) == one
            assert one.language == plan.language
            assert one.desk == books._DESK_NAMES[plan.language][plan.desk]
            assert one.as_of in DATES[plan.first_day : plan.first_day + plan.days]
            assert one.of_kind(Source) and one.of_kind(ValueAtRisk) and one.of_kind(Limit)
            least, most = books.SIZES[plan.size]
            assert least - 2 <= len(one.of_kind(Position)) <= most + 2
        assert [one.case.as_of for one in cases] == sorted({one.case.as_of for one in cases})


def test_the_cases_cover_levels_statuses_and_instruments(generated):
    cases = [one.case for _, cases, _ in generated for one in cases]
    assert Counter(assess(one).risk_level for one in cases).keys() == set(LEVELS)
    limits = [limit for one in cases for limit in one.of_kind(Limit)]
    assert {one.status for one in limits} == {
        "within", "warning", "breach", "breach_within_approved_excess", "unconfirmed"
    }  # fmt: skip
    assert {one.cause for one in limits} >= {"active", "passive", "unknown", None}
    assert {one.measure for one in limits} >= {
        "delta", "vega", "pv01", "bucket_pv01", "cs01", "open_position", "var", "stress", "exposure", "concentration"
    }  # fmt: skip
    words = " ".join(position.instrument for one in cases for position in one.of_kind(Position))
    for word in ("swaption", " swap ", " cap ", " CDS ", "down-and-in", "future", "forward", "call", "互换", "远期"):
        assert word in words, word


@pytest.fixture(scope="module")
def clean(generated) -> list[tuple[books.Plan, Case]]:
    """Every case as the engine made it, before faults and notes."""
    return [(plan, one) for plan, _, clean in generated for one in clean]


def cents(value: float) -> Decimal:
    return Decimal(repr(value))


def main_line(case: Case) -> ValueAtRisk:
    """The one-day VaR of the recent windows."""
    lines = case.of_kind(ValueAtRisk)
    (found,) = [one for one in lines if (one.measure, one.horizon_days, one.window) == ("VaR", 1, "recent")]
    return found


def test_components_and_bridges_add_up_to_the_cent(clean):
    kinds = Counter()
    for _, case in clean:
        by_id = {one.id: one for one in case.evidence}
        for kind, field in ((Component, "contribution"), (Change, "value")):
            sums: dict[str, Decimal] = {}
            for one in case.of_kind(kind):
                sums[one.of] = sums.get(one.of, Decimal(0)) + cents(getattr(one, field))
            for of, total in sums.items():
                line = by_id[of]
                today = cents(line.pnl if isinstance(line, Stress) else line.value)
                if kind is Change:
                    assert total == today - cents(line.previous)
                else:
                    assert total == abs(today)
                kinds[kind, type(line)] += 1
    assert kinds[Component, ValueAtRisk] == len(clean)
    assert min(kinds[Component, Stress], *(kinds[Change, one] for one in (ValueAtRisk, Stress, Limit))) > 10


def test_bridges_are_given_for_limits_in_heavy_use(clean):
    for _, case in clean:
        targets = {one.of for one in case.of_kind(Change)}
        for limit in case.of_kind(Limit):
            if limit.id in targets:
                assert limit.utilisation_pct >= 75


def test_shares_standalone_and_diversification(clean):
    worse, lines = 0, 0
    for _, case in clean:
        line = main_line(case)
        parts = [one for one in case.of_kind(Component) if one.of == line.id]
        for one in parts:
            assert one.share_pct == pytest.approx(100 * one.contribution / line.value, abs=0.001)
            assert one.standalone is not None
        if len(parts) == 1:
            assert parts[0].standalone == parts[0].contribution == line.value
        if line.undiversified is not None:
            lines += 1
            # VaR is not subadditive: a sum below the whole is possible, but rare and small
            worse += line.undiversified < line.value
            assert line.undiversified > 0.9 * line.value
    assert lines > 50 and worse <= 0.05 * lines


def test_rates_of_exchange_are_those_of_the_day(clean):
    pairs = {"EUR": "EURUSD", "GBP": "GBPUSD", "JPY": "USDJPY", "CHF": "USDCHF", "CNH": "USDCNH", "CNY": "USDCNH"}
    seen = set()
    for _, case in clean:
        day = DATES.index(case.as_of)
        stale = {one.detail.split()[0] for one in case.of_kind(DataQuality) if one.issue == "stale_quote"}
        for currency, rate in case.fx.items():
            pair = pairs[currency]
            if pair not in stale and case.language == "en":
                level = LEVEL[pair][day]
                assert rate == pytest.approx(1 / level if pair.startswith("USD") else level, rel=1e-6)
                seen.add(currency)
    assert seen >= {"EUR", "JPY", "GBP"}


GREEKS = ("delta", "vega", "pv01", "bucket_pv01", "cs01", "open_position")


def test_greek_limits_are_the_sums_of_the_positions_greeks(clean):
    tested = Counter()
    for plan, case in clean:
        greeks = [one for position in case.of_kind(Position) for one in position.sensitivities]
        book, desk = books._WORDS[plan.language]["book"], books._WORDS[plan.language]["desk"]
        for limit in case.of_kind(Limit):
            if limit.measure not in GREEKS or limit.measure == "bucket_pv01" or limit.scope == desk:
                continue
            own = [
                one.value
                for one in greeks
                if one.measure == limit.measure
                and limit.scope in (book, one.factor)
                and (limit.measure != "vega" or ("normal" in one.bump) == (plan.desk == "rates"))
            ]
            assert sum(own) == pytest.approx(limit.value, abs=0.01 * (len(own) + 1)), (case.case_id, limit.id)
            tested[limit.measure] += 1
    assert min(tested[one] for one in GREEKS if one != "bucket_pv01") > 3


def test_concentration_is_the_largest_share_of_delta(clean):
    tested = 0
    for _, case in clean:
        use: dict[str, float] = {}
        for position in case.of_kind(Position):
            for one in position.sensitivities:
                if one.measure == "delta":
                    use[one.factor] = use.get(one.factor, 0.0) + one.value
        for limit in case.of_kind(Limit):
            if limit.measure == "concentration":
                sizes = [abs(one) for one in use.values()]
                assert limit.value == pytest.approx(100 * max(sizes) / sum(sizes), abs=0.01)
                tested += 1
    assert tested > 3


def test_counterparty_exposure_is_that_of_its_positions(clean):
    netted = Counter()
    for _, case in clean:
        lines = {one.name: one for one in case.of_kind(Counterparty)}
        owed: dict[str, list[float]] = {}
        for one in case.of_kind(Position):
            owed.setdefault(one.counterparty, []).append(case.in_base(one.mtm, one.currency))
        for name, line in lines.items():
            parts = owed[name]
            apart = sum(max(0.0, one) for one in parts)
            expected = max(0.0, sum(parts)) if line.enforceable else apart
            assert line.exposure == pytest.approx(expected, abs=1 + 1e-6 * sum(map(abs, parts)))
            assert line.collateral == pytest.approx(max(0.0, line.exposure - line.threshold), abs=5e5)
            netted[line.enforceable, bool(expected < apart - 1)] += 1
        for limit in case.of_kind(Limit):
            if limit.measure == "exposure" and limit.scope in lines:
                assert limit.value == lines[limit.scope].exposure
    assert netted[True, True] > 5 and netted[False, False] > 5 and not netted[False, True]


def test_var_and_stress_limits_repeat_their_lines(clean):
    for _, case in clean:
        lines = case.of_kind(ValueAtRisk)
        first = main_line(case)
        for limit in case.of_kind(Limit):
            if limit.measure == "var":
                assert (limit.value, limit.previous) == (first.value, first.previous)
            if limit.measure == "stress" and exposure(limit):
                assert limit.value == min(one.pnl for one in case.of_kind(Stress))
        if len(lines) > 1:
            assert sorted((one.measure, one.horizon_days, one.window, one.windows) for one in lines) == [
                ("ES", 1, "recent", 500), ("VaR", 1, "recent", 500), ("VaR", 1, "stressed", 250),
                ("VaR", 10, "recent", 500),
            ]  # fmt: skip
            assert first.tail_count == 5 and 0 < first.standard_error < first.value
            (ten,) = [one for one in lines if one.horizon_days == 10]
            assert ten.horizon_method == "overlapping"
        for one in case.of_kind(Backtest):
            assert (one.days, one.confidence_pct) == (250, 99) and one.exceptions <= 60


def test_one_days_today_is_the_next_days_yesterday(generated):
    compared = five = 0
    for _, _, clean in generated:
        for old, new in pairwise(clean):
            if DATES.index(new.as_of) != DATES.index(old.as_of) + 1:
                continue
            yesterday = {(one.measure, one.scope): one.value for one in old.of_kind(Limit)}
            for limit in new.of_kind(Limit):
                if (limit.measure, limit.scope) in yesterday and limit.previous is not None:
                    assert limit.previous == yesterday[limit.measure, limit.scope]
                    compared += 1
            assert new.of_kind(Position)
        for old, new in zip(clean, clean[5:], strict=False):
            before = {(one.measure, one.scope): one.value for one in old.of_kind(Limit)}
            for limit in new.of_kind(Limit):
                if limit.five_days_ago is not None and (limit.measure, limit.scope) in before:
                    assert limit.five_days_ago == before[limit.measure, limit.scope]
                    five += 1
    assert compared > 300 and five > 5


def test_pnl_explain(clean):
    seen = 0
    for _, case in clean:
        lines = {one.measure: one.value for one in case.of_kind(PnL)}
        if lines:
            left = cents(lines["hypothetical"]) - cents(lines["risk_theoretical"])
            assert cents(lines["unexplained"]) == left.quantize(Decimal("0.01"))
            seen += 1
    assert seen > 20


def test_what_the_engine_met_is_flagged(clean):
    found = Counter()
    for _, case in clean:
        flags = case.of_kind(DataQuality)
        text = " ".join(one.instrument for one in case.of_kind(Position))
        failed = [one for one in flags if one.issue == "failed_pricing"]
        options = any(f"{side} WTI {kind}" in text for side in ("long", "short") for kind in ("call", "put"))
        if case.language == "en":
            assert bool(failed) == options, case.case_id
        losses = [one for one in case.of_kind(Stress) if one.pnl < 0]
        assert bool(losses) != any(one.issue == "untested_loss" for one in flags)
        found.update(one.issue for one in flags)
    assert found["failed_pricing"] > 3 and found["untested_loss"] > 3 and found["stale_quote"] > 1


def test_a_stale_quote_names_positions_and_days():
    book = hand_made(stale={"SPX": (DAY - 2, DAY + 1)})
    positions = books._positions(book, DAY, books._Ids(random.Random(2)))
    look = SimpleNamespace(gains_only=False)
    (flag,) = books._own_flags(book, DAY, book.alive(DAY), positions, positions, look, lambda prefix: "DQ-AA")
    assert (flag.issue, flag.detail) == ("stale_quote", "SPX quote is 3 days old")
    assert flag.affects == [one.id for one in positions if "SPX" in one.instrument]
    assert positions[0].mtm == pytest.approx(
        risk.Engine().priced(LONG, View(DAY, (("SPX", DAY - 3),))).value, abs=0.006
    )


def test_only_tests_hold_the_held_out_combinations(generated):
    held = Counter()
    for plan, cases, _ in generated:
        for one in cases:
            combination = books.held_out_combination(one.case)
            assert plan.held_out or combination is None
            held[combination] += 1
    assert held[None] > 100 and len(held) > 1


def test_a_held_out_combination_is_told_in_both_languages(book):
    jump = {"kind": "limit", "id": "LIM-ZZ", "measure": "jump_to_default", "scope": "Harbor Air", "value": 1.0,
            "currency": "USD", "soft": 8.0, "hard": 10.0, "authority": "desk"}  # fmt: skip
    for instrument in ("buy Harbor Air CDS 200bp 2014-12", "买入 Harbor Air CDS保护 200bp 2014-12"):
        named = Case.model_validate(book(jump, change={"POS-AA": {"instrument": instrument}}))
        assert books.held_out_combination(named) == ("cds", "jump_to_default")
    for instrument in ("short SPX down-and-in put 1200/900 2014-12", "空 SPX 向下敲入看跌 1200/900 2014-12"):
        named = Case.model_validate(book(change={"POS-AA": {"instrument": instrument}}))
        assert books.held_out_combination(named) == ("barrier", "vega")
    assert books.held_out_combination(Case.model_validate(book(jump))) is None


def test_features_show(generated):
    for plan, _, clean in generated:
        if plan.feature == "raw":
            assert clean and all(one.layout == "raw" for one in clean)
        elif clean:
            assert {one.layout for one in clean} == {"exception"}
        if plan.feature == "gains only":
            assert any(one.pnl >= 0 for case in clean for one in case.of_kind(Stress))
    approved = [case for plan, _, clean in generated if plan.feature == "approved" for case in clean]
    assert any(one.temporary_increase for case in approved for one in case.of_kind(Limit))


@pytest.mark.parametrize("level", LEVELS)
def test_a_side_effect_and_a_desk_limit_need_a_breach(level):
    found = books.features(level)
    assert ("side effect" in found) == ("desk within" in found) == (level in ("high", "critical"))
    assert set(found) <= set(books.FEATURES)
