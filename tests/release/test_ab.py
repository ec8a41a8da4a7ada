"""A/B over real HTTP: who answers, what is passed on, what is written down, and what scoring and comparing read."""

import json
import os
import shutil
import signal
import stat
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import openai
import psutil
import pytest
from click.testing import CliRunner

from riskscribe import manifest, prompt
from riskscribe.cli import main
from riskscribe.data.rows import read_rows
from riskscribe.errors import InputError
from riskscribe.evaluate.compare import compare
from riskscribe.files import read_lines
from riskscribe.release import ab, releases, serve

ROOT = Path(__file__).resolve().parents[2]
DATA = ROOT / "datasets" / "risk_report" / "v1" / "test_quick.jsonl"
ROWS = read_rows(DATA)[:12]
KEY = "k" * 24


class Endpoint(BaseHTTPRequestHandler):
    """An arm that answers as its class says, a stream where it is asked for one."""

    protocol_version = "HTTP/1.1"
    text, fails, hangs, breaks = "", 0, 0.0, False

    def log_message(self, *_):
        pass

    def _reply(self, status: int, kind: str, body: bytes, length: int | None = None) -> None:
        self.send_response(status)
        self.send_header("content-type", kind)
        self.send_header("content-length", str(len(body) if length is None else length))
        self.end_headers()
        self.wfile.write(body)

    def do_POST(self):
        asked = json.loads(self.rfile.read(int(self.headers["content-length"])))
        self.server.asked.append((asked, dict(self.headers)))
        time.sleep(self.hangs)
        if self.headers["authorization"] != f"Bearer {KEY}":
            return self._reply(401, "application/json", b"{}")
        if self.fails:
            return self._reply(self.fails, "application/json", b'{"error": {"message": "too busy"}}')
        if asked.get("stream"):
            parts = [{"choices": [{"index": 0, "delta": {"content": one}}]} for one in self.text]
            lines = [f"data: {json.dumps(one)}\n\n" for one in parts]
            return self._reply(200, "text/event-stream", "".join([*lines, "data: [DONE]\n\n"]).encode())
        message = {"role": "assistant", "content": self.text}
        whole = {"id": "x", "object": "chat.completion", "created": 0, "model": "m"}
        whole["choices"] = [{"index": 0, "message": message, "finish_reason": "stop"}]
        body = json.dumps(whole).encode()
        self.close_connection = self.breaks
        return self._reply(200, "application/json", body, len(body) + 9 if self.breaks else None)


@contextmanager
def arm(text: str, **how):
    """An endpoint on a free port; yields (arm, what it was asked)."""
    server = ThreadingHTTPServer((serve.HOST, 0), type("One", (Endpoint,), {"text": text, **how}))
    server.asked, server.daemon_threads = [], True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://{serve.HOST}:{server.server_port}/v1", server.asked
    finally:
        server.shutdown()
        server.server_close()


@contextmanager
def switch(a: str, b: str, log: Path, **how):
    """The switch as `riskscribe ab serve` runs it; yields a client."""
    import uvicorn

    made = ab.Switch(ab.endpoint(f"v1={a}"), ab.endpoint(f"v2={b}"), KEY, ab.Log(log), **how)
    port = serve.free_port()
    one = uvicorn.Server(uvicorn.Config(made.app(), host=serve.HOST, port=port, log_level="critical"))
    thread = threading.Thread(target=one.run, daemon=True)
    thread.start()
    while not one.started:
        time.sleep(0.01)
    try:
        yield openai.OpenAI(base_url=f"http://{serve.HOST}:{port}/v1", api_key=KEY, max_retries=0, timeout=30)
    finally:
        one.should_exit = True
        thread.join(20)


def ask(client, row, **options):
    return client.chat.completions.with_raw_response.create(
        model="m", messages=prompt.messages(row.case), temperature=0, **options
    )


def test_a_case_always_goes_to_one_arm_and_the_log_says_which(tmp_path):
    with arm("A") as (a, got_a), arm("B") as (b, got_b), switch(a, b, tmp_path / "ab.jsonl", share=50) as client:
        first = [ask(client, row) for row in ROWS]
        again = [ask(client, row) for row in ROWS]
    told = [one.headers["x-riskscribe-release"] for one in first]
    assert told == [one.headers["x-riskscribe-release"] for one in again] and set(told) == {"v1", "v2"}
    assert [one.parse().choices[0].message.content for one in first] == ["AB"[one == "v2"] for one in told]
    assert len(got_a) == 2 * told.count("v1") and len(got_b) == 2 * told.count("v2")
    lines = read_lines(tmp_path / "ab.jsonl")
    assert [one["case_id"] for one in lines] == 2 * [row.case.case_id for row in ROWS]
    assert [one["release"] for one in lines] == told * 2 and all(one["latency_s"] >= 0 for one in lines)
    assert [one["request_id"] for one in lines[: len(first)]] == [one.headers["x-request-id"] for one in first]
    # nothing of the case or the answer is kept unless asked for
    keys = {"time", "request_id", "case_id", "mode", "arm", "release", "status", "latency_s"}
    assert all(set(one) == keys for one in lines)
    assert stat.S_IMODE((tmp_path / "ab.jsonl").stat().st_mode) == 0o600


def test_the_share_is_kept():
    names = [f"c-{number:08x}" for number in range(4000)]
    for share in (0, 10, 50, 100):
        made = ab.Switch(ab.Arm("a", ""), ab.Arm("b", ""), KEY, ab.Log(Path(os.devnull)), share=share)
        part = sum(made.arm_of(one) == "b" for one in names) / len(names)
        assert part == share / 100 if share in (0, 100) else abs(part - share / 100) < 0.03


def test_without_a_case_the_request_decides(tmp_path):
    with arm("A") as (a, _), arm("B") as (b, _), switch(a, b, tmp_path / "ab.jsonl") as client:
        turns = [{"role": "user", "content": "Good morning"}]
        found = [
            client.chat.completions.with_raw_response.create(
                model="m", messages=turns, extra_headers={"x-request-id": f"r{number % 20}"}
            ).headers["x-riskscribe-arm"]
            for number in range(40)
        ]
    assert found[:20] == found[20:] and set(found) == {"a", "b"}
    assert {one["case_id"] for one in read_lines(tmp_path / "ab.jsonl")} == {None}


def test_streams_pass_through_and_answers_are_kept_where_asked(tmp_path):
    how = {"share": 0, "answers": True}
    with arm("Größe") as (a, got), arm("B") as (b, _), switch(a, b, tmp_path / "ab.jsonl", **how) as client:
        stream = client.chat.completions.create(model="m", messages=prompt.messages(ROWS[0].case), stream=True)
        assert "".join(one.choices[0].delta.content for one in stream) == "Größe"
        assert ask(client, ROWS[1]).parse().choices[0].message.content == "Größe"
    assert [one["predict"] for one in read_lines(tmp_path / "ab.jsonl")] == ["Größe", "Größe"]
    # what was asked arrives as it was, with the arm's own key
    assert got[1][0] == {"model": "m", "messages": prompt.messages(ROWS[1].case), "temperature": 0}


def test_an_arm_that_fails_is_told_apart(tmp_path):
    log = tmp_path / "ab.jsonl"
    with arm("", fails=429) as (busy, _), arm("", hangs=3) as (slow, _), arm("A", breaks=True) as (broken, _):
        gone = f"http://{serve.HOST}:{serve.free_port()}/v1"
        for url, kind, told in (
            (busy, openai.RateLimitError, "too busy"),
            (gone, openai.InternalServerError, "v1 does not answer"),
            (slow, openai.InternalServerError, "v1 did not answer in time"),
            (broken, openai.APIConnectionError, "Connection error"),
        ):
            with switch(url, gone, log, share=0, timeout=0.5, answers=True) as client, pytest.raises(kind, match=told):
                ask(client, ROWS[0]).parse()
    lines = read_lines(log)
    assert [one["status"] for one in lines] == [429, 502, 504, 200] and lines[3]["error"] == "cut off"
    assert not any("predict" in one for one in lines)
    with pytest.raises(InputError, match="holds v1; a log of two releases"):
        ab.score_log(log, DATA, tmp_path / "out")


def test_a_full_disk_costs_the_record_and_not_the_answer(capfd):
    with arm("A") as (a, _), arm("B") as (b, _), switch(a, b, Path("/dev/full")) as client:
        assert [ask(client, row).status_code for row in ROWS[:3]] == [200] * 3
    assert capfd.readouterr().err.count("/dev/full: no space left on device") == 1


def test_a_slow_second_arm_holds_nothing_up(tmp_path, monkeypatch):
    monkeypatch.setattr(ab, "SHADOWS", 2)
    with arm("A") as (a, got_a), arm("B", hangs=3) as (b, got_b):
        with switch(a, b, tmp_path / "ab.jsonl", both=True) as client:
            assert [ask(client, row).status_code for row in ROWS[:4]] == [200] * 4
        lines = read_lines(tmp_path / "ab.jsonl")
    assert len(got_a) == 4 and len(got_b) == 2 and len(lines) == 8, "the awaited ones are in when it has ended"
    left = [one for one in lines if "error" in one]
    assert [(one["arm"], one["status"]) for one in left] == [("b", 0)] * 2
    assert all("not asked: 2 answers" in one["error"] for one in left)


def post(client, body: bytes, key: str = KEY, path: str = "chat/completions") -> tuple[int, str]:
    headers = {"Authorization": f"Bearer {key}"}
    request = urllib.request.Request(f"{client.base_url}{path}", body, headers)
    try:
        with urllib.request.urlopen(request, timeout=10) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def test_what_is_refused_before_any_arm_is_asked(tmp_path):
    with arm("A") as (a, got_a), arm("B") as (b, got_b), switch(a, b, tmp_path / "ab.jsonl") as client:
        assert post(client, b"{}", "wrong")[0] == 401
        for body in (b"hello", b"[]", b"\xff", b"[" * 100_000):
            status, told = post(client, body)
            assert status == 400 and json.loads(told)["error"]["message"] == "the body is not a JSON object"
        assert post(client, b" " * (ab.BODY_LIMIT + 1))[0] == 413
        assert post(client, b"{}", path="completions")[0] == 404
        assert not got_a and not got_b
        # a body that says little is the arm's to judge
        assert post(client, b'{"messages": [1]}')[0] == 200
    assert len(read_lines(tmp_path / "ab.jsonl")) == 1


def test_endpoints_are_named_and_never_sent_the_key_in_the_clear():
    assert ab.endpoint("http://127.0.0.1:8001/v1/") == ab.Arm("127.0.0.1-8001", "http://127.0.0.1:8001/v1")
    assert ab.endpoint("v2=https://models.bank/v1") == ab.Arm("v2", "https://models.bank/v1")
    assert ab.endpoint("used") is None and ab.endpoint("risk_report-smollm2-135m-v1.0.0") is None
    for text, told in (
        ("http://models.bank/v1", "use https"),
        ("../x=http://127.0.0.1:1/v1", "letters, digits"),
        ("http://127.0.0.1:99999/v1", "is no URL"),
        ("https://me:secret@models.bank/v1", "is no base URL"),
    ):
        with pytest.raises(InputError, match=told):
            ab.endpoint(text)
    with pytest.raises(InputError, match="both arms are called x"):
        ab.Switch(ab.Arm("x", "1"), ab.Arm("x", "2"), KEY, ab.Log(Path(os.devnull)))


def wait_for(log: Path, count: int) -> list[dict]:
    for _ in range(200):
        if len(found := read_lines(log)) >= count:
            return found
        time.sleep(0.02)
    raise AssertionError(f"{len(found)} lines of {count}")


def test_both_arms_give_pairs_that_compare_takes(tmp_path):
    """A writes the gold report of one case for all, B nothing readable: every metric is paired."""
    good, log = ROWS[0].report.to_json(), tmp_path / "ab.jsonl"
    with arm(good) as (a, got_a), arm("no", hangs=1.0) as (b, got_b):
        with switch(a, b, log, both=True, answers=True) as client:
            begun = time.perf_counter()
            first = [ask(client, row) for row in ROWS]
            ask(client, ROWS[0])
            assert time.perf_counter() - begun < len(ROWS), "B is not waited for"
        lines = wait_for(log, 2 * len(ROWS) + 2)
    assert {one.headers["x-riskscribe-release"] for one in first} == {"v1"}
    assert len(got_a) == len(got_b) == len(ROWS) + 1
    assert {one["request_id"] for one in lines if one["arm"] == "b"} == {one["request_id"] for one in lines}
    out = tmp_path / "out"
    done = CliRunner().invoke(main, ["ab", "score", str(log), "--data", str(DATA), "--out", str(out)])
    assert done.exit_code == 0 and f"paired: riskscribe compare {out}/v1 {out}/v2" in done.output
    assert "left out: 2 (asked again)" in done.output
    found = compare([out / "v1", out / "v2"], "A/B")
    assert found["title"] == "A/B"
    valid = [sum(one["schema_valid"] for one in read_lines(out / name / "records.jsonl")) for name in ("v1", "v2")]
    assert valid == [len(ROWS), 0]


def test_a_switch_gives_two_descriptions_and_compare_refuses_them(tmp_path):
    log, out = tmp_path / "ab.jsonl", tmp_path / "out"
    with arm("A") as (a, _), arm("B") as (b, _):
        with switch(a, b, log) as client:
            for row in ROWS:
                ask(client, row)
        with pytest.raises(InputError, match=r"no answer of v1 to score \(\d+ answer not kept\); start .* --answers"):
            ab.score_log(log, DATA, out)
        assert not out.exists()
        with switch(a, b, log, answers=True) as client:
            for row in ROWS:
                ask(client, row)
    found = ab.score_log(log, DATA, out)
    assert found["paired"] is False and found["left_out"] == {"answer not kept": len(ROWS)}
    assert sum(one["cases"] for one in found["arms"].values()) == len(ROWS)
    with pytest.raises(InputError, match="were not scored on the same data"):
        compare([out / "v1", out / "v2"], "A/B")


def test_bad_input_of_the_commands(tmp_path, monkeypatch, in_root):
    def told(*words) -> str:
        done = CliRunner().invoke(main, ["ab", *map(str, words)])
        assert done.exit_code == 2
        return done.output

    url, port = "http://127.0.0.1:1/v1", str(serve.free_port())
    given = ("serve", "--a", f"x={url}", "--port", port, "--log")
    monkeypatch.delenv(serve.KEY, raising=False)
    assert "RISKSCRIBE_API_KEY is not set" in told(*given, tmp_path / "l", "--b", f"y={url}")
    monkeypatch.setenv(serve.KEY, KEY)
    assert "both arms are called x" in told(*given, tmp_path / "l", "--b", f"x={url}")
    assert "is a directory" in told(*given, tmp_path, "--b", f"y={url}")
    assert "no such release" in told(*given, tmp_path / "l", "--b", "risk_report-x-v9.0.0")
    (tmp_path / "other.jsonl").write_text('{"case_id": "c-1", "predict": "x"}\n')
    assert "line 1: is no line of `riskscribe ab serve`" in told(
        "score", tmp_path / "other.jsonl", "--data", DATA, "--out", tmp_path / "out"
    )


@pytest.mark.slow
def test_a_release_and_an_endpoint_really_served(tiny_model, tmp_path, monkeypatch):
    """The command itself, with LLaMA-Factory's server for both arms; ended by SIGTERM, it ends the one it started."""
    from riskscribe.stages import environment, llamafactory_cli

    monkeypatch.chdir(tmp_path)
    Path("recipes").symlink_to(ROOT / "recipes")
    folder = releases.HOME / "risk_report-tiny-v1.0.0"
    shutil.copytree(tiny_model, folder / "merged")
    record = manifest.start(folder, "release")
    manifest.finish(folder, record, [f"merged/{one.name}" for one in (folder / "merged").iterdir()])
    releases.use(folder.name)
    call = serve.command(llamafactory_cli(), Path("recipes/smollm2_135m/api.yaml"), tiny_model)
    log, free, port = tmp_path / "ab.jsonl", serve.free_port(), serve.free_port()
    with serve.running(call, environment(), KEY, free, tmp_path / "b.log") as url:
        words = ["ab", "serve", "--a", "used", "--b", f"v2={url}", "--log", str(log), "--both", "--answers"]
        process = subprocess.Popen(
            [sys.executable, "-c", "from riskscribe.cli import main; main()", *words, "--port", str(port)],
            env=environment(RISKSCRIBE_API_KEY=KEY),
        )
        try:
            serve._wait(process, KEY, port, log)
            (started,) = psutil.Process(process.pid).children()
            assert KEY not in " ".join(started.cmdline())
            client = openai.OpenAI(base_url=f"http://{serve.HOST}:{port}/v1", api_key=KEY, max_retries=0, timeout=120)
            for row in ROWS[:3]:
                streams = row is ROWS[1]
                answer = ask(client, row, max_tokens=8, stream=streams)
                assert answer.headers["x-riskscribe-release"] == folder.name
                found = answer.parse()
                assert list(found) if streams else found.choices[0].message.content
            wait_for(log, 6)
        finally:
            process.send_signal(signal.SIGTERM)
            assert process.wait(60) == 0
        assert not started.is_running()
    lines = read_lines(log)
    texts = {name: [one["predict"] for one in lines if one["release"] == name] for name in (folder.name, "v2")}
    assert len(lines) == 6 and sorted(texts["v2"]) == sorted(texts[folder.name]) and all(texts["v2"])
    found = ab.score_log(log, DATA, tmp_path / "out")
    assert found["paired"] and found["left_out"] == {}
    assert compare([tmp_path / "out" / folder.name, tmp_path / "out" / "v2"], "A/B")
