"""From model text to a report: strictly, where the text is one report or it is not, and apart from that repaired.

The two are never merged: what had to be repaired cannot be served, and a base model's missing comma is not a wrong
level. Every score of content reads the strict parse.
"""

import json
import re
from dataclasses import dataclass
from typing import Any

from pydantic import ValidationError

from riskscribe.errors import InputError
from riskscribe.files import refuse_non_finite
from riskscribe.report import Report

# json-repair's time grows with the square of some texts; no report is near this long
REPAIR_LIMIT = 20_000
_FENCE = re.compile(r"```(?:json)?\s*\n(.*?)(?:```|\Z)", re.DOTALL | re.IGNORECASE)


@dataclass(frozen=True)
class Parsed:
    """What became of a text: the report, or in one line why there is none."""

    report: Report | None
    is_json: bool
    error: str | None


def _unique_keys(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    # json.loads silently keeps the last of two equal keys: two levels in one report would be one of them unseen
    fields = dict(pairs)
    if len(fields) < len(pairs):
        keys = [key for key, _ in pairs]
        raise InputError(f"field {next(key for key in keys if keys.count(key) > 1)!r} is given twice")
    return fields


def parse_report(text: str) -> Parsed:
    """Parse `text`, which must be exactly one JSON object that is a report of the schema, types included.

    Never raises: NaN, repeated keys, deep nesting and huge integers are all errors of the text.
    """
    try:
        value = json.loads(text.strip(), parse_constant=refuse_non_finite, object_pairs_hook=_unique_keys)
    except json.JSONDecodeError as error:
        return _no_json(f"line {error.lineno}, column {error.colno}: {error.msg.lower()}")
    except RecursionError:
        return _no_json("nested too deeply")
    except (InputError, ValueError) as error:  # a ValueError: an integer of thousands of digits
        return _no_json(str(error).partition(";")[0])
    return _validated(value)


def repair_report(text: str) -> Parsed:
    """Parse `text` after json-repair: code fences, words around the object, missing commas and brackets.

    Repair mends the JSON and nothing else: a field that is missing or of a wrong type stays an error. Never raises;
    a text longer than REPAIR_LIMIT characters is not repaired.
    """
    import json_repair

    if len(text) > REPAIR_LIMIT:
        return _no_json(f"longer than {REPAIR_LIMIT} characters")
    fenced = _FENCE.search(text)
    try:
        value = json_repair.loads(fenced[1] if fenced else text, skip_json_loads=True)
    except (RecursionError, ValueError):
        return _no_json("beyond repair")
    except Exception as error:  # a repair of any text is heuristic; what it trips over is no report
        return _no_json(f"beyond repair ({type(error).__name__})")
    return _validated(value) if isinstance(value, dict | list) else _no_json("no object found")


def _validated(value: Any) -> Parsed:
    if not isinstance(value, dict):
        return Parsed(None, True, f"JSON {type(value).__name__}, one object is needed")
    try:
        # strict: the JSON Schema takes neither "yes" for true nor "126" for 126
        return Parsed(Report.model_validate(value, strict=True), True, None)
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        field = ".".join(str(part) for part in first["loc"])
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        why = " ".join(f"field {field}: {first['msg']}{more}".split())
        return Parsed(None, True, why.encode("utf-8", "backslashreplace").decode())  # a field name may be a surrogate
    except RecursionError:
        return Parsed(None, True, "nested too deeply")


def _no_json(why: str) -> Parsed:
    return Parsed(None, False, f"not one JSON object: {why}")
