"""Answers from a model in this process, through LLaMA-Factory's own chat engine and template."""

from pathlib import Path

from riskscribe import prompt
from riskscribe.case import Case
from riskscribe.files import read_yaml
from riskscribe.lf.guide import KEY
from riskscribe.schema import SCHEMA_FILE


def ask(case: Case, recipe: Path, model: Path, *, constrained: bool = True) -> str:
    """The greedy answer for a case of the model in `model`, loaded as `recipe` (an api.yaml) says.

    It is held to the report's schema, or free where `constrained` is false.
    """
    from llamafactory.chat import ChatModel

    arguments = {**read_yaml(recipe), "model_name_or_path": str(model)}
    engine = ChatModel(arguments | {KEY: str(SCHEMA_FILE) if constrained else None})
    system, *turns = prompt.messages(case)
    return engine.chat(turns, system=system["content"])[0].response_text
