"""Rows of a dataset file that are no case, or longer than a recipe's `cutoff_len`.

LLaMA-Factory cuts a long row's end off and says nothing. A training row without its end teaches reports without one,
so it is left out; a prompt without its end has lost the case, which stands last. Both are told by the case's id.
"""

import inspect
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

from riskscribe.data.rows import read_rows
from riskscribe.errors import InputError
from riskscribe.lf.tasks import TASKS
from riskscribe.prompt import case_id_in


def _loader(name: str, *needs: str) -> tuple[ModuleType, Callable]:
    """LLaMA-Factory's data/loader.py and its function `name`. Raises TypeError when a parameter is gone."""
    from llamafactory.data import loader

    found = getattr(loader, name)
    if lost := [one for one in needs if one not in inspect.signature(found).parameters]:
        raise TypeError(f"data.loader.{name} no longer takes {', '.join(lost)}")
    return loader, found


def name_bad_rows(module: ModuleType) -> None:
    """A row that is no case is told by file and number. Upstream: data/loader.py, _load_single_dataset.

    Only once loading has failed: where the rows are read and converted, none knows its number.
    """
    loader, upstream = _loader("_load_single_dataset", "dataset_attr", "model_args", "data_args", "training_args")

    @wraps(upstream)
    def _load_single_dataset(dataset_attr, model_args, data_args, training_args):
        try:
            return upstream(dataset_attr, model_args, data_args, training_args)
        except Exception:
            file = Path(str(data_args.dataset_dir)) / dataset_attr.dataset_name
            if dataset_attr.formatting in TASKS and file.is_file():
                read_rows(file)
            raise

    loader._load_single_dataset = _load_single_dataset


def too_long(row: dict[str, Any], cutoff: int, template: Any, tokenizer: Any, generates: bool) -> int:
    """How many tokens a converted row has where `cutoff` would cut it (its prompt, if it `generates`); else 0."""
    turns = [*row["_prompt"], *row["_response"]]
    # a token is a byte at least
    if sum(len(one["content"].encode()) + 64 for one in turns) + len((row["_system"] or "").encode()) <= cutoff:
        return 0
    asked, answer = template.encode_oneturn(tokenizer, turns, row["_system"], row["_tools"])
    if generates:
        from llamafactory.data.processor.processor_utils import infer_seqlen

        return len(asked) if infer_seqlen(len(asked), len(answer), cutoff)[0] < len(asked) else 0
    length = len(asked) + len(answer) + bool(template.efficient_eos)
    return length if length > cutoff else 0


def tell_long_rows(module: ModuleType) -> None:
    """Over-long cases are named and no answer is cut. Upstream: data/loader.py, _get_preprocessed_dataset.

    Before the rows are tokenized and not within: a warning from within is gone as soon as the tokens are cached.
    """
    from llamafactory.extras import logging

    needs = "dataset", "data_args", "training_args", "stage", "template", "tokenizer"
    loader, upstream = _loader("_get_preprocessed_dataset", *needs)
    log = logging.get_logger("llamafactory.riskscribe")

    @wraps(upstream)
    def _get_preprocessed_dataset(
        dataset, data_args, training_args, stage, template, tokenizer, processor=None, is_eval=False
    ):
        given = data_args, training_args, stage, template, tokenizer, processor, is_eval
        if dataset is None or stage != "sft" or not hasattr(dataset, "select"):
            return upstream(dataset, *given)
        cutoff, generates = data_args.cutoff_len, training_args.predict_with_generate and is_eval
        kept, longest = [], 0
        for number, row in enumerate(dataset):
            case = case_id_in(row["_prompt"][-1]["content"])
            tokens = too_long(row, cutoff, template, tokenizer, generates) if case else 0
            longest = max(longest, tokens)
            if tokens and generates:
                log.warning_rank0(f"case {case}: its prompt has {tokens} tokens, cutoff_len {cutoff} cuts its end off")
            elif tokens:
                log.warning_rank0(f"case {case}: left out, {tokens} tokens with its answer and cutoff_len is {cutoff}")
            if not tokens or generates:
                kept.append(number)
        if not kept:
            raise InputError(f"cutoff_len: {cutoff} is too short for every row; the longest has {longest} tokens")
        return upstream(dataset if len(kept) == len(dataset) else dataset.select(kept), *given)

    loader._get_preprocessed_dataset = _get_preprocessed_dataset
