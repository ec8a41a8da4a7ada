"""Imports point one way: cli -> release, page -> evaluate, data -> domain; only lf/ knows llamafactory."""

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "plugins" / "riskscribe"
# the files beside __init__.py are the domain, but for these, which put everything together
TOP = {"cli", "stages", "reporting", "load"}
# layer -> the layers of this package it may import
MAY = {
    "domain": {"domain"},
    "data": {"domain", "data"},
    "evaluate": {"domain", "evaluate"},
    "page": {"domain", "evaluate", "page"},
    "release": {"domain", "data", "evaluate", "page", "release", "lf"},
    "lf": {"domain", "data", "evaluate", "lf"},
    "cli": {"domain", "data", "evaluate", "page", "release", "lf", "cli"},
}
HEAVY = {"torch", "transformers"}
LAZY = {"lf"}  # outside lf/, only inside a function: importing a module never pulls LLaMA-Factory in


def layer_of(module: str) -> str:
    """The layer of `riskscribe.a.b`: its folder, `cli`, or `domain`."""
    name = [*module.split("."), ""][1]
    return "cli" if name in TOP else name if name in MAY else "domain"


def imports(tree: ast.AST, module: str) -> Iterator[tuple[str, bool, int]]:
    """(absolute module, whether it is imported with the file, line) of every import of a file."""
    inside = {
        id(node)
        for outer in ast.walk(tree)
        if isinstance(outer, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        for node in ast.walk(outer)
    }
    for node in ast.walk(tree):
        at_once = id(node) not in inside
        if isinstance(node, ast.Import):
            yield from ((one.name, at_once, node.lineno) for one in node.names)
        elif isinstance(node, ast.ImportFrom):
            base = node.module or ""
            if node.level:
                base = ".".join([*module.split(".")[: -node.level], *([base] if base else [])])
            # `from riskscribe import policy` and `from riskscribe.lf import tasks` name a module by the alias
            names = [f"{base}.{one.name}" for one in node.names] if base.split(".")[0] == "riskscribe" else [base]
            yield from ((name, at_once, node.lineno) for name in names)


def violations(package: Path) -> list[str]:
    """One line for every import that goes against the layout."""
    found = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        module = ".".join(["riskscribe", *parts])
        layer = layer_of(module)
        for name, at_once, line in imports(ast.parse(path.read_text(encoding="utf-8")), module):
            where, root = f"{path.relative_to(package)}:{line}", name.split(".")[0]
            if root == "riskscribe":
                other = layer_of(name)
                if other not in MAY[layer]:
                    found.append(f"{where}: {layer} imports {name}")
                elif at_once and layer != "lf" and other in LAZY:
                    found.append(f"{where}: {name} is imported with the file; import it inside the function")
            elif root == "llamafactory" and layer != "lf":
                found.append(f"{where}: only lf/ imports llamafactory")
            elif root in HEAVY and layer in ("domain", "data", "evaluate", "page"):
                found.append(f"{where}: {layer} imports {root}")
            elif root in HEAVY and at_once and layer != "lf":
                found.append(f"{where}: {root} is imported with the file; import it inside the function")
    return found


def test_imports_point_one_way():
    assert violations(PACKAGE) == []


VIOLATIONS = {
    "policy.py": ("from riskscribe.data import books", "policy.py:1: domain imports riskscribe.data.books"),
    "case.py": ("import torch.nn", "case.py:1: domain imports torch"),
    "prompt.py": ("def f():\n    from . import evaluate", "prompt.py:2: domain imports riskscribe.evaluate"),
    "data/pricing.py": ("import llamafactory", "data/pricing.py:1: only lf/ imports llamafactory"),
    "evaluate/score.py": ("from ..data.gold import x", "evaluate/score.py:1: evaluate imports riskscribe.data.gold.x"),
    "page/report.py": ("from riskscribe import release", "page/report.py:1: page imports riskscribe.release"),
    "release/merge.py": ("from transformers import AutoModel", "release/merge.py:1: transformers is imported with"),
    "lf/board.py": ("from riskscribe.page import report", "lf/board.py:1: lf imports riskscribe.page.report"),
    "cli.py": ("from riskscribe.lf import tasks", "cli.py:1: riskscribe.lf.tasks is imported with the file"),
    "stages.py": ("import torch", "stages.py:1: torch is imported with the file"),
    "release/serve.py": ("from riskscribe import stages", "release/serve.py:1: release imports riskscribe.stages"),
}
ALLOWED = {
    "policy.py": "import riskscribe\nfrom riskscribe import case\nfrom pathlib import Path",
    "release/merge.py": "def f():\n    import torch\n    from riskscribe.lf import tasks",
    "lf/attach.py": "import llamafactory\nimport torch\nfrom riskscribe.lf.tasks import TASKS\nfrom .. import prompt",
    "cli.py": "from riskscribe.release import base\ndef f():\n    from riskscribe.lf import tasks",
}


def write(folder: Path, name: str, text: str) -> None:
    (folder / name).parent.mkdir(parents=True, exist_ok=True)
    (folder / name).write_text(text)


@pytest.mark.parametrize("name", VIOLATIONS)
def test_the_check_sees_a_violation(tmp_path, name):
    text, message = VIOLATIONS[name]
    write(tmp_path, name, text)
    (found,) = violations(tmp_path)
    assert found.startswith(message)


@pytest.mark.parametrize("name", ALLOWED)
def test_the_check_passes_what_is_allowed(tmp_path, name):
    write(tmp_path, name, ALLOWED[name])
    assert violations(tmp_path) == []


def test_tests_and_datasets_hold_no_package():
    root = PACKAGE.parents[1]
    assert not [path for folder in ("tests", "datasets") for path in (root / folder).rglob("__init__.py")]


def test_every_folder_says_what_lives_there():
    for path in PACKAGE.rglob("__init__.py"):
        assert ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))), path
