"""`python -m riskscribe.evaluate.bench`: what verification and grounding catch, and what they flag wrongly.

Three parts. Reports: faults and harmless edits planted in gold reports, through `verify`. Tables: hand-written
sentences on evidence the engine was not built for, through `ground_text`, beside the package `figured`. Random
numbers: how many are accepted by chance. Truth comes from the cases and from the tables' own arithmetic.
"""

import argparse
import itertools
import json
import random
import shlex
import sys
import time
from collections import Counter, defaultdict
from collections.abc import Iterable
from pathlib import Path
from statistics import fmean
from typing import Any

from scipy.stats import binomtest
from tqdm import tqdm

from riskscribe.case import Case
from riskscribe.errors import InputError
from riskscribe.evaluate import mutations, statements, tables
from riskscribe.evaluate.claims import claims_of
from riskscribe.evaluate.context import sentences
from riskscribe.evaluate.facts import Facts, facts_of
from riskscribe.evaluate.grounding import ground_report, ground_text, read_facts
from riskscribe.evaluate.mutations import Edit, Gold
from riskscribe.evaluate.numbers import scan
from riskscribe.evaluate.prose import read_words, reading_of
from riskscribe.evaluate.score import score_answer
from riskscribe.evaluate.tables import Table
from riskscribe.evaluate.tatqa import read_tatqa
from riskscribe.evaluate.verify import Finding, verify
from riskscribe.files import parse_json, read_lines, read_text, sha256, validate, write_json, write_lines, write_text
from riskscribe.prompt import render_case
from riskscribe.report import Report

SEED = 20261124
ROOT = Path(__file__).resolve().parents[3]
DATA = ROOT / "datasets" / "risk_report" / "v1"
PLANTED = ROOT / "tests" / "evaluate" / "planted"
OUT = ROOT / "exports" / "bench_grounding"
SPLITS = {"dev": ["train.parquet"], "held_out": ["val.jsonl", "test.jsonl"], "fresh": ["train.parquet"]}
# of the training split, spread over it: dev and fresh have no row in common, and fresh draws its edits by another seed
TRAIN_ROWS = 400
FIRST_ROW = {"dev": 0, "fresh": 2}
SEEDS = {"dev": SEED, "held_out": SEED, "fresh": SEED + 1}
# faults a kind and language; of the fewer harmless kinds a third more each, so that there are as many edits
PER_KIND = {"dev": 20, "held_out": 90, "fresh": 90}
PROSE = ("summary", "key_drivers.", "limitations.", "assumptions.", "recommended_actions.")
COMMAND = "make bench-grounding"


def load_golds(names: Iterable[str], first: int = 0) -> list[Gold]:
    """Cases and gold reports of split files of dataset v1; of the training split a sample from row `first` on."""
    golds = []
    for name in names:
        for i, row in enumerate(_read_split(DATA / name, first), start=1):
            where = f"{name}: row {i}"
            case, report = (parse_json(row[field], where) for field in ("case", "report"))
            golds.append(Gold(validate(Case, case, where), validate(Report, report, where)))
    return golds


def _read_split(path: Path, first: int) -> list[dict[str, str]]:
    if path.suffix == ".jsonl":
        return read_lines(path)
    from pyarrow import parquet

    rows = parquet.read_table(path, columns=["case", "report"])
    return rows.take(list(range(first, rows.num_rows, rows.num_rows // TRAIN_ROWS))).to_pylist()


def wilson(hits: int, count: int) -> str:
    """Share in percent with its 95 % Wilson interval."""
    if not count:
        return "-"
    low, high = binomtest(hits, count).proportion_ci(method="wilson")
    return f"{100 * hits / count:.1f} ({100 * low:.1f}-{100 * high:.1f})"


def markdown(head: list[str], rows: list[list[Any]]) -> str:
    """A Markdown table."""
    lines = [head, ["---"] * len(head), *rows]
    return "\n".join("| " + " | ".join(map(str, one)) + " |" for one in lines)


# --- planted faults and harmless edits in reports


def _new(found: list[Finding], before: list[Finding]) -> list[Finding]:
    """Findings that the unchanged report does not have; a field's path may move with the edit."""
    known = Counter((one.code, one.message) for one in before)
    fresh = []
    for one in found:
        key = (one.code, one.message)
        if known[key]:
            known[key] -= 1
        else:
            fresh.append(one)
    return fresh


def draw_edits(
    golds: list[Gold], per_kind: int, kinds: set[str] | None = None, seed: int = SEED
) -> tuple[list[tuple[str, Gold, Edit]], Counter]:
    """(language, gold, edit) of every kind, faults and harmless, and the tries that did not apply by kind."""
    drawn, skipped = [], Counter()
    for language in ("en", "zh"):
        own = [one for one in golds if one.case.language == language]
        for harmless, table in ((False, mutations.FAULTS), (True, mutations.HARMLESS)):
            for kind in table:
                if kinds and kind not in kinds:
                    continue
                count = per_kind * 4 // 3 if harmless else per_kind
                found, missed = mutations.draw(own, kind, harmless, count, seed)
                drawn += [(language, *one) for one in found]
                skipped[kind] += missed
    return drawn, skipped


def judge_edits(drawn: list[tuple[str, Gold, Edit]], part: str) -> list[dict[str, Any]]:
    """One record an edit: whether verification has a finding that the unchanged report does not have."""
    before: dict[str, list[Finding]] = {}
    others = _figured()
    ungrounded: dict[tuple[str, str, str], int] = {}
    records = []
    for language, gold, edit in tqdm(drawn, desc=f"reports, {part}", unit="edit", file=sys.stderr):
        name = gold.case.case_id
        if name not in before:
            before[name] = verify(gold.case, gold.report)
        fresh = _new(verify(gold.case, edit.report), before[name])
        records.append(
            {
                "set": "reports", "part": part, "kind": edit.kind, "fault": not edit.harmless, "language": language,
                "flagged": bool(fresh), "case_id": name, "path": edit.path, "text": edit.after,
                "before": edit.before, "why": edit.why,
                "findings": [f"{one.code}: {one.path}: {one.message}" for one in fresh],
            }
        )  # fmt: skip
        if edit.path.startswith(PROSE):
            rows = [one._asdict() for item in gold.case.evidence for one in statements.quantities(item, gold.case)]
            verdicts = {"riskscribe": bool(fresh)}
            for system, call in others.items():
                # what it has against the unchanged text is no news
                key = (system, name, edit.before)
                if key not in ungrounded:
                    ungrounded[key] = len(call(tables.uncited(edit.before), rows).ungrounded)
                verdicts[system] = len(call(tables.uncited(edit.after), rows).ungrounded) > ungrounded[key]
            records[-1]["verdicts"] = verdicts
        if bool(fresh) == edit.harmless:
            records[-1]["evidence"] = _lines(gold.case, edit)
    return records


def _lines(case: Case, edit: Edit) -> list[str]:
    """The prompt's lines of the evidence that the text before or after the edit names."""
    return [one for one in render_case(case).splitlines()[1:] if one.split()[0] in edit.before + edit.after]


# --- sentences on tables, beside figured


def _figured() -> dict[str, Any]:
    """The ways figured is called, or none where it is not installed."""
    try:
        import figured
        from figured.policy import STRICT
    except ImportError:
        return {}
    return {
        "figured, default": lambda text, rows: figured.trace(text, rows),
        "figured, strict": lambda text, rows: figured.trace(text, rows, policy=STRICT),
        "figured, all derivations": lambda text, rows: figured.trace(text, rows, derivations="all"),
    }


def judge_tables(chosen: list[Table], kinds: set[str] | None = None) -> tuple[list[dict[str, Any]], dict[str, Any]]:
    """One record a text, with the verdict of every system; and the mean CPU microseconds each took, in turn.

    A text is flagged when at least one number in it is unsupported. Cited texts are grounded in the ids they cite;
    uncited ones with derivations allowed. figured reads no ids: it gets every text without them.
    """
    others = _figured()
    seconds: dict[str, list[float]] = defaultdict(list)
    records = []
    texts = [one for table in chosen for one in tables.items(table, SEED) if not kinds or one.kind in kinds]
    prepared = {one.table: (read_facts(one.evidence(), one.table), _rows(one)) for one in chosen}
    known: dict[tuple[str, str], dict[str, bool]] = {}
    for item in tqdm(texts, desc="tables", unit="text", file=sys.stderr):
        facts, rows = prepared[item.table.table]
        bare = tables.uncited(item.text)
        begun = time.thread_time()
        numbers = ground_text(item.text, facts, lenient=not item.cited)
        seconds["riskscribe"].append(time.thread_time() - begun)
        flagged = {"riskscribe": any(one.verdict == "unsupported" for one in numbers)}
        if (item.table.table, bare) not in known:
            verdicts = known[item.table.table, bare] = {}
            for name, call in others.items():
                begun = time.thread_time()
                verdicts[name] = bool(call(bare, rows).ungrounded)
                seconds[name].append(time.thread_time() - begun)
        flagged |= known[item.table.table, bare]
        records.append(
            {
                "set": "tables", "part": item.table.part, "kind": item.kind, "fault": item.fault,
                "language": item.table.language, "cited": item.cited, "flagged": flagged["riskscribe"],
                "verdicts": flagged, "table": item.table.table, "text": item.text, "why": item.why,
                "numbers": [f"{one.text}: {one.verdict} {one.operation or ''} {one.reason or ''}" for one in numbers],
            }
        )  # fmt: skip
        if flagged["riskscribe"] != item.fault:
            records[-1]["evidence"] = item.table.evidence()
    return records, {name: 1e6 * fmean(spent) for name, spent in seconds.items()}


def _rows(table: Table) -> list[dict[str, Any]]:
    """The table as figured takes it: labels and values in single units."""
    values = table.values()
    return [{"label": one["label"], "value": values[one["id"]]} for one in table.evidence()]


# --- random numbers


def random_numbers(chosen: list[Table], count: int = 500, lines: int = 25) -> list[dict[str, Any]]:
    """Texts with a random number against `lines` evidence lines drawn from tables of one language.

    Half are amounts, half percentages, drawn over the range of the evidence; a number that the named line happens to
    tell is drawn again. Strict texts cite nothing and quote; lenient ones have a word that allows a derivation.
    """
    rng = random.Random(SEED)
    words = {
        "en": ("{label} was {n}.", "{label} rose by {n}.", "{label} makes up {n} of the total."),
        "zh": ("{label}为{n}。", "{label}增加{n}。", "{label}占合计的{n}。"),
    }
    records = []
    for language in ("en", "zh"):
        pool = [(one, row) for one in chosen if one.language == language for row in one.evidence()]
        if len(pool) < lines:
            continue
        for _ in range(count):
            drawn = rng.sample(pool, lines)
            evidence = [row | {"id": f"E-{i}"} for i, (_, row) in enumerate(drawn)]
            facts = read_facts(evidence, "random numbers")
            plain, change, share = words[language]
            (owner, row), percent = rng.choice(drawn), rng.random() < 0.5
            if percent:
                number = f"{rng.uniform(0.5, 99):.1f}%"
            else:
                sizes = sorted(
                    abs(one.values()[other["id"]]) for one, other in drawn if one.class_of(other["id"]) == "money"
                )
                if not sizes or not sizes[-1]:
                    continue
                low = max(sizes[0], sizes[-1] / 1e5, 1.0)
                number = _amount(low * (sizes[-1] / low) ** rng.random(), language)
            if tables.tells(number, owner.values()[row["id"]]):
                continue
            for mode, shape in (("strict", plain), ("lenient", share if percent else change)):
                text = shape.format(label=row["label"], n=number)
                numbers = ground_text(text, facts, lenient=mode == "lenient")
                told = [one for one in numbers if text[slice(*one.span)].strip() in number]
                records.append(
                    {"set": "random", "part": "all", "kind": mode, "fault": True, "language": language,
                     "flagged": any(one.verdict == "unsupported" for one in told), "text": text,
                     "evidence": evidence, "why": "a random number",
                     "numbers": [f"{one.text}: {one.verdict} {one.operation or ''} {one.evidence}" for one in numbers]}
                )  # fmt: skip
    return records


def _amount(value: float, language: str) -> str:
    """An amount with three decimals at most, as prose writes it."""
    scales = (
        ((1e8, "亿元"), (1e4, "万元"), (1, "元"))
        if language == "zh"
        else ((1e9, "bn"), (1e6, "m"), (1e3, "k"), (1, ""))
    )
    size, word = next((one for one in scales if value >= one[0]), scales[-1])
    return f"{value / size:,.2f}{word}"


# --- speed


def speed(golds: list[Gold], seconds: float = 1.0) -> dict[str, float]:
    """Microseconds a report of grounding and verification, and reports a second of `score_answer`.

    CPU time of this thread, so that a busy machine changes little. Every case has been seen before, as where several
    models answer the same cases; `score_first_us` is of cases seen for the first time, whose facts and official
    values are still to be computed.
    """
    answers = [(one.case, one.report, one.report.to_json()) for one in golds]
    for case, report, answer in answers:
        score_answer(case, answer)
        ground_report(case, report)

    def rate(call) -> float:
        done, begun = 0, time.thread_time()
        while time.thread_time() - begun < seconds:
            call(*answers[done % len(answers)])
            done += 1
        return (time.thread_time() - begun) / done

    grounding = rate(lambda case, report, _: ground_report(case, report))
    verification = rate(lambda case, report, _: verify(case, report))
    scoring = rate(lambda case, _, answer: score_answer(case, answer))
    unseen = [(case.model_copy(deep=True), answer) for case, _, answer in answers]
    begun = time.thread_time()
    for case, answer in unseen:
        score_answer(case, answer)
    first = (time.thread_time() - begun) / len(unseen)
    parsing = rate(lambda _, __, answer: Report.model_validate_json(answer))
    return {
        "ground_report_us": 1e6 * grounding,
        "verify_us": 1e6 * verification,
        "score_us": 1e6 * scoring,
        "score_first_us": 1e6 * first,
        "report_json_us": 1e6 * parsing,
        "score_reports_per_second": 1 / scoring,
    }


STEPS = {
    "ids": "ids blanked, citations",
    "words": "words of the lexicon",
    "numbers": "numbers read",
    "contexts": "clauses, and what stands around each number",
    "verdicts": "verdict on each number, derivations included",
    "comparisons": "comparisons",
    "all": "all",
}


def steps(texts: list[tuple[str, Facts, list[str] | None, bool]], rounds: int = 20) -> dict[str, float]:
    """Mean CPU microseconds a text of each step of grounding, the least of rounds in which they take turns.

    Args:
        texts: (text, evidence, ids that it rests on without citations, lenient).
        rounds: how often every step is measured.
    """
    read, clauses = [], []
    for text, facts, cited, lenient in texts:
        reading = reading_of(text, facts.ids)
        found = iter(ground_text(text, facts, cited, lenient=lenient))
        own = [(one, list(itertools.islice(found, len(one.reads)))) for one in sentences(reading, facts, cited)]
        read.append((reading, facts, cited))
        clauses.append((text, facts, own))
    calls = {
        "words": (read_words, [(one.small,) for one, *_ in read]),
        "numbers": (scan, [(one.plain, one.words.all, one.small) for one, *_ in read]),
        "reading": (lambda text, facts, *_: reading_of(text, facts.ids), texts),
        "contexts": (sentences, read),
        "comparisons": (
            lambda text, facts, own: [[*claims_of(text, one, numbers, facts)] for one, numbers in own], clauses
        ),
        "all": (lambda text, facts, cited, lenient: ground_text(text, facts, cited, lenient=lenient), texts),
    }  # fmt: skip
    spent = dict.fromkeys(calls, float("inf"))
    for _ in range(rounds):
        for name, (call, items) in calls.items():
            begun = time.thread_time()
            for one in items:
                call(*one)
            spent[name] = min(spent[name], 1e6 * (time.thread_time() - begun) / len(texts))
    reading = spent.pop("reading")
    spent["ids"] = reading - spent["words"] - spent["numbers"]
    spent["verdicts"] = spent["all"] - reading - spent["contexts"] - spent["comparisons"]
    return {name: spent[name] for name in STEPS}


def times(golds: list[Gold], chosen: list[Table]) -> dict[str, Any]:
    """How long a report and each step takes: {tables (Markdown by title), figures}."""
    prose = [
        (text, facts_of(one.case), evidence or None, False)
        for one in golds[::5]
        for _, text, evidence in one.report.prose()
    ]
    on_tables = []
    for table in chosen[::5]:
        facts = read_facts(table.evidence(), table.table)
        on_tables += [(one.text, facts, None, not one.cited) for one in [*tables.items(table, SEED)][::20]]
    figures = {"speed": speed(golds), "steps": {"prose": steps(prose), "tables": steps(on_tables)}}
    names = {
        "ground_report_us": "grounding of a report, µs",
        "verify_us": "verification of a report, µs",
        "score_us": "score_answer without text metrics, µs",
        "score_first_us": "the same of cases seen for the first time, µs",
        "report_json_us": "of which reading the report's JSON into its model, µs",
        "score_reports_per_second": "score_answer, reports a second and core",
    }
    rows = [[what, *(f"{one[key]:.0f}" for one in figures["steps"].values())] for key, what in STEPS.items()]
    shown = {
        "Speed, CPU time of one core": markdown(
            ["what", "value"], [[what, f"{figures['speed'][key]:,.0f}"] for key, what in names.items()]
        ),
        "Where the time goes, CPU µs a text": markdown(["step", "prose of a report", "sentence on a table"], rows),
    }
    return {"tables": shown, "figures": figures}


# --- what is told


def _cells(records: list[dict[str, Any]], system: str = "riskscribe") -> tuple[int, int]:
    flagged = [one["flagged"] if system == "riskscribe" else one["verdicts"][system] for one in records]
    return sum(flagged), len(flagged)


def kind_table(records: list[dict[str, Any]], fault: bool) -> str:
    """Per kind and language: n, and caught or false alarms in percent with interval."""
    chosen = [one for one in records if one["fault"] == fault]
    rows = []
    for kind in dict.fromkeys(one["kind"] for one in chosen):
        row: list[Any] = [kind]
        for language in ("en", "zh"):
            own = [one for one in chosen if one["kind"] == kind and one["language"] == language]
            hits, count = _cells(own)
            row += [count, wilson(hits, count)]
        rows.append(row)
    total: list[Any] = ["**all**"]
    for language in ("en", "zh"):
        hits, count = _cells([one for one in chosen if one["language"] == language])
        total += [count, wilson(hits, count)]
    what = "caught %" if fault else "false alarms %"
    return markdown(["kind", "n en", f"{what} en", "n zh", f"{what} zh"], [*rows, total])


def system_table(records: list[dict[str, Any]], spent: dict[str, float] | None = None) -> str:
    """Every system beside the others: caught, false alarms and, if given, microseconds a text."""
    rows = []
    modes = {"cited": True, "uncited": False} if any("cited" in one for one in records) else {"reports": None}
    systems = list(next((one["verdicts"] for one in records), {}))
    for mode, cited in modes.items():
        for language in ("en", "zh"):
            own = [one for one in records if one.get("cited") == cited and one["language"] == language]
            for name in systems:
                caught, false = (
                    _cells([one for one in own if one["fault"] == fault], name) for fault in (True, False)
                )
                time_spent = [f"{spent[name]:.0f}"] if spent else []
                rows.append([mode, language, name, caught[1], wilson(*caught), false[1], wilson(*false), *time_spent])
    head = ["texts", "language", "system", "faults", "caught %", "true texts", "false alarms %"]
    return markdown([*head, "µs a text"] if spent else head, rows)


def run(part: str, kinds: set[str] | None, per_kind: dict[str, int], counts: bool = True) -> dict[str, Any]:
    """Everything: {records, tables (Markdown by title), figures}."""
    parts = list(SPLITS) if part == "all" else [part]
    found = tables.load(PLANTED)  # a sentence that is not true is told before the minutes of the reports
    records: list[dict[str, Any]] = []
    shown: dict[str, str] = {}
    figures: dict[str, Any] = {"seed": SEED, "skipped": {}}
    golds: list[Gold] = []
    for name in parts:
        golds = load_golds(SPLITS[name], FIRST_ROW.get(name, 0))
        drawn, skipped = draw_edits(golds, per_kind[name], kinds, SEEDS[name])
        own = judge_edits(drawn, name)
        records += own
        figures["skipped"][name] = dict(skipped)
        if own:
            shown[f"Reports, {name}: planted faults"] = kind_table(own, True)
            shown[f"Reports, {name}: harmless edits"] = kind_table(own, False)
            shown[f"Reports, {name}: prose edits side by side"] = system_table(
                [one for one in own if "verdicts" in one]
            )
    for name in parts:
        chosen = [one for one in found if one.part == name]
        own, spent = judge_tables(chosen, kinds)
        records += own
        told, figures[f"tables_{name}"] = table_report(f"Tables, {name}", chosen, own, spent)
        shown |= told
    if counts and not kinds:
        own = random_numbers(found)
        records += own
        rows = []
        for mode in ("strict", "lenient"):
            for language in ("en", "zh"):
                hits, count = _cells([one for one in own if one["kind"] == mode and one["language"] == language])
                rows.append([mode, language, count, wilson(count - hits, count)])
        shown["Random numbers against 25 evidence lines"] = markdown(["mode", "language", "n", "accepted %"], rows)
        spent = times(golds, found)
        figures |= spent["figures"]
        shown |= spent["tables"]
    figures["counts"] = _counts(records)
    return {"records": records, "tables": shown, "figures": figures}


def run_tatqa(path: Path, kinds: set[str] | None = None) -> dict[str, Any]:
    """The same of the sentences that a file of TAT-QA makes, which nobody wrote for this benchmark."""
    chosen, left_out = read_tatqa(path)
    records, spent = judge_tables(chosen, kinds)
    shown, figures = table_report(f"TAT-QA {path.name}", chosen, records, spent)
    told = sum(len(one.sentences) for one in chosen)
    shown["Questions"] = markdown(["questions", "n"], [["told as sentences", told], *sorted(left_out.items())])
    figures |= {"sha256": sha256(path), "counts": _counts(records)}
    return {"records": records, "tables": shown, "figures": figures}


def table_report(
    name: str, chosen: list[Table], records: list[dict[str, Any]], spent: dict[str, float]
) -> tuple[dict[str, str], dict[str, Any]]:
    """Result tables of sentences on tables, by title, and the microseconds each system took a text."""
    if not records:
        return {}, {}
    shown = {f"{name} ({len(chosen)} tables): side by side": system_table(records, spent)}
    for cited, mode in ((True, "cited"), (False, "uncited, derivations allowed")):
        told = [one for one in records if one["cited"] == cited]
        shown[f"{name}, {mode}: planted faults"] = kind_table(told, True)
        shown[f"{name}, {mode}: true texts"] = kind_table(told, False)
    return shown, {"us_a_text": spent}


def _counts(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """n and flagged of every set, part, kind, language and mode."""
    cells: dict[tuple, list[int]] = defaultdict(lambda: [0, 0])
    for one in records:
        key = (one["set"], one["part"], one["kind"], one["fault"], one["language"], one.get("cited"))
        cells[key][0] += 1
        cells[key][1] += one["flagged"]
    names = ("set", "part", "kind", "fault", "language", "cited")
    return [dict(zip(names, key, strict=True)) | {"n": n, "flagged": hits} for key, (n, hits) in cells.items()]


def failures(records: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Faults that passed and true texts that were flagged, with what was expected."""
    return [
        {"expected": "flagged" if one["fault"] else "clean", **one}
        for one in records
        if one["fault"] != one["flagged"]
    ]


_MARK = "<!-- results: written by {}; do not edit below -->"


def write_page(path: Path, note: str, shown: dict[str, str]) -> None:
    """Replace everything below the mark of a page with a note on the run and its tables."""
    mark = _MARK.format(COMMAND)
    head = read_text(path).partition(mark)[0].rstrip()
    text = "\n\n".join(f"### {title}\n\n{table}" for title, table in shown.items())
    write_text(path, f"{head}\n\n{mark}\n\n{note}\n\n{text}\n")


def main() -> None:
    """Run the benchmark, print its tables and write summary.json and failures.jsonl."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--part", choices=[*SPLITS, "all"], default="all")
    parser.add_argument("--kind", action="append", help="only this kind of fault or edit (may be repeated)")
    parser.add_argument("--show", type=int, default=0, metavar="N", help="print N failures a kind")
    parser.add_argument("--per-kind", type=int, help="faults a kind and language (default 20 on dev, 90 else)")
    parser.add_argument("--out", type=Path, default=OUT, help="folder of summary.json and failures.jsonl")
    parser.add_argument("--page", type=Path, help="page whose result tables are replaced")
    parser.add_argument("--speed", action="store_true", help="only the times, of the validation split")
    parser.add_argument(
        "--tatqa", type=Path, metavar="FILE", help="instead of all: sentences made of a file of TAT-QA"
    )
    arguments = parser.parse_args()
    per_kind = dict.fromkeys(PER_KIND, arguments.per_kind) if arguments.per_kind else PER_KIND
    try:
        if arguments.speed:
            spent = times(load_golds(["val.jsonl"]), tables.load(PLANTED))
            print("\n\n".join(f"{title}\n\n{text}" for title, text in spent["tables"].items()))
            return
        kinds = set(arguments.kind or ())
        known = {*mutations.FAULTS, *mutations.HARMLESS, *tables.FAULTS, *tables.HARMLESS, "as written"}
        if unknown := kinds - known:
            raise InputError(f"--kind {min(unknown)}: is no kind; those are {', '.join(sorted(known))}")
        if arguments.tatqa and arguments.page:
            raise InputError("--page: holds the results of the project's own texts, not those of --tatqa")
        found = run_tatqa(arguments.tatqa, kinds) if arguments.tatqa else run(arguments.part, kinds or None, per_kind)
        missed = failures(found["records"])
        command = shlex.join(["python", "-m", "riskscribe.evaluate.bench", *sys.argv[1:]])
        write_json(arguments.out / "summary.json", {"command": command, **found["figures"]})
        write_lines(arguments.out / "failures.jsonl", missed)
        faults = sum(one["fault"] for one in found["records"])
        told = f"{faults:,} faults and {len(found['records']) - faults:,} true texts, {len(missed):,} failures"
        if arguments.page:
            sizes = ", ".join(f"{count} on {part}" for part, count in per_kind.items())
            note = f"Parts: {arguments.part}; faults a kind and language: {sizes}; {told}."
            write_page(arguments.page, note, found["tables"])
    except InputError as error:
        print(error, file=sys.stderr)
        sys.exit(2)
    for title, text in found["tables"].items():
        print(f"\n{title}\n\n{text}")
    by_kind: dict[tuple, list[dict]] = defaultdict(list)
    for one in missed:
        by_kind[one["set"], one["kind"], one["language"]].append(one)
    for key, listed in by_kind.items() if arguments.show else ():
        print(f"\n{' '.join(key)}: {len(listed)} failures")
        for one in random.Random(SEED).sample(listed, min(arguments.show, len(listed))):
            keep = ("expected", "cited", "text", "why", "findings", "numbers")
            print(json.dumps({name: one[name] for name in keep if name in one}, ensure_ascii=False, indent=1))
    print(f"\n{told} in {arguments.out}")


if __name__ == "__main__":
    main()
