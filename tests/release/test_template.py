"""An exported model's chat template renders what LLaMA-Factory trains with, or the difference is told."""

import json
import shutil
from pathlib import Path

import pytest

from riskscribe.errors import InputError
from riskscribe.files import read_yaml
from riskscribe.lf.template import write
from riskscribe.release import template

NO_STOP = "trained by Hugging Face"


@pytest.fixture
def exported(tmp_path: Path, tiny_model: Path) -> Path:
    """A model folder's tokenizer, with the template the checkpoint of SmolLM2 comes with."""
    folder = tmp_path / "model"
    shutil.copytree(tiny_model, folder)
    (folder / "chat_template.jinja").write_text(
        "{% for message in messages %}{% if loop.first and messages[0]['role'] != 'system' %}{{ '<|im_start|>system\n"
        "You are a helpful AI assistant named SmolLM, trained by Hugging Face<|im_end|>\n' }}{% endif %}"
        "{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}{% endfor %}"
        "{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    )
    return folder


def test_the_checkpoints_own_template_differs_by_a_full_stop(exported):
    found = template.differences(exported, "smollm2")
    # five of nine have no system message of their own, or an empty one
    assert len(found) == 5
    assert f"{NO_STOP}.<|im_end|>"[-20:] in found[0] and "conversation 1" in found[0]
    with pytest.raises(InputError, match=r"not LLaMA-Factory's 'smollm2': conversation 1: character \d+: .*5 differ"):
        template.ensure(exported, "smollm2")


@pytest.mark.parametrize("name", ["smollm2", "qwen"])
def test_the_template_that_is_written_is_llamafactorys(exported, tiny_model, name):
    write(exported, name)
    assert template.differences(exported, name, tiny_model) == []
    assert template.differences(exported, {"smollm2": "qwen", "qwen": "smollm2"}[name], tiny_model)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        (lambda text: text.replace("<|im_start|>assistant\n", "<|im_start|>assistant"), "character"),
        (lambda text: text + "{{ undefined_function(1) }}", "the chat template fails"),
        (lambda text: text.replace("{% for", "{% fro", 1), "the chat template fails"),
    ],
)
def test_a_broken_template_is_told(exported, change, reason):
    write(exported, "smollm2")
    path = exported / "chat_template.jinja"
    path.write_text(change(path.read_text()))
    assert reason in template.differences(exported, "smollm2")[0]


def test_another_tokenizer_is_told(exported, tiny_model):
    """The same text, but other token ids: half of the vocabulary's merges are gone."""
    write(exported, "smollm2")
    path = exported / "tokenizer.json"
    found = json.loads(path.read_text())
    del found["model"]["merges"][600:]
    path.write_text(json.dumps(found))
    assert "other token ids" in template.differences(exported, "smollm2", tiny_model)[0]


def test_no_template_and_no_tokenizer(exported):
    (exported / "chat_template.jinja").unlink()
    assert "has no chat template" in template.differences(exported, "smollm2")[0]
    (exported / "tokenizer.json").write_text("{")
    with pytest.raises(InputError, match="its tokenizer cannot be read"):
        template.differences(exported, "smollm2")


def test_an_unknown_template_name_is_refused(exported):
    with pytest.raises(InputError, match="LLaMA-Factory has none of this name"):
        write(exported, "smollm9")


def test_the_conversations_cover_what_they_claim():
    rows = read_yaml(template.CONVERSATIONS)
    roles = [[turn["role"] for turn in one] for one in rows]
    assert any(one[0] == "system" for one in roles) and any(one[0] == "user" for one in roles)
    assert any(one.count("user") > 1 for one in roles)
    assert any("\u4e00" <= char <= "\u9fff" for one in rows for turn in one for char in turn["content"])
