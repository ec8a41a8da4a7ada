"""The real series against published values; the simulated ones against what a desk would find plausible."""

import gzip
import hashlib
import os
import subprocess
import sys
from datetime import date
from importlib import metadata
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import yaml

from riskscribe.data import history as market
from riskscribe.data.history import FACTORS, describe
from riskscribe.errors import InputError

TRUTH = yaml.safe_load(Path(__file__).with_name("history_truth.yaml").read_text(encoding="utf-8"))
SIMULATED = [one.name for one in FACTORS.values() if one.historical_from is None]
CLUSTERED = [name for name in SIMULATED if FACTORS[name].kind in ("price", "spread")] + ["USD.10Y", "GBP.10Y"]


def _missing() -> str | None:
    for package in ("arch", "skfolio"):
        try:
            metadata.version(package)
        except metadata.PackageNotFoundError:
            return f"the package {package} is not installed (make setup)"
    return None


needs_packages = pytest.mark.skipif(_missing() is not None, reason=str(_missing()))


@pytest.fixture(scope="module")
def past():
    return market.history()


def kurtosis(values: np.ndarray) -> float:
    centred = values - values.mean()
    return (centred**4).mean() / (centred**2).mean() ** 2


def of_squares(values: np.ndarray, lag: int) -> float:
    squares = values**2 - (values**2).mean()
    return (squares[lag:] * squares[:-lag]).mean() / squares.var()


@needs_packages
class TestReal:
    def test_calendar(self, past):
        assert (len(past.dates), past.dates[0], past.dates[-1]) == (5031, date(1999, 1, 4), date(2018, 12, 31))
        assert list(past.dates) == sorted(set(past.dates))
        # closed: September 2001, Hurricane Sandy, a day of mourning
        assert not {date(2001, 9, 12), date(2012, 10, 29), date(2018, 12, 5)} & set(past.dates)

    @pytest.mark.parametrize("row", TRUTH["published"], ids=lambda row: f"{row['name']} {row['date']}")
    def test_published_values(self, past, row):
        found = past.levels[row["name"]][past.dates.index(row["date"])]
        assert found == pytest.approx(row["value"], abs=0.005 if row["value"] > 1 else 1e-12)

    @pytest.mark.parametrize("row", TRUTH["moves"], ids=lambda row: f"{row['name']} {row['date']}")
    def test_remembered_moves(self, past, row):
        assert past.moves(row["name"])[past.dates.index(row["date"])] == pytest.approx(row["value"], abs=5e-4)

    def test_series_are_as_shipped(self, past):
        file = metadata.distribution("skfolio").locate_file("skfolio/datasets/data/sp500_dataset.csv.gz")
        with gzip.open(file, "rt") as text:
            header, *rows = (line.rstrip("\n").split(",") for line in text)
        shipped = {row[0]: row for row in rows}
        for name in market.STOCKS:
            column = header.index(name)
            assert past.levels[name].tolist() == [float(shipped[day.isoformat()][column]) for day in past.dates]

    def test_vix_is_the_vol_of_the_spx_since_2014(self, past):
        file = metadata.distribution("arch").locate_file("arch/data/vix/vix.csv.gz")
        with gzip.open(file, "rt") as text:
            vix = dict(line.rstrip("\n").split(",") for line in list(text)[1:])
        since = past.dates.index(date(2014, 1, 3))
        shipped = [float(vix[f"{day.month}/{day.day}/{day.year}"]) / 100 for day in past.dates[since:]]
        assert past.levels["SPX.vol"][since:].tolist() == shipped
        # the modelled part runs into it without a jump: an ordinary day of VIX is 8 %
        assert abs(past.moves("SPX.vol")[since]) < 0.16

    def test_carried_days_are_counted(self, past):
        assert {name: count for name, count in past.carried.items() if count} == TRUTH["carried"]
        assert set(past.carried) == {one.name for one in FACTORS.values() if one.historical_from}


@needs_packages
class TestSimulated:
    def test_every_factor_has_a_level_every_day(self, past):
        assert list(past.levels) == list(FACTORS)
        for name, levels in past.levels.items():
            assert levels.shape == (len(past.dates),) and levels.dtype == np.float64, name
            assert np.isfinite(levels).all(), name
            assert levels.min() > (-0.01 if FACTORS[name].kind == "rate" else 0), name

    @pytest.mark.parametrize("name", TRUTH["corridors"])
    def test_levels_and_volatility(self, past, name):
        (low, high), (calm, wild) = TRUTH["corridors"][name].values()
        levels = past.levels[name]
        assert low < levels.min() and levels.max() < high
        assert calm < past.moves(name)[1:].std() * np.sqrt(252) < wild

    @pytest.mark.parametrize("row", TRUTH["correlations"], ids=lambda row: " ".join(row["of"]))
    def test_correlations(self, past, row):
        low, high = row["band"]
        assert low < np.corrcoef([past.moves(name)[1:] for name in row["of"]])[0, 1] < high

    @pytest.mark.parametrize("name", SIMULATED)
    def test_fat_tails(self, past, name):
        # 3 for a normal; the standard error of 5,031 normal days is 0.07
        assert kurtosis(past.moves(name)[1:]) > 3.5

    @pytest.mark.parametrize("name", CLUSTERED)
    def test_volatility_clusters(self, past, name):
        # independent days: standard error 0.014; averaged over the lags less
        assert np.mean([of_squares(past.moves(name)[1:], lag) for lag in range(1, 21)]) > 0.03

    def test_autumn_of_2008(self, past):
        before, after = past.dates.index(date(2008, 8, 29)), past.dates.index(date(2008, 11, 28))
        change = {name: levels[after] / levels[before] for name, levels in past.levels.items()}
        assert change["USDJPY"] < 0.95
        assert change["COPPER"] < 0.85
        assert all(change[f"{name}.spread"] > 1.5 for name in market._SPREADS)
        assert past.levels["USD.10Y"][after] < past.levels["USD.10Y"][before] - 0.005
        assert past.levels["SPX.vol"][after - 60 : after].max() > 0.6

    def test_curves_are_never_far_from_smooth(self, past):
        for currency in market._CURVES:
            curve = np.array([past.levels[f"{currency}.{node}"] for node in market.NODES])
            assert np.abs(np.diff(curve, axis=0)).max() < 0.03, currency

    def test_vols_stay_above_their_floor(self, past):
        for name, vol in market._VOLS.items():
            assert past.levels[f"{name}.vol"].min() >= vol.floor, name

    def test_vol_model_fits_vix(self, past):
        """The figures of the module's docstring: the model of SPX.vol run from 1999 without noise, against VIX."""
        spx, vol = past.moves("SPX"), market._VOLS["SPX"]
        spx[0] = 0
        variance = market._ewma(spx**2, market.DECAY)
        push = vol.own * market._standardised(spx, variance)
        realised = [np.sqrt(252 * market._ewma(spx**2, decay)) for decay in (market.DECAY, 0.995)]
        target = np.log(market._VOL_FAST * realised[0] + market._VOL_SLOW * realised[1])
        path = target.copy()
        for t in range(1, len(path)):
            path[t] = path[t - 1] + market._VOL_REVERSION * (target[t - 1] - path[t - 1]) + push[t]
        since = past.dates.index(date(2014, 1, 3))
        vix = np.log(past.levels["SPX.vol"][since:])
        assert np.corrcoef(path[since:], vix)[0, 1] == pytest.approx(0.8, abs=0.05)
        assert np.corrcoef(np.diff(path[since:]), np.diff(vix))[0, 1] == pytest.approx(0.8, abs=0.05)


@needs_packages
class TestRepeatable:
    def test_bytes_in_another_process(self, past):
        code = (
            "import hashlib; from riskscribe.data.history import history; "
            "print(hashlib.sha256(b''.join(one.tobytes() for one in history().levels.values())).hexdigest())"
        )
        other = {**os.environ, "PYTHONHASHSEED": "7"}
        again = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, env=other)
        here = hashlib.sha256(b"".join(one.tobytes() for one in past.levels.values())).hexdigest()
        assert again.stdout.strip() == here

    @pytest.mark.parametrize("name", TRUTH["digests"])
    def test_simulated_levels_are_the_ones_cases_were_made_from(self, past, name):
        rounded = np.round(past.levels[name] * 1e6).astype("<i8").tobytes()
        assert hashlib.sha256(rounded).hexdigest()[:16] == TRUTH["digests"][name]

    def test_a_new_driver_changes_no_other(self, monkeypatch):
        days = 300
        real = {name: np.random.default_rng(seed).standard_normal(days) for seed, name in enumerate(("SPX", "WTI"))}
        market_variance = np.ones(days)
        before = market._deviations(market._shocks(real), market_variance)
        monkeypatch.setattr(market, "_DRIVERS", {**market._DRIVERS, "TIN": market._Driver(0.3, {"COPPER": 0.5})})
        after = market._deviations(market._shocks(real), market_variance)
        assert set(after) - set(before) == {"TIN"}
        for name, path in before.items():
            assert np.allclose(path, after[name], rtol=0, atol=1e-14), name

    def test_levels_cannot_be_written(self, past):
        with pytest.raises(ValueError, match="read-only"):
            past.levels["SPX"][0] = 1.0


@needs_packages
class TestMoves:
    @pytest.mark.parametrize("name", ["SPX", "SPX.vol", "Harbor Air.spread", "USD.10Y"])
    @pytest.mark.parametrize("horizon", [1, 10])
    def test_moves_lead_from_level_to_level(self, past, name, horizon):
        moves, levels = past.moves(name, horizon), past.levels[name]
        assert moves.shape == levels.shape and np.isnan(moves[:horizon]).all()
        if FACTORS[name].kind == "rate":
            reached = levels[:-horizon] + moves[horizon:]
        else:
            reached = levels[:-horizon] * np.exp(moves[horizon:])
        assert np.allclose(reached, levels[horizon:], rtol=1e-12)

    def test_ten_days_are_ten_single_days(self, past):
        daily = past.moves("EURUSD")
        assert past.moves("EURUSD", 10)[1000] == pytest.approx(daily[991:1001].sum())

    @pytest.mark.parametrize("horizon", [0, -1, 5031])
    def test_impossible_horizon(self, past, horizon):
        with pytest.raises(ValueError, match=f"horizon is {horizon} days; it must be from 1 to 5030"):
            past.moves("SPX", horizon)


class TestFactors:
    def test_names_and_kinds(self):
        assert all(name == one.name for name, one in FACTORS.items())
        prices = [one for one in FACTORS.values() if one.kind == "price"]
        assert all(FACTORS[f"{one.name}.vol"].desk == one.desk for one in prices)
        assert {one.name for one in FACTORS.values() if one.kind == "rate"} == {
            f"{currency}.{node}" for currency in ("USD", "EUR", "GBP", "CNY") for node in ("2Y", "5Y", "10Y", "30Y")
        }

    def test_source_says_whether_it_is_real(self):
        for one in FACTORS.values():
            assert (one.source == "simulated") == (one.historical_from is None), one.name

    def test_loadings_leave_room_for_own_noise(self):
        """Every driver loads only on those above it; the two real shocks are 0.2 correlated."""
        seen = ["SPX", "WTI"]
        for name, driver in market._DRIVERS.items():
            assert set(driver.loads) <= set(seen), name
            seen.append(name)
        real = {name: np.random.default_rng(seed).standard_normal(20000) for seed, name in enumerate(("SPX", "WTI"))}
        for name, shock in market._shocks(real).items():
            assert shock.std() == pytest.approx(1, abs=0.05), name

    @pytest.mark.parametrize("row", TRUTH["descriptions"], ids=lambda row: row["en"])
    @pytest.mark.parametrize("language", ["en", "zh"])
    def test_description(self, row, language):
        assert describe(row["names"], row["as_of"], language) == row[language]
        assert describe(reversed(row["names"]), row["as_of"], language) == row[language]

    def test_description_of_an_unknown_factor(self):
        with pytest.raises(KeyError, match="NDX"):
            describe(["NDX"])


class TestBadInput:
    def test_missing_package(self):
        with pytest.raises(InputError, match=r"needs the package no-such-market, .* run `make setup`"):
            market._read("no-such-market", "a.csv.gz", ["Close"])

    @pytest.mark.parametrize(
        "content",
        [None, b"not gzip", gzip.compress(b""), gzip.compress(b"Date,Open\n2008-10-13,1\n"), gzip.compress(b"x")[:-4]],
        ids=["no file", "not gzip", "empty", "no column", "cut off"],
    )
    def test_unreadable_file(self, tmp_path, monkeypatch, content):
        package = SimpleNamespace(version="9.9", locate_file=lambda path: tmp_path / path)
        monkeypatch.setattr(market.metadata, "distribution", lambda name: package)
        if content is not None:
            (tmp_path / "arch").mkdir()
            (tmp_path / "arch" / "a.csv.gz").write_bytes(content)
        with pytest.raises(InputError, match=r"arch 9\.9 has no readable a\.csv\.gz .*make setup"):
            market._read("arch", "a.csv.gz", ["Close"])

    def test_dates_in_both_notations_and_cells_without_a_value(self, tmp_path, monkeypatch):
        package = SimpleNamespace(version="9.9", locate_file=lambda path: tmp_path / path)
        monkeypatch.setattr(market.metadata, "distribution", lambda name: package)
        (tmp_path / "arch").mkdir()
        text = "﻿Date,Close\n10/3/2008,1.5\n2008-10-06,2.5\n10/7/2008,.\n10/8/2008,\n"
        (tmp_path / "arch" / "a.csv.gz").write_bytes(gzip.compress(text.encode()))
        assert market._read("arch", "a.csv.gz", ["Close"]) == {
            "Close": {date(2008, 10, 3): 1.5, date(2008, 10, 6): 2.5}
        }

    def test_gaps_are_carried_three_days_and_no_more(self):
        days = tuple(date(2008, 10, day) for day in range(6, 12))
        values, carried = market._align("WTI", {days[0]: 90.0, days[4]: 80.0}, days)
        assert values.tolist() == [90.0, 90.0, 90.0, 90.0, 80.0, 80.0] and carried == 4
        with pytest.raises(InputError, match="WTI has no value on 2008-10-10 nor on the 3 trading days before"):
            market._align("WTI", {days[0]: 90.0}, days)
        with pytest.raises(InputError, match="WTI has no value on 2008-10-06"):
            market._align("WTI", {days[1]: 90.0}, days)

    def test_a_shorter_index_is_refused(self, monkeypatch):
        short = {"Close": {date(2008, 10, 13): 1003.35}}
        monkeypatch.setattr(market, "_read", lambda package, path, columns: {one: short["Close"] for one in columns})
        with pytest.raises(InputError, match="runs from 2008-10-13 to 2008-10-13; it must hold 1999-01-04"):
            market.history.__wrapped__()


def test_soft_floor_and_its_inverse():
    shadow = np.linspace(-0.02, 0.08, 101)
    level = market._above(shadow, -0.009, 0.003)
    assert (level > -0.009).all() and (np.diff(level) > 0).all()
    assert np.allclose(market._shadow(level, -0.009, 0.003), shadow, atol=1e-9)
    assert level[-1] == pytest.approx(0.08, abs=1e-9)
