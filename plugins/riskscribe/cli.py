"""The command line: thin; every verb calls one function. Exit codes: 0 clean, 1 findings, 2 bad input."""

import contextlib
import json
import os
import shlex
import sys
from datetime import datetime
from pathlib import Path

import click

from riskscribe.errors import InputError

FILE = click.Path(path_type=Path)
STAGES = ["data", "baseline", "train", "eval", "export", "quantize", "parity", "demo", "all"]


class Commands(click.Group):
    """Turns bad input into one line on stderr and exit code 2."""

    def invoke(self, context: click.Context):
        try:
            return super().invoke(context)
        except InputError as error:
            told = str(error)
        except OSError as error:
            if not isinstance(error.filename, str | Path):  # a closed pipe is click's to handle
                raise
            told = f"{error.filename}: {str(error.strerror).lower()}"
        from riskscribe.files import one_line

        click.echo(f"riskscribe: {one_line(told)}", err=True)
        context.exit(2)


@click.group(cls=Commands)
@click.version_option(package_name="riskscribe")
def main() -> None:
    """Derivatives risk reports whose every number cites its evidence."""


def json_option(command):
    """--json: one JSON document on stdout and nothing else."""
    return click.option("--json", "as_json", is_flag=True, help="one JSON document on stdout, nothing else")(command)


def _tell(as_json: bool, document, *lines: str) -> None:
    """Print the document with --json, else the lines."""
    for line in [_json(document, indent=2)] if as_json else lines:
        click.echo(line)


def _json(value, indent: int | None = None) -> str:
    """JSON for stdout: half a surrogate pair, which a text may hold and UTF-8 cannot, is a question mark."""
    return json.dumps(value, ensure_ascii=False, indent=indent).encode("utf-8", "replace").decode()


def job(model: str, profile: str):
    """The job of a recipe folder under a profile."""
    from riskscribe.stages import Job

    return Job(model, profile)


def job_options(command):
    """--model and --profile, as the Makefile passes them."""
    for option in (
        click.option("--profile", default="quick", show_default=True, help="quick or full"),
        click.option("--model", default="smollm2_135m", show_default=True, help="folder in recipes/"),
    ):
        command = option(command)
    return command


@main.command("run")
@click.argument("stage", type=click.Choice(STAGES))
@click.option("--awq", type=click.Choice(["auto", "1", "0"]), default="auto", help="auto: by the engines installed")
@job_options
def run_stage(stage: str, awq: str, model: str, profile: str) -> None:
    """Run a stage of the main job and what it needs; what is up to date is passed over."""
    from riskscribe.stages import Job, run

    run(Job(model, profile, awq), stage)


@main.group()
def base() -> None:
    """The embedded base model."""


@base.command("build")
@click.option("--out", type=FILE, default=Path("exports/base/smollm2_135m"), show_default=True)
@click.option(
    "--dtype",
    type=click.Choice(("auto", "bfloat16", "float32")),
    default="auto",
    show_default=True,
    help="stored type; auto: what this machine multiplies fastest",
)
@json_option
def base_build(out: Path, dtype: str, as_json: bool) -> None:
    """De-quantize the packaged SmolLM2 to an ordinary checkpoint."""
    from riskscribe.release.base import NAME, build

    built = build(out, dtype)
    about = {"out": str(out), "name": NAME, "built": built}
    _tell(as_json, about, f"{out}: {NAME}: {'built' if built else 'up to date'}")


@main.group()
def data() -> None:
    """Datasets: build, check, pack, clean."""


@data.command("build")
@click.option("--config", type=FILE, help="YAML with version, seed and splits; default: dataset v1")
@click.option("--out", type=FILE, default=Path("datasets/risk_report/v1"), show_default=True)
@click.option("--workers", type=click.IntRange(1, 64), default=2, show_default=True)
@json_option
def data_build(config: Path | None, out: Path, workers: int, as_json: bool) -> None:
    """Generate a dataset version: deterministic, atomic, frozen by hash."""
    from riskscribe.data.splits import Config, build
    from riskscribe.files import read_yaml, validate

    settings = validate(Config, read_yaml(config), str(config)) if config else None
    built = build(out, settings, workers)
    about = {"out": str(out), "built": built}
    _tell(as_json, about, f"{out}: {'built' if built else 'complete and unaltered'}")


@data.command("check")
@click.argument("folder", type=FILE)
@json_option
def data_check(folder: Path, as_json: bool) -> None:
    """Schema, gold against the policy, leakage, hashes; prints the balance, as JSON in any case."""
    from riskscribe.data.splits import check

    _tell(True, check(folder))


@data.command("open")
@click.argument("folder", type=FILE)
@click.option("--release", required=True, help="the release it is opened for; once a release")
@click.option("--out", type=FILE, required=True)
@json_option
def data_open(folder: Path, release: str, out: Path, as_json: bool) -> None:
    """Open the sealed test of a dataset version for a release; every opening is logged and counted."""
    from riskscribe.data.splits import open_sealed

    opening = open_sealed(folder, release, out)
    about = {"out": str(out), "release": release, "opening": opening}
    _tell(as_json, about, f"{out}: the sealed test of {folder}, opening number {opening}")


@data.command("pack")
@click.option("--cases", type=FILE, required=True, help="JSON Lines, a case a line; it may name its book")
@click.option(
    "--reports", type=FILE, required=True, help="JSON Lines, approved reports: {case_id, report} or in order"
)
@click.option("--out", type=FILE, required=True)
@click.option("--val", type=float, default=0.0, show_default=True, help="share of books (or dates) for validation")
@click.option(
    "--test", type=float, default=0.0, show_default=True, help="share of books (or dates) for the test split"
)
@json_option
def data_pack(cases: Path, reports: Path, out: Path, val: float, test: float, as_json: bool) -> None:
    """Your own cases and approved reports as a checked split; tells what is missing."""
    from riskscribe.data.pack import NAME, pack
    from riskscribe.evaluate.grounding import ground_report

    def ground(case, report) -> list[str]:
        numbers = ground_report(case, report)
        return [f"{path}: {one.text}: {one.reason}" for path, one in numbers if one.verdict == "unsupported"]

    told = pack(cases, reports, out, val=val, test=test, ground=ground)
    _tell(as_json, told.model_dump(mode="json"), *told.summary(), f"{out}/{NAME}")


@data.command("clean")
@click.argument("file", type=FILE)
@click.option("--out", type=FILE, required=True)
@click.option("--language", type=click.Choice(["en", "zh", "both"]), default="both", show_default=True)
@click.option("--report", type=FILE, help="what was removed and why; default: OUT with .report.json")
@json_option
def data_clean(file: Path, out: Path, language: str, report: Path | None, as_json: bool) -> None:
    """Remove duplicates and personal data from cases, reports or split rows (JSON Lines)."""
    from riskscribe.data.clean import clean_file

    report = report or out.with_suffix(".report.json")
    told = clean_file(file, out, report, language, os.environ.get("RISKSCRIBE_PSEUDONYM_KEY"))
    _tell(as_json, told.model_dump(mode="json"), *told.summary(), str(report))


@main.group()
def case() -> None:
    """Cases: import and show."""


def _emit(found, out: Path | None, as_json: bool) -> None:
    from riskscribe.files import write_json
    from riskscribe.policy import annotate

    found = annotate(found)
    if out:
        write_json(out, found)
    if out and not as_json:
        click.echo(f"{out}: case {found.case_id}, {len(found.evidence)} evidence lines")
    else:
        click.echo(found.model_dump_json(indent=2, exclude_none=True))


@case.command("import-ore")
@click.argument("folder", type=FILE)
@click.option("--limits", type=FILE, required=True, help="YAML with limits, desk, base currency")
@click.option("--as-of", type=click.DateTime(["%Y-%m-%d"]), help="default: the limits file's as_of")
@click.option("--out", type=FILE)
@json_option
def case_import_ore(folder: Path, limits: Path, as_of: datetime | None, out: Path | None, as_json: bool) -> None:
    """A case from the report CSVs of the Open Source Risk Engine."""
    from riskscribe.data.import_ore import import_ore

    _emit(import_ore(folder, limits, as_of.date() if as_of else None), out, as_json)


@case.command("import-csv")
@click.argument("folder", type=FILE)
@click.option("--out", type=FILE)
@json_option
def case_import_csv(folder: Path, out: Path | None, as_json: bool) -> None:
    """A case from a folder of CSVs; docs/import.md documents the columns, datasets/templates/csv is a start."""
    from riskscribe.data.import_csv import import_csv

    _emit(import_csv(folder), out, as_json)


@case.command("show")
@click.argument("file", type=FILE)
@json_option
def case_show(file: Path, as_json: bool) -> None:
    """The prompt as the model sees it; with --json as chat messages."""
    from riskscribe.prompt import messages
    from riskscribe.reporting import load_case

    turns = messages(load_case(file))
    _tell(as_json, turns, *(f"[{turn['role']}]\n{turn['content']}\n" for turn in turns))


@main.command()
@click.argument("case_file", type=FILE)
@click.option("--engine", type=click.Choice(["hf", "api"]), default="hf", show_default=True)
@click.option("--url", default="http://127.0.0.1:8000/v1", show_default=True, help="for --engine api")
@click.option("--out", type=FILE, help="default: exports/reports/<case id>")
@click.option("--previous", type=FILE, help="yesterday's case of the same book: gives the earlier values")
@click.option("--free", is_flag=True, help="do not hold the answer to the report's schema")
@click.option("--with-case", is_flag=True, help="for --engine api: our server counts in /metrics what it can verify")
@job_options
@json_option
def report(
    case_file: Path,
    engine: str,
    url: str,
    out: Path | None,
    previous: Path | None,
    free: bool,
    with_case: bool,
    model: str,
    profile: str,
    as_json: bool,
) -> None:
    """Write a report with the tuned model, held to the report's schema, and verify it: report.json, .md, .html."""
    from riskscribe import reporting
    from riskscribe.release import serve

    found, yesterday = reporting.load_cases(case_file, previous)
    work = job(model, profile)
    merged = work.out / "export" / "merged"
    if engine == "api":
        answer = reporting.ask_api(found, url, serve.api_key(), constrained=not free, with_case=with_case)
        about = {"url": url}
    else:
        serve.command("", work.recipe("api.yaml"), merged)
        with contextlib.redirect_stdout(sys.stderr):  # LLaMA-Factory logs to stdout
            from riskscribe.lf.chat import ask

            answer = ask(found, work.recipe("api.yaml"), merged, constrained=not free)
        about = {"path": str(merged)}
    about["decoding"] = "free" if free else "constrained"
    out = out or Path("exports/reports") / found.case_id
    findings = reporting.write_verified(out, found, answer, about, yesterday)
    document, lines = reporting.outcome(out, found, findings)
    _tell(as_json, document, *lines)
    sys.exit(bool(findings))


class Reviews(click.Group):
    """`review REPORT REVIEW` applies a review; `verify` and `export` are its other verbs."""

    def resolve_command(self, context: click.Context, args: list[str]):
        return super().resolve_command(context, args if args[0] in self.commands else ["apply", *args])


@main.group(cls=Reviews)
def review() -> None:
    """Sign what a person decided on a report: review REPORT.json REVIEW.json --out DIR."""


@review.command("apply")
@click.argument("report_file", type=FILE)
@click.argument("review_file", type=FILE)
@click.option("--out", type=FILE, required=True, help="a new folder: a version never replaces another")
@json_option
def review_apply(report_file: Path, review_file: Path, out: Path, as_json: bool) -> None:
    """Apply a review, verify the result again and write it as a signed version; needs RISKSCRIBE_SIGNING_KEY."""
    from riskscribe import reporting

    try:
        found, findings = reporting.review_report(report_file, review_file, out)
    except reporting.Refused as refused:
        click.echo(f"riskscribe: {refused}", err=True)
        left = [one.model_dump(mode="json") for one in refused.findings]
        _tell(as_json, {"refused": str(refused), "findings": left}, *(f"  {one}" for one in refused.findings))
        sys.exit(1)
    document, lines = reporting.outcome(out, found, findings)
    _tell(as_json, document, *lines)
    sys.exit(bool(findings))


@review.command("verify")
@click.argument("file", type=FILE)
@json_option
def review_verify(file: Path, as_json: bool) -> None:
    """Check the signature of a version; needs RISKSCRIBE_SIGNING_KEY."""
    from riskscribe.reporting import check_version

    found = check_version(file)["envelope"]
    told = {name: found.get(name) for name in ("report_id", "version", "status", "by", "reviewed_at")}
    line = "{file}: version {version}, {status} by {by} at {reviewed_at}".format(file=file, **told)
    _tell(as_json, {"file": str(file), **told}, line)


@review.command("export")
@click.argument("files", type=FILE, nargs=-1, required=True)
@click.option("--out", type=FILE, required=True)
@json_option
def review_export(files: tuple[Path, ...], out: Path, as_json: bool) -> None:
    """Write cases.jsonl and reports.jsonl of approved versions, for `riskscribe data pack`."""
    from riskscribe.reporting import export_approved

    count = export_approved(list(files), out)
    written = [f"{out}/{name}.jsonl" for name in ("cases", "reports")]
    _tell(as_json, {"approved": count, "files": written}, f"{count} approved: {', '.join(written)}")


@main.command()
@click.argument("case_file", type=FILE)
@click.argument("report_file", type=FILE)
@json_option
def verify(case_file: Path, report_file: Path, as_json: bool) -> None:
    """Recompute the policy and the grounding of a report; one line a finding.

    Exit code 0: clean, 1: findings, 2: no report can be read.
    """
    from riskscribe.evaluate.verify import report_text, verify_text
    from riskscribe.files import read_text
    from riskscribe.reporting import load_case

    found = verify_text(load_case(case_file), report_text(read_text(report_file)))
    _tell(as_json, [one.model_dump(mode="json") for one in found], *map(str, found))
    sys.exit(2 if any(one.code == "unparseable" for one in found) else bool(found))


@main.command()
@click.option("--evidence", type=FILE, help="JSON list of {id, label, value, unit?, currency?}")
@click.option("--text", type=FILE)
@click.option("--batch", type=FILE, help="JSON Lines of {id, evidence, text}")
@click.option("--lenient", is_flag=True, help="uncited sentences may derive numbers too, from any evidence")
@json_option
def ground(evidence: Path | None, text: Path | None, batch: Path | None, lenient: bool, as_json: bool) -> None:
    """Find the numbers in a text and say which evidence supports each.

    Exit code 0: all are supported, 1: some are not. With --batch: a line of JSON a text with or without --json, and 0.
    """
    from riskscribe.evaluate.grounding import ground_batch, ground_text, read_facts
    from riskscribe.files import numbered_lines, read_json, read_text

    if batch:
        if evidence or text:
            raise InputError("ground --batch brings its own evidence and texts; leave out --evidence and --text")
        rows = ((f"{batch}: line {number}", row) for number, row in numbered_lines(batch))
        # all of it before the first line is printed: a wrong line leaves nothing behind
        for line in [_json(one) for one in ground_batch(rows, lenient=lenient)]:
            click.echo(line)
        return
    if not (evidence and text):
        raise InputError("ground needs --evidence FILE and --text FILE, or --batch FILE.jsonl")
    numbers = ground_text(read_text(text), read_facts(read_json(evidence), str(evidence)), lenient=lenient)
    lines = []
    for one in numbers:
        what = f"{', '.join(one.evidence)} {one.operation or ''}".strip() if one.evidence else ""
        lines.append(f"{one.verdict}: {one.text}: {what or one.reason or ''}")
    _tell(as_json, [one.model_dump(mode="json") for one in numbers], *lines)
    sys.exit(any(one.verdict == "unsupported" for one in numbers))


@main.command()
@click.argument("data_file", type=FILE)
@click.argument("predictions", type=FILE)
@click.option("--out", type=FILE, required=True)
@click.option("--text", is_flag=True, help="also BLEU and ROUGE-L against the gold reports of the data")
@click.option("--similarity", is_flag=True, help="also semantic similarity; needs the extra `similarity`")
@click.option("--bertscore", type=FILE, help="similarity as BERTScore with the encoder in this folder")
@json_option
def score(
    data_file: Path,
    predictions: Path,
    out: Path,
    text: bool,
    similarity: bool,
    bertscore: Path | None,
    as_json: bool,
) -> None:
    """Score predictions (ours or LLaMA-Factory's) on a split file: records.jsonl and metrics.json."""
    from riskscribe.evaluate import score as scoring
    from riskscribe.evaluate.inputs import read_scored
    from riskscribe.files import read_json

    rows = read_scored(data_file)
    scoring.score_run(rows, data_file, predictions, out, text=text, similarity=similarity, model=bertscore)
    metrics = read_json(out / "metrics.json")
    _tell(as_json, metrics, *scoring.as_text(metrics))


class Spread(click.Command):
    """`--seeds A B C` as `--seeds A --seeds B --seeds C`: the list ends at the next option."""

    def parse_args(self, context: click.Context, args: list[str]) -> list[str]:
        spread: list[str] = []
        within = False
        for one in args:
            if within and not one.startswith("-"):
                spread += ["--seeds", one]
                continue
            within = one == "--seeds"
            if not within:
                spread.append(one)
        return super().parse_args(context, spread)


@main.command(cls=Spread)
@click.argument("folders", type=FILE, nargs=-1, required=True)
@click.option("--out", type=FILE, required=True)
@click.option("--title", default="Comparison")
@click.option(
    "--decision", type=FILE, help="primary metric, margin and rule; default: the rule that ships, docs/statistics.md"
)
@click.option("--seeds", type=FILE, multiple=True, help="DIR DIR DIR: runs of the candidate's recipe, other seeds")
@click.option("--candidate", help="the folder that is judged; default: by the decision file, else the last")
@click.option("--reference", help="the folder it is judged against; default: by the decision file, else the first")
@json_option
def compare(
    folders: tuple[Path, ...],
    out: Path,
    title: str,
    decision: Path | None,
    seeds: tuple[Path, ...],
    candidate: str | None,
    reference: str | None,
    as_json: bool,
) -> None:
    """Compare scored runs on the same cases by a rule written before: verdict, tests, page in two languages."""
    from riskscribe.evaluate.compare import compare as compared
    from riskscribe.page.comparison import write_comparison

    given = {"decision_file": decision, "seeds": list(seeds), "candidate": candidate, "reference": reference}
    found = compared(list(folders), title, **given)
    shown = {"--decision": decision, "--candidate": candidate, "--reference": reference, "--out": out}
    words = ["riskscribe", "compare", *folders, *(["--seeds", *seeds] if seeds else [])]
    words += [word for key, value in shown.items() if value for word in (key, value)]
    found["commands"] = [shlex.join(map(str, words))]
    paths = write_comparison(out, found)
    _tell(as_json, found, *(one["sentence"]["en"] for one in found["verdicts"].values()), *map(str, paths))


@main.command()
@click.argument("folder_a", type=FILE)
@click.argument("folder_b", type=FILE)
@click.option("--data", "data_file", type=FILE, required=True, help="the file both runs were scored on")
@click.option("--url", required=True, help="base URL of an OpenAI-compatible endpoint, such as https://host/v1")
@click.option("--model", required=True, help="the judge, by a name that stays the same model")
@click.option("--out", type=FILE, required=True)
@click.option("--price-in", type=click.FloatRange(min=0), help="per million prompt tokens")
@click.option("--price-out", type=click.FloatRange(min=0), help="per million completion tokens")
@click.option("--parallel", type=click.IntRange(1, 64), default=4, show_default=True)
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=60, show_default=True, help="seconds")
@click.option("--retries", type=click.IntRange(0, 20), default=4, show_default=True)
@click.option("--max-tokens", type=click.IntRange(1), default=300, show_default=True, help="of an answer")
@click.option("--json-mode", is_flag=True, help="ask the endpoint for response_format json_object")
@click.option("--json-schema", is_flag=True, help="ask it for json_schema: a small model then answers readably")
@json_option
def judge(folder_a: Path, folder_b: Path, data_file: Path, out: Path, as_json: bool, **endpoint) -> None:
    """Ask a judge model which of two scored runs' reports is better, case by case; enters no metric.

    Sends cases and reports to the endpoint. The key comes from RISKSCRIBE_JUDGE_API_KEY. Exit 1 where no answer
    could be read.
    """
    from riskscribe.evaluate import judge as judging

    asked = judging.Endpoint(key=judging.endpoint_key(), **endpoint)
    found = judging.judge(folder_a, folder_b, data_file, asked, out)
    _tell(as_json, found, *judging.lines(found), f"{out}/judge.json")
    sys.exit(any(one["unscored"] for one in found["languages"].values()) and not judging.scored(found))


@main.command()
@click.option("--recipe", type=FILE, help="an awq.yaml")
@click.option("--engine", type=click.Choice(["autoawq", "llmcompressor"]), help="default: the recipe's")
@click.option("--model", type=FILE, help="the merged model; default: the recipe's")
@click.option("--out", type=FILE, help="a folder; the model goes to <out>/<engine>")
@click.option("--install", multiple=True, help="ENGINE: make its environment, several GB; once")
@json_option
def quantize(
    recipe: Path | None, engine: str | None, model: Path | None, out: Path | None, install, as_json: bool
) -> None:
    """Quantize a merged model to four bits (AWQ), in the engine's own environment."""
    from riskscribe.release import environments, quantize

    if not (recipe or install):
        raise InputError("quantize needs --recipe FILE, or --install ENGINE")
    made = {str(environments.folder(one)): environments.install(one) for one in install}
    lines = [f"{folder}: {'installed' if new else 'there already'}" for folder, new in made.items()]
    told = None
    if recipe:
        wanted = quantize.read_recipe(recipe, engine=engine, model=model, out=out)
        told = str(quantize.quantize(wanted, str(recipe)))
        lines.append(told)
    _tell(as_json, {"installed": made, "quantized": told}, *lines)


@main.command()
@click.option("--recipe", type=FILE, default=Path("recipes/smollm2_135m/parity.yaml"), show_default=True)
@click.option("--out", type=FILE, required=True, help="a JSON file; pages in two languages stand beside it")
@click.option("--base", type=FILE)
@click.option("--adapter", type=FILE)
@click.option("--merged", type=FILE)
@click.option("--awq", type=FILE, multiple=True, help="a quantized model; repeat it for several")
@json_option
def parity(recipe: Path, out: Path, as_json: bool, awq: tuple[Path, ...], **folders: Path | None) -> None:
    """Gate: adapter, merged, quantized and served are one model. Exit code 1, and `rejected`, if not."""
    from riskscribe.release import parity as gate
    from riskscribe.stages import environment, llamafactory_cli

    given = {key: one for key, one in folders.items() if one} | ({"awq": list(awq)} if awq else {})
    wanted = gate.read_recipe(recipe, **given)
    found = gate.parity(wanted, out, source=str(recipe), cli=llamafactory_cli(), environment=environment())
    _tell(as_json, found, *gate.lines(found), str(out.with_suffix(".html")))
    sys.exit(not found["passed"])


def _release(name: str | None):
    """The folder of a release, or None without a name."""
    from riskscribe.release import releases

    return releases.folder_of(name) if name else None


@main.command("serve")
@click.option("--port", type=click.IntRange(1, 65535), default=8000, show_default=True)
@click.option("--release", help="a release's name, or `used`; default: what `make export` made")
@click.option("--engine", type=click.Choice(["hf", "vllm"]), default="hf", show_default=True, help="vllm: on a GPU")
@click.option("--awq", type=click.Choice(["autoawq", "llmcompressor"]), help="vllm: the AWQ model, not the merged one")
@click.option("--install", is_flag=True, help="vllm: make its environment, once, and stop")
@click.option("--check", is_flag=True, help="only say what is missing for a start: key, port, GPU, environment")
@job_options
def serve_model(
    port: int, release: str | None, engine: str, awq: str | None, install: bool, check: bool, model: str, profile: str
) -> None:
    """Serve the tuned model on 127.0.0.1; needs RISKSCRIBE_API_KEY."""
    from riskscribe.release import environments, serve, serve_vllm
    from riskscribe.stages import environment

    if engine == "hf" and (awq or install):
        raise InputError(f"--{'awq' if awq else 'install'} goes with --engine vllm")
    if install:
        new = environments.install("vllm")
        click.echo(f"{environments.folder('vllm')}: {'installed' if new else 'there already'}")
        return
    key = serve.api_key()
    serve.ensure_free(port)
    if engine == "vllm":
        serve_vllm.ensure_gpu()
        environments.python("vllm")
    if check:
        return
    work, folder = job(model, profile), _release(release)
    if engine == "hf":
        arguments, settings = work.serving(folder), serve.settings(key, port)
    else:
        made = work.out / "quantize" / awq if awq else work.out / "export" / "merged"
        wanted = folder / (f"awq_{awq}" if awq else "merged") if folder else made
        if folder and not wanted.is_dir():
            raise InputError(f"{folder.name}: has no {wanted.name}/, which vLLM serves; release one that ships it")
        arguments, settings = (
            serve_vllm.command(work.recipe("serve_vllm.yaml"), wanted, port),
            serve_vllm.settings(key),
        )
    if folder:
        click.echo(f"release {folder.name}", err=True)
    click.echo(f"http://{serve.HOST}:{port}/v1 (key required; case texts are not logged; stop with Ctrl-C)", err=True)
    os.execve(arguments[0], arguments, environment(**settings))


@main.group()
def ab() -> None:
    """Two releases behind one endpoint, and which of them answered."""


@ab.command("serve")
@click.option("--a", required=True, help="a release's name, `used`, an endpoint's URL, or LABEL=URL")
@click.option("--b", required=True, help="the same")
@click.option("--log", type=FILE, required=True, help="JSON Lines, appended to")
@click.option("--share", default=50, show_default=True, type=click.IntRange(0, 100), help="percent of cases to B")
@click.option("--both", is_flag=True, help="every case to both; A's answer is given. Gives pairs, which compare needs")
@click.option("--answers", is_flag=True, help="keep the answers in the log, for `ab score`")
@click.option("--port", type=click.IntRange(1, 65535), default=8100, show_default=True)
@click.option("--timeout", type=click.FloatRange(0, min_open=True), default=600, show_default=True, help="seconds")
@job_options
def ab_serve(a: str, b: str, log: Path, port: int, model: str, profile: str, **how) -> None:
    """Stand in front of two releases or endpoints on 127.0.0.1; needs RISKSCRIBE_API_KEY, which is theirs too."""
    import signal

    import uvicorn

    from riskscribe.release import serve
    from riskscribe.release.ab import Arm, Log, Switch, endpoint
    from riskscribe.stages import environment

    key = serve.api_key()
    serve.ensure_free(port)
    work, starts, arms = job(model, profile), {}, {}
    for name, text in {"a": a, "b": b}.items():
        arms[name] = endpoint(text)
        if arms[name] is None:
            folder, free = _release(text), serve.free_port()
            starts[name] = (work.serving(folder), free, work.out / "ab" / f"{name}.log")
            arms[name] = Arm(folder.name, f"http://{serve.HOST}:{free}/v1")
    switch = Switch(**arms, key=key, log=Log(log), **how)
    # ended by a signal, the servers started here end too
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(0))
    with contextlib.ExitStack() as running:
        for arguments, free, output in starts.values():
            running.enter_context(serve.running(arguments, environment(), key, free, output))
        click.echo(f"http://{serve.HOST}:{port}/v1: a {switch.a.release}, b {switch.b.release}; log {log}", err=True)
        uvicorn.run(switch.app(), host=serve.HOST, port=port, log_level="warning", access_log=False)


@ab.command("score")
@click.argument("log", type=FILE)
@click.option("--data", type=FILE, required=True, help="the cases: JSON Lines or a split")
@click.option("--out", type=FILE, required=True, help="a folder a release goes here")
@json_option
def ab_score(log: Path, data: Path, out: Path, as_json: bool) -> None:
    """Score what two releases answered; `riskscribe compare` takes the folders where cases went to both."""
    from riskscribe.release.ab import score_log

    found = score_log(log, data, out)
    lines = [f"{name}: {one['cases']} cases, {one['folder']}" for name, one in found["arms"].items()]
    lines += [f"left out: {count} ({why})" for why, count in found["left_out"].items()]
    folders = " ".join(one["folder"] for one in found["arms"].values())
    lines.append(
        f"paired: riskscribe compare {folders} --out {out}/comparison"
        if found["paired"]
        else "not paired: the arms answered different cases, so each is described alone; --both gives pairs"
    )
    _tell(as_json, found, *lines)


@main.group()
def release() -> None:
    """Versions of a fine-tuned model that passed the gate; rolling back is using an older one."""


@release.command("create")
@click.argument("name")
@click.option("--adapter", type=FILE, required=True)
@click.option("--parity", type=FILE, required=True, help="parity.json of the gate, on these bytes")
@click.option("--metrics", type=FILE, required=True, help="metrics.json of `riskscribe score`")
@click.option("--card", type=FILE, default=Path("recipes/smollm2_135m/card.yaml"), show_default=True)
@click.option("--merged", type=FILE, help="ship the merged model too")
@click.option("--awq", type=FILE, multiple=True, help="ship a quantized model too; repeat it for several")
@click.option("--notes", default="", help="what changed")
@json_option
def release_create(name: str, as_json: bool, **given) -> None:
    """Write a release, as risk_report-smollm2-135m-v1.0.0, with its model card."""
    from riskscribe.release.releases import create

    folder = create(name, **given)
    _tell(as_json, {"name": name, "folder": str(folder)}, f"{folder}: released; `riskscribe release use {name}`")


@release.command("list")
@json_option
def release_list(as_json: bool) -> None:
    """Every release; the used one is marked."""
    from riskscribe.release.releases import listed

    found = listed()
    lines = [f"{'*' if one['used'] else ' '} {one['name']}  {one['created']}  {one['status']}" for one in found]
    _tell(as_json, found, *(lines or ["no release"]))


@release.command("use")
@click.argument("name")
@json_option
def release_use(name: str, as_json: bool) -> None:
    """Make a release the one that `riskscribe serve --release used` serves."""
    from riskscribe.release.releases import use

    before = use(name)
    _tell(as_json, {"used": name, "before": before}, f"{name} is used; before: {before or 'none'}")


@release.command("diff")
@click.argument("first")
@click.argument("second")
@json_option
def release_diff(first: str, second: str, as_json: bool) -> None:
    """What two releases were measured at, and what differs in how they were made."""
    from riskscribe.release.releases import diff

    found = diff(first, second)
    lines = [
        f"{one['language']}, {one['metric']}: {one['first']['value']} -> {one['second']['value']}"
        for one in found["metrics"]
    ]
    why = found["training"] or {"causes": [], "answer": "How they were trained was not recorded."}
    lines += [f"{one['kind']}: {one['name']}: {one['first']} -> {one['second']}" for one in why["causes"]]
    _tell(as_json, found, *lines, why["answer"])


@main.command()
@click.option("--port", type=click.IntRange(1, 65535), default=7860, show_default=True)
@job_options
def board(port: int, model: str, profile: str) -> None:
    """Open LLaMA Board on 127.0.0.1 with our datasets, models and recipes; its files go to exports/board."""
    from riskscribe.release import serve
    from riskscribe.stages import environment, llamafactory_cli

    serve.ensure_free(port)
    recipe = job(model, profile).settings.get("train", {}).get("recipe", "sft_qlora.yaml")
    folder, command = Path("exports/board"), llamafactory_cli()
    folder.mkdir(parents=True, exist_ok=True)
    settings = {
        "RISKSCRIBE_BOARD": str(folder),
        "RISKSCRIBE_BOARD_OPENS": f"{model}-{profile}",
        # Board starts trainings as `llamafactory-cli`, by its name alone
        "PATH": os.pathsep.join([str(Path(command).parent), os.environ.get("PATH", os.defpath)]),
        "GRADIO_SERVER_NAME": serve.HOST,
        "GRADIO_SERVER_PORT": str(port),
        "GRADIO_SHARE": "0",
        "GRADIO_ANALYTICS_ENABLED": "False",
        "GRADIO_TEMP_DIR": str((folder / "cache" / "gradio").absolute()),
    }
    click.echo(f"http://{serve.HOST}:{port} opens with {recipe} of recipes/{model}, profile {profile}", err=True)
    os.execve(command, [command, "webui"], environment(**settings))


@main.command("doctor")
@click.option("--recipe", type=FILE, help="a recipe to look at: what it needs of this machine")
@json_option
def doctor(recipe: Path | None, as_json: bool) -> None:
    """What this machine can run, what is attached to LLaMA-Factory, what is missing.

    Exit code 0, or 1 if something is MISSING; what is only absent one can do without. With --recipe: whether that
    recipe would run here.
    """
    from riskscribe.lf.doctor import examine

    found = examine(recipe)
    shown = {"ok": "ok     ", "absent": "absent ", "missing": "MISSING"}
    lines = [f"{shown[one['state']]}  {one['part']}: {one['what']}: {one['found']}" for one in found]
    _tell(as_json, found, *lines)
    sys.exit(any(one["state"] == "missing" for one in found))


@main.group("manifest")
def manifest_group() -> None:
    """Provenance."""


@manifest_group.command("show")
@click.argument("folder", type=FILE)
@json_option
def manifest_show(folder: Path, as_json: bool) -> None:
    """The manifest of an artefact, as JSON in any case."""
    from riskscribe.manifest import NAME, load

    found = load(folder)
    if found is None:
        raise InputError(f"{folder}: holds no {NAME}")
    click.echo(found.model_dump_json(indent=2, exclude_none=True))


@manifest_group.command("verify")
@click.argument("folder", type=FILE)
@json_option
def manifest_verify(folder: Path, as_json: bool) -> None:
    """Whether an artefact is whole, not rejected, and what it was made from is unchanged. Exit code 1 where not."""
    from riskscribe.manifest import verify as verified

    found = verified(folder)
    _tell(as_json, {"folder": str(folder), "faults": found}, *(found or [f"{folder}: unaltered"]))
    sys.exit(bool(found))


@manifest_group.command("diff")
@click.argument("first", type=FILE)
@click.argument("second", type=FILE)
@json_option
def manifest_diff(first: Path, second: Path, as_json: bool) -> None:
    """Same seed, different result: what differs between two runs. Exit code 1 where outputs differ."""
    from riskscribe.manifest import diff

    found = diff(first, second)
    lines = [f"{one['kind']}: {one['name']}: {one['first']} -> {one['second']}" for one in found["causes"]]
    lines += [f"output: {name} differs" for name in found["outputs"]]
    _tell(as_json, found, *lines, found["answer"])
    sys.exit(bool(found["outputs"]))
