"""Fixtures: a tiny random Qwen2 with its own tokenizer, and a dataset folder of a few rows. Nothing is downloaded."""

import json
import os
from collections.abc import Callable
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
ROWS = ROOT / "datasets" / "v0" / "train_quick.jsonl"

# before transformers is imported anywhere: a test that needs the network is a wrong test
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("MPLBACKEND", "Agg")
# pytest must not fork worker threads of a tokenizer that was used before
os.environ.setdefault("TOKENIZERS_PARALLELISM", "false")


def _rows(count: int) -> list[dict[str, str]]:
    lines = ROWS.read_text(encoding="utf-8").splitlines()[:count]
    return [json.loads(line) for line in lines]


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
