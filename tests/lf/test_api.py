"""The server: a real one on 127.0.0.1 with the tiny model, spoken to over HTTP."""

import json
import logging
import os
import socket
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import jsonschema
import openai
import pytest
import torch
import yaml
from click.testing import CliRunner

from riskscribe import prompt, reporting
from riskscribe.cli import main
from riskscribe.data.rows import read_rows
from riskscribe.errors import InputError
from riskscribe.evaluate.grounding import ground_report
from riskscribe.lf.api import RETRY_SECONDS, Penalties, Places

ROOT = Path(__file__).resolve().parents[2]
KEY = "k" * 24
SECRET = "zebra-7781"
SCHEMA = {
    "type": "object",
    "properties": {"zeta": {"enum": ["low", "high"]}, "alpha": {"type": "boolean"}},
    "required": ["zeta", "alpha"],
    "additionalProperties": False,
}
FORMAT = {"type": "json_schema", "json_schema": {"name": "x", "schema": SCHEMA}}


class Recorder(logging.Handler):
    def __init__(self):
        super().__init__()
        self.lines = []

    def emit(self, record):
        self.lines.append(record.getMessage())


@pytest.fixture(scope="module")
def server(tiny_model):
    """(address, the engine, its log lines)"""
    import uvicorn
    from llamafactory.api import app
    from llamafactory.chat import ChatModel

    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("API_KEY", KEY)
        patch.setenv("API_QUEUE", "3")
        patch.setenv("API_VERBOSE", "0")
        recipe = yaml.safe_load((ROOT / "recipes" / "smollm2_135m" / "api.yaml").read_text())
        chat = ChatModel({**recipe, "model_name_or_path": str(tiny_model), "max_new_tokens": 24})
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = probe.getsockname()[1]
        one = uvicorn.Server(uvicorn.Config(app.create_app(chat), host="127.0.0.1", port=port, log_level="warning"))
        thread = threading.Thread(target=one.run, daemon=True)
        thread.start()
        recorder = Recorder()
        logging.getLogger("riskscribe.api").addHandler(recorder)
        while not one.started:
            time.sleep(0.05)
        logging.getLogger("riskscribe.api").setLevel(logging.INFO)
        yield f"http://127.0.0.1:{port}", chat.engine, recorder.lines
        one.should_exit = True
        thread.join(20)


@pytest.fixture
def client(server):
    return openai.OpenAI(base_url=server[0] + "/v1", api_key=KEY, max_retries=0, timeout=60)


def ask(client, text="Case", **options):
    return client.chat.completions.create(model="m", messages=[{"role": "user", "content": text}], **options)


def text_of(stream) -> tuple[str, str]:
    chunks = [one.choices[0] for one in stream]
    return "".join(one.delta.content or "" for one in chunks), chunks[-1].finish_reason


def post(address: str, body: bytes, key: str | None = KEY, path="/v1/chat/completions") -> tuple[int, str]:
    headers = {"Content-Type": "application/json"} | ({"Authorization": f"Bearer {key}"} if key else {})
    request = urllib.request.Request(address + path, body, headers)
    try:
        with urllib.request.urlopen(request, timeout=60) as answer:
            return answer.status, answer.read().decode()
    except urllib.error.HTTPError as error:
        return error.code, error.read().decode()


def metrics(address: str) -> dict[str, float]:
    request = urllib.request.Request(address + "/metrics", headers={"Authorization": f"Bearer {KEY}"})
    with urllib.request.urlopen(request, timeout=10) as answer:
        lines = answer.read().decode().splitlines()
    return {one.rsplit(" ", 1)[0]: float(one.rsplit(" ", 1)[1]) for one in lines if not one.startswith("#")}


ANSWERED = 'riskscribe_requests_total{path="/v1/chat/completions",status="200"}'


def counted(address: str, before: dict[str, float], answers: int) -> dict[str, float]:
    """The metrics once that many answers more are told: a stream's client may ask before its request has ended."""
    deadline = time.monotonic() + 10
    while (found := metrics(address)).get(ANSWERED, 0) - before.get(ANSWERED, 0) < answers:
        assert time.monotonic() < deadline
        time.sleep(0.02)
    return found


def test_schema_is_honoured_streaming_too_and_counted(server, client):
    before = metrics(server[0])
    whole = ask(client, response_format=FORMAT).choices[0]
    streamed, reason = text_of(ask(client, response_format=FORMAT, stream=True))
    assert whole.message.content == streamed and whole.finish_reason == reason == "stop"
    value = json.loads(streamed)
    jsonschema.validate(value, SCHEMA)
    assert list(value) == ["zeta", "alpha"]
    after = counted(server[0], before, 2)
    valid = 'riskscribe_answers_total{schema="valid"}'
    assert after[valid] - before.get(valid, 0) == 2
    tokens = 'riskscribe_tokens_total{kind="completion"}'
    assert after[tokens] > before.get(tokens, 0)


def test_json_object_and_an_answer_cut_short(server, client):
    before = metrics(server[0])
    cut = ask(client, response_format={"type": "json_object"}, max_tokens=3).choices[0]
    assert cut.finish_reason == "length" and cut.message.content.startswith("{")
    streamed, reason = text_of(ask(client, response_format={"type": "json_object"}, max_tokens=3, stream=True))
    assert (streamed, reason) == (cut.message.content, "length")
    invalid = 'riskscribe_answers_total{schema="invalid"}'
    assert counted(server[0], before, 2)[invalid] - before.get(invalid, 0) == 2


@pytest.mark.parametrize("stream", [False, True])
def test_a_schema_that_cannot_be_is_a_400_with_the_reason(client, stream):
    bad = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"type": "foo"}}}
    with pytest.raises(openai.BadRequestError, match="foo"):
        ask(client, response_format=bad, stream=stream)
    with pytest.raises(openai.BadRequestError, match=r"u/a/u"):
        turns = [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]
        client.chat.completions.create(model="m", messages=turns, stream=stream)


def test_a_report_is_asked_for_held_to_its_schema_unless_free(server):
    case = read_rows(ROOT / "datasets" / "risk_report" / "v1" / "test_quick.jsonl")[0].case
    url = server[0] + "/v1"
    assert reporting.ask_api(case, url, KEY).startswith('{"schema_version":"1","limit_breaches":[')
    assert not reporting.ask_api(case, url, KEY, constrained=False).startswith("{")
    with pytest.raises(InputError, match="key was refused"):
        reporting.ask_api(case, url, "wrong")


@pytest.mark.parametrize("stream", [False, True])
def test_numbers_of_a_report_are_counted_where_the_request_holds_the_case(server, client, stream):
    row = read_rows(ROOT / "datasets" / "risk_report" / "v1" / "test_quick.jsonl")[0]
    report = row.report.model_dump(mode="json")
    verdicts = [one.verdict for _, one in ground_report(row.case, row.report)]
    assert verdicts and "unsupported" not in verdicts
    report["summary"] += " Invented: 987,654,321 USD."
    # a schema that only one text follows: what the tiny model says is known
    only = {"type": "json_schema", "json_schema": {"name": "x", "schema": {"const": report}}}
    for with_case in (False, True):
        before, lines = metrics(server[0]), len(server[2])
        asked = {"model": "m", "messages": prompt.messages(row.case), "response_format": only, "max_tokens": 4000}
        sent = {"case": row.case.model_dump(mode="json")} if with_case else {}
        found = client.chat.completions.create(**asked, stream=stream, extra_body=sent)
        said = text_of(found)[0] if stream else found.choices[0].message.content
        assert json.loads(said) == report
        after = counted(server[0], before, 1)
        told = {
            one: after.get(name, 0) - before.get(name, 0)
            for one in ("quoted", "derived", "ignored", "unsupported")
            if (name := f'riskscribe_numbers_total{{verdict="{one}"}}')
        }
        expected = {one: verdicts.count(one) for one in told} | {"unsupported": 1}
        assert told == (expected if with_case else dict.fromkeys(told, 0))
        line = f"numbers={len(verdicts) + 1} unsupported=1"
        assert any(line in one for one in server[2][lines:]) == with_case


@pytest.mark.parametrize("stream", [False, True])
def test_a_case_that_is_not_the_prompts_is_refused(client, stream):
    rows = read_rows(ROOT / "datasets" / "risk_report" / "v1" / "test_quick.jsonl")
    case, other = rows[0].case, rows[1].case
    broken = case.model_dump(mode="json") | {"as_of": "yesterday"}
    for said, status, sent in (
        ("the prompt's is", 400, other.model_dump(mode="json")), ("case.as_of", 422, broken), ("case", 422, "a case"),
    ):  # fmt: skip
        with pytest.raises(openai.APIStatusError, match=said) as found:
            client.chat.completions.create(
                model="m", messages=prompt.messages(case), stream=stream, extra_body={"case": sent}
            )
        assert found.value.status_code == status
    with pytest.raises(openai.BadRequestError, match="the prompt's is none"):
        ask(client, stream=stream, extra_body={"case": case.model_dump(mode="json")})


def test_stop_is_honoured(client):
    free = ask(client).choices[0].message.content
    stop = free[len(free) // 2 : len(free) // 2 + 3]
    assert len(free) > 10 and stop
    wanted = free[: free.index(stop)]
    for given in (stop, ["never in it", stop]):
        whole = ask(client, stop=given).choices[0]
        assert (whole.message.content, whole.finish_reason) == (wanted, "stop")
        assert text_of(ask(client, stop=given, stream=True)) == (wanted, "stop")


def test_penalties(client):
    free = ask(client).choices[0].message.content
    assert ask(client, presence_penalty=0, frequency_penalty=0).choices[0].message.content == free
    ids, scores = torch.tensor([[7, 7, 2, 2, 3]]), torch.zeros(1, 9)
    found = Penalties(0.5, 0.25, prompt=2)(ids, scores)[0].tolist()
    assert found == [0, 0, -1.0, -0.75, 0, 0, 0, 0, 0]
    with pytest.raises(openai.UnprocessableEntityError, match="presence_penalty"):
        ask(client, presence_penalty=3)


def test_bad_requests_are_clear_and_the_server_stays_up(server, client):
    address = server[0]
    good = json.dumps({"model": "m", "messages": [{"role": "user", "content": "x"}], "max_tokens": 2}).encode()

    def refused(*given, **options) -> tuple[int, str]:
        status, text = post(*given, **options)
        return status, json.loads(text)["error"]["message"]

    for key in (None, "wrong"):
        status, message = refused(address, good, key=key)
        assert status == 401 and "Authorization: Bearer" in message
    status, message = refused(address, b"x" * (10 << 20))
    assert status == 413 and f"larger than {1 << 20} bytes" in message
    for body, told in (
        (b"{not json", "the body is not JSON: Expecting property name"),
        (b"\xff\xfe", "body"),
        (b"[" * 5000, "body"),
        (b'{"model": 1}', "messages: Field required"),
        (b"null", "the body: Input should be"),
    ):
        status, message = refused(address, body)
        assert status in (400, 422) and told in message, message
    assert post(address, b'{"model":"m","messages":[{"role":"user","content":"\\ud800"}]}')[0] in (400, 422)
    long = json.dumps({"model": "m", "messages": [{"role": "user", "content": "a b c d " * 20000}]}).encode()
    assert post(address, long)[0] == 400
    assert post(address, good)[0] == 200


def test_log_has_id_and_times_and_never_the_text(server, client):
    server[2].clear()
    ask(client, f"{SECRET} of the desk", max_tokens=2, extra_headers={"x-request-id": "abc-1"})
    post(server[0], f"{{{SECRET}".encode())
    for _ in range(40):
        if len(server[2]) >= 2:
            break
        time.sleep(0.05)
    assert "request abc-1 POST /v1/chat/completions 200" in server[2][0] and "total=" in server[2][0]
    assert not any(SECRET in one for one in server[2])


def test_a_full_queue_is_a_429(server, client, monkeypatch):
    slow(server[1], monkeypatch)

    def one(_):
        try:
            return ask(client, max_tokens=3).choices[0].finish_reason
        except openai.RateLimitError as error:
            return error.status_code

    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(one, range(8)))
    assert set(found) == {"length", 429} and found.count("length") >= 3, found
    assert ask(client, max_tokens=2).choices[0].finish_reason == "length"


def test_who_was_turned_away_is_served_before_who_was_just_answered():
    places, served = Places(6), dict.fromkeys("abcdefgh", 0)
    queue = [one for one in served if places.take(one, 0.0)]
    assert queue == list("abcdef")
    for second in range(1, 81):
        places.leave()
        done = queue.pop(0)
        served[done] += 1
        # the one just answered is always the quickest to ask again
        for one in [done, *(one for one in served if one != done and one not in queue)]:
            if places.take(one, float(second)):
                queue.append(one)
    assert max(served.values()) - min(served.values()) <= 1, served


def test_a_place_is_not_kept_for_who_never_comes_back():
    places = Places(2)
    assert [places.take(one, 0.0) for one in "abcd"] == [True, True, False, False]
    places.leave()
    assert not places.take("a", 1.0), "c waits longer"
    assert places.take("a", 1.1 + 2 * RETRY_SECONDS), "c and d are gone"
    places.leave()
    places.leave()
    assert not places.open and places.take("x", 0.0), "an idle server turns nobody away"


def slow(engine, monkeypatch) -> list[float]:
    """Every forward pass takes a while; returns when each was."""
    forward, passes = engine.model.forward, []

    def late(*given, **options):
        time.sleep(0.1)
        passes.append(time.monotonic())
        return forward(*given, **options)

    late.__signature__ = __import__("inspect").signature(forward)
    monkeypatch.setattr(engine.model, "forward", late)
    return passes


@pytest.mark.parametrize("stream", [False, True])
def test_nothing_runs_on_after_a_client_has_gone(server, client, monkeypatch, stream):
    passes = slow(server[1], monkeypatch)
    host, port = server[0].removeprefix("http://").split(":")
    body = json.dumps(
        {"model": "m", "stream": stream, "max_tokens": 5000, "messages": [{"role": "user", "content": "x"}]}
    ).encode()
    with socket.create_connection((host, int(port))) as line:
        head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {KEY}\r\n"
        head += f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        line.sendall(head.encode() + body)
        while len(passes) < 4:
            time.sleep(0.02)
    time.sleep(0.7)
    count = len(passes)
    time.sleep(0.6)
    assert len(passes) == count < 30, "the generation goes on"
    assert ask(client, max_tokens=2).choices[0].finish_reason == "length"


def test_an_error_while_generating_ends_the_stream(server, client, monkeypatch):
    def fails(*given, **options):
        raise RuntimeError(SECRET)

    server[2].clear()
    with monkeypatch.context() as patch:
        patch.setattr(server[1].model, "generate", fails)
        with pytest.raises(openai.APIError, match="could not be generated"):
            text_of(ask(client, stream=True))
        with pytest.raises(openai.InternalServerError) as error:
            ask(client)
    assert SECRET not in str(error.value) and not any(SECRET in one for one in server[2])
    assert ask(client, max_tokens=2).choices[0].finish_reason == "length"


@pytest.mark.slow
def test_a_judge_served_here_is_held_to_its_schema_counted_and_kept(server, monkeypatch, tmp_path):
    """`riskscribe judge` on two scored runs: a real model of random weights, whose answers can be read and no more."""
    examples = ROOT / "datasets" / "example_evaluation"
    monkeypatch.setenv("RISKSCRIBE_JUDGE_API_KEY", KEY)

    def run(*words) -> tuple[int, str, str]:
        done = CliRunner().invoke(main, [str(one) for one in words])
        assert done.exception is None or isinstance(done.exception, SystemExit), done.exception
        return done.exit_code, done.stdout, done.stderr

    for name, file in (("a", "model_a"), ("b", "generated_predictions")):
        run("score", examples / "cases.jsonl", examples / f"{file}.jsonl", "--out", tmp_path / name)
    asking = ["judge", tmp_path / "a", tmp_path / "b", "--data", examples / "cases.jsonl", "--url", server[0] + "/v1"]
    asking += ["--model", "tiny", "--parallel", "2", "--price-in", "2", "--price-out", "8", "--json"]
    schema = [*asking, "--json-schema", "--max-tokens", "400", "--out", tmp_path / "schema"]
    code, out, err = run(*schema)
    found = json.loads(out)
    assert code == 0, err
    languages = found["languages"].values()
    asked = 2 * sum(one["cases"] - one["identical"] for one in languages)
    assert asked and not any(one["unscored"] for one in languages)
    usage = found["usage"]["asked"]
    assert usage["requests"] == asked and usage["prompt_tokens"] > 1000 * asked
    assert usage["cost"] == pytest.approx((2 * usage["prompt_tokens"] + 8 * usage["completion_tokens"]) / 1e6)
    assert found["usage"]["failed"] == 0
    again = json.loads(run(*schema)[1])
    assert again["usage"]["asked"]["requests"] == 0 and again["usage"]["from_cache"] == usage
    assert again["languages"] == found["languages"]
    # unconstrained, the same model writes nothing that can be read: unscored, never guessed
    code, out, _ = run(*asking, "--max-tokens", "8", "--out", tmp_path / "free")
    assert code == 1
    assert all(one["unscored"] == one["cases"] - one["identical"] for one in json.loads(out)["languages"].values())
    monkeypatch.setenv("RISKSCRIBE_JUDGE_API_KEY", "z" * 24)
    code, out, err = run(*asking, "--out", tmp_path / "refused")
    assert code == 2 and "the key was refused (401)" in err and "z" * 24 not in err
    assert not (tmp_path / "refused" / "judge.json").exists()


@pytest.mark.slow
def test_the_command_refuses_to_start_without_a_key(tiny_model):
    cli = Path(sys.executable).with_name("llamafactory-cli")
    environment = {k: v for k, v in os.environ.items() if k != "API_KEY"}
    command = [str(cli), "api", "recipes/smollm2_135m/api.yaml", f"model_name_or_path={tiny_model}"]
    run = subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=300)
    assert run.returncode == 2 and "API_KEY is not set" in run.stderr
