"""Paired statistics on the same cases: tests, intervals, power and multiplicity, with books as clusters.

Numbers in, numbers out; nothing here knows a report. Proportions and differences are fractions, not percent.
"""

from collections.abc import Callable, Sequence

import numpy as np
from scipy.optimize import brentq
from scipy.stats import binom, norm, permutation_test, t
from statsmodels.stats.contingency_tables import mcnemar
from statsmodels.stats.multitest import multipletests
from statsmodels.stats.power import TTestPower

# enough for a p-value that stays below 0.05 after Holm in a family of a hundred
PERMUTATIONS = 4999
_SEED = 20261122


def mcnemar_exact(only_a: int, only_b: int) -> float:
    """Two-sided exact p-value of McNemar's test, from the cases on which only one of the two is right."""
    return float(mcnemar([[0, only_a], [only_b, 0]], exact=True).pvalue)


def paired_interval(only_a: float, only_b: float, n: float, confidence: float = 0.95) -> tuple[float, float]:
    """Two-sided score interval of the difference P(b) - P(a) of paired proportions.

    Tango (1998), Statistics in Medicine 17:891-908. It is not degenerate where no case differs: it is then
    -z^2/(n + z^2) to z^2/(n + z^2). Counts need not be whole, so that they can be divided by a design effect.

    Args:
        only_a: Cases on which only a is right.
        only_b: Cases on which only b is right.
        n: All cases, at least 1.
        confidence: Two-sided level; 0.90 gives the one-sided 95 % bounds.
    """
    z = float(norm.ppf(0.5 + confidence / 2))

    def distance(difference: float) -> float:
        # the probability of "only a" that fits best under this difference
        linear = -only_b - only_a + (2 * n - only_b + only_a) * difference
        constant = -only_a * difference * (1 - difference)
        fitted = (np.sqrt(max(linear**2 - 8 * n * constant, 0.0)) - linear) / (4 * n)
        variance = n * (2 * fitted + difference * (1 - difference))
        return (only_b - only_a - n * difference) / np.sqrt(max(variance, 1e-300))

    edge, middle = 1 - 1e-9, (only_b - only_a) / n
    low = brentq(lambda one: distance(one) - z, -edge, middle) if middle > -edge else -1.0
    high = brentq(lambda one: distance(one) + z, middle, edge) if middle < edge else 1.0
    return float(low), float(high)


def design_effect(differences: np.ndarray, books: Sequence[str]) -> float:
    """How much the variance of a mean grows because cases of one book are alike; at least 1.

    The variance between book totals over the variance of independent cases (Kish). With no spread there is nothing
    to estimate it from, and it is 1.

    Args:
        differences: (n,) values b - a of every case.
        books: (n,) the book of every case.
    """
    differences = np.asarray(differences, dtype=float)
    _, place = np.unique(np.asarray(books), return_inverse=True)
    count = int(place.max()) + 1 if len(place) else 0
    off = differences - differences.mean() if len(differences) else differences
    alone = float((off**2).sum())
    if count < 2 or len(differences) == count or alone == 0:
        return 1.0
    totals = np.bincount(place, weights=off, minlength=count)
    n = len(differences)
    clustered = float((totals**2).sum()) * count / (count - 1)
    return max(1.0, clustered / (alone * n / (n - 1)))


def bootstrap_interval(draws: np.ndarray, books: int, confidence: float = 0.95) -> tuple[float, float] | None:
    """Two-sided percentile interval of bootstrap draws over `books` clusters, widened for few of them.

    The expanded percentile interval of Hesterberg (2015), The American Statistician 69:371-386: a plain percentile
    interval is as narrow as one with a normal quantile and n in place of n - 1, and covers 90 % instead of 95 % at
    15 books. None with fewer than two books or no draw that could be computed.
    """
    draws = np.asarray(draws, dtype=float)
    draws = draws[np.isfinite(draws)]
    if books < 2 or not len(draws):
        return None
    tail = norm.cdf(np.sqrt(books / (books - 1)) * t.ppf(0.5 - confidence / 2, books - 1))
    low, high = np.quantile(draws, [tail, 1 - tail])
    return float(low), float(high)


def permutation_p(
    a: np.ndarray, b: np.ndarray, books: Sequence[str], combine: Callable[[np.ndarray], np.ndarray]
) -> float | None:
    """Two-sided p-value of a score's difference: whole books change sides between the two runs.

    `scipy.stats.permutation_test` on the pairs, exact where 2 ** books is no more than PERMUTATIONS. None with
    fewer than two books, or where the score cannot be computed.

    Args:
        a: (n, k) parts of every case that add up, run a.
        b: (n, k) the same of run b.
        books: (n,) the book of every case.
        combine: (..., k) sums to (...) values.
    """
    names, place = np.unique(np.asarray(books), return_inverse=True)
    count = len(names)
    of_a, of_b = np.zeros((count, a.shape[1])), np.zeros((count, b.shape[1]))
    np.add.at(of_a, place, a)
    np.add.at(of_b, place, b)

    def difference(stay: np.ndarray, swap: np.ndarray, axis: int = -1) -> np.ndarray:
        # a book is 0 in one sample and 1 in the other; where they change places, so do the runs
        found = combine(swap @ of_b + stay @ of_a) - combine(stay @ of_b + swap @ of_a)
        return np.nan_to_num(found, nan=0.0)

    seen = combine(of_b.sum(axis=0)) - combine(of_a.sum(axis=0))
    if count < 2 or not np.isfinite(seen):
        return None
    if np.array_equal(of_a, of_b):
        return 1.0  # the runs are the same on every book
    tested = permutation_test(
        (np.zeros(count), np.ones(count)),
        difference,
        permutation_type="samples",
        vectorized=True,
        n_resamples=PERMUTATIONS,
        batch=2000,
        axis=-1,
        rng=np.random.default_rng(_SEED),
    )
    return float(tested.pvalue)


def mcnemar_power(n: int, discordance: float, difference: float, alpha: float = 0.05) -> float:
    """Probability that the exact McNemar test of n cases finds a true difference significant.

    Args:
        n: Cases.
        discordance: Share of cases on which only one of the two is right.
        difference: The true difference of the two proportions; at most the discordance in size.
        alpha: Two-sided level.
    """
    pairs = np.arange(n + 1)
    # the most "only a" (or "only b") among m discordant cases at which the test rejects; -1 where it never does
    most = binom.ppf(alpha / 2, pairs, 0.5).astype(int)
    most -= 2 * binom.cdf(most, pairs, 0.5) > alpha
    share = 0.5 if discordance == 0 else (1 + difference / discordance) / 2
    reject = binom.cdf(most, pairs, share) + binom.sf(pairs - most - 1, pairs, share)
    return float(np.sum(binom.pmf(pairs, n, min(discordance, 1.0)) * np.where(most < 0, 0.0, reject)))


def detectable_proportion(n: int, discordance: float, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """Smallest difference of paired proportions that the exact McNemar test finds with `power`.

    The share of discordant cases is the one given, or, where the difference is larger than that, the difference
    itself (all of them one way). To a tenth of a point; None where n cases cannot show any difference.
    """
    low, high = 0, 1000  # thousandths; power grows with the difference
    if mcnemar_power(n, 1.0, 1.0, alpha) < power:
        return None
    while high - low > 1:
        middle = (low + high) // 2
        one = middle / 1000
        enough = mcnemar_power(n, max(discordance, one), one, alpha) >= power
        low, high = (low, middle) if enough else (middle, high)
    return high / 1000


def detectable_score(standard_error: float, books: int, alpha: float = 0.05, power: float = 0.8) -> float | None:
    """Smallest difference of a score found with `power`, from its standard error over `books` clusters.

    That of a paired t-test with as many pairs as books; None with fewer than three books or no spread.
    """
    if books < 3 or not standard_error > 0:
        return None
    effect = TTestPower().solve_power(nobs=books, alpha=alpha, power=power, alternative="two-sided")
    return float(effect) * standard_error * books**0.5


def holm(p_values: Sequence[float | None]) -> list[float | None]:
    """Holm's adjusted p-values of one family; a test that was not made (None) is no member of it."""
    made = [one for one in p_values if one is not None]
    if not made:
        return list(p_values)
    adjusted = iter(multipletests(made, method="holm")[1])
    return [None if one is None else float(next(adjusted)) for one in p_values]
