"""Answers from a model in this process, through LLaMA-Factory's own chat engine and template."""

from pathlib import Path

from riskscribe import prompt
from riskscribe.case import Case
from riskscribe.files import read_yaml


def ask(case: Case, recipe: Path, model: Path) -> str:
    """The greedy answer for a case of the model in `model`, loaded as `recipe` (an api.yaml) says."""
    from llamafactory.chat import ChatModel

    engine = ChatModel({**read_yaml(recipe), "model_name_or_path": str(model)})
    system, *turns = prompt.messages(case)
    return engine.chat(turns, system=system["content"])[0].response_text
