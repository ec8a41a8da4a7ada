"""Constrained decoding: an answer that is JSON of a given schema, in the schema's field order and compact.

A grammar (llguidance) follows every row of a batch and says which tokens may come next; the others get a probability
of zero. The mask is plain tensor arithmetic: llguidance's own is compiled at run time and needs a C++ compiler.

In a recipe: `answer_schema: dataset_info/report.schema.json`, or on the command line `answer_schema=...`. With
`free_answers_dir: FOLDER` beside it the same run answers every prompt freely too, into that folder.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any

from riskscribe.errors import InputError
from riskscribe.lf.decode import prompts_read_once

if TYPE_CHECKING:
    import torch
    from llguidance import LLMatcher, LLTokenizer

KEY, BESIDE = "answer_schema", "free_answers_dir"
# no blank between tokens, as Report.to_json writes: a small model given the choice fills its budget with blanks
COMPACT = {"whitespace_flexible": False, "item_separator": ",", "key_separator": ":"}
_TOKENIZERS: dict[int, tuple[Any, "LLTokenizer"]] = {}
_READ: dict[tuple[int, str], "Guide"] = {}


def grammar_of(schema: dict[str, Any] | bool) -> str:
    """The grammar of a JSON Schema. Raises InputError with the reason when it cannot be one."""
    from llguidance import LLMatcher

    grammar = LLMatcher.grammar_from_json_schema(json.dumps(schema), overrides=COMPACT)
    if problem := LLMatcher.validate_grammar(grammar):
        raise InputError(f"the JSON Schema cannot constrain an answer: {problem.strip()}")
    return grammar


def read_grammar(path: str) -> str:
    """The grammar of a JSON Schema file. Raises InputError naming the file."""
    try:
        schema = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise InputError(f"{KEY}: {path}: {error}; give a file that holds a JSON Schema") from None
    if not isinstance(schema, dict):
        raise InputError(f"{KEY}: {path}: holds no JSON object; give a file that holds a JSON Schema")
    try:
        return grammar_of(schema)
    except InputError as error:
        raise InputError(f"{KEY}: {path}: {error}") from None


def _tokenizer(tokenizer) -> "LLTokenizer":
    """The tokenizer as llguidance reads it; made once a tokenizer (about a second at 150,000 tokens)."""
    from llguidance.hf import from_tokenizer
    from transformers import PreTrainedTokenizerFast

    if id(tokenizer) not in _TOKENIZERS:
        if not isinstance(tokenizer, PreTrainedTokenizerFast):
            raise InputError(f"constrained decoding needs a fast tokenizer, not {type(tokenizer).__name__}")
        # the tokenizer is kept beside it: an id is unique only while the object lives
        _TOKENIZERS[id(tokenizer)] = tokenizer, from_tokenizer(tokenizer)
    return _TOKENIZERS[id(tokenizer)][1]


@dataclass(frozen=True)
class Guide:
    """A grammar compiled for a tokenizer; `start` gives a row's own matcher."""

    matcher: "LLMatcher"
    vocabulary: int
    eos: int
    pad: int

    @classmethod
    def compile(cls, tokenizer, grammar: str) -> "Guide":
        """Raises InputError when the grammar is too large or the tokenizer is no fast one."""
        from llguidance import LLMatcher

        known = _tokenizer(tokenizer)
        matcher = LLMatcher(known, grammar, log_level=0)
        if not matcher.is_error():
            # the first mask is the costly one, and a grammar too large fails there: before any answer has begun
            matcher.compute_bitmask()
        if matcher.is_error():
            raise InputError(f"the JSON Schema cannot constrain an answer: {matcher.get_error().splitlines()[0]}")
        pad = tokenizer.pad_token_id
        end = tokenizer.eos_token_id
        return cls(matcher, known.vocab_size, end, end if pad is None else pad)

    @classmethod
    def read(cls, tokenizer, path: str) -> "Guide":
        """The guide of a JSON Schema file, compiled once."""
        key = id(tokenizer), path
        if key not in _READ:
            _READ[key] = cls.compile(tokenizer, read_grammar(path))
        return _READ[key]

    def processor(self) -> "SchemaProcessor":
        """A logits processor for one call of generate."""
        return SchemaProcessor(self)

    def accepts(self, tokens: Sequence[int]) -> bool:
        """Whether these tokens (the last one may be the end) are a complete answer."""
        matcher = self.matcher.deep_copy()
        tokens = list(tokens[:-1] if tokens and tokens[-1] == self.eos else tokens)
        return matcher.consume_tokens(tokens) and matcher.is_accepting()


class SchemaProcessor:
    """Masks the next token's scores, row by row. Made for greedy decoding and sampling, not for beams.

    A finished row may only have padding. `keep(rows)` tells which rows are left where a decoding loop lets finished
    ones go (decode.py); a call that is not one token longer than the last begins another batch.
    """

    def __init__(self, guide: Guide):
        self.guide = guide
        self.matchers: list[LLMatcher] = []
        self.over: list[bool] = []
        self.width = 0

    def keep(self, rows: list[int]) -> None:
        """Go on with these rows only."""
        self.matchers = [self.matchers[row] for row in rows]
        self.over = [self.over[row] for row in rows]

    def __call__(self, input_ids: "torch.Tensor", scores: "torch.Tensor") -> "torch.Tensor":
        """input_ids (rows, tokens so far) and scores (rows, vocabulary) -> scores with what may not come at -inf."""
        import numpy as np
        import torch

        rows, width = input_ids.shape
        if width != self.width + 1 or not self.matchers:
            self.matchers = [self.guide.matcher.deep_copy() for _ in range(rows)]
            self.over = [False] * rows
        elif rows != len(self.matchers):
            raise RuntimeError(f"constrained decoding lost its rows: {len(self.matchers)} became {rows}")
        else:
            for row, token in enumerate(input_ids[:, -1].tolist()):
                matcher = self.matchers[row]
                self.over[row] = matcher.is_stopped()
                if not self.over[row]:
                    matcher.consume_token(token)
        self.width = width
        tokenizer = self.guide.vocabulary
        # words of 32 tokens
        words = np.zeros((rows, (tokenizer + 31) // 32), dtype=np.uint32)
        for row, matcher in enumerate(self.matchers):
            if matcher.is_stopped():
                # complete, or broken off by the grammar's own limits: whoever checks the answer sees which
                token = self.guide.pad if self.over[row] else self.guide.eos
                words[row, token // 32] = 1 << (token % 32)
            else:
                matcher.unsafe_compute_mask_ptr(words[row].ctypes.data, words.shape[1] * 4)
        bits = np.unpackbits(words.view(np.uint8), axis=1, bitorder="little")[:, : min(tokenizer, scores.shape[1])]
        # a head may have more rows than the tokenizer has tokens
        banned = torch.ones(scores.shape, dtype=torch.bool)
        banned[:, : bits.shape[1]] = torch.from_numpy(bits == 0)
        return scores.masked_fill(banned.to(scores.device), float("-inf"))


def add_switch(module: ModuleType) -> None:
    """Recipe keys `answer_schema` and `free_answers_dir`. Upstream: hparams/generating_args.py, GeneratingArguments.

    A field of the very class that the argument parser reads: recipes, the command line, torchrun, Ray and Board all
    know it, it is in --help, a misspelt key is still refused, and so is this one where the plugin is not attached
    (never a free answer where a constrained one was asked for). A key of dataset_info would tie decoding to data.
    """
    from dataclasses import field

    @dataclass
    class GeneratingArguments(module.GeneratingArguments):
        answer_schema: str | None = field(
            default=None, metadata={"help": "A JSON Schema file; every answer is made to follow it (RiskScribe)."}
        )
        free_answers_dir: str | None = field(
            default=None,
            metadata={"help": "With answer_schema: a folder for free answers to the same prompts (RiskScribe)."},
        )

        def __post_init__(self):
            if self.answer_schema:
                # before a model is loaded
                read_grammar(self.answer_schema)
                if self.num_beams > 1:
                    raise InputError(f"{KEY}: works with num_beams: 1, not {self.num_beams}")
            if self.free_answers_dir and not self.answer_schema:
                raise InputError(f"{BESIDE}: goes with {KEY}; without it output_dir has the free answers")

        def to_dict(self, obey_generation_config: bool = False) -> dict[str, Any]:
            found = super().to_dict(obey_generation_config)
            own = {one: found.pop(one, None) or getattr(self, one) for one in (KEY, BESIDE)}
            return found | {one: value for one, value in own.items() if value}

    # pickled by name
    GeneratingArguments.__module__, GeneratingArguments.__qualname__ = module.__name__, "GeneratingArguments"
    module.GeneratingArguments = GeneratingArguments


def constrain_predictions(module: ModuleType) -> None:
    """do_predict obeys `answer_schema` and `free_answers_dir`. Upstream: train/sft/trainer.py, prediction_step.

    The keys come with the trainer's generation arguments and leave them here for a logits processor, a fresh one a
    batch. Were they left, generate would refuse them. Free answers are made batch by batch beside the constrained
    ones, from prompts that are read once (decode.py), and saved where upstream saves those.
    """
    trainer = module.CustomSeq2SeqTrainer
    upstream, save = trainer.prediction_step, trainer.save_predictions

    @wraps(upstream)
    def prediction_step(self, model, inputs, prediction_loss_only, ignore_keys=None, **gen_kwargs):
        gen_kwargs = gen_kwargs or dict(getattr(self, "_gen_kwargs", None) or {})
        path, beside = gen_kwargs.pop(KEY, None), gen_kwargs.pop(BESIDE, None)
        given = model, inputs, prediction_loss_only, ignore_keys
        if not (path and self.args.predict_with_generate and not prediction_loss_only):
            return upstream(self, *given, **gen_kwargs)
        from transformers import LogitsProcessorList

        processor = Guide.read(self.processing_class, path).processor()
        processors = LogitsProcessorList([*gen_kwargs.get("logits_processor", ()), processor])
        if not beside:
            return upstream(self, *given, **gen_kwargs, logits_processor=processors)
        if self.args.world_size > 1:
            raise InputError(f"{BESIDE}: works in one process; predict twice instead")
        with prompts_read_once():
            _, free, _ = upstream(self, model, {**inputs}, prediction_loss_only, ignore_keys, **gen_kwargs)
            self.free_answers = [*getattr(self, "free_answers", ()), *free.tolist()]
            return upstream(self, *given, **gen_kwargs, logits_processor=processors)

    @wraps(save)
    def save_predictions(self, dataset, predict_results, *rest, **options):
        save(self, dataset, predict_results, *rest, **options)
        beside = (getattr(self, "_gen_kwargs", None) or {}).get(BESIDE)
        if not beside:
            return
        import numpy as np

        # an evaluation before it has made some as well
        answers = self.free_answers[-len(predict_results.predictions) :]
        pad, longest = self.processing_class.pad_token_id, max(map(len, answers))
        free = np.array([one + [pad] * (longest - len(one)) for one in answers])
        held, self.args.output_dir = self.args.output_dir, beside
        try:
            Path(beside).mkdir(parents=True, exist_ok=True)
            save(self, dataset, predict_results._replace(predictions=free), *rest, **options)
        finally:
            self.args.output_dir = held

    trainer.prediction_step, trainer.save_predictions = prediction_step, save_predictions
