"""Reading and writing files so that nothing is ever left half-written and bad input names its line."""

import hashlib
import json
import os
import tempfile
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, TypeVar

import yaml
from pydantic import BaseModel, ValidationError

from riskscribe.errors import InputError

Model = TypeVar("Model", bound=BaseModel)


@contextmanager
def _naming(path: Path) -> Iterator[None]:
    """What the operating system refuses, as an InputError that begins with `path`."""
    try:
        yield
    except FileNotFoundError:
        raise InputError(f"{path}: no such file") from None
    except IsADirectoryError:
        raise InputError(f"{path}: is a folder, a file is needed") from None
    except OSError as error:
        raise InputError(f"{path}: {(error.strerror or str(error)).lower()}") from None


def one_line(text: str) -> str:
    """`text` with every run of white space as one space, fit for a terminal (no lone surrogates)."""
    return " ".join(text.split()).encode("utf-8", "backslashreplace").decode()


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """A temporary name beside `path` to write to; it is renamed into place at the end, or removed on failure.

    Raises InputError naming the file when it cannot be written; what stood there before stays.
    """
    path = Path(path)
    with _naming(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.")
    os.close(handle)
    temporary = Path(name)
    try:
        yield temporary
        with _naming(path):
            os.chmod(temporary, 0o644)
            os.replace(temporary, path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write `text` as UTF-8 to a temporary name beside `path`, then rename it into place.

    Raises InputError naming the file when it cannot be written; what stood there before stays.
    """
    _write(path, [text])


def _write(path: Path, parts: Iterable[str]) -> None:
    with replacing(path) as temporary, open(temporary, "w", encoding="utf-8", newline="\n") as file:
        try:
            file.writelines(parts)
        except UnicodeEncodeError:
            raise InputError(f"{path}: a text holds half a surrogate pair, which no UTF-8 file can; mend it") from None


def rendered(value: Any) -> str:
    """`value` (or a pydantic model) as indented JSON ending in a newline."""
    if isinstance(value, BaseModel):
        value = value.model_dump(mode="json", exclude_none=True)
    return json.dumps(value, indent=2, ensure_ascii=False) + "\n"


def write_json(path: Path, value: Any) -> None:
    """Write `value` (or a pydantic model) as `rendered` gives it."""
    write_text(path, rendered(value))


def write_lines(path: Path, rows: Iterable[Any]) -> None:
    """Write one compact JSON object a line, one after another: the rows need not fit in memory."""
    _write(path, (json.dumps(row, ensure_ascii=False) + "\n" for row in rows))


def read_text(path: Path) -> str:
    """Read a UTF-8 file. Raises InputError naming the file when it cannot be read or is not UTF-8."""
    try:
        with _naming(path):
            return Path(path).read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: byte {error.start} is not UTF-8; save the file as UTF-8") from None


def refuse_non_finite(token: str) -> float:
    """Hook for `json.loads(parse_constant=...)`: JSON has no NaN or Infinity."""
    raise InputError(f"{token} is not a number; use a finite value")


def read_json(path: Path) -> Any:
    """Read one JSON value. Raises InputError naming line and column."""
    return parse_json(read_text(path), str(path))


def parse_json(text: str, where: str, line: int | None = None) -> Any:
    """Parse one JSON value. Raises InputError beginning with `where`; `line` is the line of the file `text` is."""
    place = f"{where}: line {line}" if line else where
    try:
        return json.loads(text, parse_constant=refuse_non_finite)
    except json.JSONDecodeError as error:
        raise InputError(
            f"{where}: line {line or error.lineno}, column {error.colno}: not JSON ({error.msg.lower()})"
        ) from None
    except InputError as error:
        raise InputError(f"{place}: {error}") from None
    except RecursionError:
        raise InputError(f"{place}: nested too deeply") from None
    except ValueError:  # more than 4300 digits
        raise InputError(f"{place}: an integer is too long") from None


def read_lines(path: Path) -> list[Any]:
    """Read one JSON value a line; blank lines are passed over."""
    return [value for _, value in numbered_lines(path)]


def numbered_lines(path: Path) -> Iterator[tuple[int, Any]]:
    """(line of the file, JSON value) of one value a line; blank lines are counted and passed over."""
    # not splitlines(): a JSON text may hold U+2028 and other characters that it would split at
    for number, line in enumerate(read_text(path).split("\n"), start=1):
        if line.strip():
            yield number, parse_json(line, str(path), number)


def read_yaml(path: Path) -> Any:
    """Read one YAML document (safe loader). Raises InputError naming the line where YAML knows it."""
    text = read_text(path)
    try:
        return yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f"line {mark.line + 1}, column {mark.column + 1}: " if mark else ""
        why = one_line(str(getattr(error, "problem", None) or error))
        raise InputError(f"{path}: {line}not YAML ({why})") from None
    except RecursionError:
        raise InputError(f"{path}: nested too deeply") from None
    except ValueError as error:  # a date that is none, such as 2024-02-30, or an integer of thousands of digits
        raise InputError(f"{path}: not YAML ({one_line(str(error))})") from None


def validate(model: type[Model], value: Any, where: str) -> Model:
    """Validate `value` as `model`. Raises InputError with the first wrong field and what would be right."""
    try:
        return model.model_validate(value)
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        field = ".".join(str(part) for part in first["loc"]) or "(whole)"
        more = f" (and {error.error_count() - 1} more)" if error.error_count() > 1 else ""
        shown = repr(first.get("input"))
        got = f", got {shown[:60]}" if first["type"] not in ("missing", "value_error") else ""
        message = first["msg"].removeprefix("Value error, ")
        raise InputError(f"{where}: {one_line(f'field {field}: {message}{got}{more}')}") from None


def sha256(path: Path) -> str:
    """Hex SHA-256 of a file's content."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def sha256_text(text: str) -> str:
    """Hex SHA-256 of a text's UTF-8 bytes."""
    return hashlib.sha256(text.encode()).hexdigest()
