"""Every scoring of a frozen test set, one line each, so that how often it was looked at can be told.

The log is only ever appended to: `make clean` keeps it.
"""

import json
import os
from pathlib import Path
from typing import Any

from riskscribe.errors import InputError
from riskscribe.files import read_lines, sha256
from riskscribe.manifest import now

LOG = Path("exports/test_scorings.jsonl")


def note_scoring(data: Path, predictions: Path, run: Path, rubric: str, log: Path | None = None) -> bool:
    """Append one line to the log when `data` is a frozen test split (its name starts with `test`).

    Args:
        data: The split file that was scored.
        predictions: The predictions file.
        run: The folder the scores were written to.
        rubric: Version of the rubric.
        log: The log file; default LOG, below the working folder.

    Returns:
        Whether a line was written. Raises InputError naming the log when it cannot be written.
    """
    if not Path(data).name.startswith("test"):
        return False
    log = Path(log or LOG)
    entry = {
        "time": now(),
        "data": Path(data).name,
        "data_sha256": sha256(data),
        "predictions_sha256": sha256(predictions),
        "run": str(run),
        "rubric": rubric,
    }
    try:
        log.parent.mkdir(parents=True, exist_ok=True)
        # one write at the end of the file: two runs at once do not mix their lines
        handle = os.open(log, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
        try:
            os.write(handle, (json.dumps(entry, ensure_ascii=False) + "\n").encode())
        finally:
            os.close(handle)
    except OSError as error:
        raise InputError(f"{log}: {error.strerror}; every scoring of a test set is logged") from None
    return True


def scorings(data_sha256: str | None, log: Path | None = None) -> dict[str, Any]:
    """How often a test set was scored: {times, distinct {predictions sha256: its place among them, from 1}}."""
    log = Path(log or LOG)
    lines = [one for one in read_lines(log) if isinstance(one, dict)] if log.exists() else []
    own = [one.get("predictions_sha256") for one in lines if data_sha256 and one.get("data_sha256") == data_sha256]
    return {"times": len(own), "distinct": {name: i for i, name in enumerate(dict.fromkeys(own), start=1)}}
