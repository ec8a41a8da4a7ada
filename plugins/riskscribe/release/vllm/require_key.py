"""The key for every path: vLLM asks for its own under /v1 alone, and /invocations answers like /v1 without one.

Loaded by vLLM (`--middleware require_key.RequireKey`) in its own environment, where this project is not installed.
"""

import hmac
import json
import os


class RequireKey:
    """ASGI middleware: 401 without `Authorization: Bearer $VLLM_API_KEY`, but for /health, which says nothing."""

    def __init__(self, app):
        self.app = app
        self.key = os.environ["VLLM_API_KEY"].encode()

    def _allowed(self, scope) -> bool:
        if scope["type"] not in ("http", "websocket") or scope.get("path") == "/health":
            return True
        given = dict(scope["headers"]).get(b"authorization", b"")
        scheme, _, key = given.partition(b" ")
        return scheme.lower() == b"bearer" and hmac.compare_digest(key, self.key)

    async def __call__(self, scope, receive, send):
        if self._allowed(scope):
            await self.app(scope, receive, send)
        elif scope["type"] == "websocket":
            await send({"type": "websocket.close", "code": 1008})
        else:
            body = json.dumps({"error": {"message": "the key is missing or wrong", "code": 401}}).encode()
            headers = [(b"content-type", b"application/json"), (b"content-length", str(len(body)).encode())]
            await send({"type": "http.response.start", "status": 401, "headers": headers})
            await send({"type": "http.response.body", "body": body})
