"""The chat template LLaMA-Factory trains and serves with: as Jinja for others, and as token ids."""

from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

from riskscribe import manifest
from riskscribe.errors import InputError

Conversation = list[dict[str, str]]


def _template(name: str):
    from llamafactory.data.template import TEMPLATES

    if name not in TEMPLATES:
        raise InputError(f"template {name!r}: LLaMA-Factory has none of this name; the recipe's is needed")
    return TEMPLATES[name]


def token_ids(name: str, tokenizer: Any, conversation: Conversation) -> list[int]:
    """What a model is trained on and asked with: a conversation (an optional system message first) as token ids.

    Upstream: data/template.py, Template._encode.
    """
    system, *turns = conversation if conversation[0]["role"] == "system" else [{"content": ""}, *conversation]
    encoded = _template(name)._encode(tokenizer, turns, system["content"], "")
    return [one for part in encoded for one in part]


def jinja(name: str, tokenizer: Any) -> str:
    """LLaMA-Factory's template as Jinja.

    Upstream's own text (Template._get_jinja_template) with one difference taken out: LLaMA-Factory takes an empty
    system message for none, and its Jinja does not.
    """
    template = _template(name)
    text = template._get_jinja_template(tokenizer)
    default = template._jinja_escape(template.default_system)
    given = "{% set system_message = messages[0]['content'] %}"
    text = text.replace(given, f"{{% set system_message = messages[0]['content'] or '{default}' %}}")
    return text.replace("{% if system_message is defined %}", "{% if system_message %}")


def read_tokenizer(folder: Path) -> Any:
    """The tokenizer in a folder. Raises InputError where it cannot be read."""
    from transformers import AutoTokenizer

    try:
        return AutoTokenizer.from_pretrained(folder, trust_remote_code=False)
    except Exception as error:  # a corrupted file raises whatever the parser of its kind raises
        raise InputError(f"{folder}: its tokenizer cannot be read ({type(error).__name__}: {error})") from None


def write(folder: Path, name: str) -> None:
    """Give the model in `folder` LLaMA-Factory's template `name` as its chat template."""
    tokenizer = read_tokenizer(folder)
    tokenizer.chat_template = jinja(name, tokenizer)
    tokenizer.save_pretrained(folder)


def carry_template(module: ModuleType) -> None:
    """What is merged from an adapter with a record of its training gets the chat template that it was trained with.

    Upstream leaves it the base's own, which may render other prompts. Upstream: train/tuner.py, export_model.
    """
    upstream = module.export_model

    @wraps(upstream)
    def export_model(args=None):
        upstream(args)
        model_args, data_args, *_ = module.get_infer_args(args)
        recorded = any(manifest.load(Path(one)) for one in model_args.adapter_name_or_path or [])
        if recorded and data_args.template:
            write(Path(model_args.export_dir), data_args.template)

    module.export_model = export_model
