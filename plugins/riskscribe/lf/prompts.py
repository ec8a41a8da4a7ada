"""Rows of a split file as the token ids LLaMA-Factory makes of them."""

from pathlib import Path
from typing import Any, NamedTuple

from riskscribe.data.rows import Row
from riskscribe.lf import template
from riskscribe.prompt import messages


class Encoded(NamedTuple):
    """A case's prompt and its gold answer with the end of the turn, as token ids."""

    case_id: str
    prompt: list[int]
    answer: list[int]


def tokenizer_of(model: Path, name: str) -> Any:
    """The tokenizer as LLaMA-Factory uses it with template `name`: its special tokens and stop words are added."""
    from llamafactory.data import get_template_and_fix_tokenizer
    from llamafactory.hparams import DataArguments
    from transformers import AutoTokenizer

    tokenizer = AutoTokenizer.from_pretrained(model, trust_remote_code=False, padding_side="right")
    get_template_and_fix_tokenizer(tokenizer, DataArguments(template=name))
    return tokenizer


def encode(rows: list[Row], tokenizer: Any, name: str) -> list[Encoded]:
    """Prompts and gold answers of `rows` under template `name`, as in training (upstream: Template.encode_oneturn)."""
    found = []
    for row in rows:
        asked = messages(row.case)
        prompt = template.token_ids(name, tokenizer, asked)
        whole = template.token_ids(name, tokenizer, [*asked, {"role": "assistant", "content": row.report.to_json()}])
        found.append(Encoded(row.case.case_id, prompt, whole[len(prompt) :]))
    return found
