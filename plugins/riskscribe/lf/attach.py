"""What is added to which llamafactory module, right after it has executed."""

import os
import sys
from dataclasses import dataclass
from functools import wraps
from importlib import metadata
from pathlib import Path
from types import ModuleType

import numpy as np

from riskscribe.lf import decode
from riskscribe.lf.tasks import CASES, TASKS

TESTED = ("0.9.5",)
_said: set[str] = set()


def say_once(line: str) -> None:
    """One line on stderr, once a process and only from the first rank."""
    if line not in _said and os.environ.get("LOCAL_RANK", "0") == "0":
        _said.add(line)
        print(f"riskscribe: {line}", file=sys.stderr)


def attach(module: ModuleType) -> None:
    """Extend one llamafactory module; called by the import hook, idempotent."""
    version = metadata.version("llamafactory")
    if version not in TESTED:
        say_once(f"LLaMA-Factory {version} is not a version this plugin was tested with ({', '.join(TESTED)})")
    if not getattr(module, "riskscribe_attached", False):
        ATTACHMENTS[module.__name__](module)
        module.riskscribe_attached = True


def add_formats(module: ModuleType) -> None:
    """`formatting: risk_report` in dataset_info.json. Upstream: data/converter.py, register_dataset_converter."""

    @dataclass
    class TaskConverter(module.DatasetConverter):
        # part of the pickled converter, and so of the datasets cache's fingerprint: a new prompt is not served stale
        salt: str = ""
        task: str = ""
        file: Path = Path()

        def __call__(self, example):
            task = TASKS[self.task]
            row = dict(example)
            system, *turns = task.messages(row, self.file)
            return {
                "_prompt": turns,
                "_response": [{"role": "assistant", "content": task.answer(row)}],
                "_system": system["content"],
                "_tools": "",
                "_images": None,
                "_videos": None,
                "_audios": None,
            }

    for task in TASKS.values():

        def converter(dataset_attr, data_args, task=task):
            file = Path(data_args.dataset_dir) / dataset_attr.dataset_name
            # not in the class: CASES would be pickled into the fingerprint, which would then depend on what was read
            CASES.add(file)
            return TaskConverter(dataset_attr, data_args, salt=task.salt(file), task=task.name, file=file)

        if task.name not in module.DATASET_CONVERTERS:
            module.register_dataset_converter(task.name, converter)


def add_metric(module: ModuleType) -> None:
    """The structured-report evaluator beside ROUGE and BLEU. Upstream: train/sft/metric.py, ComputeSimilarity.

    It sees the case: the prompt is among the metric's inputs, its case id is looked up, and the answer is checked
    against that case's evidence and policy, never against the label.
    """

    @dataclass
    class ComputeReportMetrics(module.ComputeSimilarity):
        def _dump(self):
            result = super()._dump()
            records, self.records = getattr(self, "records", []), []
            if result is not None and records:
                from riskscribe.evaluate.score import summary

                result |= {f"risk_{name}": value for name, value in summary(records).items()}
            return result

        def __call__(self, eval_preds, compute_result=True):
            from riskscribe.evaluate.score import score_answer

            if eval_preds.inputs is not None and CASES.known:
                prompts, answers = (self._text(part) for part in (eval_preds.inputs, eval_preds.predictions))
                for text, answer in zip(prompts, answers, strict=True):
                    case = CASES.find(text)
                    if case is not None:
                        self.records.append(score_answer(case, answer))
            return super().__call__(eval_preds, compute_result)

        def _text(self, ids):
            ids = module.numpify(ids)
            ids = np.where(ids < 0, self.tokenizer.pad_token_id, ids)
            return self.tokenizer.batch_decode(ids, skip_special_tokens=True)

    module.ComputeSimilarity = ComputeReportMetrics


def keep_response_logits(module: ModuleType) -> None:
    """Training computes logits from the first answer token on. Upstream: train/sft/trainer.py, compute_loss.

    The same loss to rounding: prompt positions carry no label. Their logits (a vocabulary of 49,152 for half of all
    tokens) are a fifth of a 135M model's arithmetic. `logits_to_keep` is transformers' own argument.
    """
    trainer = module.CustomSeq2SeqTrainer
    upstream = trainer.compute_loss

    @wraps(upstream)
    def compute_loss(self, model, inputs, *rest, **options):
        labels = inputs.get("labels")
        if CASES.known and model.training and labels is not None and self.compute_loss_func is None:
            answered = (labels != module.IGNORE_INDEX).any(dim=0).nonzero()
            # one position more: a token is predicted from the one before it
            keep = labels.shape[1] - max(0, int(answered[0]) - 1) if len(answered) else labels.shape[1]
            inputs = {**inputs, "labels": labels[:, -keep:], "logits_to_keep": keep}
        return upstream(self, model, inputs, *rest, **options)

    trainer.compute_loss = compute_loss


def show_inputs_to_metric(module: ModuleType) -> None:
    """Answers reach the metric with their prompts, sooner (decode.py). Upstream: train/sft/workflow.py, run_sft."""
    upstream = module.run_sft

    @wraps(upstream)
    def run_sft(model_args, data_args, training_args, *rest, **options):
        if training_args.predict_with_generate and "inputs" not in training_args.include_for_metrics:
            training_args.include_for_metrics.append("inputs")
        return upstream(model_args, data_args, training_args, *rest, **options)

    module.run_sft = run_sft
    decode.install()


def obey_recipe_decoding(module: ModuleType) -> None:
    """`do_sample: false` in a recipe holds when serving. Upstream: chat/hf_engine.py, HuggingfaceEngine.

    transformers lets a model's own generation_config win wherever a request's value equals the library's default:
    greedy decoding and `repetition_penalty: 1.0` are such defaults, and Qwen2.5 ships sampling at 0.7 with 1.05. So
    the served model would sample where the tested one (do_predict passes its values another way) was greedy.
    """
    from transformers import GenerationConfig

    engine = module.HuggingfaceEngine
    upstream = engine.__init__

    @wraps(upstream)
    def __init__(self, *rest, **options):
        upstream(self, *rest, **options)
        if self.can_generate:
            own = self.model.generation_config
            ids = {key: getattr(own, key) for key in ("bos_token_id", "eos_token_id", "pad_token_id")}
            self.model.generation_config = GenerationConfig(**ids)

    engine.__init__ = __init__
    decode.install()


ATTACHMENTS = {
    "llamafactory.chat.hf_engine": obey_recipe_decoding,
    "llamafactory.data.converter": add_formats,
    "llamafactory.train.sft.metric": add_metric,
    "llamafactory.train.sft.trainer": keep_response_logits,
    "llamafactory.train.sft.workflow": show_inputs_to_metric,
}
