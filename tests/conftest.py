"""Fixtures: a small case, the frozen rows, a tiny random Qwen2 with its tokenizer, a dataset folder of a few rows.

Nothing is downloaded.
"""

import copy
import json
import os
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from riskscribe.case import Case
from riskscribe.report import Report

ROOT = Path(__file__).resolve().parents[1]
ROWS = ROOT / "datasets" / "risk_report" / "v1" / "train_quick.jsonl"

# before transformers is imported anywhere: a test that needs the network is a wrong test
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")
# pytest must not fork worker threads of a tokenizer that was used before
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _rows(count: int) -> list[dict[str, str]]:
    lines = ROWS.read_text(encoding="utf-8").splitlines()[:count]
    return [json.loads(line) for line in lines]


BOOK = {
    "case_id": "c-abcdef12",
    "as_of": "2024-06-25",
    "desk": "equity",
    "base_currency": "USD",
    "engine": {"name": "test", "snapshot": "close"},
    "fx": {"JPY": 0.0064},
    "evidence": [
        {"kind": "source", "id": "SRC-AA", "system": "engine", "detail": "run 7"},
        {"kind": "position", "id": "POS-BB", "instrument": "N225 future", "mtm": -4e7, "currency": "JPY",
         "counterparty": "OSE", "sensitivities": [
             {"measure": "delta", "value": -1.2e9, "bump": "1%", "currency": "JPY"}]},
        {"kind": "position", "id": "POS-AA", "instrument": "long SPX call 4070 6m", "mtm": 9e6, "currency": "USD"},
        {"kind": "stress", "id": "STR-BB", "scenario": "Rally", "shocks": "spot +10%", "pnl": 1.5e6,
         "currency": "USD"},
        {"kind": "stress", "id": "STR-AA", "scenario": "Crash", "shocks": "spot -20%", "pnl": -2.583e6,
         "currency": "USD"},
        {"kind": "component", "id": "CMP-BB", "factor": "HSI", "contribution": -68000, "share_pct": -8.04,
         "currency": "USD", "of": "VAR-AA"},
        {"kind": "component", "id": "CMP-AA", "factor": "SPX", "contribution": 918000, "share_pct": 108.04,
         "currency": "USD", "of": "VAR-AA"},
        {"kind": "var", "id": "VAR-AA", "value": 850000, "currency": "USD", "confidence_pct": 99, "horizon_days": 1,
         "previous": 799960},
        {"kind": "limit", "id": "LIM-CC", "measure": "vega", "scope": "book", "value": 10000, "currency": "USD",
         "unit": "money_per_vol_point", "soft": 40000, "hard": 50000, "authority": "desk"},
        {"kind": "limit", "id": "LIM-AA", "measure": "delta", "scope": "SPX", "value": -6.3e6, "currency": "USD",
         "soft": 4e6, "hard": 5e6, "authority": "desk", "previous": 6.1e6, "temporary_increase":
         {"amount": 5e5, "approved_by": "CRO", "expires": "2024-06-30"}},
        {"kind": "limit", "id": "LIM-BB", "measure": "var", "scope": "book", "value": 999999, "currency": "USD",
         "soft": 800000, "hard": 1000000, "authority": "desk"},
        {"kind": "data_quality", "id": "DQ-BB", "issue": "missing_counterparty", "affects": ["POS-AA"],
         "material": False, "detail": "no name"},
        {"kind": "data_quality", "id": "DQ-AA", "issue": "stale_quote", "affects": ["POS-BB"], "material": True,
         "detail": "quote is 5 days old"},
    ],
}  # fmt: skip


@pytest.fixture(autouse=True, scope="session")
def no_real_log(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """What tests score is no look at the frozen test set: its log is another one, for wider fixtures too."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("riskscribe.evaluate.log.LOG", tmp_path_factory.mktemp("log") / "test_scorings.jsonl")
        yield


@pytest.fixture(autouse=True)
def no_files_of_other_tests() -> Iterator[None]:
    """Datasets that a test has LLaMA-Factory read in this process, bad ones too, are not looked in by the next."""
    from riskscribe.lf.tasks import CASES

    files, cases = dict(CASES.files), dict(CASES.cases)
    yield
    CASES.files, CASES.cases = files, cases


@pytest.fixture
def scorings_log(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty log of test scorings, for one test."""
    path = tmp_path / "log" / "test_scorings.jsonl"
    monkeypatch.setattr("riskscribe.evaluate.log.LOG", path)
    return path


@pytest.fixture(scope="session")
def book() -> Callable[..., dict[str, Any]]:
    """Makes a small case as JSON values.

    `book(*more, change={id: fields or None}, **fields)`: more evidence, changed evidence (None: left out), head.
    """

    def make(*more: dict, change: dict[str, dict | None] | None = None, **fields: Any) -> dict[str, Any]:
        made = copy.deepcopy(BOOK)
        change = change or {}
        evidence = [one | (change.get(one["id"]) or {}) for one in made["evidence"]]
        left_out = {name for name, one in change.items() if one is None}
        made["evidence"] = [*(one for one in evidence if one["id"] not in left_out), *more]
        return made | fields

    return make


@pytest.fixture(scope="session")
def frozen() -> Callable[[str], list[SimpleNamespace]]:
    """Reads a split of dataset v1 as rows with case and report, without the packages that made it."""

    @cache
    def read(split: str) -> list[SimpleNamespace]:
        lines = (ROOT / "datasets" / "risk_report" / "v1" / f"{split}.jsonl").read_text(encoding="utf-8").splitlines()
        rows = [json.loads(line) for line in lines]
        return [
            SimpleNamespace(
                case=Case.model_validate_json(one["case"]), report=Report.model_validate_json(one["report"])
            )
            for one in rows
        ]

    return read


@pytest.fixture(scope="session")
def scored_runs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of scored runs on 24 English and 12 Chinese cases of the frozen test set, faults at known places.

    constant, policy_template; base_few_shot: every third case no report, every third with an invented loss (and, above
    low, the level low); tuned: case 5 no report, every sixth from 1 with the invented loss; seed1 to seed3: tuned with
    invented losses on 2, 14, ..., then 8, 20, ..., then 9, 21, ... too. The rest is gold.
    """
    from riskscribe.data.gold import gold_report
    from riskscribe.data.rows import read_rows
    from riskscribe.evaluate import score
    from riskscribe.files import write_lines

    folder = tmp_path_factory.mktemp("runs")
    source = ROOT / "datasets" / "risk_report" / "v1"
    english = (source / "test_quick.jsonl").read_text(encoding="utf-8").splitlines()
    chinese = [one for one in (source / "test.jsonl").read_text(encoding="utf-8").splitlines() if '"zh"' in one[:300]]
    data = folder / "test_mixed.jsonl"
    data.write_text("\n".join([*english, *chinese[:12]]) + "\n", encoding="utf-8")
    rows = read_rows(data)
    golds = [gold_report(row.case, varied=False) for row in rows]

    def invented(gold: Report, level: str | None = None) -> str:
        summary = gold.summary + " <script>alert(x)</script> Loss was 7.77m."
        return gold.model_copy(update={"summary": summary, "risk_level": level or gold.risk_level}).to_json()

    def base(i: int, gold: Report) -> str:
        broken = ["Here is the report: <b>" + gold.to_json()[:200], invented(gold, "low")]
        return [*broken, gold.to_json()][i % 3]

    def tuned(i: int, gold: Report, more: int = 0) -> str:
        if i == 5:
            return "{"
        return invented(gold) if i % 6 == 1 or i % 12 in (2, 8, 9)[:more] else gold.to_json()

    writers: dict[str, Callable[[int, Report], str]] = {
        "constant": lambda i, gold: score.constant_report("critical").to_json(),
        "policy_template": lambda i, gold: gold.to_json(),
        "base_few_shot": base,
        "tuned": tuned,
        **{f"seed{n}": lambda i, gold, n=n: tuned(i, gold, n) for n in (1, 2, 3)},
    }
    for name, write in writers.items():
        path = folder / name / "predictions.jsonl"
        answers = [write(i, gold) for i, gold in enumerate(golds)]
        ids = [row.case.case_id for row in rows]
        write_lines(path, [{"case_id": one, "predict": text} for one, text in zip(ids, answers, strict=True)])
        score.score_run([score.Scored(row.case, row.book, row.slices) for row in rows], data, path, path.parent)
    return folder


@pytest.fixture
def in_root(monkeypatch: pytest.MonkeyPatch) -> Path:
    """Recipes hold paths relative to the repository root and run from there."""
    monkeypatch.chdir(ROOT)
    return ROOT


@pytest.fixture(scope="session")
def tiny_model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a randomly initialized Qwen2 of two layers, its tokenizer and Qwen's own generation_config.

    That file asks for sampling, as Qwen2.5-7B-Instruct's does: whatever leaks from it shows.
    """
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers, trainers
    from transformers import GenerationConfig, PreTrainedTokenizerFast, Qwen2Config, Qwen2ForCausalLM

    from riskscribe.lf.tasks import TASKS

    folder = tmp_path_factory.mktemp("tiny_qwen2")
    texts = []
    for row in _rows(40):
        texts += [one["content"] for one in TASKS["risk_report"].messages(row, ROWS)] + [row["report"]]
    backend = Tokenizer(models.BPE())
    backend.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    backend.decoder = decoders.ByteLevel()
    special = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    backend.train_from_iterator(
        texts,
        trainers.BpeTrainer(
            vocab_size=1500,
            special_tokens=special,
            initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
            show_progress=False,
        ),
    )
    tokenizer = PreTrainedTokenizerFast(
        tokenizer_object=backend, eos_token="<|im_end|>", pad_token="<|endoftext|>", model_max_length=32768
    )
    tokenizer.save_pretrained(folder)
    torch.manual_seed(0)
    model = Qwen2ForCausalLM(
        Qwen2Config(
            # as Qwen2.5's: more rows than the tokenizer has tokens
            vocab_size=len(tokenizer) + 20,
            hidden_size=64,
            intermediate_size=128,
            num_hidden_layers=2,
            num_attention_heads=4,
            num_key_value_heads=2,
            max_position_embeddings=32768,
            eos_token_id=tokenizer.eos_token_id,
            pad_token_id=tokenizer.pad_token_id,
        )
    ).to(torch.bfloat16)
    model.generation_config = GenerationConfig(
        do_sample=True,
        temperature=0.7,
        top_p=0.8,
        top_k=20,
        repetition_penalty=1.05,
        eos_token_id=[tokenizer.eos_token_id, tokenizer.pad_token_id],
        pad_token_id=tokenizer.pad_token_id,
    )
    model.save_pretrained(folder)
    return folder


@pytest.fixture
def make_dataset(tmp_path: Path) -> Callable[[int], Path]:
    """Makes a LLaMA-Factory dataset folder; `rows` and `rows_few_shot` are the first of the quick training split."""

    def make(count: int) -> Path:
        folder = tmp_path / "data"
        folder.mkdir()
        lines = ROWS.read_text(encoding="utf-8").splitlines(keepends=True)[:count]
        (folder / "rows.jsonl").write_text("".join(lines), encoding="utf-8")
        examples = (ROWS.parent / "examples.jsonl").read_text(encoding="utf-8")
        (folder / "examples.jsonl").write_text(examples, encoding="utf-8")
        registry = {
            "rows": {"file_name": "rows.jsonl", "formatting": "risk_report"},
            "rows_few_shot": {"file_name": "rows.jsonl", "formatting": "risk_report_few_shot"},
        }
        (folder / "dataset_info.json").write_text(json.dumps(registry), encoding="utf-8")
        return folder

    return make
