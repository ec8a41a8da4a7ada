"""Task metrics while a model trains: at every evaluation it answers a fixed sample of validation cases.

An entry of dataset_info.json asks for it, and an evaluation that reads the entry gives it:

    "risk_report_val_live": {"file_name": "...", "formatting": "risk_report", "live_evaluation": {"cases": 8}}

The sample is generated greedily with left padding from prompts rendered anew, whatever packing, padding and truncation
the training rows have, scored with the rubric, and joins the evaluation's own metrics as `eval_risk_*` before they are
logged: trainer_state.json, W&B, early stopping and `metric_for_best_model` see them. Not upstream's
`predict_with_generate`: while it trains, that pads on the right and the scores suffer (LLaMA-Factory issue 10611).

In a distributed run whole batches are dealt out to the ranks and every rank scores all answers: the ranks decide alike
(early stopping, best model), and the batches, and so the answers, do not depend on how many ranks there are.
"""

import json
import re
import time
from collections import defaultdict
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass
from functools import wraps
from itertools import zip_longest
from pathlib import Path
from types import ModuleType
from typing import Any

from pydantic import BaseModel, ConfigDict, Field

from riskscribe.case import Language
from riskscribe.data.rows import Row, read_rows
from riskscribe.errors import InputError
from riskscribe.evaluate.metrics import METRICS, Record, summary
from riskscribe.evaluate.score import score_answer
from riskscribe.files import read_json, sha256_text, validate, write_lines
from riskscribe.lf.tasks import TASKS, Task

KEY = "live_evaluation"
# what is drawn, of all that is logged: the headline, and the steps on the way to it in the order they are learned
PLOTTED = ("schema_valid", "grounded", "breach_f1", "level_accuracy", "fatal_error_free")
_NAMES = {one.key: one.name for one in METRICS}
_METRIC = re.compile(rf"(eval(?:_.+)?)_risk_((?:{'|'.join([*_NAMES, 'cases', 'seconds'])})(?:_en|_zh)?)")


class Settings(BaseModel):
    """The value of `live_evaluation` in an entry of dataset_info.json."""

    model_config = ConfigDict(extra="forbid", strict=True)

    cases: int = Field(ge=1, description="how many cases to answer; more cases, less noise, more seconds")
    max_new_tokens: int | None = Field(
        None, ge=1, description="budget of an answer; the recipe's max_new_tokens if none"
    )
    language: Language | None = Field(
        None, description="only cases of this language; metrics are named by it if mixed"
    )


def choose(rows: Sequence[Row], count: int) -> list[Row]:
    """`count` of the rows, in turn from every language and level: the same whatever the order of the file."""
    groups: dict[tuple[str, str], list[Row]] = defaultdict(list)
    for row in sorted(rows, key=lambda one: sha256_text(one.case.case_id)):
        groups[row.language, row.level].append(row)
    turns = zip_longest(*(groups[key] for key in sorted(groups)))
    return [row for turn in turns for row in turn if row is not None][:count]


@dataclass(frozen=True)
class Source:
    """A dataset entry that asks for live evaluation."""

    name: str
    file: Path
    task: Task
    rows: list[Row]
    settings: Settings
    # of a training file, only what `val_size` held out may be asked
    held_out_only: bool

    def sample(self, held_out: set[str]) -> list[Row]:
        """The rows to ask, given the case ids in the evaluation's rows (needed where `val_size` decides)."""
        rows = [one for one in self.rows if one.case.case_id in held_out] if self.held_out_only else self.rows
        return choose(rows, self.settings.cases)


def sources(data_args: Any, max_new_tokens: int) -> list[Source]:
    """The entries of dataset_info.json that this run evaluates on and that ask for live evaluation.

    Args:
        data_args: LLaMA-Factory's DataArguments: dataset_dir, eval_dataset, dataset, val_size.
        max_new_tokens: the recipe's, for entries that state none.

    Raises:
        InputError: settings that cannot be, naming file, entry and field.
    """
    names = data_args.eval_dataset or (data_args.dataset if data_args.val_size > 1e-6 else None) or []
    folder = data_args.dataset_dir
    if isinstance(folder, dict):
        registry, folder, info = folder, ".", "dataset_dir"
    else:
        info = Path(folder) / "dataset_info.json"
        registry = read_json(info) if names and info.exists() else {}  # ONLINE, REMOTE: no folder of ours
    found = []
    for name in names:
        entry = registry.get(name) or {}
        if KEY not in entry:
            continue
        where = f"{info}: {name}"
        settings = validate(Settings, entry[KEY], f"{where}: {KEY}")
        task = TASKS.get(entry.get("formatting"))
        if task is None or "file_name" not in entry:
            raise InputError(f"{where}: {KEY} needs a file_name and one of the formattings {', '.join(TASKS)}")
        file = Path(folder) / entry["file_name"]
        if file.name.startswith("test"):
            raise InputError(f"{where}: {KEY} chooses models, and {file.name} is a test set; use validation cases")
        rows = [one for one in read_rows(file) if settings.language in (None, one.language)]
        if not rows:
            raise InputError(f"{where}: {KEY}: {file} has no case in {settings.language!r}")
        budget = settings.max_new_tokens or max_new_tokens
        settings = settings.model_copy(update={"max_new_tokens": budget})
        found.append(Source(name, file, task, rows, settings, not data_args.eval_dataset))
    return found


@contextmanager
def as_found(model: Any, device: Any) -> Iterator[None]:
    """The model in evaluation mode; afterwards every module's mode and the random state are what they were."""
    import torch

    modes = [(module, module.training) for module in model.modules()]
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        model.eval()
        try:
            yield
        finally:
            for module, training in modes:
                module.training = training


def generate(trainer: Any, prompts: list[list[int]], max_new_tokens: int) -> list[str]:
    """The greedy answers to prompts (token ids), one batch, padded on the left."""
    import torch
    from transformers import GenerationConfig

    tokenizer, device = trainer.processing_class, trainer.args.device
    width = max(map(len, prompts))
    pad = tokenizer.pad_token_id
    ids = torch.tensor([[pad] * (width - len(one)) + one for one in prompts], device=device)
    mask = torch.tensor([[0] * (width - len(one)) + [1] * len(one) for one in prompts], device=device)
    config = GenerationConfig(
        do_sample=False,
        max_new_tokens=max_new_tokens,
        eos_token_id=trainer.data_collator.template.get_stop_token_ids(tokenizer),
        pad_token_id=pad,
    )
    # a checkpoint's generation_config (Qwen2.5: sampling, a repetition penalty) would fill in what equals a default
    found = trainer.model.generate(
        input_ids=ids, attention_mask=mask, generation_config=config, use_model_defaults=False
    )
    return tokenizer.batch_decode(found[:, width:], skip_special_tokens=True)


class LiveEvaluation:
    """The live evaluation of one run."""

    def __init__(self, found: list[Source]):
        self.sources = found
        self.samples: dict[str, list[list[tuple[Row, list[int], int]]]] = {}
        self.last: dict[str, tuple[int, dict[str, float]]] = {}

    def measure(self, trainer: Any, dataset: Any, prefix: str) -> dict[str, float]:
        """`{prefix}_risk_*` of the model as it is: the rubric's summary in percent, cases, and seconds it took."""
        step = trainer.state.global_step
        at, metrics = self.last.get(prefix, (None, {}))
        # after training LLaMA-Factory evaluates once more: the same weights, unless the best were loaded
        if at == step and not trainer.is_in_train and not trainer.args.load_best_model_at_end:
            return metrics
        begun = time.monotonic()
        if prefix not in self.samples:
            self.samples[prefix] = self._batches(trainer, dataset, prefix)
        batches = self.samples[prefix]
        if not batches:
            return {}
        with as_found(trainer.model, trainer.args.device):
            answers = self._answers(trainer, batches)
        rows = [row for batch in batches for row, _, _ in batch]
        records = [
            score_answer(row.case, answer, row.book, row.slices, row.notes)
            for row, answer in zip(rows, answers, strict=True)
        ]
        metrics = {f"{prefix}_risk_{name}": value for name, value in summary(records).items()}
        metrics[f"{prefix}_risk_seconds"] = round(time.monotonic() - begun, 2)
        self.last[prefix] = step, metrics
        if trainer.is_world_process_zero():
            self._tell(trainer, prefix, records, metrics)
        return metrics

    def _batches(self, trainer: Any, dataset: Any, prefix: str) -> list[list[tuple[Row, list[int], int]]]:
        """(row, prompt, budget) in batches; the same on every rank."""
        tokenizer, template = trainer.processing_class, trainer.data_collator.template
        # with eval_on_each_dataset every entry is evaluated by itself, under its own prefix
        own = [one for one in self.sources if prefix in ("eval", f"eval_{one.name}")]
        held_out: set[str] = set()
        if any(one.held_out_only for one in own):
            # packed or not, the case ids are in the rows
            for row in dataset:
                held_out.update(re.findall(r"\bc-[a-z0-9]{6,16}\b", tokenizer.decode(row["input_ids"])))
        batches, size = [], trainer.args.per_device_eval_batch_size
        for source in own:
            asked = []
            for row in source.sample(held_out):
                system, *turns = source.task.messages(row.to_record(), source.file)
                turns = [*turns, {"role": "assistant", "content": ""}]
                prompt, _ = template.encode_oneturn(tokenizer, turns, system["content"])
                asked.append((row, prompt, source.settings.max_new_tokens))
            batches += [asked[i : i + size] for i in range(0, len(asked), size)]
        return batches

    def _answers(self, trainer: Any, batches: list) -> list[str]:
        """The answers to all batches, in order, on every rank."""
        from accelerate.utils import gather_object
        from torch.distributed.fsdp import FullyShardedDataParallel
        from transformers.integrations.deepspeed import is_deepspeed_zero3_enabled
        from transformers.integrations.fsdp import is_fsdp_managed_module

        model, rank, ranks = trainer.model, trainer.args.process_index, trainer.args.world_size
        # a rank that holds part of the weights takes part in every pass, with a batch of another where it has none
        together = is_deepspeed_zero3_enabled() or is_fsdp_managed_module(model)
        whole = isinstance(model, FullyShardedDataParallel)
        found = []
        with FullyShardedDataParallel.summon_full_params(model) if whole else nullcontext():
            for first in range(0, len(batches), ranks):
                number = first + rank
                if number < len(batches) or together:
                    batch = batches[number % len(batches)]
                    answers = generate(trainer, [prompt for _, prompt, _ in batch], batch[0][2])
                    if number < len(batches):
                        found.append((number, answers))
        return [answer for _, answers in sorted(gather_object(found)) for answer in answers]

    def _tell(self, trainer: Any, prefix: str, records: list[Record], metrics: dict[str, float]) -> None:
        """A line in the log, and the answers beside it: what moved the figures can be read."""
        from llamafactory.extras import logging

        step = trainer.state.global_step
        shown = [
            f"{_NAMES[key]}{language.replace('_', ' ')} {metrics[name]:.1f}%"
            for key in reversed(PLOTTED)
            for language in ("", "_en", "_zh")
            if (name := f"{prefix}_risk_{key}{language}") in metrics
        ]
        seconds = metrics[f"{prefix}_risk_seconds"]
        logging.get_logger("llamafactory.riskscribe").info_rank0(
            f"live evaluation at step {step}, {len(records)} cases, {seconds:.0f} s: {', '.join(shown)}"
        )
        write_lines(
            Path(trainer.args.output_dir) / KEY / f"{prefix}-{step}.jsonl",
            (
                {
                    "case_id": one.case_id,
                    "predict": one.answer,
                    "fatal": sorted({finding.code for finding in one.findings if finding.fatal}),
                }
                for one in records
            ),
        )


_running: ContextVar[LiveEvaluation | None] = ContextVar("live_evaluation", default=None)


def read_settings(module: ModuleType) -> None:
    """A run knows what its datasets ask for. Upstream: train/sft/workflow.py, run_sft.

    data/parser.py drops keys of dataset_info.json that it does not know, so the file is read again; before the model
    is loaded, so that a slip is told at once.
    """
    upstream = module.run_sft

    @wraps(upstream)
    def run_sft(model_args, data_args, training_args, finetuning_args, generating_args, *rest, **options):
        asked = training_args.do_train or training_args.do_eval
        found = sources(data_args, max(generating_args.max_new_tokens, 0) or 1024) if asked else []
        token = _running.set(LiveEvaluation(found) if found else None)
        try:
            return upstream(model_args, data_args, training_args, finetuning_args, generating_args, *rest, **options)
        finally:
            _running.reset(token)

    module.run_sft = run_sft


def measure_at_evaluations(module: ModuleType) -> None:
    """Task metrics join an evaluation's own before anyone sees them. Upstream: train/sft/trainer.py, evaluation_loop.

    It is transformers' Trainer.evaluation_loop, inherited; Trainer.evaluate logs what it returns and calls the
    callbacks with it.
    """
    trainer = module.CustomSeq2SeqTrainer
    upstream = trainer.evaluation_loop

    @wraps(upstream)
    def evaluation_loop(
        self, dataloader, description, prediction_loss_only=None, ignore_keys=None, metric_key_prefix="eval"
    ):
        output = upstream(self, dataloader, description, prediction_loss_only, ignore_keys, metric_key_prefix)
        running = _running.get()
        if running is not None and (metric_key_prefix == "eval" or metric_key_prefix.startswith("eval_")):
            output.metrics.update(running.measure(self, dataloader.dataset, metric_key_prefix))
        return output

    trainer.evaluation_loop = evaluation_loop


def task_metrics(logs: dict[str, Any]) -> dict[str, float]:
    """What live evaluation put among the logged values of one step."""
    return {key: value for key, value in logs.items() if _METRIC.fullmatch(key)}


def log_task_metrics(module: ModuleType) -> None:
    """They reach trainer_log.jsonl, whose keys are fixed. Upstream: train/callbacks.py, LogCallback.on_log."""
    callback = module.LogCallback
    upstream = callback.on_log

    @wraps(upstream)
    def on_log(self, args, state, control, **more):
        found = task_metrics(state.log_history[-1])
        if not found:
            return upstream(self, args, state, control, **more)
        write = self._write_log
        # on_log hands this very function to its thread: the values of a line travel with it
        self._write_log = lambda folder, logs: write(folder, logs | found)
        try:
            return upstream(self, args, state, control, **more)
        finally:
            del self._write_log

    callback.on_log = on_log


def curves(log: list[dict[str, Any]]) -> dict[str, list[tuple[int, float]]]:
    """Label -> (step, percent), ascending, of the metrics that are drawn; of a step told twice the later value.

    A resumed run tells the steps after its checkpoint again.
    """
    found: dict[str, dict[int, float]] = {}
    for line in log:
        for key, value in task_metrics(line).items():
            prefix, name = _METRIC.fullmatch(key).groups()
            metric, language = (name[:-3], name[-2:]) if name[-3:] in ("_en", "_zh") else (name, "")
            if metric in PLOTTED:
                label = " ".join(filter(None, (_NAMES[metric], language, prefix.removeprefix("eval").strip("_"))))
                found.setdefault(label, {})[line["current_steps"]] = value
    order = [_NAMES[one] for one in PLOTTED]
    labels = sorted(found, key=lambda label: next(i for i, name in enumerate(order) if label.startswith(name)))
    return {label: sorted(found[label].items()) for label in labels}


def draw_curves(figure: Any, found: dict[str, list[tuple[int, float]]]) -> None:
    """A second panel below the loss, over the same steps."""
    loss = figure.axes[0]
    figure.set_size_inches(6.4, 7.6)
    upper, lower = figure.add_gridspec(2, 1, height_ratios=(3, 4), hspace=0.3)
    loss.set_subplotspec(upper)
    panel = figure.add_subplot(lower, sharex=loss)
    # Okabe and Ito's colours, and a shape each: told apart without colour too
    styles = list(zip(("#0072B2", "#E69F00", "#009E73", "#CC79A7", "#000000"), "sv^Do", strict=True))
    for i, (label, points) in enumerate(found.items()):
        colour, marker = styles[i % len(styles)]
        steps, values = zip(*points, strict=True)
        line = "-" if label.startswith(_NAMES["fatal_error_free"]) else "--"
        panel.plot(steps, values, line, color=colour, marker=marker, markersize=5, label=label)
    panel.set_ylim(-4, 104)
    panel.set_xlabel("step")
    panel.set_ylabel("live evaluation, %")
    panel.legend(loc="upper center", bbox_to_anchor=(0.5, -0.16), ncols=2, fontsize="small", frameon=False)
    figure.subplots_adjust(top=0.94, bottom=0.2)


def plot_task_curves(module: ModuleType) -> None:
    """training_loss.png and LLaMA Board's plot show them. Upstream: extras/ploting.py, gen_loss_plot, plot_loss."""
    loss_plot, save_plots = module.gen_loss_plot, module.plot_loss

    @wraps(loss_plot)
    def gen_loss_plot(trainer_log):
        figure = loss_plot(trainer_log)
        if found := curves(trainer_log):
            draw_curves(figure, found)
        return figure

    @wraps(save_plots)
    def plot_loss(save_dictionary, keys=("loss",)):
        save_plots(save_dictionary, list(keys))
        state = json.loads((Path(save_dictionary) / module.TRAINER_STATE_NAME).read_text(encoding="utf-8"))
        log = [{**line, "current_steps": line["step"]} for line in state["log_history"]]
        if "loss" in keys and curves(log):
            figure = gen_loss_plot(log)
            figure.axes[0].set_title(f"training loss of {save_dictionary}", fontsize="medium")
            figure.savefig(Path(save_dictionary) / "training_loss.png", dpi=100)

    module.gen_loss_plot, module.plot_loss = gen_loss_plot, plot_loss
