"""The chat template of an exported model, checked prompt by prompt against what LLaMA-Factory renders."""

from pathlib import Path

from riskscribe.errors import InputError
from riskscribe.files import read_yaml

CONVERSATIONS = Path(__file__).with_name("conversations.yaml")


def differences(folder: Path, name: str, base: Path | None = None) -> list[str]:
    """Where the tokenizer and chat template in `folder` render a conversation otherwise than LLaMA-Factory's `name`.

    One line a conversation; none when all prompts are the same bytes and the same token ids.

    Args:
        folder: The exported model.
        name: The template the model was trained with.
        base: The model whose tokenizer it was trained with; default: `folder` itself.
    """
    from riskscribe.lf import template

    own, trained = template.read_tokenizer(folder), template.read_tokenizer(base or folder)
    if not own.chat_template:
        return [f"{folder}: has no chat template"]
    found = []
    for number, conversation in enumerate(read_yaml(CONVERSATIONS), start=1):
        expected = template.token_ids(name, trained, conversation)
        try:
            rendered = own.apply_chat_template(conversation, tokenize=False, add_generation_prompt=True)
        except Exception as error:  # jinja2's, and whatever a template raises by itself
            found.append(f"conversation {number}: the chat template fails ({type(error).__name__}: {error})")
            continue
        ids = own(rendered, add_special_tokens=False)["input_ids"]
        text = trained.decode(expected, skip_special_tokens=False, clean_up_tokenization_spaces=False)
        if rendered != text:
            found.append(f"conversation {number}: {_first_difference(text, rendered)}")
        elif ids != expected:
            at = next((i for i, (a, b) in enumerate(zip(ids, expected, strict=False)) if a != b), len(ids))
            found.append(f"conversation {number}: same text, other token ids from position {at} on")
    return found


def _first_difference(expected: str, got: str) -> str:
    at = next((i for i, (a, b) in enumerate(zip(expected, got, strict=False)) if a != b), min(len(expected), len(got)))
    near = slice(max(0, at - 20), at + 20)
    return f"character {at}: LLaMA-Factory has {expected[near]!r}, the chat template {got[near]!r}"


def ensure(folder: Path, name: str, base: Path | None = None) -> None:
    """Raise InputError when `differences` finds any, with the first of them."""
    if found := differences(folder, name, base):
        raise InputError(
            f"{folder}: its chat template is not LLaMA-Factory's {name!r}: {found[0]} ({len(found)} differ)"
        )
