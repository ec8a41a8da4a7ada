"""`make bench`: many clients at once ask the real server for answers held to a schema, over HTTP on 127.0.0.1.

Every answer must be complete and follow its schema. The queue is shorter than there are clients, so that some are
turned away with a 429 and come again; any other failure is an error.
"""

import json
import re
import secrets
import statistics
import sys
import threading
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import click

from riskscribe.errors import InputError
from riskscribe.files import write_json
from riskscribe.release import serve
from riskscribe.stages import BASE, environment, llamafactory_cli

RECIPE = Path("recipes/smollm2_135m/api.yaml")
OUT = Path("exports/bench_load")
# an answer of this one always fits into MAX_TOKENS
SCHEMA = {
    "type": "object",
    "properties": {
        "limit_id": {"enum": ["LIM-K7", "LIM-Q2", "LIM-XD"]},
        "status": {"enum": ["warning", "breach", "unconfirmed"]},
        "utilisation_pct": {"type": "integer", "minimum": 0, "maximum": 999},
        "escalate": {"type": "boolean"},
    },
    "required": ["limit_id", "status", "utilisation_pct", "escalate"],
    "additionalProperties": False,
}
MAX_TOKENS = 48
# of these many at a time two are turned away
SPARE = 2
AGAIN_SECONDS = 0.5
EVERY_SECONDS = 1.0
_LINE = re.compile(r"/v1/chat/completions 200 .* queue=([\d.]+)s total=([\d.]+)s schema=(\w+)")


@dataclass
class Tally:
    """What the clients met."""

    seconds: list[float] = field(default_factory=list)
    by_client: Counter = field(default_factory=Counter)
    refused: int = 0
    errors: list[str] = field(default_factory=list)
    memory: list[float] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)


def _question(number: int) -> str:
    rows = ((f"LIM-{name}", 40 + 37 * (number + i) % 120) for i, name in enumerate(("K7", "Q2", "XD")))
    lines = (f"{name} delta limit, hard 5.00m, utilisation {used}%" for name, used in rows)
    return "Which limit is used most? Name it, its status and utilisation.\n" + "\n".join(lines)


def _follows(text: str) -> bool:
    try:
        value = json.loads(text)
    except ValueError:
        return False
    known = SCHEMA["properties"]
    return (
        list(value) == list(known)
        and all(value[key] in known[key]["enum"] for key in ("limit_id", "status"))
        and type(value["utilisation_pct"]) is int
        and type(value["escalate"]) is bool
    )


def _client(name: int, url: str, key: str, tally: Tally, over) -> None:
    """Ask until `over(name)`; a refused request is asked again after a while, an error ends this client."""
    import openai

    client = openai.OpenAI(base_url=url, api_key=key, timeout=300, max_retries=0)
    form = {"type": "json_schema", "json_schema": {"name": "limit", "schema": SCHEMA}}
    number = name
    while not over(name):
        begun = time.perf_counter()
        turns = [{"role": "user", "content": _question(number)}]
        try:
            answer = client.chat.completions.create(
                model="riskscribe", messages=turns, response_format=form, max_tokens=MAX_TOKENS, temperature=0
            )
        except openai.RateLimitError:
            with tally.lock:
                tally.refused += 1
            time.sleep(AGAIN_SECONDS)
            continue
        except openai.OpenAIError as error:
            with tally.lock:
                tally.errors.append(f"client {name}: {type(error).__name__}: {error}")
            return
        choice, number = answer.choices[0], number + 97
        with tally.lock:
            if choice.finish_reason != "stop" or not _follows(choice.message.content or ""):
                tally.errors.append(f"client {name}: {choice.finish_reason}: {choice.message.content!r}")
            tally.seconds.append(time.perf_counter() - begun)
            tally.by_client[name] += 1


def _server_process():
    """The server that `serve.running` has started, the only child that serves."""
    import psutil

    return next(one for one in psutil.Process().children() if "api" in one.cmdline())


def measure(model: Path, clients: int, answers: int, each: int, seconds: float, log: Path) -> dict[str, Any]:
    """Serve `model` and ask it; returns the figures.

    Args:
        model: folder of a checkpoint.
        clients: how many ask at once.
        answers: how many are enough; 0: ask for the whole time.
        each: how many every client must have had.
        seconds: the longest it may take.
        log: the server's output.
    """
    key, port, tally = secrets.token_urlsafe(24), serve.free_port(), Tally()
    arguments = serve.command(llamafactory_cli(), RECIPE, model)
    settings = environment(API_QUEUE=str(max(1, clients - SPARE)))
    with serve.running(arguments, settings, key, port, log) as url:
        process, begun = _server_process(), time.perf_counter()

        def over(name: int) -> bool:
            with tally.lock:
                enough = answers and len(tally.seconds) >= answers and tally.by_client[name] >= each
            return bool(enough) or time.perf_counter() - begun > seconds

        threads = [
            threading.Thread(target=_client, args=(name, url, key, tally, over), daemon=True)
            for name in range(clients)
        ]
        for one in threads:
            one.start()
        with click.progressbar(length=answers or int(seconds), label="answers" if answers else "seconds") as bar:
            shown = 0
            while any(one.is_alive() for one in threads):
                tally.memory.append(process.memory_info().rss / 2**20)
                done = len(tally.seconds) if answers else int(time.perf_counter() - begun)
                bar.update(min(done, bar.length) - shown)
                shown = min(done, bar.length)
                time.sleep(EVERY_SECONDS)
        took = time.perf_counter() - begun
    return _figures(tally, clients, took, log)


def _p95(values: list[float]) -> float:
    return statistics.quantiles(values, n=20)[-1] if len(values) > 1 else sum(values)


def _figures(tally: Tally, clients: int, took: float, log: Path) -> dict[str, Any]:
    lines = _LINE.findall(log.read_text(encoding="utf-8", errors="replace"))
    waited = [float(queue) for queue, _, _ in lines]
    # the first quarter warms up: caches and the allocator's arenas fill
    quarter = max(1, len(tally.memory) // 4)
    early, late = (statistics.median(part) for part in (tally.memory[quarter : 2 * quarter] or tally.memory,
                                                        tally.memory[-quarter:]))  # fmt: skip
    return {
        "clients": clients,
        "answers": len(tally.seconds),
        "fewest_a_client": min((tally.by_client[name] for name in range(clients)), default=0),
        "seconds": round(took, 1),
        "answers_a_minute": round(60 * len(tally.seconds) / took, 1),
        "latency_median_s": round(statistics.median(tally.seconds), 2) if tally.seconds else None,
        "latency_p95_s": round(_p95(tally.seconds), 2),
        "queue_median_s": round(statistics.median(waited), 2) if waited else None,
        "queue_p95_s": round(_p95(waited), 2),
        "valid_by_the_server": sum(schema == "valid" for _, _, schema in lines),
        "refused_429": tally.refused,
        "errors": tally.errors,
        "memory_early_mib": round(early),
        "memory_late_mib": round(late),
        "max_tokens": MAX_TOKENS,
    }


@click.command()
@click.option("--clients", default=8, show_default=True, type=click.IntRange(3, 64))
@click.option("--answers", default=100, show_default=True, type=click.IntRange(0), help="0: for the whole time")
@click.option("--each", default=3, show_default=True, help="answers every client must have had")
@click.option("--minutes", default=10.0, show_default=True, help="the longest it may take")
@click.option("--model", default=BASE, show_default=True, type=click.Path(path_type=Path))
def main(clients: int, answers: int, each: int, minutes: float, model: Path) -> None:
    """Load the server with clients at once; exit code 1 unless every answer was complete and in time."""
    try:
        found = measure(model, clients, answers, each, 60 * minutes, OUT / "server.log")
    except InputError as error:
        click.echo(f"riskscribe: {error}", err=True)
        sys.exit(2)
    write_json(OUT / f"load_{clients}.json", found)
    for name, value in found.items():
        click.echo(f"{name}: {value}")
    sys.exit(bool(found["errors"]) or found["answers"] < answers or found["fewest_a_client"] < each)


if __name__ == "__main__":
    main()
