"""The statistics against values that others published, and in simulations whose truth is known."""

from pathlib import Path

import numpy as np
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binom

from riskscribe.evaluate import statistics as own

TRUTH = yaml.safe_load(Path(__file__).with_name("statistics_truth.yaml").read_text(encoding="utf-8"))


def ratio(sums):
    with np.errstate(invalid="ignore"):
        return sums[..., 0] / sums[..., 1]


@pytest.mark.parametrize("one", TRUTH["mcnemar_exact"], ids=lambda one: one["source"][:20])
def test_mcnemar(one):
    assert own.mcnemar_exact(one["only_a"], one["only_b"]) == pytest.approx(one["p_value"], abs=1e-6)
    assert own.mcnemar_exact(one["only_b"], one["only_a"]) == pytest.approx(one["p_value"], abs=1e-6)


@pytest.mark.parametrize("one", TRUTH["paired_interval"], ids=lambda one: one["source"][:20])
def test_paired_interval(one):
    found = own.paired_interval(one["only_a"], one["only_b"], one["n"])
    assert found == pytest.approx((one["low"], one["high"]), abs=6e-5)


@settings(deadline=None)
@given(st.integers(0, 40), st.integers(0, 40), st.integers(0, 100))
def test_an_interval_holds_its_estimate_and_mirrors(only_a, only_b, same):
    n = only_a + only_b + same
    if n == 0:
        return
    low, high = own.paired_interval(only_a, only_b, n)
    assert -1 <= low <= (only_b - only_a) / n + 1e-9 and (only_b - only_a) / n - 1e-9 <= high <= 1
    assert own.paired_interval(only_b, only_a, n) == pytest.approx((-high, -low), abs=1e-7)
    narrow = own.paired_interval(only_a, only_b, n, confidence=0.90)
    assert low - 1e-9 <= narrow[0] and narrow[1] <= high + 1e-9


@pytest.mark.parametrize("one", TRUTH["power"], ids=lambda one: one["source"][:20])
def test_power(one):
    found = own.mcnemar_power(one["n"], one["discordance"], one["difference"], one["alpha"])
    assert found == pytest.approx(one["power"], abs=1e-4)


def test_permutation():
    one = TRUTH["permutation"]
    b = np.array([[value, 1.0] for value in one["differences"]])
    a = np.array([[0.0, 1.0]] * len(b))
    books = [f"pair {i}" for i in range(len(b))]
    # 9,999 random sign changes stand for all 32,768: a standard error of 0.0022
    assert own.permutation_p(a, b, books, ratio) == pytest.approx(one["p_value"], abs=0.007)


def test_few_books_are_permuted_exactly():
    a, b = np.array([[0.0, 1.0]] * 10), np.array([[1.0, 1.0]] * 10)
    five = [f"book {i // 2}" for i in range(10)]
    assert own.permutation_p(a, b, five, ratio) == pytest.approx(2 / 2**5)
    assert own.permutation_p(a, a, five, ratio) == 1.0
    assert own.permutation_p(a, b, ["one"] * 10, ratio) is None
    assert own.permutation_p(a, np.zeros((10, 2)), five, ratio) is None, "nothing scored is no difference"


def test_holm():
    assert own.holm(TRUTH["holm"]["p_values"]) == pytest.approx(TRUTH["holm"]["adjusted"])
    assert own.holm([None]) == [None] and own.holm([]) == []


def test_detectable_score_is_that_of_a_paired_t_test():
    one = TRUTH["paired_t"]
    for pairs, more in ((one["pairs"], False), (one["pairs"] - 1, True)):
        assert (own.detectable_score(pairs**-0.5, pairs) > one["effect"]) is more
    assert own.detectable_score(0.0, 30) is None and own.detectable_score(0.1, 2) is None


def test_design_effect_by_hand():
    books = ["a", "a", "b", "b", "c", "c"]
    # every book holds one value twice: (2k - 1) / (k - 1) for k books
    assert own.design_effect(np.array([1, 1, 0, 0, -1, -1]), books) == pytest.approx(5 / 2)
    assert own.design_effect(np.array([1, 0, 1, 0, 1, 0]), books) == 1.0, "unlike cases do not shrink an interval"
    assert own.design_effect(np.zeros(6), books) == 1.0
    assert own.design_effect(np.array([1, 0, -1]), ["a", "b", "c"]) == 1.0


def test_nothing_is_detectable_with_too_few_cases():
    assert own.detectable_proportion(5, 0.0) is None
    # with no discordance seen, six or more cases must change, all one way
    found = own.detectable_proportion(24, 0.0)
    assert binom.sf(5, 24, found) >= 0.8 > binom.sf(5, 24, found - 0.002)


@settings(max_examples=25, deadline=None)
@given(st.integers(6, 60), st.floats(0, 1))
def test_more_cases_detect_less(n, discordance):
    found = [own.detectable_proportion(count, discordance) for count in (n, 2 * n)]
    assert found[0] is None or found[1] <= found[0]


# --- simulations with a known truth, seeded


def discordance(rng, books, size, likeness, true=0.1, share=0.3):
    """(books * size,) differences -1, 0, 1 of mean `true`; cases of a book copy its draw with some probability."""
    chances = [(share + true) / 2, (share - true) / 2, 1 - share]
    place = np.repeat(np.arange(books), size)
    common, alone = (rng.choice([1, -1, 0], p=chances, size=count) for count in (books, books * size))
    return np.where(rng.random(books * size) < likeness, common[place], alone), place


@pytest.mark.parametrize(("books", "size", "likeness"), [(14, 2, 0.0), (17, 3, 0.6), (66, 3, 0.7)])
def test_coverage_of_the_paired_interval(books, size, likeness):
    rng = np.random.default_rng(7)
    held = naive = 0
    for _ in range(400):
        drawn, place = discordance(rng, books, size, likeness)
        counts = int((drawn < 0).sum()), int((drawn > 0).sum()), len(drawn)
        effect = own.design_effect(drawn, place)
        low, high = own.paired_interval(*(one / effect for one in counts))
        held += low <= 0.1 <= high
        low, high = own.paired_interval(*counts)
        naive += low <= 0.1 <= high
    assert 0.925 <= held / 400 <= 0.99
    if likeness > 0.5:
        assert naive / 400 < 0.91, "as if cases were independent, the interval is too narrow"


@pytest.mark.parametrize("books", [15, 40])
def test_coverage_of_the_bootstrap_interval(books):
    """A ratio of sums, as F1 is, of books of one to four cases; the plain percentile interval beside it."""
    rng = np.random.default_rng(11)
    held = plain = 0
    for _ in range(300):
        size = rng.integers(1, 5, books)
        place = np.repeat(np.arange(books), size)
        skill = rng.beta(6, 4, books)[place]
        of = rng.integers(1, 6, len(place))
        table = np.column_stack([rng.binomial(of, skill), of]).astype(float)
        weights = rng.multinomial(books, np.full(books, 1 / books), 600)[:, place]
        draws = ratio(weights @ table)
        low, high = own.bootstrap_interval(draws, books)
        held += low <= 0.6 <= high
        low, high = np.quantile(draws, [0.025, 0.975])
        plain += low <= 0.6 <= high
    assert 0.92 <= held / 300 <= 0.98
    assert held >= plain


def test_bootstrap_interval_of_nothing():
    assert own.bootstrap_interval(np.array([np.nan, np.nan]), 20) is None
    assert own.bootstrap_interval(np.array([0.1, 0.2]), 1) is None


def test_level_of_the_tests(monkeypatch):
    """Runs that do not differ are called different in at most about 5 % of comparisons, books or not."""
    monkeypatch.setattr(own, "PERMUTATIONS", 199)
    rng = np.random.default_rng(3)
    mcnemar = permutation = 0
    for _ in range(300):
        drawn, place = discordance(rng, 30, 3, 0.6, true=0.0)
        scored = rng.normal(0.5, 0.1, len(drawn))
        a = np.column_stack([scored, np.ones_like(scored)])
        b = np.column_stack([scored + 0.2 * drawn, np.ones_like(scored)])
        permutation += own.permutation_p(a, b, place, ratio) < 0.05
        independent, _ = discordance(rng, 90, 1, 0.0, true=0.0)
        mcnemar += own.mcnemar_exact(int((independent < 0).sum()), int((independent > 0).sum())) < 0.05
    assert mcnemar / 300 <= 0.06
    assert 0.02 <= permutation / 300 <= 0.085


def test_the_detectable_difference_is_detected_in_four_of_five():
    rng = np.random.default_rng(5)
    n, share = 192, 0.3
    true = own.detectable_proportion(n, share)
    drawn = rng.multinomial(n, [(share + true) / 2, (share - true) / 2, 1 - share], size=4000)
    least = drawn[:, :2].min(axis=1)
    p = np.minimum(1.0, 2 * binom.cdf(least, drawn[:, :2].sum(axis=1), 0.5))
    assert (p < 0.05).mean() == pytest.approx(0.80, abs=0.025)
