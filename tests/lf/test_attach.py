"""The table of attachments: what each needs of upstream, and that one that fails harms nothing."""

import importlib
import inspect
from importlib import metadata
from pathlib import Path
from types import ModuleType

import pytest

from riskscribe.lf import attach

ROOT = Path(__file__).resolve().parents[2]
MODULE = "llamafactory.data.converter"


@pytest.fixture(autouse=True)
def fresh(monkeypatch):
    monkeypatch.setattr(attach, "_said", set())
    monkeypatch.setattr(attach, "FAILED", {})


def upstream(**names) -> ModuleType:
    module = ModuleType(MODULE)
    module.__dict__.update(names)
    return module


def test_every_row_finds_what_it_needs_in_this_version():
    version = metadata.version("llamafactory")
    assert version in attach.TESTED
    for one in attach.ATTACHMENTS:
        if version in one.tested:
            assert one.missing(importlib.import_module(one.module)) == "", one.name
        assert one.needs, f"{one.name} relies on nothing?"
        # ten lines that say what and where, as docs/llamafactory.md repeats
        text = inspect.getdoc(one.extend)
        assert "Upstream: " in text and len(text.splitlines()) <= 10, one.name


def test_the_hook_waits_for_the_modules_of_the_table():
    hook = importlib.import_module("riskscribe_hook")
    assert {one.module for one in attach.ATTACHMENTS} == hook.MODULES


def test_every_row_is_documented():
    text = (ROOT / "docs" / "llamafactory.md").read_text(encoding="utf-8")
    for one in attach.ATTACHMENTS:
        (row,) = (line for line in text.splitlines() if f"`{one.name}`" in line and line.startswith("|"))
        path = one.module.removeprefix("llamafactory.").replace(".", "/") + ".py"
        assert path in row, one.name


@pytest.mark.parametrize(
    ("names", "reason"),
    [
        ({}, "DatasetConverter is gone"),
        (
            {
                "DatasetConverter": lambda attr, data_args: None,
                "register_dataset_converter": 1,
                "DATASET_CONVERTERS": {},
            },
            "DatasetConverter no longer takes dataset_attr",
        ),
    ],
    ids=["gone", "a parameter renamed"],
)
def test_a_changed_signature_is_one_line_and_the_others_go_on(names, reason, monkeypatch, capsys):
    (row,) = (one for one in attach.ATTACHMENTS if one.module == MODULE)
    made = []
    other = attach.Attachment(MODULE, "something else", lambda module: made.append(module))
    monkeypatch.setattr(attach, "ATTACHMENTS", (row, other))
    module = upstream(**names)
    attach.attach(module)
    attach.attach(module)
    (line,) = capsys.readouterr().err.splitlines()
    assert MODULE in line and reason in line and row.adds in line
    assert {row.name: reason} == attach.FAILED
    assert made == [module], "the other attachment is made, once"


def test_a_failing_attachment_is_said_and_others_are_made(monkeypatch, capsys):
    def fails(module):
        raise KeyError("x")

    made = []
    rows = attach.Attachment(MODULE, "a", fails), attach.Attachment(MODULE, "b", made.append)
    monkeypatch.setattr(attach, "ATTACHMENTS", rows)
    attach.attach(upstream())
    (line,) = capsys.readouterr().err.splitlines()
    assert "KeyError" in line and len(made) == 1


def test_unrelated_processes_start_as_fast():
    """What the .pth adds to `python -c pass`, what it imports included."""
    from riskscribe.lf.doctor import startup_ms

    assert 0 < startup_ms() < 1
