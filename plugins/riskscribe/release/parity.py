"""The parity gate: what is served is what was tested, or it is rejected.

Rows are ways to run one fine-tuned model (adapter on its base, merged, quantized, behind the server); each is measured
on one sample of cases, and checked against the limits of a recipe. A row that cannot be measured fails.
"""

import json
import math
import os
import random
import secrets
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any, Literal

from pydantic import BaseModel, ConfigDict, Field
from tqdm import tqdm

from riskscribe import manifest
from riskscribe.errors import InputError
from riskscribe.evaluate import compare
from riskscribe.evaluate.score import METRICS, Record, score_answer
from riskscribe.files import read_json, read_yaml, sha256, validate, write_json
from riskscribe.release import checkpoint, environments, quantize, serve

MODULE = "riskscribe.lf.parity_row"


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class Limits(_Strict):
    """What a row may differ by; nats and ratios of perplexities."""

    merged_kl: dict[Literal["float32", "bfloat16", "float16"], float] = Field(
        description="adapter to merged, both computed in float32, by the type the merged weights are stored in"
    )
    awq_perplexity_ratio: float = Field(gt=1)
    served_tie: float = Field(ge=0, description="a served answer may leave the merged model's where both tokens are "
                              "this near: one answer at a time is computed in another order than a batch")  # fmt: skip


class NoWorse(_Strict):
    """Paired non-inferiority of rubric metrics against the adapter, in one language."""

    language: Literal["en", "zh"] = "en"
    metrics: list[str] = Field(min_length=1)
    margin_points: float = Field(gt=0, lt=100)
    minimum_cases: int = Field(ge=6)
    when: list[Literal["bound", "no_new_fatal_error"]] = Field(min_length=1)


class Recipe(_Strict):
    """recipes/<model>/parity.yaml."""

    base: Path
    adapter: Path
    merged: Path
    awq: list[Path] = []
    template: str
    dtype: Literal["auto", "float32", "bfloat16", "float16"]
    nf4: bool = True
    api: Path | None = None
    data: Path
    cases: dict[Literal["en", "zh"], int]
    seed: int = 42
    scored: int = Field(ge=1, description="cases on which gold answers are scored token by token")
    positions: int = Field(ge=2, description="answer tokens a case at which whole distributions are compared")
    served: int = Field(ge=0, description="cases put to the server")
    max_new_tokens: int = Field(ge=1)
    limits: Limits
    merged_no_worse: NoWorse
    awq_no_worse: NoWorse


def read_recipe(path: Path, **changed: Any) -> Recipe:
    """The recipe with what a caller changes. Raises InputError naming the field that is wrong."""
    found = read_yaml(path)
    if not isinstance(found, dict):
        raise InputError(f"{path}: a recipe is a mapping; recipes/smollm2_135m/parity.yaml is one")
    recipe = validate(Recipe, found | changed, str(path))
    known = {one.key for one in METRICS}
    for block in (recipe.merged_no_worse, recipe.awq_no_worse):
        if unknown := [one for one in block.metrics if one not in known]:
            raise InputError(f"{path}: metrics: {unknown[0]!r} is none of {', '.join(sorted(known))}")
    return recipe


class Failed(Exception):
    """A row could not be measured; says why."""


class Gate:
    """One run of the gate: its sample, its rows as they are measured, and its checks."""

    def __init__(self, recipe: Recipe, work: Path, log: Path, environment: dict[str, str], cli: str):
        self.recipe, self.work, self.log = recipe, work, log
        self.environment, self.cli = environment, cli
        stated = recipe.dtype if recipe.dtype != "auto" else checkpoint.config(recipe.merged).get("torch_dtype")
        self.dtype = str(stated or "float32")
        self.rows: dict[str, dict[str, Any]] = {}
        self.checks: list[dict[str, Any]] = []
        self.imported: subprocess.Popen | None = None
        self._import()  # while the sample is drawn
        try:
            self.cases = self._sample()
        except BaseException:
            self.close()
            raise

    def _sample(self) -> list[Any]:
        """Seeded cases of each language, levels in turn; the shared file of token ids is written."""
        from riskscribe.data.rows import read_rows
        from riskscribe.lf import prompts
        from riskscribe.prompt import messages

        recipe, chosen = self.recipe, []
        rows = read_rows(recipe.data)
        for language, wanted in recipe.cases.items():
            by_level: dict[str, list[Any]] = {}
            own = [one for one in rows if one.language == language]
            random.Random(recipe.seed).shuffle(own)
            for one in own:
                by_level.setdefault(one.report.risk_level, []).append(one)
            turns = [one[i] for i in range(len(own)) for one in by_level.values() if i < len(one)]
            if len(turns) < wanted:
                raise InputError(f"{recipe.data}: {len(turns)} {language} cases, the recipe asks for {wanted}")
            chosen += turns[:wanted]
        tokenizer = prompts.tokenizer_of(recipe.base, recipe.template)
        encoded = prompts.encode(chosen, tokenizer, recipe.template)
        shared = [{**one._asdict(), "messages": messages(row.case)} for one, row in zip(encoded, chosen, strict=True)]
        (self.work / "cases.json").write_text(json.dumps(shared, ensure_ascii=False), encoding="utf-8")
        self.prompts = {one.case_id: len(one.prompt) for one in encoded}
        return chosen

    # --- rows

    def _arguments(self, model: Path, **more: Any) -> dict[str, Any]:
        stated = {"template": self.recipe.template, "infer_dtype": self.dtype, "stage": "sft"}
        return {"model_name_or_path": str(model), "finetuning_type": "lora", **stated, **more}

    def _row(self, name: str, arguments: dict[str, Any], **more: Any) -> dict[str, Any]:
        """Run one row with LLaMA-Factory's loader, in a fork of the process that has imported it."""
        job = {
            "arguments": arguments,
            "adapter": None,
            "own_template": False,
            "answers": True,
            "write": False,
            "compare": {},
            **more,
        }
        return self._process(name, self._fork, job)

    def _import(self) -> None:
        """Start the process that rows are forked from."""
        with open(self.log, "ab") as file:
            self.imported = subprocess.Popen(
                [sys.executable, "-m", MODULE], env=self.environment, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=file, text=True, start_new_session=True,
            )  # fmt: skip

    def _fork(self, job: Path) -> int:
        if self.imported.poll() is not None:
            self._import()
        try:
            print(job, file=self.imported.stdin, flush=True)
            return int(self.imported.stdout.readline())
        except (BrokenPipeError, ValueError):  # it ended before it could say how a row did
            return self.imported.wait()

    def close(self) -> None:
        """End the process that rows are forked from, and a row that an interrupt left running."""
        if self.imported is not None:
            with suppress(ProcessLookupError):
                os.killpg(self.imported.pid, signal.SIGKILL)
            self.imported.communicate()

    def _process(self, name: str, run: Callable[[Path], int], job: dict[str, Any]) -> dict[str, Any]:
        """Have one row measured; what that says goes to the log. Raises Failed with its last line."""
        out = self.work / f"{name}.out.json"
        job |= {"cases": str(self.work / "cases.json"), "out": str(out), "reference": str(self.work / "reference.npy")}
        job = self.recipe.model_dump(include={"scored", "positions", "max_new_tokens"}) | job
        write_json(self.work / f"{name}.job.json", job)
        with open(self.log, "ab") as file:
            file.write(f"\n== {name}\n".encode())
            at = file.tell()
        if status := run(self.work / f"{name}.job.json"):
            told = self.log.read_bytes()[at:].decode("utf-8", "replace").strip().splitlines()
            raise Failed(f"it could not be run: {told[-1].strip()[:300] if told else status}")
        return read_json(out)

    def _quantized(self, name: str, folder: Path) -> dict[str, Any]:
        """Scores by the quantizer's own environment, answers from the weights that it de-quantized."""
        from riskscribe.lf.scorer import first_apart

        config = checkpoint.config(folder)
        method = config.get("quantization_config", {}).get("quant_method")
        engine = {"awq": "autoawq", "compressed-tensors": "llmcompressor"}.get(method)
        if engine is None:
            raise Failed(f"config.json names no quantization that this gate can score ({method})")
        dense = self.work / f"{name}.dense"
        scorer = Path(__file__).parents[1] / "lf" / "scorer.py"
        python = environments.python(engine)

        def run(job: Path) -> int:
            with open(self.log, "ab") as file:
                command = [python, scorer, job]
                return subprocess.run(command, env=self.environment, stdout=file, stderr=file, check=False).returncode

        found = self._process(name, run, {"model": str(folder), "dense": str(dense), "dtype": self.dtype})
        merged = self.recipe.merged
        plain = {key: one for key, one in config.items() if key != "quantization_config"}
        write_json(dense / "config.json", plain | {"torch_dtype": self.dtype})
        for one in ("generation_config.json", *checkpoint.TOKENIZER):
            for place in (folder, merged):
                if (place / one).exists():
                    (dense / one).write_bytes((place / one).read_bytes())
                    break
        answered = self._row(f"{name}.answers", self._arguments(dense), scored=0)
        found |= {key: answered[key] for key in ("answers", "tokens_per_second")}
        theirs = self._answers("merged").get("merged", {})
        apart = {key: first_apart(one["ids"], theirs[key]) for key, one in found["answers"].items() if key in theirs}
        found["compared"] = {"merged": {key: None if at is None else {"at": at} for key, at in apart.items()}}
        return found | {"dtype": "int4", "weights_only": True, "engine": engine}

    def _served(self) -> dict[str, Any]:
        """Answers and prompt lengths through `llamafactory-cli api`, one case at a time."""
        import openai

        recipe, key, port = self.recipe, secrets.token_urlsafe(24), serve.free_port()
        shared = read_json(self.work / "cases.json")[: recipe.served]
        arguments = [*serve.command(self.cli, recipe.api, recipe.merged, gated=False), f"infer_dtype={self.dtype}"]
        found: dict[str, Any] = {"answers": {}, "prompts": [], "dtype": self.dtype}
        with serve.running(arguments, self.environment, key, port, self.log.with_name("server.log")) as url:
            client = openai.OpenAI(base_url=url, api_key=key, timeout=600, max_retries=0)
            tokens = 0
            begun = time.perf_counter()
            for one in tqdm(shared, desc="served", unit="answer"):
                try:
                    made = client.chat.completions.create(
                        model="riskscribe",
                        messages=one["messages"],
                        temperature=0,
                        max_tokens=recipe.max_new_tokens,
                    )
                except openai.OpenAIError as error:
                    raise Failed(f"the server gave no answer ({error})") from None
                found["answers"][one["case_id"]] = {"text": made.choices[0].message.content or ""}
                tokens += made.usage.completion_tokens
                due = len(one["prompt"])
                if made.usage.prompt_tokens != due:
                    found["prompts"].append(
                        f"case {one['case_id']}: the server counts {made.usage.prompt_tokens} prompt tokens, not {due}"
                    )
            found["tokens_per_second"] = tokens / (time.perf_counter() - begun)
        return found

    def _answers(self, *names: str) -> dict[str, dict[str, Any]]:
        """Answers of other rows, as token ids where known, for a row to be compared with."""
        return {
            name: {case: one.get("ids", one["text"]) for case, one in self.rows[name]["answers"].items()}
            for name in names
            if "answers" in self.rows.get(name, {})
        }

    def measure(self) -> None:
        """Run every row; a row that fails keeps its reason, and the next one is run all the same."""
        recipe = self.recipe
        base = self._arguments(recipe.base, adapter_name_or_path=str(recipe.adapter))
        nf4 = {"quantization_bit": 4, "quantization_method": "bnb", "quantization_type": "nf4"}
        nf4["double_quantization"] = True
        made: dict[str, Any] = {
            "adapter": lambda: self._row("adapter", base, adapter=str(recipe.adapter), write=True),
        }
        if recipe.nf4:
            made["nf4_adapter"] = lambda: self._row("nf4_adapter", base | nf4, answers=False)
        if recipe.api and recipe.served:
            made["served"] = self._served
        made["merged"] = lambda: self._row(
            "merged", self._arguments(recipe.merged), own_template=True, compare=self._answers("adapter", "served")
        )
        for folder in recipe.awq:
            made[_awq_name(folder)] = lambda folder=folder: self._quantized(_awq_name(folder), folder)
        faults = {name: self._faults(name) for name in made}
        for number, (name, run) in enumerate(made.items(), start=1):
            print(f"-- parity: {name} ({number} of {len(made)})", file=sys.stderr)
            row: dict[str, Any] = {"faults": faults[name]}
            # a file cut off would only fail later and more obscurely
            if name != "adapter" and not self.rows["adapter"].get("cases"):
                row["faults"] = [*faults[name], "the adapter, which it is compared with, could not be measured"]
            elif name == "adapter" or not faults[name]:
                try:
                    row |= run()
                except (Failed, InputError) as error:
                    row["faults"] = [*faults[name], str(error)]
            self.rows[name] = row
            self._size(name, row)

    def _faults(self, name: str) -> list[str]:
        """What is wrong with a row's files before anything is run."""
        recipe = self.recipe
        try:
            if name in ("adapter", "nf4_adapter"):
                checkpoint.tensors(recipe.base)
                return checkpoint.adapter_faults(recipe.adapter, recipe.base)
            if name in ("merged", "served"):
                return quantize.faults_of(recipe.merged, recipe.base, recipe.template)
            folder = next(one for one in recipe.awq if _awq_name(one) == name)
            return quantize.faults_of(folder, recipe.base, recipe.template)
        except InputError as error:
            return [str(error)]

    def _size(self, name: str, row: dict[str, Any]) -> None:
        recipe = self.recipe
        places = {"adapter": [recipe.base, recipe.adapter], "merged": [recipe.merged], "served": [recipe.merged]}
        places |= {_awq_name(one): [one] for one in recipe.awq}
        weights = [
            path.stat().st_size
            for place in places.get(name, [])
            if place.exists()
            for path in place.glob("*.safetensors")
        ]
        row["weights_bytes"] = sum(weights) or None
        # what a release of these bytes is compared with
        row["weights"] = manifest.weights(places[name][-1]) if name in places and places[name][-1].exists() else {}

    # --- checks

    def _check(self, row: str, check: str, passed: bool, why: str, **figures: Any) -> None:
        self.checks.append({"row": row, "check": check, "passed": passed, "why": why, **figures})

    def judge(self) -> None:
        """Every check of every gated row; what a check needs and does not have fails it."""
        limits, reference = self.recipe.limits, self.rows["adapter"]
        for name, row in self.rows.items():
            if name == "nf4_adapter":
                continue
            gone = row["faults"]
            self._check(name, "sound", not gone, "; ".join(gone) or "files, architecture and chat template are right")
            if gone:
                continue
            wrong = row["prompts"]
            why = wrong[0] if wrong else "every prompt has the token ids it was trained with"
            self._check(name, "prompts", not wrong, why, differing=len(wrong))
        if not reference.get("cases"):
            return
        if helped := reference.get("helped"):
            own, plain = helped["with"], helped["without"]
            what = f"perplexity of {helped['cases']} gold answers {own:.3f}, {plain:.3f} without the adapter"
            self._check("adapter", "helps", own < plain, what, value=own, limit=plain)
        merged = self.rows["merged"]
        if merged.get("cases"):
            limit, kl = limits.merged_kl.get(self.dtype), _mean(merged, "kl")
            if limit is None:
                raise InputError(f"limits.merged_kl has no entry for {self.dtype}, the type of the merged model")
            first = max(one["kl_first"] for one in merged["cases"].values())
            what = f"mean KL from the adapter {kl:.2e} nats, limit {limit:.0e} (first token at most {first:.2e})"
            self._check("merged", "kl", kl < limit, what, value=kl, limit=limit)
            self._equal_answers("merged", merged, "adapter", 0.0)
            self._no_worse("merged", self.recipe.merged_no_worse)
        if self.rows.get("served", {}).get("answers") and merged.get("answers"):
            self._equal_answers("served", merged, "served", limits.served_tie)
        for folder in self.recipe.awq:
            name = _awq_name(folder)
            if not self.rows[name].get("cases"):
                continue
            ratio, limit = self.rows[name]["perplexity"] / reference["perplexity"], limits.awq_perplexity_ratio
            what = f"perplexity {self.rows[name]['perplexity']:.3f}, {ratio:.3f} times the adapter's, limit {limit:g}"
            self._check(name, "perplexity", ratio < limit, what, value=ratio, limit=limit)
            self._no_worse(name, self.recipe.awq_no_worse)

    def _equal_answers(self, row: str, judged: dict[str, Any], other: str, tie: float) -> None:
        found = judged["compared"].get(other, {})
        apart = {key: one for key, one in found.items() if one is not None}
        far = {key: one for key, one in apart.items() if abs(one["gap"]) > tie or tie == 0}
        pair = (
            ("the adapter's", "the merged model's") if row == "merged" else ("the merged model's", "the served ones")
        )
        if not found:
            self._check(row, "answers", False, f"no answers to compare: {pair[0]} are missing")
            return
        what = f"{len(found) - len(apart)} of {len(found)} greedy answers are {pair[0]}, token by token"
        if apart and not far:
            what += f"; {len(apart)} leave them at a tie (within {tie:g} nats)"
        if far:
            case, one = next(iter(far.items()))
            ours, theirs = one["tokens"]
            what += f"; case {case} differs from token {one['at']} on ({ours!r} here, {theirs!r} there, "
            what += f"{one['gap']:.2f} nats apart)"
        self._check(row, "answers", not far, what, equal=len(found) - len(apart), ties=len(apart) - len(far))

    def _no_worse(self, row: str, rule: NoWorse) -> None:
        reference, candidate = (self._records(one, rule.language) for one in ("adapter", row))
        if not reference or not candidate:
            self._check(row, "no_worse", False, "no answers to score")
            return
        own = {"margin_points": rule.margin_points, "minimum_cases": rule.minimum_cases, "no_worse_when": rule.when}
        decision = compare.read_decision()[0].model_copy(update=own)
        metrics = {one.key: one for one in METRICS}
        for key in rule.metrics:
            found = compare.no_worse(metrics[key], reference, candidate, decision)
            shown = {one: "–" if found[one] is None else f"{found[one] + 0.0:+.1f}" for one in ("loss", "upper")}
            what = f"{metrics[key].name}: {found['outcome'].replace('_', ' ')}: loss {shown['loss']} points, at most "
            what += f"{shown['upper']} (95 %), margin {rule.margin_points:g}; {found['n']} cases"
            what += f", {len(found['new_fatal'])} with a new kind of fatal error"
            passed = found["outcome"] == "no_worse"
            self._check(row, f"no_worse:{key}", passed, what, **{k: v for k, v in found.items() if k != "new_fatal"})

    def _records(self, row: str, language: str | None = None) -> list[Record]:
        given = self.rows.get(row, {}).get("answers", {})
        return [
            score_answer(one.case, given[one.case.case_id]["text"], one.book, one.slices, one.notes)
            for one in self.cases
            if one.case.case_id in given and language in (None, one.language)
        ]

    # --- result

    def result(self) -> dict[str, Any]:
        """Everything measured, JSON-ready; answers stay apart."""
        recipe, reference = self.recipe, self.rows["adapter"]
        rows = []
        for name, row in self.rows.items():
            shown = {
                key: row.get(key) for key in ("faults", "dtype", "weights_only", "engine", "weights_bytes", "weights")
            }
            shown |= {key: row.get(key) for key in ("load_seconds", "peak_memory_gib", "tokens_per_second")}
            shown |= {"perplexity": row.get("perplexity"), "perplexity_ratio": None, "kl": None, "kl_first": None}
            if row.get("perplexity") and reference.get("perplexity"):
                shown["perplexity_ratio"] = row["perplexity"] / reference["perplexity"]
            if any("kl" in one for one in row.get("cases", {}).values()):
                shown |= {"kl": _mean(row, "kl"), "kl_first": _mean(row, "kl_first")}
            shown["answers"] = self._answer_counts(name)
            shown["rubric"] = {
                language: {
                    metric.key: metric.value(records)
                    for metric in METRICS
                    if metric.key in (*recipe.merged_no_worse.metrics, *recipe.awq_no_worse.metrics)
                }
                for language in recipe.cases
                if name != "served" and (records := self._records(name, language))
            }
            checks = [one for one in self.checks if one["row"] == name]
            shown["gated"] = bool(checks)
            shown["passed"] = all(one["passed"] for one in checks) if checks else None
            rows.append({"row": name, **shown})
        return {
            "passed": bool(self.checks) and all(one["passed"] for one in self.checks),
            "dtype": self.dtype,
            "sample": {
                "data": str(recipe.data),
                "sha256": sha256(recipe.data),
                "cases": {key: one for key, one in recipe.cases.items() if one},
                "scored": min(recipe.scored, len(self.cases)),
                "positions": recipe.positions,
                "served": recipe.served if recipe.api else 0,
                "ids": [one.case.case_id for one in self.cases],
            },
            "limits": recipe.limits.model_dump(),
            "no_worse": {"merged": recipe.merged_no_worse.model_dump(), "awq": recipe.awq_no_worse.model_dump()},
            "rows": rows,
            "checks": self.checks,
        }

    def _answer_counts(self, name: str) -> dict[str, Any] | None:
        """How many greedy answers of a row are another row's, and where the first difference lies, by median."""
        holder, other = {
            "merged": ("merged", "adapter"),
            "served": ("merged", "served"),
        }.get(name, (name, "merged"))
        found = self.rows.get(holder, {}).get("compared", {}).get(other)
        if not found:
            return None
        apart = sorted(one["at"] for one in found.values() if one)
        middle = apart[len(apart) // 2] if apart else None
        with_row = "merged" if name != "merged" else "adapter"
        return {"with": with_row, "of": len(found), "equal": len(found) - len(apart), "diverges_at": middle}


def _mean(row: dict[str, Any], key: str) -> float:
    values = [one[key] for one in row["cases"].values()]
    return math.fsum(values) / len(values)


def _awq_name(folder: Path) -> str:
    return f"awq_{Path(folder).name}"


def parity(recipe: Recipe, out: Path, *, source: str, cli: str, environment: dict[str, str]) -> dict[str, Any]:
    """Measure, judge, write `out` (JSON) and its pages, and mark every gated artefact as passed or rejected.

    Args:
        recipe: What is compared and within which limits.
        out: The JSON file; pages stand beside it, English and Chinese.
        source: Name of the recipe, for the record.
        cli: llamafactory-cli, for the server.
        environment: Of the processes that measure.

    Raises:
        InputError: There is no merged model, no adapter, or the sample cannot be drawn.
    """
    from riskscribe.page.parity import write_parity

    for what, folder in (("base", recipe.base), ("adapter", recipe.adapter), ("merged", recipe.merged)):
        if not folder.is_dir():
            raise InputError(f"{what}: {folder} is not there; `make export` makes what it can")
    out.parent.mkdir(parents=True, exist_ok=True)
    log = out.with_suffix(".log")
    log.unlink(missing_ok=True)
    with tempfile.TemporaryDirectory(dir=out.parent, prefix=".parity.") as work:
        gate = Gate(recipe, Path(work), log, environment, cli)
        try:
            gate.measure()
        finally:
            gate.close()
        gate.judge()
        found = gate.result() | {"recipe": source, "log": log.name}
    write_json(out, found)
    write_parity(out, found)
    for folder, names in (
        (recipe.merged, ("adapter", "merged", "served")),
        *((f, (_awq_name(f),)) for f in recipe.awq),
    ):
        failed = [f"{one['row']}: {one['why']}" for one in gate.checks if one["row"] in names and not one["passed"]]
        manifest.judge(folder, failed, out)
    return found


def lines(found: dict[str, Any]) -> list[str]:
    """The checks, a line each, failures last."""
    told = sorted(found["checks"], key=lambda one: not one["passed"])  # stable: failures last, in their order
    return [f"{'passed' if one['passed'] else 'FAILED'}  {one['row']}, {one['check']}: {one['why']}" for one in told]
