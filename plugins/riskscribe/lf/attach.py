"""What is added to which llamafactory module, right after it has executed: the table at the end.

An attachment names what it relies on of its module. Where that has changed it is left out with one line on stderr, and
LLaMA-Factory runs on as if this one had never been there; the others of the same module are still made.
"""

import inspect
import os
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import wraps
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Literal

import numpy as np

from riskscribe.files import replacing
from riskscribe.lf import api, board, cluster, decode, guide, live, provenance, rows, template
from riskscribe.lf.tasks import CASES, TASKS

TESTED = ("0.9.4", "0.9.5")
ON_BOARD = ("0.9.5",)
_said: set[str] = set()


@dataclass(frozen=True)
class Attachment:
    """One thing added to one module.

    `needs` maps a name in the module (`Class.method` too) to the parameters that must still be there.
    """

    module: str
    adds: str
    extend: Callable[[ModuleType], None]
    needs: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    tested: tuple[str, ...] = TESTED
    # a package without which it has nothing to do
    package: str = ""

    @property
    def name(self) -> str:
        return self.extend.__name__

    def wanted(self) -> bool:
        """Whether the package it is about is installed."""
        return not self.package or find_spec(self.package) is not None

    def missing(self, module: ModuleType) -> str:
        """What the module no longer has of what this relies on, or nothing."""
        for path, parameters in self.needs.items():
            found = module
            for part in path.split("."):
                found = getattr(found, part, None)
            if found is None:
                return f"{path} is gone"
            if not parameters:
                continue
            known = inspect.signature(found).parameters
            if lost := [one for one in parameters if one not in known]:
                return f"{path} no longer takes {', '.join(lost)}"
        return ""


# what could not be attached in this process, by name, and why
FAILED: dict[str, str] = {}


def say_once(line: str) -> None:
    """One line on stderr, once a process and only from the first rank."""
    if line not in _said and os.environ.get("LOCAL_RANK", "0") == "0":
        _said.add(line)
        print(f"riskscribe: {line}", file=sys.stderr)


def attach(module: ModuleType) -> None:
    """Extend one llamafactory module; called by the import hook, idempotent."""
    if getattr(module, "riskscribe_attached", False):
        return
    module.riskscribe_attached = True
    version = metadata.version("llamafactory")
    for one in ATTACHMENTS:
        if one.module != module.__name__ or not one.wanted():
            continue
        if version not in one.tested:
            say_once(f"LLaMA-Factory {version} is not a version this plugin was tested with ({', '.join(one.tested)})")
        reason = one.missing(module)
        if not reason:
            try:
                one.extend(module)
            except Exception as error:
                reason = f"{type(error).__name__}: {error}"
        if reason:
            FAILED[one.name] = reason
            say_once(f"not attached to {one.module}: {one.adds} ({reason}); LLaMA-Factory runs on without it")


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
    """A loss needs logits from the first answer token on. Upstream: train/sft/trainer.py, compute_loss.

    The same loss to rounding: prompt positions carry no label. Their logits (a vocabulary of 49,152 for half of all
    tokens) are a fifth of a 135M model's arithmetic. `logits_to_keep` is transformers' own argument.
    """
    trainer = module.CustomSeq2SeqTrainer
    upstream = trainer.compute_loss

    @wraps(upstream)
    def compute_loss(self, model, inputs, *rest, **options):
        labels = inputs.get("labels")
        # in an evaluation compute_accuracy reads the logits of every position
        unread = model.training or self.compute_metrics is None
        if CASES.known and unread and labels is not None and self.compute_loss_func is None:
            answered = (labels != module.IGNORE_INDEX).any(dim=0).nonzero()
            # one position more: a token is predicted from the one before it
            keep = labels.shape[1] - max(0, int(answered[0]) - 1) if len(answered) else labels.shape[1]
            inputs = {**inputs, "labels": labels[:, -keep:], "logits_to_keep": keep}
        return upstream(self, model, inputs, *rest, **options)

    trainer.compute_loss = compute_loss


def add_training_keys(module: ModuleType) -> None:
    """The recipe keys of training (docs/llamafactory.md). Upstream: hparams/finetuning_args.py, FinetuningArguments.

    Fields of the class every parser reads, as `answer_schema` is; without the plugin the keys are refused.
    """

    @dataclass
    class FinetuningArguments(module.FinetuningArguments):
        cpu_kernels: bool = field(
            default=False, metadata={"help": "Train on a CPU with RiskScribe's attention and LoRA layers."}
        )
        dequantize_once: bool = field(
            default=False, metadata={"help": "De-quantize the base once before training on a CPU (RiskScribe)."}
        )
        adapter_dtype: Literal["float32", "bfloat16"] = field(
            default="float32", metadata={"help": "The type a finished adapter is stored in (RiskScribe)."}
        )

    # pickled by name
    FinetuningArguments.__module__, FinetuningArguments.__qualname__ = module.__name__, "FinetuningArguments"
    module.FinetuningArguments = FinetuningArguments


def prepare_for_cpu(module: ModuleType) -> None:
    """What `cpu_kernels` and `dequantize_once` ask for. Upstream: model/loader.py, load_model calls init_adapter.

    The base is de-quantized after it was quantized: training sees NF4's values, at the cost of its memory.
    """
    upstream = module.init_adapter

    @wraps(upstream)
    def init_adapter(config, model, model_args, finetuning_args, is_trainable):
        if is_trainable and model.device.type == "cpu":
            if finetuning_args.dequantize_once and getattr(model, "quantization_method", None):
                model = model.dequantize()
            if finetuning_args.cpu_kernels:
                from riskscribe.lf import kernels

                kernels.install()
        return upstream(config, model, model_args, finetuning_args, is_trainable)

    module.init_adapter = init_adapter


def score_each_case_once(module: ModuleType) -> None:
    """The last batch of several ranks counts what it holds. Upstream: train/sft/trainer.py, evaluation_loop.

    It is filled up with first rows so that every rank has one. transformers' Seq2SeqTrainer, unlike its Trainer,
    gathers what filled it too, and scores those cases twice.
    """
    trainer = module.CustomSeq2SeqTrainer
    upstream = trainer.evaluation_loop

    @wraps(upstream)
    def evaluation_loop(self, *given, **options):
        self.gather_function = self.accelerator.gather_for_metrics
        return upstream(self, *given, **options)

    trainer.evaluation_loop = evaluation_loop


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


def _store_as(path: Path, dtype: str) -> None:
    """Write a safetensors file again with its tensors in another type; whole or not at all."""
    import torch
    from safetensors import safe_open
    from safetensors.torch import save_file

    with safe_open(path, "pt") as file:
        about = file.metadata()
        found = {name: file.get_tensor(name).to(getattr(torch, dtype)) for name in file.offset_keys()}
    with replacing(path) as part:
        save_file(found, part, metadata=about)


def store_adapter(module: ModuleType) -> None:
    """What `adapter_dtype` asks for. Upstream: train/sft/workflow.py, run_sft.

    The last thing a training does: all that follows, evaluation included, reads the bytes that a release ships.
    Checkpoints keep float32 for resuming.
    """
    upstream = module.run_sft

    @wraps(upstream)
    def run_sft(model_args, data_args, training_args, finetuning_args, *rest, **options):
        result = upstream(model_args, data_args, training_args, finetuning_args, *rest, **options)
        if training_args.do_train and training_args.should_save and finetuning_args.adapter_dtype != "float32":
            weights = Path(training_args.output_dir) / "adapter_model.safetensors"
            if weights.exists():
                _store_as(weights, finetuning_args.adapter_dtype)
        return result

    module.run_sft = run_sft


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


_PREDICTION = ("self", "model", "inputs", "prediction_loss_only", "ignore_keys")
_RUN_SFT = ("model_args", "data_args", "training_args", "finetuning_args", "generating_args")

ATTACHMENTS = (
    Attachment(
        "llamafactory.api.app",
        "key, limits, queue, log and metrics of the server",
        api.guard_server,
        {"create_app": ("chat_model",), "run_api": ()},
    ),
    Attachment(
        "llamafactory.api.chat",
        "response_format, stop and penalties of requests",
        api.answer_requests,
        {
            "create_chat_completion_response": ("request", "chat_model"),
            "create_stream_chat_completion_response": ("request", "chat_model"),
            "_process_request": ("request",),
            "Finish": (),
        },
    ),
    Attachment(
        "llamafactory.api.protocol",
        "the fields OpenAI clients send",
        api.add_request_fields,
        {"ChatCompletionRequest": ("n", "temperature", "top_p", "presence_penalty", "max_tokens", "stop", "stream")},
    ),
    Attachment(
        "llamafactory.chat.hf_engine",
        "constrained, stopped and abandoned answers",
        api.obey_requests,
        {
            "HuggingfaceEngine._process_args": ("model", "tokenizer", "generating_args", "input_kwargs"),
            "HuggingfaceEngine._stream_chat": ("model",),
            "HuggingfaceEngine.stream_chat": ("messages",),
        },
    ),
    Attachment(
        "llamafactory.chat.hf_engine",
        "a served model decodes as its recipe says",
        obey_recipe_decoding,
        {"HuggingfaceEngine.__init__": ("model_args", "data_args", "finetuning_args", "generating_args")},
    ),
    Attachment(
        "llamafactory.data.converter",
        "dataset formats risk_report and risk_report_few_shot",
        add_formats,
        {
            "DatasetConverter": ("dataset_attr", "data_args"),
            "register_dataset_converter": (),
            "DATASET_CONVERTERS": (),
        },
    ),
    Attachment(
        "llamafactory.extras.ploting",
        "task curves in the plots",
        live.plot_task_curves,
        {"gen_loss_plot": ("trainer_log",), "plot_loss": ("save_dictionary", "keys"), "TRAINER_STATE_NAME": ()},
    ),
    Attachment(
        "llamafactory.hparams.finetuning_args",
        "recipe keys cpu_kernels, dequantize_once and adapter_dtype",
        add_training_keys,
        {"FinetuningArguments": ("loraplus_lr_ratio",)},
    ),
    Attachment(
        "llamafactory.hparams.generating_args",
        "recipe keys answer_schema and free_answers_dir",
        guide.add_switch,
        {"GeneratingArguments": ("num_beams",), "GeneratingArguments.to_dict": ("obey_generation_config",)},
    ),
    Attachment(
        "llamafactory.hparams.model_args",
        "LLaMA Board: no remote code",
        board.refuse_remote_code,
        {"ModelArguments": ("trust_remote_code",), "ModelArguments.__post_init__": ()},
    ),
    Attachment(
        "llamafactory.model.loader",
        "faster training on a CPU",
        prepare_for_cpu,
        {"init_adapter": ("config", "model", "model_args", "finetuning_args", "is_trainable")},
    ),
    Attachment(
        "llamafactory.train.callbacks",
        "task metrics in trainer_log.jsonl",
        live.log_task_metrics,
        {"LogCallback.on_log": ("args", "state", "control"), "LogCallback._write_log": ("output_dir", "logs")},
    ),
    Attachment(
        "llamafactory.train.sft.metric",
        "the rubric beside ROUGE and BLEU",
        add_metric,
        {"ComputeSimilarity": ("tokenizer",), "ComputeSimilarity._dump": (), "numpify": ()},
    ),
    Attachment(
        "llamafactory.train.sft.trainer",
        "logits for the answer only",
        keep_response_logits,
        {"CustomSeq2SeqTrainer.compute_loss": ("model", "inputs"), "IGNORE_INDEX": ()},
    ),
    Attachment(
        "llamafactory.train.sft.trainer",
        "several ranks score each case once",
        score_each_case_once,
        {"CustomSeq2SeqTrainer.evaluation_loop": ("dataloader", "prediction_loss_only", "metric_key_prefix")},
    ),
    Attachment(
        "llamafactory.train.sft.trainer",
        "live evaluation",
        live.measure_at_evaluations,
        {"CustomSeq2SeqTrainer.evaluation_loop": ("dataloader", "prediction_loss_only", "metric_key_prefix")},
    ),
    Attachment(
        "llamafactory.train.sft.trainer",
        "constrained answers in do_predict",
        guide.constrain_predictions,
        {
            "CustomSeq2SeqTrainer.prediction_step": _PREDICTION,
            "CustomSeq2SeqTrainer.save_predictions": ("self", "dataset", "predict_results"),
        },
    ),
    Attachment(
        "llamafactory.train.sft.workflow",
        "the metric sees the prompts; faster decoding on a CPU",
        show_inputs_to_metric,
        {"run_sft": _RUN_SFT},
    ),
    Attachment(
        "llamafactory.train.sft.workflow", "an adapter in the type asked for", store_adapter, {"run_sft": _RUN_SFT}
    ),
    Attachment(
        "llamafactory.train.sft.workflow", "a manifest of every run", provenance.record_runs, {"run_sft": _RUN_SFT}
    ),
    Attachment(
        "llamafactory.train.sft.workflow", "live evaluation's settings", live.read_settings, {"run_sft": _RUN_SFT}
    ),
    # they belong to data/loader.py, which is loaded by now
    Attachment(
        "llamafactory.train.sft.workflow", "rows that are no case are named", rows.name_bad_rows, {"get_dataset": ()}
    ),
    Attachment(
        "llamafactory.train.sft.workflow",
        "over-long cases are named, no answer is cut",
        rows.tell_long_rows,
        {"get_dataset": ()},
    ),
    Attachment(
        "llamafactory.train.trainer_utils",
        "Ray on a CPU, no secrets in its runtime_env",
        cluster.fit_ray,
        {
            "get_placement_group": ("num_workers",),
            "get_ray_remote_config_for_worker": ("placement_group", "bundle_idx", "rank", "env"),
            "get_ray_head_node_ip": (),
            "get_device_name": (),
        },
        tested=("0.9.5",),  # 0.9.4 goes another way, through Ray Train, and asks for GPUs
        package="ray",
    ),
    Attachment(
        "llamafactory.train.tuner",
        "a merged model's chat template is the one it was trained with",
        template.carry_template,
        {"export_model": ("args",), "get_infer_args": ("args",)},
    ),
    Attachment(
        "llamafactory.webui.chatter",
        "LLaMA Board: a case is asked as the model learned it",
        board.chat_as_trained,
        {
            "WebChatModel.append": ("chatbot", "messages", "role", "query", "escape_html"),
            "WebChatModel.stream": ("chatbot", "messages", "lang", "system"),
            "_format_response": ("text", "lang", "escape_html", "thought_words"),
        },
        tested=ON_BOARD,
    ),
    Attachment(
        "llamafactory.webui.common",
        "LLaMA Board: our data, models and folders",
        board.keep_together,
        {
            "DEFAULT_DATA_DIR": (),
            "DEFAULT_SAVE_DIR": (),
            "DEFAULT_CACHE_DIR": (),
            "DEFAULT_CONFIG_DIR": (),
            "SUPPORTED_MODELS": (),
            "DEFAULT_TEMPLATE": (),
            "DownloadSource.DEFAULT": (),
            "save_config": ("lang", "model_name"),
            "_clean_cmd": ("args",),
        },
        tested=ON_BOARD,
    ),
    Attachment(
        "llamafactory.webui.components.data",
        "LLaMA Board: rows as the model reads them",
        board.preview_rows,
        {
            "get_preview": ("dataset_dir", "dataset", "page_index"),
            "_load_data_file": ("file_path",),
            "DATA_CONFIG": (),
        },
        tested=ON_BOARD,
    ),
    Attachment(
        "llamafactory.webui.components.eval",
        "LLaMA Board: presets for evaluation",
        board.add_eval_presets,
        {"create_eval_tab": ("engine",)},
        tested=ON_BOARD,
    ),
    Attachment(
        "llamafactory.webui.control",
        "LLaMA Board: adapters that recipes trained",
        board.offer_adapters,
        {"list_checkpoints": ("model_name", "finetuning_type"), "PEFT_METHODS": ()},
        tested=ON_BOARD,
    ),
    Attachment(
        "llamafactory.webui.engine",
        "LLaMA Board: opens with the recipes",
        board.open_with_recipes,
        {"Engine.resume": (), "Engine._update_component": ("input_dict",), "load_config": ()},
        tested=ON_BOARD,
    ),
    Attachment(
        "llamafactory.webui.interface",
        "LLaMA Board: nothing from elsewhere",
        board.ask_nobody_else,
        {"create_ui": (), "CSS": ()},
        tested=ON_BOARD,
    ),
    Attachment(
        "llamafactory.webui.runner",
        "LLaMA Board: presets, greedy evaluation, workers",
        board.obey_recipes,
        {
            "Runner._parse_train_args": ("data",),
            "Runner._parse_eval_args": ("data",),
            "ALERTS": (),
        },
        tested=ON_BOARD,
    ),
)
