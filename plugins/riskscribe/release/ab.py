"""A/B: one endpoint in front of two, a case always to the same one, and a log of which answered.

A switch sends every case to one arm, so the arms answer different cases and can only be described. With `both` every
case goes to both and A's answer is given: pairs, which is what a comparison needs.
"""

import asyncio
import hashlib
import hmac
import json
import os
import re
import sys
import time
import uuid
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple
from urllib.parse import urlsplit

import anyio
import httpx
from starlette.applications import Starlette
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from riskscribe import manifest
from riskscribe.errors import InputError, http_error
from riskscribe.evaluate.inputs import read_scored
from riskscribe.evaluate.score import score_run
from riskscribe.files import numbered_lines, write_lines
from riskscribe.prompt import case_id_in

BODY_LIMIT = 1 << 20
# of an answer, for the log; what is longer is passed on all the same
ANSWER_LIMIT = 4 << 20
# cases whose answer by B is awaited while A's has been given
SHADOWS = 32
_ID = re.compile(r"[A-Za-z0-9_-]{1,64}")
_LABEL = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")
_LOCAL = ("127.0.0.1", "localhost", "::1")
_PASSED_ON = ("content-type", "content-length", "retry-after")


class Arm(NamedTuple):
    """What answers: a name for the log, and the base URL of its endpoint, ending in /v1."""

    release: str
    url: str


def endpoint(text: str) -> Arm | None:
    """The arm of URL or LABEL=URL; None for anything else, which is a release's name.

    Raises InputError for a URL that would send the key in the clear, or a label that is no file name.
    """
    label, _, url = text.rpartition("=") if "=" in text.split("://")[0] else ("", "", text)
    if not url.startswith(("http://", "https://")):
        return None
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise InputError(f"{text}: is no URL ({error}); write one as http://127.0.0.1:8001/v1") from None
    if not host or parts.username or parts.query:
        raise InputError(f"{text}: is no base URL of an endpoint; write one as http://127.0.0.1:8001/v1")
    if parts.scheme == "http" and host not in _LOCAL:
        raise InputError(f"{text}: the key would be sent unencrypted to another machine; use https")
    label = label or (f"{host}-{port}" if port else host)
    if not _LABEL.fullmatch(label):
        raise InputError(
            f"{text}: label {label!r}: letters, digits, dots and hyphens, as v1.0.0=http://127.0.0.1:8001/v1"
        )
    return Arm(label, url.rstrip("/"))


class Log:
    """JSON Lines, appended to, readable by its owner alone. Raises InputError when it cannot be opened."""

    def __init__(self, path: Path):
        self.path, self.failed = Path(path), False
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            self.file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600)
        except OSError as error:
            raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from None

    def write(self, entry: dict[str, Any]) -> None:
        """One line. A full disk costs the record and not the answer: it is told once."""
        try:
            os.write(self.file, (json.dumps(entry) + "\n").encode())
        except OSError as error:
            if not self.failed:
                print(f"riskscribe: {self.path}: {(error.strerror or str(error)).lower()}", file=sys.stderr)
            self.failed = True


@dataclass
class Switch:
    """Which arm answers, and what is written down.

    Attributes:
        a, b: the arms; both take the key that clients send here.
        key: of this endpoint and of the arms.
        log: where a line an answer goes.
        share: percent of the cases that go to B.
        both: every case to both arms; A's answer is given.
        answers: keep the answers in the log.
        timeout: seconds without a byte after which an arm is given up.
    """

    a: Arm
    b: Arm
    key: str
    log: Log
    share: int = 50
    both: bool = False
    answers: bool = False
    timeout: float = 600
    shadows: set[asyncio.Task] = field(default_factory=set)
    client: httpx.AsyncClient | None = None

    def __post_init__(self):
        if self.a.release == self.b.release:
            raise InputError(f"both arms are called {self.a.release}; give two releases, or LABEL=URL twice")

    def arm_of(self, name: str) -> str:
        """a or b: always the same for one case id (or request id)."""
        place = int.from_bytes(hashlib.sha256(name.encode()).digest()[:8], "big")
        return "b" if place % 10_000 < 100 * self.share else "a"

    def app(self) -> Starlette:
        """The application; it ends when the answers awaited from B are in."""

        @asynccontextmanager
        async def life(app: Starlette) -> AsyncIterator[None]:
            limits = httpx.Timeout(self.timeout, connect=min(10, self.timeout))
            # no proxy of the environment: what is asked stays between here and the arms
            async with httpx.AsyncClient(timeout=limits, trust_env=False) as self.client:
                yield
                if self.shadows:
                    await asyncio.wait(self.shadows, timeout=self.timeout)

        routes = [
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
            Route("/v1/models", self._models, methods=["GET"]),
        ]
        return Starlette(routes=routes, lifespan=life)

    def _allowed(self, request: Request) -> bool:
        given = request.headers.get("authorization", "").encode()
        return hmac.compare_digest(given, b"Bearer " + self.key.encode())

    async def _models(self, request: Request) -> Response:
        if not self._allowed(request):
            return _error(401, "wrong or missing key; send 'Authorization: Bearer <key>'")
        try:
            found = await self.client.get(f"{self.a.url}/models", headers=self._headers(""))
        except httpx.HTTPError as error:
            return _error(*_why(error, self.a))
        return Response(found.content, found.status_code, media_type=found.headers.get("content-type"))

    async def _chat(self, request: Request) -> Response:
        if not self._allowed(request):
            return _error(401, "wrong or missing key; send 'Authorization: Bearer <key>'")
        body = bytearray()
        try:
            async for part in request.stream():
                body += part
                if len(body) > BODY_LIMIT:
                    return _error(413, f"the body is larger than {BODY_LIMIT} bytes")
        except ClientDisconnect:
            return Response(status_code=400)
        try:
            asked = json.loads(body)
        except (ValueError, RecursionError):
            asked = None
        if not isinstance(asked, dict):
            return _error(400, "the body is not a JSON object")
        given = request.headers.get("x-request-id", "")
        request_id = given if _ID.fullmatch(given) else uuid.uuid4().hex
        case_id = _case_of(asked)
        about = {"request_id": request_id, "case_id": case_id, "mode": "both" if self.both else "switch"}
        if not self.both:
            return await self._pass_on(self.arm_of(case_id or request_id), bytes(body), about)
        if len(self.shadows) < SHADOWS:
            task = asyncio.create_task(self._shadow(bytes(body), about))
            self.shadows.add(task)
            task.add_done_callback(self.shadows.discard)
        else:
            self._note(
                "b", about, time.perf_counter(), 0, error=f"not asked: {SHADOWS} answers of this arm are awaited"
            )
        return await self._pass_on("a", bytes(body), about)

    def _headers(self, request_id: str) -> dict[str, str]:
        found = {"authorization": f"Bearer {self.key}", "accept-encoding": "identity"}
        return found | ({"content-type": "application/json", "x-request-id": request_id} if request_id else {})

    async def _send(self, arm: str, body: bytes, about: dict[str, Any]) -> httpx.Response:
        url = f"{getattr(self, arm).url}/chat/completions"
        asked = self.client.build_request("POST", url, content=body, headers=self._headers(about["request_id"]))
        return await self.client.send(asked, stream=True)

    async def _pass_on(self, arm: str, body: bytes, about: dict[str, Any]) -> Response:
        begun, release = time.perf_counter(), getattr(self, arm).release
        told = {"x-riskscribe-release": release, "x-riskscribe-arm": arm, "x-request-id": about["request_id"]}
        try:
            answer = await self._send(arm, body, about)
        except httpx.HTTPError as error:
            status, why = _why(error, getattr(self, arm))
            self._note(arm, about, begun, status, error=why)
            return _error(status, why, told)

        async def parts() -> AsyncIterator[bytes]:
            kept, whole = bytearray(), False
            try:
                async for part in answer.aiter_raw():
                    kept += part[: ANSWER_LIMIT - len(kept)]
                    yield part
                whole = True
            finally:
                self._note(arm, about, begun, answer.status_code, answer, bytes(kept), "" if whole else "cut off")
                with anyio.CancelScope(shield=True):
                    await answer.aclose()

        passed = {name: answer.headers[name] for name in _PASSED_ON if name in answer.headers}
        return StreamingResponse(parts(), answer.status_code, headers=passed | told)

    async def _shadow(self, body: bytes, about: dict[str, Any]) -> None:
        """B's answer, for the log alone."""
        begun = time.perf_counter()
        try:
            answer = await self._send("b", body, about)
            kept = bytearray()
            try:
                async for part in answer.aiter_raw():
                    kept += part[: ANSWER_LIMIT - len(kept)]
            finally:
                await answer.aclose()
        except httpx.HTTPError as error:
            status, why = _why(error, self.b)
            return self._note("b", about, begun, status, error=why)
        return self._note("b", about, begun, answer.status_code, answer, bytes(kept))

    def _note(
        self,
        arm: str,
        about: dict[str, Any],
        begun: float,
        status: int,
        answer: httpx.Response | None = None,
        kept: bytes = b"",
        error: str = "",
    ) -> None:
        entry = {"time": manifest.now(), **about, "arm": arm, "release": getattr(self, arm).release, "status": status}
        entry["latency_s"] = round(time.perf_counter() - begun, 3)
        if error:
            entry["error"] = error
        elif self.answers and answer is not None and status == 200:
            entry["predict"] = _text_of(kept, answer.headers.get("content-type", ""))
        self.log.write(entry)


def _error(status: int, message: str, headers: dict[str, str] | None = None) -> JSONResponse:
    return JSONResponse(http_error(status, message), status, headers=headers)


def _why(error: httpx.HTTPError, arm: Arm) -> tuple[int, str]:
    if isinstance(error, httpx.TimeoutException):
        return 504, f"{arm.release} did not answer in time"
    return 502, f"{arm.release} does not answer ({type(error).__name__})"


def _case_of(asked: dict[str, Any]) -> str | None:
    """The id of the case that the last message is about; None where there is none."""
    turns = asked.get("messages")
    last = turns[-1] if isinstance(turns, list) and turns else None
    content = last.get("content") if isinstance(last, dict) else None
    if isinstance(content, list):
        content = "\n".join(str(one.get("text", "")) for one in content if isinstance(one, dict))
    return case_id_in(content) if isinstance(content, str) else None


def _text_of(body: bytes, content_type: str) -> str | None:
    """What the model wrote, of a whole answer or a stream of parts; None where it cannot be read."""
    try:
        if "text/event-stream" not in content_type:
            return json.loads(body)["choices"][0]["message"]["content"]
        lines = [one[5:].strip() for one in body.decode().splitlines() if one.startswith("data:")]
        chunks = [json.loads(one) for one in lines if one and one != "[DONE]"]
        return "".join(one["choices"][0]["delta"].get("content") or "" for one in chunks if one.get("choices"))
    except (ValueError, KeyError, IndexError, TypeError, AttributeError):
        return None


def score_log(path: Path, data: Path, out: Path) -> dict[str, Any]:
    """Score the two arms of a log against the cases of `data`, into out/<release>/ as `riskscribe score` does.

    Of a case asked again the first answer counts. Where cases went to both arms, only those that both answered are
    scored: `riskscribe compare` then takes the two folders. A switch has other cases in each arm: each is scored
    on its own, and `compare` refuses them.

    Returns:
        {arms: {release: {cases, folder}}, paired, left_out: reason -> count}.

    Raises:
        InputError: the log holds other than two releases, no answers, or none for a case of `data`.
    """
    rows = {one.case.case_id: one for one in read_scored(data)}
    answers: dict[str, dict[str, dict[str, str]]] = {"both": {}, "switch": {}}
    arms: dict[str, str] = {}
    left_out: dict[str, int] = {}
    for number, one in numbered_lines(path):
        where = f"{path}: line {number}"
        if (
            not isinstance(one, dict)
            or one.get("mode") not in answers
            or not _LABEL.fullmatch(str(one.get("release")))
        ):
            raise InputError(f"{where}: is no line of `riskscribe ab serve`")
        release, case_id = one["release"], one.get("case_id")
        arms[release] = str(one.get("arm"))
        why = (
            "no answer" if one.get("status") != 200 or one.get("error")
            else "answer not kept" if not isinstance(one.get("predict"), str)
            else "no case id in the prompt" if not case_id
            else "case not in the data" if case_id not in rows
            else "asked again" if case_id in answers[one["mode"]].get(release, {})
            else ""
        )  # fmt: skip
        if why:
            left_out[why] = left_out.get(why, 0) + 1
        else:
            answers[one["mode"]].setdefault(release, {})[case_id] = one["predict"]
    if len(arms) != 2:
        raise InputError(
            f"{path}: holds {', '.join(arms) or 'no release'}; a log of two releases is needed, one a trial"
        )
    paired = bool(answers["both"])
    found = {
        release: answers["both" if paired else "switch"].get(release, {}) for release in sorted(arms, key=arms.get)
    }
    if paired:
        first, second = found.values()
        for one in first.keys() ^ second.keys():
            left_out["answered by one arm"] = left_out.get("answered by one arm", 0) + 1
            first.pop(one, None), second.pop(one, None)
        if answers["switch"]:
            count = sum(map(len, answers["switch"].values()))
            left_out["not asked of both"] = left_out.get("not asked of both", 0) + count
    for release, known in found.items():
        if not known:
            hint = "; start `riskscribe ab serve` with --answers" if left_out.get("answer not kept") else ""
            reasons = ", ".join(f"{count} {why}" for why, count in left_out.items())
            raise InputError(f"{path}: no answer of {release} to score ({reasons or 'none in the log'}){hint}")
    for release, known in found.items():
        predictions = Path(out) / f"{release}.jsonl"
        chosen = [row for name, row in rows.items() if name in known]
        write_lines(predictions, [{"case_id": row.case.case_id, "predict": known[row.case.case_id]} for row in chosen])
        score_run(chosen, data, predictions, Path(out) / release)
    told = {release: {"cases": len(known), "folder": str(Path(out) / release)} for release, known in found.items()}
    return {"arms": told, "paired": paired, "left_out": left_out}
