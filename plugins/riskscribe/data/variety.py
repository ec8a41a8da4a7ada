"""How varied generated prose is: distinct n-grams, self-BLEU and the entropy of wording skeletons.

Ids and numbers are masked first: a template is one template whatever it is filled with.
"""

import math
import random
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from functools import cache
from typing import Any

from riskscribe.case import ID_PATTERN, Language

SAMPLE = 200  # sentences measured a language: distinct-n falls with the length of the text, so its length is fixed
FEWEST_DISTINCT_3 = {"en": 0.25, "zh": 0.22}
HIGHEST_SELF_BLEU = {"en": 0.78, "zh": 0.82}
_ID = re.compile(rf"\[?{ID_PATTERN}\]?")
_AMOUNT = re.compile(r"[-+]?[0-9][0-9.,]*(?:%|bn|m|k|亿|万)?(?:/bp|/vol)?")
_WORD = re.compile(r"[^\W_]+|[^\w\s]")


@cache
def _jieba() -> Any:
    import jieba

    jieba.setLogLevel(60)
    return jieba


def tokens(text: str, language: Language) -> list[str]:
    """Words of a text, ids and numbers masked. Chinese is cut by jieba."""
    masked = _AMOUNT.sub(" # ", _ID.sub(" @ ", text)).lower()
    if language == "zh":
        return [one for one in _jieba().lcut(masked) if one.strip()]
    return _WORD.findall(masked)


def distinct_n(texts: Sequence[Sequence[str]], n: int) -> float:
    """Distinct n-grams as a share of all n-grams of tokenized texts (Li et al. 2016), 0 to 1; 0 without any."""
    counts = Counter(tuple(text[i : i + n]) for text in texts for i in range(len(text) - n + 1))
    return len(counts) / counts.total() if counts else 0.0


def self_bleu(texts: Sequence[Sequence[str]], sample: int = 60, seed: int = 0) -> float:
    """Mean BLEU-4 of each tokenized text against the others (Zhu et al. 2018, Texygen), 0 to 1; high is repetitive.

    Measured on a seeded sample of `sample` texts, by nltk with smoothing method 1.
    """
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    chosen = list(texts) if len(texts) <= sample else random.Random(seed).sample(list(texts), sample)
    if len(chosen) < 2:
        return 0.0
    smooth = SmoothingFunction().method1
    scores = [
        sentence_bleu([*chosen[:i], *chosen[i + 1 :]], one, smoothing_function=smooth) for i, one in enumerate(chosen)
    ]
    return sum(scores) / len(scores)


def skeleton_entropy(ids: Iterable[str]) -> float:
    """Entropy in bits of the skeletons within their plans, averaged over all uses: 0 where each plan has one wording.

    Ids are those of `gold_with_wording`.
    """
    counts = Counter(ids)
    plans: Counter[str] = Counter()
    for one, count in counts.items():
        plans[one.rpartition(".")[0]] += count
    total = counts.total()
    bits = (count / total * math.log2(plans[one.rpartition(".")[0]] / count) for one, count in counts.items())
    return math.fsum(bits)


def measure(rows: Iterable[Any], sample: int = SAMPLE, seed: int = 0) -> dict[str, dict[str, float]]:
    """Variety of the prose of gold reports, by language.

    Args:
        rows: objects with a `language` and a `report` (riskscribe.report.Report), as splits have them.
        sample: prose fields measured a language, drawn with `seed`; figures of another sample size do not compare.

    Returns:
        language -> {fields, distinct_1, distinct_2, distinct_3, self_bleu}.
    """
    prose: dict[Language, list[str]] = {}
    for row in rows:
        prose.setdefault(row.language, []).extend(text for _, text, _ in row.report.prose())
    found = {}
    for language in sorted(prose):
        texts = prose[language]
        chosen = texts if len(texts) <= sample else random.Random(seed).sample(texts, sample)
        cut = [tokens(one, language) for one in chosen]
        found[language] = {
            "fields": len(chosen),
            **{f"distinct_{n}": round(distinct_n(cut, n), 4) for n in (1, 2, 3)},
            "self_bleu": round(self_bleu(cut, seed=seed), 4),
        }
    return found


def drifts(measured: dict[str, dict[str, float]]) -> list[str]:
    """What in the figures of `measure` shows a drift to one template; empty where the prose is varied enough."""
    found = []
    for language, figures in measured.items():
        if figures["distinct_3"] < FEWEST_DISTINCT_3[language]:
            found.append(f"{language}: distinct-3 {figures['distinct_3']:.2f} is below {FEWEST_DISTINCT_3[language]}")
        if figures["self_bleu"] > HIGHEST_SELF_BLEU[language]:
            found.append(f"{language}: self-BLEU {figures['self_bleu']:.2f} is above {HIGHEST_SELF_BLEU[language]}")
    return found
