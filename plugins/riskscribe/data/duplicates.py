"""Texts that say nearly the same: within one set, or between two (a training and a test split)."""

import re
from collections.abc import Iterable, Iterator, Sequence

from datasketch import MinHash, MinHashLSH

from riskscribe.case import ID_PATTERN

Pair = tuple[int, int, float]
PERMUTATIONS = 128
SEED = 20261124
RECALL = 0.9995
WORDS, CHARACTERS = 3, 2

_MASKS = (
    (re.compile(rf"(?<![A-Za-z0-9-])(?:{ID_PATTERN}|c-[a-z0-9]{{6,16}})(?![A-Za-z0-9-])"), "@id"),
    (re.compile(r"(?<![0-9])[0-9]{4}[-/][0-9]{1,2}[-/][0-9]{1,2}(?![0-9])"), "@date"),
    (re.compile(r"(?<![0-9])[0-9]{4}\s?年\s?[0-9]{1,2}\s?月\s?[0-9]{1,2}\s?日"), "@date"),
)
_HAN = "\u3400-\u4dbf\u4e00-\u9fff"
# a sign counts: a loss is no copy of a gain
_TOKEN = re.compile(rf"@?[^\W0-9{_HAN}]+|(?:(?<![\w)])-)?[0-9]+(?:[.,][0-9]+)*|[{_HAN}]+")
_IS_HAN = re.compile(f"[{_HAN}]")


def normalise(text: str) -> str:
    """`text` in lower case with opaque ids and dates masked: what two renamed copies of a text have in common."""
    for pattern, mask in _MASKS:
        text = pattern.sub(mask, text)
    return text.lower()


def shingles(text: str) -> frozenset[str]:
    """What a text is compared by: runs of three words or numbers, and of two characters where it is Chinese."""
    runs: list[list[str]] = [[]]
    found = set()
    for match in _TOKEN.finditer(normalise(text)):
        token = match[0]
        if not _IS_HAN.match(token):
            runs[-1].append(token)
            continue
        found |= {token[i : i + CHARACTERS] for i in range(max(1, len(token) - CHARACTERS + 1))}
        runs.append([])
    for run in runs:
        if run:
            found |= {" ".join(run[i : i + WORDS]) for i in range(max(1, len(run) - WORDS + 1))}
    return frozenset(found)


def jaccard(one: frozenset[str], other: frozenset[str]) -> float:
    """Shared shingles over all shingles of two texts; 1 for two empty ones."""
    joint = len(one & other)
    total = len(one) + len(other) - joint
    return joint / total if total else 1.0


def _signatures(sets: Sequence[frozenset[str]]) -> list[MinHash]:
    return MinHash.bulk(([one.encode() for one in found] for found in sets), num_perm=PERMUTATIONS, seed=SEED)


def _index(threshold: float) -> MinHashLSH:
    """An index whose bands are as long as they may be for RECALL at the threshold: candidates are verified."""
    rows = max(
        (r for r in range(2, PERMUTATIONS // 2 + 1) if (1 - threshold**r) ** (PERMUTATIONS // r) <= 1 - RECALL),
        default=1,
    )
    return MinHashLSH(num_perm=PERMUTATIONS, params=(PERMUTATIONS // rows, rows))


def _check(threshold: float) -> None:
    if not 0 < threshold <= 1:
        raise ValueError(f"threshold is a share above 0 and up to 1, got {threshold:g}")


def near_duplicates(texts: Iterable[str], threshold: float = 0.9) -> list[Pair]:
    """Pairs of texts whose shingles overlap by `threshold` or more.

    Candidates come from MinHash with locality-sensitive hashing and are verified exactly: no pair is wrong, and a
    pair just above the threshold may be missed. Ids and dates are masked first (`normalise`).

    Args:
        texts: what to compare; English and Chinese.
        threshold: least Jaccard similarity, above 0 and up to 1.

    Returns:
        (i, j, similarity) with i < j, positions in `texts`, in ascending order; the same on every run.

    Source: A. Broder, On the resemblance and containment of documents (1997).
    """
    _check(threshold)
    return sorted(_within([shingles(text) for text in texts], threshold))


def _within(sets: Sequence[frozenset[str]], threshold: float) -> Iterator[Pair]:
    index = _index(threshold)
    for j, signature in enumerate(_signatures(sets)):
        for i in index.query(signature):
            if (similarity := jaccard(sets[i], sets[j])) >= threshold:
                yield i, j, similarity
        index.insert(j, signature)


def between(left: Iterable[str], right: Iterable[str], threshold: float = 0.9) -> list[Pair]:
    """As `near_duplicates`, for pairs of one text of `left` (i) and one of `right` (j): leakage between two splits."""
    _check(threshold)
    sets, others = [shingles(text) for text in left], [shingles(text) for text in right]
    index = _index(threshold)
    for i, signature in enumerate(_signatures(sets)):
        index.insert(i, signature)
    found = []
    for j, signature in enumerate(_signatures(others)):
        for i in index.query(signature):
            if (similarity := jaccard(sets[i], others[j])) >= threshold:
                found.append((i, j, similarity))
    return sorted(found)
