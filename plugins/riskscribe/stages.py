"""The main job as stages: each runs one recipe with plain llamafactory-cli, once, and records what it did.

A stage's folder is exports/<model>/<profile>/<stage>/ with a manifest; a stage whose inputs and settings have not
changed is not run again. The command is printed, so that anyone can type it.
"""

import os
import resource
import secrets
import shutil
import subprocess
import sys
import time
from collections import Counter
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import click
from tqdm import tqdm

from riskscribe import manifest, reporting
from riskscribe.data import splits
from riskscribe.data.gold import gold_report
from riskscribe.data.import_csv import import_csv
from riskscribe.data.import_ore import import_ore
from riskscribe.data.rows import read_records, read_rows
from riskscribe.errors import InputError
from riskscribe.evaluate import compare, metrics, score
from riskscribe.files import read_json, read_yaml, sha256, write_json, write_lines
from riskscribe.page.comparison import write_comparison
from riskscribe.release import base, environments, quantize, releases, serve, template
from riskscribe.release import parity as gate
from riskscribe.report import LEVELS
from riskscribe.schema import SCHEMA_FILE

DATA = Path("datasets/risk_report/v1")
BASE = Path("exports/base/smollm2_135m")
# which version of the data was checked in full
CHECKED = Path("exports/data_checked.json")
NEEDS = {
    "data": [],
    "baseline": ["data"],
    "train": ["data"],
    "eval": ["baseline", "train"],
    "export": ["train"],
    "quantize": ["export"],
    "parity": ["quantize"],
    "demo": ["export"],
    "all": ["eval", "demo"],
}
# files that decide what a stage's outputs say, beside its recipes
RULES = {
    "baseline": (SCHEMA_FILE, metrics.RUBRIC_FILE),
    "eval": (SCHEMA_FILE, metrics.RUBRIC_FILE, compare.DECISION),
}
RULES["parity"] = RULES["eval"]
COLUMNS = ("constant", "policy_template", "base_few_shot", "base_few_shot_constrained")
# a model's columns: its free answers, and those to the same prompts that are held to the report's schema
DECODED = ("", "_constrained")


def llamafactory_cli() -> str:
    """Path of llamafactory-cli beside this Python. Raises InputError when it is not installed."""
    found = Path(sys.executable).with_name("llamafactory-cli")
    if not found.exists():
        raise InputError("llamafactory-cli is not installed beside this Python; `make setup` installs it")
    return str(found)


def environment(**more: str) -> dict[str, str]:
    """The environment of a llamafactory process: offline, a thread a core unless the caller says otherwise."""
    defaults = {"OMP_NUM_THREADS": str(os.cpu_count() or 1), "TOKENIZERS_PARALLELISM": "false"}
    return {**defaults, **os.environ, "HF_HUB_OFFLINE": "1", "HF_DATASETS_OFFLINE": "1", **more}


@dataclass(frozen=True)
class Job:
    """One model's recipes under one profile."""

    model: str
    profile: str
    # which engines make an AWQ model: those installed (auto), all of them, installed first (1), none (0)
    awq: str = "auto"

    @property
    def recipes(self) -> Path:
        return Path("recipes") / self.model

    @property
    def out(self) -> Path:
        return Path("exports") / self.model / self.profile

    @cached_property
    def profiles(self) -> dict[str, Any]:
        """The folder's profiles.yaml. Raises InputError naming the folders there are."""
        path = self.recipes / "profiles.yaml"
        if not path.exists():
            there = ", ".join(sorted(one.parent.name for one in Path("recipes").glob("*/profiles.yaml")))
            raise InputError(f"{path}: no such file; run from the repository root with one of --model {there}")
        return read_yaml(path)

    @property
    def settings(self) -> dict[str, Any]:
        """The profile's block. Raises InputError naming what there is."""
        found = self.profiles.get(self.profile)
        if not isinstance(found, dict):
            raise InputError(f"{self.recipes}/profiles.yaml: no profile {self.profile!r}; there is quick and full")
        return found

    @property
    def embedded(self) -> bool:
        """Whether the base is the packaged one, which runs anywhere; any other is a hub id and needs a GPU."""
        return self.profiles.get("base") == "embedded"

    @property
    def name(self) -> str:
        """The base model's name as results give it."""
        return base.NAME if self.embedded else str(self.profiles.get("base"))

    def preflight(self) -> None:
        """Raise InputError when this machine cannot run the recipes, with what supplies it."""
        if self.embedded:
            return
        import torch
        from huggingface_hub import try_to_load_from_cache

        if not torch.cuda.is_available():
            raise InputError(
                f"{self.recipes} needs a CUDA GPU with 24 GB and this machine shows none; "
                f"`make all` runs the embedded model without one"
            )
        if not isinstance(try_to_load_from_cache(self.name, "config.json"), str):
            raise InputError(f"{self.name} is not in the Hugging Face cache; HF_HUB_OFFLINE=0 hf download {self.name}")

    @property
    def test(self) -> Path:
        return Path(self.settings["test"])

    def recipe(self, name: str) -> Path:
        path = self.recipes / name
        if not path.exists():
            raise InputError(f"{path}: no such recipe")
        return path

    @property
    def engines(self) -> list[str]:
        """The AWQ engines of this run, of those the folder has a recipe for."""
        if self.awq == "0" or not (self.recipes / "awq.yaml").exists():
            return []
        return [one for one in environments.ENGINES if self.awq == "1" or environments.installed(one)]

    def serving(self, release: Path | None) -> list[str]:
        """The llamafactory-cli call that serves a release, or what `make export` made where that is None."""
        found = releases.model_of(release, BASE) if release else {"model_name_or_path": self.out / "export" / "merged"}
        arguments = serve.command(llamafactory_cli(), self.recipe("api.yaml"), found.pop("model_name_or_path"))
        return arguments + [f"{key}={value}" for key, value in found.items()]

    @property
    def release(self) -> Path | None:
        """The release that answers `make demo` where nothing was trained and exported here."""
        return None if manifest.load(self.out / "export") else releases.of_model(self.model)

    def rows(self) -> list[score.Scored]:
        """The cases of the profile's test file."""
        return [score.Scored(row.case, row.book, row.slices) for row in read_rows(self.test)]

    def parents(self, stage: str) -> dict[str, str]:
        """Manifest hashes of the stages this one builds on."""
        folders = {"data": DATA, "base": BASE, **{one: self.out / one for one in ("baseline", "train", "export")}}
        folders |= {"quantize": self.out / "quantize"}
        wanted = [*(["base"] if self.embedded else []), *NEEDS[stage]]
        return {f"{one}/{manifest.NAME}": manifest.identity(folders[one]) for one in wanted}


def run(job: Job, stage: str) -> None:
    """Run a stage and what it needs, in order; up-to-date stages are passed over.

    Raises InputError when a stage fails.
    """
    job.preflight()
    wanted = ["demo"] if stage == "demo" and job.release else _order(stage)
    expected = {one: float(job.settings["seconds"].get(one, 0)) for one in wanted}
    spent = planned = 0.0
    for number, one in enumerate(wanted, start=1):
        # a machine twice as slow as the one measured shows in the stages already run
        pace = spent / planned if planned > 60 else 1.0
        left = sum(expected[name] for name in wanted[number - 1 :]) * pace
        click.echo(
            f"\n== {one} ({number} of {len(wanted)}): about {_minutes(expected[one] * pace)}, "
            f"{_minutes(left)} left in all",
            err=True,
        )
        begun = time.monotonic()
        if STAGES[one](job):
            seconds = time.monotonic() - begun
            spent, planned = spent + seconds, planned + expected[one]
            click.echo(f"== {one}: done in {_minutes(seconds)}", err=True)
        else:
            expected[one] = 0.0
            click.echo(f"== {one}: up to date", err=True)
    if "eval" in wanted:
        page = job.out / "eval" / "comparison"
        # its first section is the verdict; the tables are on the page
        click.echo("\n## ".join((page / "comparison.md").read_text(encoding="utf-8").split("\n## ")[:2]))
        click.echo(f"comparison: {page}/comparison.html")
    if "demo" in wanted:
        for path in sorted((job.out / "demo").glob("*/report.html")):
            click.echo(f"report:     {path}")
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20
    click.echo(f"{stage}: {_minutes(spent)}, peak memory of the largest process {peak:.1f} GiB", err=True)


def _order(stage: str) -> list[str]:
    """The stages to run for one, each after what it needs."""
    found: list[str] = []
    for need in NEEDS[stage]:
        found += [one for one in _order(need) if one not in found]
    return found if stage == "all" else [*found, stage]


def _minutes(seconds: float) -> str:
    return f"{seconds:.0f} s" if seconds < 90 else f"{seconds / 60:.0f} min"


def _command(verb: str, recipe: Path, overrides: dict[str, Any]) -> list[str]:
    return ["llamafactory-cli", verb, str(recipe), *(f"{key}={value}" for key, value in overrides.items())]


def _llamafactory(verb: str, recipe: Path, overrides: dict[str, Any], log: Path) -> list[str]:
    """Run llamafactory-cli with a recipe; its output goes to the terminal and to `log`. Returns the command."""
    command = _command(verb, recipe, overrides)
    click.echo("$ " + " ".join(command), err=True)
    log.parent.mkdir(parents=True, exist_ok=True)
    with (
        open(log, "wb") as file,
        subprocess.Popen(
            [llamafactory_cli(), *command[1:]], env=environment(), stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        ) as process,
    ):
        while chunk := process.stdout.read1(8192):
            file.write(chunk)
            sys.stderr.buffer.write(chunk)
            sys.stderr.flush()
    if process.returncode:
        raise InputError(f"llamafactory-cli {verb} failed with exit code {process.returncode}; its output is in {log}")
    return command


def _staged(job: Job, stage: str, recipes: list[str], work, **more: Any) -> bool:
    """Run `work(folder, record)` -> output names, unless the stage's folder already holds this very run."""
    folder = job.out / stage
    inputs = {str(job.recipe(one)): sha256(job.recipe(one)) for one in recipes}
    inputs |= {one.name: sha256(one) for one in RULES.get(stage, ())}
    inputs |= {str(job.test): sha256(job.test)} | job.parents(stage)
    settings = {"profile": job.profile, "overrides": job.settings.get(stage, {}), **more}
    if manifest.is_current(folder, stage, inputs, settings):
        return False
    before = manifest.load(folder)
    # a complete run that is not current was altered: nothing of it is kept
    resumable = before is not None and (before.status, before.inputs, before.settings) == ("pending", inputs, settings)
    if folder.exists() and not resumable:
        shutil.rmtree(folder)
    record = manifest.start(folder, stage, inputs=inputs, settings=settings, parents=list(job.parents(stage)))
    outputs = work(folder, record)
    record.machine["peak_memory_gib"] = round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 2**20, 2)
    manifest.finish(folder, record, outputs)
    return True


def _names(folder: Path) -> list[str]:
    """Every finished file of a stage but its manifest, for the hashes."""
    return sorted(
        str(path.relative_to(folder))
        for path in folder.rglob("*")
        if path.is_file() and path.name != manifest.NAME and "checkpoint-" not in str(path)
    )


def data(job: Job) -> bool:
    """The base checkpoint and the frozen dataset: checked in full once, by its hashes from then on."""
    made = job.embedded and base.build(BASE)
    made |= splits.build(DATA)
    version = sha256(DATA / manifest.NAME)
    known = read_json(CHECKED) if CHECKED.exists() else {}
    if known.get("version") == version:
        splits.verify_hashes(DATA)
        balance = known["balance"]
        if "sealed" in balance:  # opened since, perhaps
            balance["sealed"] = {"openings": len(splits.openings(DATA))}
    else:
        balance = splits.check(DATA)
        write_json(CHECKED, {"version": version, "balance": balance})
    for name, one in balance.items():
        click.echo(f"{name}: " + (f"{one['rows']} rows of {one['books']} books" if "rows" in one else f"{one}"))
    return made


def _predict(job: Job, recipe: str, overrides: dict[str, Any], folder: Path) -> list[str]:
    """Predict and score the test cases by a recipe, in `folder` free and in `<folder>_constrained` held to the schema.

    One run makes both kinds of answers. Columns that an interrupted run of the stage has scored stay. Returns the
    command.
    """
    free, held = (folder.with_name(folder.name + one) for one in DECODED)
    given = {
        **overrides, "answer_schema": SCHEMA_FILE, "output_dir": held / "predict", "free_answers_dir": free / "predict"
    }  # fmt: skip
    if not all((one / "metrics.json").exists() for one in (free, held)):
        _llamafactory("train", job.recipe(recipe), given, held / "llamafactory.log")
        for one in (free, held):
            score.score_run(job.rows(), job.test, one / "predict" / "generated_predictions.jsonl", one)
    return _command("train", job.recipe(recipe), given)


def baseline(job: Job) -> bool:
    """Floor (constant majority report), ceiling (policy with a template) and the base model with worked examples."""

    def work(folder: Path, record: manifest.Manifest) -> list[str]:
        rows = job.rows()
        counts = Counter(row["level"] for row in read_records(DATA / "train.parquet"))
        majority = max(LEVELS, key=lambda level: (counts[level], LEVELS.index(level)))
        fixed = {
            "constant": lambda case: score.constant_report(majority),
            "policy_template": lambda case: gold_report(case, varied=False),
        }
        for name, write in fixed.items():
            path = folder / name / "predictions.jsonl"
            write_lines(path, [{"case_id": one.case.case_id, "predict": write(one.case).to_json()} for one in rows])
            score.score_run(rows, job.test, path, folder / name)
        record.command = _predict(job, "predict_base.yaml", job.settings["baseline"], folder / "base_few_shot")
        return _names(folder)

    return _staged(job, "baseline", ["predict_base.yaml"], work)


def train(job: Job) -> bool:
    """Fine-tuning by the profile's recipe (LoRA or QLoRA); an interrupted run goes on from its last checkpoint."""
    name = job.settings["train"].get("recipe", "sft_qlora.yaml")

    def work(folder: Path, record: manifest.Manifest) -> list[str]:
        overrides = {**job.settings["train"], "output_dir": folder / "adapter"}
        overrides.pop("recipe", None)
        adapter = folder / "adapter"
        for one in adapter.glob("checkpoint-*"):
            if not (one / "trainer_state.json").exists():
                shutil.rmtree(one)  # what a checkpoint writes last is missing: killed while it was written
        if adapter.exists() and not any(adapter.glob("checkpoint-*")):
            shutil.rmtree(adapter)  # it stopped before its first checkpoint: nothing to resume
        record.command = _llamafactory("train", job.recipe(name), overrides, folder / "llamafactory.log")
        return _names(folder)

    return _staged(job, "train", [name], work)


def evaluate(job: Job) -> bool:
    """The tuned model on the test cases, free and constrained, and the comparison page with every column."""

    def work(folder: Path, record: manifest.Manifest) -> list[str]:
        overrides = {**job.settings["eval"], "adapter_name_or_path": job.out / "train" / "adapter"}
        record.command = _predict(job, "predict_tuned.yaml", overrides, folder / "tuned")
        columns = [*(job.out / "baseline" / one for one in COLUMNS), *(folder / f"tuned{one}" for one in DECODED)]
        found = compare.compare(columns, f"{job.name}: {job.profile} profile")
        found["commands"] = [f"make eval MODEL={job.model} PROFILE={job.profile}"]
        write_comparison(folder / "comparison", found)
        return _names(folder)

    return _staged(job, "eval", ["predict_tuned.yaml"], work)


def export(job: Job) -> bool:
    """The adapter merged into the unquantized base."""

    def work(folder: Path, record: manifest.Manifest) -> list[str]:
        overrides = {"adapter_name_or_path": job.out / "train" / "adapter", "export_dir": folder / "merged"}
        if job.embedded:  # served in the type it was tuned and tested in
            overrides["infer_dtype"] = manifest.load(BASE).settings["dtype"]
        recipe = job.recipe("export.yaml")
        record.command = _llamafactory("export", recipe, overrides, folder / "llamafactory.log")
        name, base_folder = read_yaml(recipe)["template"], BASE if job.embedded else None
        template.ensure(folder / "merged", name, base_folder)
        return _names(folder)

    return _staged(job, "export", ["export.yaml"], work)


def quantize_merged(job: Job) -> bool:
    """The merged model in four bits, by every engine of this run; an AWQ folder each, with its own manifest."""
    if job.awq == "0":
        click.echo("AWQ: left out", err=True)
    elif not job.engines:
        click.echo(
            "AWQ: none made; its environments are not installed. `make export AWQ=1` installs them: "
            + "; ".join(f"{name} {size}" for name, size in environments.ENGINES.items()),
            err=True,
        )

    def work(folder: Path, record: manifest.Manifest) -> list[str]:
        for engine in job.engines:
            environments.install(engine)
            changed = {"engine": engine, "model": job.out / "export" / "merged", "out": folder}
            recipe = quantize.read_recipe(job.recipe("awq.yaml"), **changed, **job.settings.get("quantize", {}))
            quantize.quantize(recipe, str(job.recipe("awq.yaml")))
        return _names(folder)

    recipes = ["awq.yaml"] if (job.recipes / "awq.yaml").exists() else []
    return _staged(job, "quantize", recipes, work, engines=job.engines)


def parity(job: Job) -> bool:
    """The gate: adapter, merged, quantized and served are one model, or the stage fails and rejects what differs."""

    def work(folder: Path, record: manifest.Manifest) -> list[str]:
        given = {
            "base": BASE if job.embedded else Path(_cached(job.name)),
            "adapter": job.out / "train" / "adapter",
            "merged": job.out / "export" / "merged",
            "awq": [job.out / "quantize" / one for one in job.engines],
        }
        path = job.recipe("parity.yaml")
        recipe = gate.read_recipe(path, **given, **job.settings.get("parity", {}))
        found = gate.parity(
            recipe, folder / "parity.json", source=str(path), cli=llamafactory_cli(), environment=environment()
        )
        for line in gate.lines(found):
            click.echo(line, err=True)
        click.echo(f"parity: {folder}/parity.html", err=True)
        if not found["passed"]:
            names = [one["row"] for one in found["rows"] if one["passed"] is False]
            raise InputError(f"the parity gate rejected {', '.join(names)}; see {folder}/parity.html")
        return _names(folder)

    return _staged(job, "parity", ["parity.yaml"], work)


def _cached(name: str) -> str:
    """The folder of a hub model in the Hugging Face cache."""
    from huggingface_hub import try_to_load_from_cache

    return str(Path(try_to_load_from_cache(name, "config.json")).parent)


def demo(job: Job) -> bool:
    """Serve the merged model, or the release, with a one-run key, ask for reports over HTTP, write verified pages."""
    release = job.release
    if release and job.embedded:
        base.build(BASE)
    cases = {"test_case": job.rows()[0].case, "example_book": import_csv(Path("datasets/example_book"))}
    ore = Path(os.environ.get("RISKSCRIBE_ORE", "../shared/data/ore")) / "example_77"
    if ore.exists():
        cases["ore_example_77"] = import_ore(ore, Path("datasets/ore_limits/example_77.yaml"))
    else:
        click.echo("ORE sample reports not found; set RISKSCRIBE_ORE to their folder to report on example_77 too")
    key, port, folder = secrets.token_urlsafe(24), serve.free_port(), job.out / "demo"
    made = release or job.out / "export"
    about = {"name": release.name if release else f"{job.name}, {job.profile} profile"}
    about |= {"manifest": sha256(made / manifest.NAME), "decoding": "constrained"}
    click.echo(f"model: {about['name']}", err=True)
    with serve.running(job.serving(release), environment(), key, port, folder / "server.log") as url:
        for name, case in tqdm(cases.items(), desc="reports", unit="report"):
            write_json(folder / name / "case.json", case)
            answer = reporting.ask_api(case, url, key, with_case=True)
            findings = reporting.write_verified(folder / name, case, answer, about)
            click.echo("\n".join(reporting.outcome(folder / name, case, findings)[1]))
    return True


STAGES = {
    "data": data,
    "baseline": baseline,
    "train": train,
    "eval": evaluate,
    "export": export,
    "quantize": quantize_merged,
    "parity": parity,
    "demo": demo,
}
