"""How a person's mistake is told: on the command line, one line and exit code 2; over HTTP, in OpenAI's form."""

from typing import Any


class InputError(Exception):
    """Bad input: says what was wrong, where, and what would be right."""


def http_error(status: int, message: str) -> dict[str, Any]:
    """OpenAI's form of an error, the only one whose message its clients show."""
    kind = "server_error" if status >= 500 else "invalid_request_error"
    return {"error": {"message": message, "type": kind, "param": None, "code": status}}
