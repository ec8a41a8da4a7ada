"""What `llamafactory-cli api` gets: constrained answers, what OpenAI clients send, and a door that can face users.

A `Served` object travels with each request in a context variable: the gate makes it, the request's options are put
into it before the response starts, the engine reads it when generation begins, and a disconnect reaches it.
"""

import asyncio
import hmac
import json
import logging
import os
import re
import sys
import threading
import time
import traceback
import uuid
from collections import OrderedDict
from contextvars import ContextVar
from dataclasses import dataclass, field
from functools import wraps
from types import ModuleType
from typing import Any, Literal

from pydantic import BaseModel, Field, model_validator

from riskscribe.case import Case
from riskscribe.errors import InputError, http_error
from riskscribe.evaluate.grounding import ground_report
from riskscribe.evaluate.parse import parse_report
from riskscribe.lf.guide import KEY, Guide, grammar_of
from riskscribe.policy import annotate
from riskscribe.prompt import case_id_in

BODY_LIMIT = 1 << 20
# read and thrown away of a body too large, so that the client hears the answer and not a reset
DRAIN_LIMIT = 32 << 20
RETRY_SECONDS = 5
BODY_SECONDS = 30
QUEUE = 16
GUIDES = 64
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_PATHS = ("/v1/chat/completions", "/v1/models", "/v1/score/evaluation", "/metrics")
log = logging.getLogger("riskscribe.api")


@dataclass
class Served:
    """One request on its way through the server."""

    id: str = ""
    guide: Guide | None = None
    free: bool = False
    stop: tuple[str, ...] = ()
    presence: float = 0.0
    frequency: float = 0.0
    cancel: threading.Event = field(default_factory=threading.Event)
    began: float = field(default_factory=time.perf_counter)
    started: float | None = None
    prompt_tokens: int = 0
    tokens: int = 0
    budget: int = 0
    stopped: bool = False
    error: str = ""
    schema: str = "not_asked"
    case: Case | None = None
    numbers: list[str] = field(default_factory=list)  # the verdict on each


REQUEST: ContextVar[Served | None] = ContextVar("served", default=None)
_guides: OrderedDict[tuple[int, str], Guide] = OrderedDict()


def guide_for(tokenizer, schema: Any) -> Guide:
    """The guide of a schema a client sent, compiled once; the last `GUIDES` are kept. Raises InputError."""
    key = id(tokenizer), json.dumps(schema)
    if key not in _guides:
        _guides[key] = Guide.compile(tokenizer, grammar_of(schema))
        if len(_guides) > GUIDES:
            _guides.popitem(last=False)
    _guides.move_to_end(key)
    return _guides[key]


# --- the request


class JsonSchema(BaseModel):
    """OpenAI's wrapping of a JSON Schema."""

    name: str = "answer"
    schema_: dict[str, Any] | bool = Field(alias="schema")


class ResponseFormat(BaseModel):
    """OpenAI's response_format."""

    type: Literal["text", "json_object", "json_schema"]
    json_schema: JsonSchema | None = None

    @model_validator(mode="after")
    def _has_schema(self):
        if self.type == "json_schema" and self.json_schema is None:
            raise ValueError("json_schema is missing: give {'name': ..., 'schema': {...}}")
        return self


def add_request_fields(module: ModuleType) -> None:
    """Fields that OpenAI clients send and bounds for the others. Upstream: api/protocol.py, ChatCompletionRequest.

    Unknown fields are dropped there, and a value out of bounds is an error 500 deep in generate. `case` is our own:
    that of the prompt, unrounded, for verdicts on the answer's numbers.
    """

    class ChatCompletionRequest(module.ChatCompletionRequest):
        response_format: ResponseFormat | None = None
        n: int = Field(1, ge=1, le=8)
        temperature: float | None = Field(None, ge=0, le=2)
        top_p: float | None = Field(None, gt=0, le=1)
        presence_penalty: float | None = Field(None, ge=-2, le=2)
        frequency_penalty: float | None = Field(None, ge=-2, le=2)
        repetition_penalty: float | None = Field(None, gt=0, le=10)
        max_tokens: int | None = Field(None, ge=1)
        max_completion_tokens: int | None = Field(None, ge=1)
        case: Case | None = None

    ChatCompletionRequest.__module__, ChatCompletionRequest.__qualname__ = module.__name__, "ChatCompletionRequest"
    module.ChatCompletionRequest = ChatCompletionRequest


def _prepare(request, chat_model, module: ModuleType) -> Served:
    """Put a request's options where the engine finds them. Raises HTTPException 400 before the response starts."""
    from fastapi import HTTPException

    served = REQUEST.get()
    if served is None:
        served = Served()
        REQUEST.set(served)
    try:
        json.dumps([one.model_dump(mode="json") for one in request.messages], ensure_ascii=False).encode()
    except (UnicodeError, ValueError):
        raise HTTPException(400, "messages: text that is not Unicode (a lone surrogate)") from None
    stop = [request.stop] if isinstance(request.stop, str) else request.stop or []
    served.stop = tuple(one for one in stop if one)
    served.presence, served.frequency = request.presence_penalty or 0.0, request.frequency_penalty or 0.0
    asked = request.response_format
    if asked is not None:
        served.free = asked.type == "text"
        if not served.free:
            if request.tools:
                raise HTTPException(400, "response_format: cannot be combined with tools")
            if chat_model.engine.name != "huggingface":
                raise HTTPException(400, f"response_format: not with the engine {chat_model.engine.name}")
            schema = {"type": "object"} if asked.type == "json_object" else asked.json_schema.schema_
            try:
                served.guide = guide_for(chat_model.engine.tokenizer, schema)
            except InputError as error:
                raise HTTPException(400, f"response_format: {error}") from None
    if request.case is not None:
        asked_of = case_id_in(_prompt(request))
        if asked_of != request.case.case_id:
            raise HTTPException(400, f"case: is {request.case.case_id}, the prompt's is {asked_of or 'none'}")
        try:
            served.case = annotate(request.case)
        except InputError as error:
            raise HTTPException(400, f"case: {error}") from None
    request.max_tokens = request.max_tokens or request.max_completion_tokens
    # upstream hands presence_penalty to generate as repetition_penalty, where 0 and less are errors, and warns of stop
    request.presence_penalty, request.stop = request.repetition_penalty, None
    return served


def _cut(text: str, stop: tuple[str, ...]) -> str | None:
    """The text before the first stop string, or None when it holds none."""
    places = [at for at in (text.find(one) for one in stop) if at >= 0]
    return text[: min(places)] if places else None


def _prompt(request) -> str:
    """The last message that is text."""
    return next((one.content for one in reversed(request.messages) if isinstance(one.content, str)), "")


def _judge(served: Served, request, tokenizer, text: str) -> None:
    """Whether an answer follows the schema that was asked for, or, to a case, is a report; and where the request
    holds the case, whether the report's numbers stand in their evidence.
    """
    if served.guide is None and not case_id_in(_prompt(request)):
        return
    read = served.guide is None or served.case is not None
    report = parse_report(text).report if read else None
    if report is not None and served.case is not None:
        served.numbers += (one.verdict for _, one in ground_report(served.case, report))
    if served.guide is None:
        right = report is not None
    else:
        right = served.guide.accepts(tokenizer(text, add_special_tokens=False)["input_ids"])
    served.schema = "valid" if right else "invalid"


def answer_requests(module: ModuleType) -> None:
    """Options are checked before a response starts, stop strings cut, ends told. Upstream: api/chat.py, create_*."""
    whole, stream = module.create_chat_completion_response, module.create_stream_chat_completion_response
    check = module._process_request

    @wraps(whole)
    async def create_chat_completion_response(request, chat_model):
        served = _prepare(request, chat_model, module)
        response = await whole(request, chat_model)
        for choice in response.choices:
            text = choice.message.content
            if text is None:
                continue
            cut = _cut(text, served.stop)
            if cut is not None:
                choice.message.content = cut
            if cut is not None or response.usage.completion_tokens < served.budget:
                choice.finish_reason = module.Finish.STOP
            _judge(served, request, chat_model.engine.tokenizer, choice.message.content)
        served.tokens = response.usage.completion_tokens
        return response

    @wraps(stream)
    def create_stream_chat_completion_response(request, chat_model):
        served = _prepare(request, chat_model, module)
        if request.tools or request.n > 1:
            from fastapi import HTTPException

            raise HTTPException(400, f"stream: not with {'tools' if request.tools else 'n above 1'}")
        if not any(isinstance(one.content, list) for one in request.messages):
            check(request.model_copy(deep=True))
        return chunks(request, chat_model, served)

    async def chunks(request, chat_model, served: Served):
        said = ""
        try:
            async for chunk in stream(request, chat_model):
                if chunk != "[DONE]":
                    value = json.loads(chunk)
                    choice = value["choices"][0]
                    said += choice["delta"].get("content") or ""
                    if choice.get("finish_reason"):
                        _judge(served, request, chat_model.engine.tokenizer, said)
                        if served.tokens >= served.budget and not served.stopped:
                            choice["finish_reason"] = "length"
                            chunk = json.dumps(value, ensure_ascii=False)
                yield chunk
        except (GeneratorExit, asyncio.CancelledError):
            raise
        except Exception as error:
            served.error = type(error).__name__
            reason = getattr(error, "detail", "the answer could not be generated")
            yield json.dumps(http_error(getattr(error, "status_code", 500), reason))

    module.create_chat_completion_response = create_chat_completion_response
    module.create_stream_chat_completion_response = create_stream_chat_completion_response


# --- the engine


class Penalties:
    """OpenAI's presence_penalty and frequency_penalty, on the tokens of the answer so far."""

    def __init__(self, presence: float, frequency: float, prompt: int):
        self.presence, self.frequency, self.prompt = presence, frequency, prompt

    def keep(self, rows: list[int]) -> None:
        """It counts nothing itself."""

    def __call__(self, input_ids, scores):
        import torch

        said = input_ids[:, self.prompt :]
        counts = torch.zeros_like(scores).scatter_add_(1, said, torch.ones_like(said, dtype=scores.dtype))
        return scores - self.presence * (counts > 0) - self.frequency * counts


class Halt:
    """Ends an answer at a stop string, and at once when nobody waits for it any more."""

    def __init__(self, served: Served, tokenizer, prompt: int):
        self.served, self.tokenizer, self.prompt = served, tokenizer, prompt
        # a token is a byte at the least
        self.reach = max((len(one.encode()) for one in served.stop), default=0) + 8

    def __call__(self, input_ids, scores, **options):
        import torch

        self.served.tokens += 1
        if self.served.cancel.is_set():
            return torch.ones(len(input_ids), dtype=torch.bool, device=input_ids.device)
        found = [False] * len(input_ids)
        if self.served.stop:
            tails = input_ids[:, max(self.prompt, input_ids.shape[1] - self.reach) :]
            texts = self.tokenizer.batch_decode(tails, skip_special_tokens=True)
            found = [_cut(text, self.served.stop) is not None for text in texts]
        return torch.tensor(found, device=input_ids.device)


class _Guarded:
    """A model whose failing generate ends the stream: upstream's thread would die and its reader wait forever."""

    def __init__(self, model, served: Served):
        self._model, self._served = model, served

    def __getattr__(self, name):
        return getattr(self._model, name)

    def generate(self, streamer, **options):
        try:
            return self._model.generate(streamer=streamer, **options)
        except Exception as error:
            self._served.error = type(error).__name__
            log.error("request %s: %s\n%s", self._served.id, type(error).__name__, _where(error))
        finally:
            streamer.end()


def obey_requests(module: ModuleType) -> None:
    """Guide, stop strings, penalties and disconnects reach generate. Upstream: chat/hf_engine.py, _process_args,
    _stream_chat and stream_chat.
    """
    engine = module.HuggingfaceEngine
    process, start, stream = engine._process_args, engine._stream_chat, engine.stream_chat

    @wraps(process)
    def _process_args(model, tokenizer, *rest, **options):
        from fastapi import HTTPException
        from transformers import LogitsProcessorList, StoppingCriteriaList

        found, prompt = process(model, tokenizer, *rest, **options)
        config = found["generation_config"]
        served = REQUEST.get() or Served()
        path = config.__dict__.pop(KEY, None)
        guide = served.guide
        if guide is None and path and not served.free:
            guide = served.guide = Guide.read(tokenizer, path)
        context = getattr(model.config, "max_position_embeddings", None) or sys.maxsize
        if prompt >= context:
            raise HTTPException(400, f"messages: {prompt} tokens, and the model reads {context} with its answer")
        if config.max_new_tokens:
            config.max_new_tokens = min(config.max_new_tokens, context - prompt)
        served.budget = config.max_new_tokens or max(config.max_length - prompt, 1)
        served.prompt_tokens, served.started = prompt, time.perf_counter()
        processors = LogitsProcessorList()
        if served.presence or served.frequency:
            processors.append(Penalties(served.presence, served.frequency, prompt))
        if guide is not None:
            processors.append(guide.processor())
        return {
            **found,
            "logits_processor": processors,
            "stopping_criteria": StoppingCriteriaList([Halt(served, tokenizer, prompt)]),
        }, prompt

    @wraps(start)
    def _stream_chat(model, *rest, **options):
        return start(_Guarded(model, REQUEST.get() or Served()), *rest, **options)

    @wraps(stream)
    async def stream_chat(self, *rest, **options):
        served = REQUEST.get()
        if served is None:
            async for piece in stream(self, *rest, **options):
                yield piece
            return
        held = ""
        try:
            async for piece in stream(self, *rest, **options):
                held += piece
                cut = _cut(held, served.stop)
                if cut is not None:
                    served.stopped = True
                    yield cut
                    return
                # what may yet become a stop string is held back
                back = max((n for one in served.stop for n in range(1, len(one)) if held.endswith(one[:n])), default=0)
                yield held[: len(held) - back]
                held = held[len(held) - back :]
            if served.error:
                raise RuntimeError(served.error)
            yield held
        finally:
            served.cancel.set()

    engine._process_args, engine._stream_chat = staticmethod(_process_args), staticmethod(_stream_chat)
    engine.stream_chat = stream_chat


# --- the door


def _where(error: BaseException) -> str:
    """A traceback without the error's message, which may hold a text."""
    return "".join(traceback.format_tb(error.__traceback__))


class Metrics:
    """Counts in Prometheus' text format, one registry a server."""

    def __init__(self):
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        given = {"registry": self.registry}
        self.requests = Counter("riskscribe_requests", "requests", ["path", "status"], **given)
        self.tokens = Counter("riskscribe_tokens", "tokens", ["kind"], **given)
        self.schema = Counter("riskscribe_answers", "answers by whether they follow their schema", ["schema"], **given)
        self.numbers = Counter("riskscribe_numbers", "numbers of reports by verdict", ["verdict"], **given)
        self.abandoned = Counter("riskscribe_disconnects", "clients that left before their answer", **given)
        seconds = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250)
        self.latency = Histogram("riskscribe_request_seconds", "time of a request", buckets=seconds, **given)
        self.queue = Histogram("riskscribe_queue_seconds", "time before generation", buckets=seconds, **given)
        self.open = Gauge("riskscribe_requests_open", "requests waiting or generating", **given)

    def text(self) -> bytes:
        from prometheus_client import generate_latest

        return generate_latest(self.registry)


class Places:
    """The places of a bounded queue. A client that was turned away goes before those that came after it.

    Without that memory one that has just been answered asks again at once and takes every place that comes free from
    one that waits before it tries again. A client is its connection; at most as many are remembered as there are
    places, each until it has not come back for twice the time it was told to wait.
    """

    def __init__(self, limit: int):
        self.limit, self.open = limit, 0
        self._turned_away: dict[Any, float] = {}  # client -> when it came last; the one that waits longest first

    def take(self, client: Any, now: float) -> bool:
        """Whether `client` gets a place at `now` (seconds); whoever does calls `leave`."""
        away = self._turned_away = {
            one: came for one, came in self._turned_away.items() if now - came <= 2 * RETRY_SECONDS
        }
        ahead = list(away).index(client) if client in away else len(away)
        if self.open and self.open + ahead >= self.limit:
            if client in away or len(away) < self.limit:
                away[client] = now
            return False
        away.pop(client, None)
        self.open += 1
        return True

    def leave(self) -> None:
        """Give a place back."""
        self.open -= 1


class Gate:
    """ASGI middleware: key, body limit, bounded queue, disconnects, request id, log line, /metrics."""

    def __init__(self, app, key: str, limit: int):
        self.app, self.key = app, key.encode()
        self.places, self.metrics = Places(limit), Metrics()

    async def __call__(self, scope, receive, send):
        if scope["type"] != "http":
            if scope["type"] == "lifespan":
                _log_to_stderr()
                return await self.app(scope, receive, send)
            return await send({"type": "websocket.close", "code": 1008})
        headers = dict(scope["headers"])
        asked = headers.get(b"x-request-id", b"").decode("latin-1")
        served = Served(asked if _ID.fullmatch(asked) else uuid.uuid4().hex)
        path = scope["path"] if scope["path"] in _PATHS else "other"
        status = 0

        async def answer(message):
            nonlocal status
            if message["type"] == "http.response.start":
                status = message["status"]
                message = {**message, "headers": [*message["headers"], (b"x-request-id", served.id.encode())]}
            await send(message)

        try:
            await self._serve(scope, receive, answer, served, path, headers)
        except Exception as error:
            log.error("request %s: %s\n%s", served.id, type(error).__name__, _where(error))
            if not status:
                await _refuse(answer, 500, f"the server failed; request id {served.id}")
        finally:
            self._tell(served, scope["method"], path, status)

    async def _serve(self, scope, receive, send, served: Served, path: str, headers) -> None:
        given = headers.get(b"authorization", b"")
        if not hmac.compare_digest(given, b"Bearer " + self.key):
            return await _refuse(send, 401, "wrong or missing key; send 'Authorization: Bearer <key>'")
        if path == "/metrics":
            head = [(b"content-type", b"text/plain; version=0.0.4; charset=utf-8")]
            await send({"type": "http.response.start", "status": 200, "headers": head})
            return await send({"type": "http.response.body", "body": self.metrics.text()})
        try:
            async with asyncio.timeout(BODY_SECONDS):
                body = await _read(receive)
        except TimeoutError:
            return await _refuse(send, 408, f"the body did not arrive within {BODY_SECONDS} s")
        if body is None:
            return None
        if len(body) > BODY_LIMIT:
            return await _refuse(send, 413, f"the body is larger than {BODY_LIMIT} bytes")
        works = scope["method"] == "POST"
        if works and not self.places.take(scope["client"], time.monotonic()):
            again = (b"retry-after", str(RETRY_SECONDS).encode())
            return await _refuse(send, 429, f"{self.places.limit} requests are waiting; try again", again)
        gone, rest = asyncio.Event(), [{"type": "http.request", "body": body, "more_body": False}]

        async def replay():
            if rest:
                return rest.pop()
            await gone.wait()
            return {"type": "http.disconnect"}

        async def watch():
            while (await receive())["type"] != "http.disconnect":
                pass
            if not done:
                self.metrics.abandoned.inc()
            served.cancel.set()
            gone.set()

        done = False
        watcher = asyncio.create_task(watch())
        token = REQUEST.set(served)
        self.metrics.open.set(self.places.open)
        try:
            await self.app(scope, replay, send)
        finally:
            done = True
            if works:
                self.places.leave()
            self.metrics.open.set(self.places.open)
            REQUEST.reset(token)
            watcher.cancel()

    def _tell(self, served: Served, method: str, path: str, status: int) -> None:
        took = time.perf_counter() - served.began
        self.metrics.requests.labels(path, str(status)).inc()
        waited = 0.0
        if served.started is not None:
            waited = served.started - served.began
            self.metrics.queue.observe(waited)
            self.metrics.tokens.labels("prompt").inc(served.prompt_tokens)
            self.metrics.tokens.labels("completion").inc(served.tokens)
            self.metrics.schema.labels(served.schema).inc()
            for verdict in served.numbers:
                self.metrics.numbers.labels(verdict).inc()
        self.metrics.latency.observe(took)
        found = served.numbers
        log.info(
            "request %s %s %s %d prompt_tokens=%d completion_tokens=%d queue=%.2fs total=%.2fs schema=%s%s%s",
            *(served.id, method, path, status, served.prompt_tokens, served.tokens, waited, took, served.schema),
            f" numbers={len(found)} unsupported={found.count('unsupported')}" if found else "",
            f" error={served.error}" if served.error else "",
        )


async def _read(receive) -> bytes | None:
    """The body, at most one byte more than the limit of it; None when the client left."""
    parts, size = [], 0
    while True:
        message = await receive()
        if message["type"] == "http.disconnect":
            return None
        part = message.get("body", b"")
        if size <= BODY_LIMIT:
            parts.append(part[: BODY_LIMIT + 1 - size])
        size += len(part)
        if not message.get("more_body") or size > DRAIN_LIMIT:
            return b"".join(parts)


async def _refuse(send, status: int, message: str, *headers: tuple[bytes, bytes]) -> None:
    head = [(b"content-type", b"application/json"), *headers]
    await send({"type": "http.response.start", "status": status, "headers": head})
    await send({"type": "http.response.body", "body": json.dumps(http_error(status, message)).encode()})


def _tell_errors(app) -> None:
    """Errors of the endpoints in OpenAI's form, and none of the request's text in them."""
    from fastapi.exceptions import RequestValidationError
    from fastapi.responses import JSONResponse
    from starlette.exceptions import HTTPException

    async def refused(request, error: HTTPException):
        return JSONResponse(http_error(error.status_code, str(error.detail)), error.status_code)

    async def invalid(request, error: RequestValidationError):
        return JSONResponse(http_error(422, "; ".join(map(place, error.errors()))), 422)

    def place(one: dict[str, Any]) -> str:
        where = ".".join(map(str, one["loc"][1:]))
        if one["type"] == "json_invalid":
            return f"the body is not JSON: {one.get('ctx', {}).get('error', '')}, character {where}"
        return f"{where or 'the body'}: {one['msg']}"

    app.add_exception_handler(HTTPException, refused)
    app.add_exception_handler(RequestValidationError, invalid)


def _log_to_stderr() -> None:
    if not log.handlers:
        handler = logging.StreamHandler()
        handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
        log.addHandler(handler)
        log.setLevel(logging.INFO)
        log.propagate = False
    # its lines say less than ours
    logging.getLogger("uvicorn.access").disabled = True


def guard_server(module: ModuleType) -> None:
    """No server without a key; every request passes the gate. Upstream: api/app.py, run_api and create_app.

    Upstream listens on every interface and logs requests in full unless told not to; what the caller set stays.
    """
    upstream, run = module.create_app, module.run_api

    def key() -> str:
        found = os.environ.get("API_KEY", "").strip()
        if not found:
            print("riskscribe: API_KEY is not set: the server does not start without a key", file=sys.stderr)
            raise SystemExit(2)
        return found

    @wraps(upstream)
    def create_app(chat_model):
        app = upstream(chat_model)
        _tell_errors(app)
        app.add_middleware(Gate, key=key(), limit=int(os.environ.get("API_QUEUE", QUEUE)))
        return app

    @wraps(run)
    def run_api():
        key()  # before the model is loaded
        for name, value in (("API_HOST", "127.0.0.1"), ("API_VERBOSE", "0")):
            os.environ.setdefault(name, value)
        return run()

    module.create_app, module.run_api = create_app, run_api
