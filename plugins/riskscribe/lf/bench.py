"""What the plugin costs and saves, measured: `python -m riskscribe.lf.bench [start|logits|memory|train|predict]`.

Every comparison is paired: both sides in turn, in one run, on the same rows; ratios are taken pair by pair.
"""

import json
import os
import resource
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
import venv
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import click
from tqdm import tqdm

from riskscribe.errors import InputError
from riskscribe.files import read_json, read_lines, read_yaml, write_json, write_lines

ROWS = Path("datasets/risk_report/v1/train_quick.jsonl")
HELD_OUT = ROWS.with_name("val.jsonl")
BASE = Path("exports/base/smollm2_135m")
RECIPES = Path("recipes/smollm2_135m")


def spread(values: Sequence[float], digits: int = 2) -> str:
    """The median with the smallest and the largest."""
    low, middle, high = min(values), statistics.median(values), max(values)
    return f"{middle:.{digits}f} (from {low:.{digits}f} to {high:.{digits}f}, {len(values)} pairs)"


@click.group(invoke_without_command=True)
@click.pass_context
def main(context: click.Context) -> None:
    """All of them in turn, training and prediction last and short."""
    if context.invoked_subcommand is None:
        for one in (start, logits, memory, train, predict):
            click.echo(f"\n== {one.name}: {one.help}")
            context.invoke(one)


# --- the start of a Python process


@main.command()
@click.option("--pairs", default=60, help="starts of either kind")
def start(pairs: int) -> None:
    """What the .pth adds to `python -c pass`, in milliseconds of processor time (a busy machine distorts it less)."""
    plugins = Path(__file__).resolve().parents[2]
    with tempfile.TemporaryDirectory() as folder:
        commands = {}
        for name in ("with", "without"):
            venv.create(Path(folder) / name, with_pip=False, symlinks=True)
            python = Path(folder) / name / "bin" / "python"
            commands[name] = [str(python), "-c", "pass"]
            if name == "with":
                (site,) = (Path(folder) / name).glob("lib/python*/site-packages")
                for one in ("riskscribe.pth", "riskscribe_hook.py"):
                    shutil.copy(plugins / one, site / one)
        bare = {key: value for key, value in os.environ.items() if not key.startswith("PYTHON")}
        times: dict[str, list[float]] = {name: [] for name in commands}
        for turn in range(pairs + 1):  # the first pair compiles the hook and is not counted
            for name in sorted(commands, reverse=bool(turn % 2)):
                process = subprocess.Popen(commands[name], env=bare)
                _, status, usage = os.wait4(process.pid, 0)
                process.returncode = os.waitstatus_to_exitcode(status)
                if process.returncode:
                    raise InputError(f"{' '.join(commands[name])}: exit code {process.returncode}")
                if turn:
                    times[name].append(1000 * (usage.ru_utime + usage.ru_stime))
    more = [a - b for a, b in zip(times["with"], times["without"], strict=True)]
    quarters = statistics.quantiles(more, n=4)
    for name, found in times.items():
        click.echo(f"{name} the .pth: {spread(found)} ms")
    click.echo(f"added: median {statistics.median(more):.2f} ms, half of the pairs from {quarters[0]:.2f} to "
               f"{quarters[2]:.2f}")  # fmt: skip


# --- logits for the answer only


def _loss(finetuned: Any) -> tuple[Callable, Callable]:
    """compute_loss of LLaMA-Factory's trainer as the plugin makes it, and upstream's, for this model."""
    from llamafactory.train.sft import trainer  # the post-import hook has attached to it

    from riskscribe.lf.tasks import CASES

    CASES.add(ROWS)
    ours = trainer.CustomSeq2SeqTrainer.compute_loss
    loop = object.__new__(trainer.CustomSeq2SeqTrainer)  # the loss alone: no arguments, no data, no optimizer
    loop.finetuning_args = SimpleNamespace(use_asft_loss=False)
    loop.compute_loss_func = loop.label_smoother = None
    loop.model_accepts_loss_kwargs = True
    loop.args = SimpleNamespace(past_index=-1, average_tokens_across_devices=False)
    return tuple(lambda batch, one=one: one(loop, finetuned, dict(batch)) for one in (ours, ours.__wrapped__))


def _with_lora(model: Any) -> Any:
    from peft import LoraConfig, get_peft_model

    return get_peft_model(model, LoraConfig(r=16, target_modules="all-linear", task_type="CAUSAL_LM")).train()


@main.command()
@click.option("--pairs", default=4, help="rows, each of them taken both ways")
def logits(pairs: int) -> None:
    """A training step with logits for the answer only against logits for every token, in tokens/s."""
    import torch
    from transformers import AutoModelForCausalLM, AutoTokenizer

    from riskscribe import prompt
    from riskscribe.data.rows import read_rows

    tokenizer = AutoTokenizer.from_pretrained(BASE)
    model = AutoModelForCausalLM.from_pretrained(BASE, dtype=torch.float32, trust_remote_code=False)
    steps = dict(zip(("answer only", "every token"), _loss(_with_lora(model)), strict=True))
    rates: dict[str, list[float]] = {name: [] for name in steps}
    for row in tqdm(read_rows(ROWS)[:pairs], desc="rows"):
        asked = tokenizer.apply_chat_template(prompt.messages(row.case), add_generation_prompt=True)
        answer = tokenizer(row.report.to_json() + tokenizer.eos_token)["input_ids"]
        ids = torch.tensor([asked + answer])
        labels = torch.tensor([[-100] * len(asked) + answer])
        for name, run in steps.items():
            begun = time.perf_counter()
            run({"input_ids": ids, "labels": labels}).backward()
            rates[name].append(ids.numel() / (time.perf_counter() - begun))
    for name, found in rates.items():
        click.echo(f"{name}: {spread(found, 0)} tokens/s")
    click.echo("ratio: " + spread([a / b for a, b in zip(*rates.values(), strict=True)]))


VOCABULARY = 152_064


@main.command()
@click.option("--prompt", "asked", default=640, help="tokens of the prompt")
@click.option("--answer", "answered", default=384, help="tokens of the answer")
@click.option("--side", type=click.Choice(("answer only", "every token")), help="one of the two, in this process")
def memory(asked: int, answered: int, side: str | None) -> None:
    """Peak memory of a training step at Qwen2.5's vocabulary of 152,064, logits for the answer only or for all."""
    if side is not None:
        click.echo(json.dumps(_peak(asked, answered, side)))
        return
    found = {}
    for name in ("answer only", "every token"):
        command = [sys.executable, "-m", "riskscribe.lf.bench", "memory", "--side", name]
        command += ["--prompt", str(asked), "--answer", str(answered)]
        said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
        found[name] = json.loads(said.splitlines()[-1])
        step = found[name]["peak"] - found[name]["before"]
        click.echo(f"{name}: {step:.2f} GiB more in the step, peak of the process {found[name]['peak']:.2f} GiB")
    saved = found["every token"]["peak"] - found["answer only"]["peak"]
    click.echo(f"saved: {saved:.2f} GiB, {saved * 2**20 / asked:.0f} KiB for each of {asked} prompt tokens")
    click.echo(f"loss: {found['answer only']['loss']:.6f} and {found['every token']['loss']:.6f}")


def _peak(asked: int, answered: int, side: str) -> dict[str, float]:
    """GiB before and at the peak of one step of a two-layer model, and its loss."""
    import torch
    from transformers import Qwen2Config, Qwen2ForCausalLM

    torch.manual_seed(0)
    shape = {"hidden_size": 256, "intermediate_size": 512, "num_attention_heads": 4, "num_key_value_heads": 2}
    # stored in bfloat16, as Qwen2.5 is
    model = Qwen2ForCausalLM(Qwen2Config(vocab_size=VOCABULARY, num_hidden_layers=2, **shape)).to(torch.bfloat16)
    run = dict(zip(("answer only", "every token"), _loss(_with_lora(model)), strict=True))[side]
    ids = torch.randint(VOCABULARY, (1, asked + answered))
    labels = ids.clone()
    labels[:, :asked] = -100
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
    loss = run({"input_ids": ids, "labels": labels})
    loss.backward()
    return {"before": before, "peak": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20, "loss": float(loss)}


# --- training: LLaMA-Factory with the plugin against LLaMA-Factory without it


@dataclass(frozen=True)
class Side:
    """One way to train the same rows with the same optimizer steps."""

    name: str
    plugin: bool
    # the base's stored type; "auto" is what `riskscribe base build` chooses for this machine
    dtype: str
    settings: dict[str, Any]


# keys that only the plugin knows
OWN_KEYS = ("cpu_kernels", "dequantize_once", "adapter_dtype", "answer_schema", "free_answers_dir")
SIDES = {
    "ours": Side("the recipe with the plugin", True, "auto", {}),
    # examples/train_lora/qwen3_lora_sft.yaml: bf16, gradient checkpointing (the default), 4 loader workers, one row a
    # pass; the learning rate, the rank and the rows a step are the recipe's on every side
    "example": Side(
        "upstream's example settings",
        False,
        "float32",
        {"bf16": True, "disable_gradient_checkpointing": False, "dataloader_num_workers": 4},
    ),
    "best": Side("upstream's best flags", False, "float32", {"disable_gradient_checkpointing": True}),
    "best-bf16": Side(
        "upstream's best flags with bf16", False, "float32", {"disable_gradient_checkpointing": True, "bf16": True}
    ),
    # what is left of the difference when stock gets the checkpoint that `riskscribe base build` makes
    "best-base": Side("upstream's best flags on our base", False, "auto", {"disable_gradient_checkpointing": True}),
}


@main.command()
@click.option("--method", type=click.Choice(("lora", "qlora")), default="lora", help="sft_lora.yaml or sft_qlora.yaml")
@click.option("--against", default="example,best", help=f"of {', '.join(list(SIDES)[1:])}")
@click.option("--rounds", default=1, help="how often every side trains, in turn")
@click.option("--steps", default=2, help="optimizer steps of a run")
@click.option("--rows", "per_step", default=2, help="rows an optimizer step")
@click.option("--held-out", "kept", default=0, help="validation rows for a loss after training; a seed a round then")
@click.option("--base", help="a checkpoint for every side; default: the embedded one, each side in its own type")
@click.option("--out", type=click.Path(path_type=Path), default=Path("exports/bench/train"))
def train(
    method: str, against: str, rounds: int, steps: int, per_step: int, kept: int, base: str | None, out: Path
) -> None:
    """Tokens/s and peak memory of training: stock LLaMA-Factory (plugin off) and ours, in turn.

    Counted are non-padding tokens of the rows, by LLaMA-Factory's own trainer, and the seconds its training loop took.
    For a figure to quote: an idle machine, --rounds 5 --steps 4; for what was learnt: --rounds 3 --steps 30
    --held-out 24.
    """
    from riskscribe.data.rows import read_rows

    names = _names(SIDES, against)
    count = steps * per_step
    rows = read_rows(ROWS)[:count]
    if len(rows) < count:
        raise InputError(f"{ROWS} has {len(rows)} rows, {count} are needed; lower --steps or --rows")
    bases = {"auto": base, "float32": base} if base else _both_types(out.parent)
    parts = {"train": rows} | ({"held_out": read_rows(HELD_OUT)[:kept]} if kept else {})
    data = _datasets(out / "data", **parts)
    recipe = read_yaml(RECIPES / f"sft_{method}.yaml")

    def run(name: str, turn: int) -> dict[str, Any]:
        side = SIDES[name]
        settings = {
            "model_name_or_path": str(bases[side.dtype]), "dataset_dir": str(data), "dataset": name_of(side, "train"),
            "output_dir": str(out / f"{method}-{name}-{turn}"), "overwrite_output_dir": True,
            "max_steps": steps, "per_device_train_batch_size": 1, "gradient_accumulation_steps": per_step,
            "logging_steps": 1, "save_strategy": "no", "plot_loss": False,
            "include_num_input_tokens_seen": "non_padding", **side.settings,
        }  # fmt: skip
        if kept:
            settings |= {"seed": 42 + turn, "data_seed": 42 + turn, "do_eval": True, "per_device_eval_batch_size": 1}
            settings["eval_dataset"] = name_of(side, "held_out")
        return _trained(recipe | settings, side.plugin)

    found = _in_turn(names, rounds, run)
    if len({one["tokens"] for runs in found.values() for one in runs}) != 1:
        raise InputError(f"the sides did not train on the same tokens: {found}")
    write_json(out / f"{method}.json", found)
    tokens = found["ours"][0]["tokens"]
    click.echo(f"{method}: {steps} optimizer steps of {per_step} rows, {tokens:.0f} tokens, {os.cpu_count()} cores, "
               f"{os.environ.get('OMP_NUM_THREADS', 'all')} threads, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    for name, runs in found.items():
        peak, loss = max(one["gib"] for one in runs), statistics.mean(one["loss"] for one in runs)
        rates = spread([one["tokens"] / one["seconds"] for one in runs], 0)
        click.echo(f"{SIDES[name].name}: {rates} tokens/s, peak {peak:.2f} GiB, loss {loss:.4f}")
    _tell_ratios(found)
    for name in names[1:] if kept else ():
        losses = [[one["held_out"] for one in found[side]] for side in ("ours", name)]
        apart = [100 * (ours / stock - 1) for ours, stock in zip(*losses, strict=True)]
        told = [", ".join(f"{one:.4f}" for one in side) for side in losses]
        click.echo(f"loss on {kept} rows held out, a seed a pair: ours {told[0]}; {name} {told[1]}; "
                   f"apart by {spread(apart)} %")  # fmt: skip


# --- prediction: the same, greedy

PREDICTING = {
    "ours": Side("the recipe with the plugin", True, "auto", {}),
    # examples/train_lora/qwen3_lora_sft.yaml and examples/extras: one row a pass
    "example": Side("upstream's example settings", False, "float32", {"per_device_eval_batch_size": 1}),
    "best": Side("upstream's best flags", False, "float32", {}),
    "best-base": Side("upstream's best flags on our base", False, "auto", {}),
}


@main.command()
@click.option("--adapter", type=click.Path(path_type=Path), help="a tuned model; default: the base, which rambles on")
@click.option("--against", default="example,best", help=f"of {', '.join(list(PREDICTING)[1:])}")
@click.option("--rounds", default=1, help="how often every side predicts, in turn")
@click.option("--rows", "count", default=8, help="cases, a batch of them but for the example settings")
@click.option("--tokens", default=96, help="the longest answer, in tokens")
@click.option("--base", help="a checkpoint for every side; default: the embedded one, each side in its own type")
@click.option("--out", type=click.Path(path_type=Path), default=Path("exports/bench/predict"))
def predict(
    adapter: Path | None, against: str, rounds: int, count: int, tokens: int, base: str | None, out: Path
) -> None:
    """Answer tokens/s of greedy prediction by predict_tuned.yaml: stock LLaMA-Factory (plugin off) and ours, in turn.

    The seconds are LLaMA-Factory's own, its metric of the answers included. How many answers are those of ours, letter
    for letter, is told of every side: in another type rounding may turn a close choice.
    """
    from riskscribe.data.rows import read_rows

    names = _names(PREDICTING, against)
    bases = {"auto": base, "float32": base} if base else _both_types(out.parent)
    data = _datasets(out / "data", predict=read_rows(ROWS)[:count])
    recipe = read_yaml(RECIPES / "predict_tuned.yaml")

    def run(name: str, turn: int) -> dict[str, Any]:
        side = PREDICTING[name]
        settings = {
            "model_name_or_path": str(bases[side.dtype]), "adapter_name_or_path": str(adapter) if adapter else None,
            "dataset_dir": str(data), "eval_dataset": name_of(side, "predict"), "max_new_tokens": tokens,
            "output_dir": str(out / f"{name}-{turn}"), "per_device_eval_batch_size": count, **side.settings,
        }  # fmt: skip
        return _predicted(recipe | settings, side.plugin)

    found = _in_turn(names, rounds, run)
    write_json(out / "predict.json", found)
    click.echo(f"{count} cases, answers up to {tokens} tokens, {os.cpu_count()} cores, "
               f"{os.environ.get('OMP_NUM_THREADS', 'all')} threads, load {os.getloadavg()[0]:.1f}")  # fmt: skip
    answers = found["ours"][0]["answers"]
    for name, runs in found.items():
        alike = sum(one == other for one, other in zip(runs[0]["answers"], answers, strict=True))
        rates = spread([one["tokens"] / one["seconds"] for one in runs], 1)
        peak = max(one["gib"] for one in runs)
        click.echo(f"{PREDICTING[name].name}: {rates} tokens/s, peak {peak:.2f} GiB, {alike} of {count} answers ours")
    _tell_ratios(found)


# --- what both need


def _names(sides: dict[str, Side], against: str) -> list[str]:
    names = ["ours", *against.split(",")]
    if unknown := set(names) - set(sides):
        raise InputError(f"--against {', '.join(sorted(unknown))}: no such side; there is {', '.join(sides)}")
    return names


def _in_turn(names: list[str], rounds: int, run: Callable[[str, int], dict[str, Any]]) -> dict[str, list[dict]]:
    """Every side once a round, in alternating order."""
    found: dict[str, list[dict[str, Any]]] = {name: [] for name in names}
    with tqdm(total=rounds * len(names), desc="runs") as bar:
        for turn in range(rounds):
            for name in names[:: -1 if turn % 2 else 1]:
                found[name].append(run(name, turn))
                bar.update()
    return found


def _tell_ratios(found: dict[str, list[dict[str, Any]]]) -> None:
    rates = {name: [one["tokens"] / one["seconds"] for one in runs] for name, runs in found.items()}
    for name in list(found)[1:]:
        ratios = [ours / stock for ours, stock in zip(rates["ours"], rates[name], strict=True)]
        click.echo(f"ours against {name}: {spread(ratios)} times the tokens/s")


def _both_types(folder: Path) -> dict[str, Path]:
    """The embedded base as `riskscribe base build` stores it on this machine, and in float32."""
    bases = {"auto": BASE, "float32": folder / "base_float32"}
    for dtype, path in bases.items():
        command = [str(Path(sys.executable).with_name("riskscribe")), "base", "build"]
        subprocess.run([*command, "--out", str(path), "--dtype", dtype], check=True, stdout=subprocess.DEVNULL)
    return bases


def name_of(side: Side, part: str) -> str:
    """The dataset entry a side reads: without the plugin LLaMA-Factory does not know the format risk_report."""
    return f"{part}_{'rows' if side.plugin else 'messages'}"


def _datasets(folder: Path, **parts: list) -> Path:
    """Rows of every part as this project keeps them, and the same ones as the chat messages they become."""
    from riskscribe import prompt

    tags = {"role_tag": "role", "content_tag": "content", "user_tag": "user", "assistant_tag": "assistant",
            "system_tag": "system"}  # fmt: skip
    columns = {"formatting": "sharegpt", "columns": {"messages": "messages"}, "tags": tags}
    registry = {}
    for part, rows in parts.items():
        write_lines(folder / f"{part}_rows.jsonl", (row.to_record() for row in rows))
        turns = ([*prompt.messages(row.case), {"role": "assistant", "content": row.report.to_json()}] for row in rows)
        write_lines(folder / f"{part}_messages.jsonl", ({"messages": one} for one in turns))
        registry[f"{part}_rows"] = {"file_name": f"{part}_rows.jsonl", "formatting": "risk_report"}
        registry[f"{part}_messages"] = {"file_name": f"{part}_messages.jsonl", **columns}
    write_json(folder / "dataset_info.json", registry)
    return folder


def _run(recipe: dict[str, Any], plugin: bool) -> tuple[Path, float]:
    """One run of LLaMA-Factory in a process of its own: its folder, and its peak memory in GiB."""
    if not plugin:
        recipe = {key: value for key, value in recipe.items() if key not in OWN_KEYS}
    out = Path(recipe["output_dir"])
    out.mkdir(parents=True, exist_ok=True)
    path = out.with_suffix(".yaml")  # JSON is YAML; LLaMA-Factory cannot open a file named .json
    write_json(path, recipe)
    command = [sys.executable, "-m", "llamafactory.cli", "train", str(path)]
    switch = {"RISKSCRIBE_PLUGIN": "1" if plugin else "0", "HF_DATASETS_OFFLINE": "1"}
    log = out / "llamafactory.log"
    with open(log, "wb") as file:
        process = subprocess.Popen(command, env={**os.environ, **switch}, stdout=file, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
    if process.returncode:
        raise InputError(f"llamafactory-cli train failed with exit code {process.returncode}; its output is in {log}")
    return out, usage.ru_maxrss / 2**20


def _trained(recipe: dict[str, Any], plugin: bool) -> dict[str, float]:
    """A training: its tokens, seconds of its loop, peak memory in GiB, loss, and that of rows held out (or None)."""
    out, peak = _run(recipe, plugin)
    state, results = read_json(out / "trainer_state.json"), read_json(out / "train_results.json")
    return {
        "tokens": state["num_input_tokens_seen"],
        "seconds": results["train_runtime"],
        "gib": peak,
        "loss": results["train_loss"],
        "held_out": read_json(out / "eval_results.json")["eval_loss"] if recipe.get("do_eval") else None,
    }


def _predicted(recipe: dict[str, Any], plugin: bool) -> dict[str, Any]:
    """A prediction: its answers in the order of the rows and their tokens, seconds and peak memory in GiB."""
    from transformers import AutoTokenizer

    out, peak = _run(recipe, plugin)
    tokenizer = AutoTokenizer.from_pretrained(recipe["model_name_or_path"])
    answers = [one["predict"] for one in read_lines(out / "generated_predictions.jsonl")]
    return {
        "answers": answers,
        "tokens": sum(len(tokenizer(one, add_special_tokens=False)["input_ids"]) for one in answers),
        "seconds": read_json(out / "predict_results.json")["predict_runtime"],
        "gib": peak,
    }


if __name__ == "__main__":
    try:
        main(standalone_mode=True)
    except InputError as error:
        sys.exit(f"error: {error}")
