"""LLaMA Board as `make board` opens it: our datasets, recipes and models, greedy evaluation, no remote code.

Only where RISKSCRIBE_BOARD names the folder of its files: any other `llamafactory-cli webui` is upstream's own, but
for what training, metrics and plots have from the plugin. RISKSCRIBE_BOARD_OPENS names the preset a page opens with.
"""

import json
import os
import re
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import MISSING, fields, replace
from functools import cache, wraps
from pathlib import Path
from types import ModuleType
from typing import Any

import yaml
from pydantic import ValidationError

from riskscribe import prompt
from riskscribe.case import Case
from riskscribe.errors import InputError
from riskscribe.files import write_text
from riskscribe.lf.presets import PAGES, Preset, fill, presets
from riskscribe.lf.tasks import TASKS, Task

FOLDER, OPENS = "RISKSCRIBE_BOARD", "RISKSCRIBE_BOARD_OPENS"
DATA = "dataset_info"
EXAMPLE = Path("datasets/example_book")
Extend = Callable[[ModuleType], None]


def folder() -> Path:
    return Path(os.environ[FOLDER])


def in_board(extend: Extend) -> Extend:
    """Extend a module only in the processes of `make board`."""

    @wraps(extend)
    def only_there(module: ModuleType) -> None:
        if os.environ.get(FOLDER):
            extend(module)

    return only_there


@cache
def parser_defaults() -> dict[str, Any]:
    """What LLaMA-Factory's parser takes for keys nobody states."""
    from llamafactory import hparams

    names = ("Model", "Data", "Training", "Finetuning", "Generating")
    found = {one.name: one.default for name in names for one in fields(getattr(hparams, f"{name}Arguments"))}
    return {key: value for key, value in found.items() if value is not MISSING}


@cache
def model_names() -> dict[str, str]:
    """Model path of the recipes -> the name the page lists it by: upstream's, or that of the recipe folder."""
    from llamafactory.extras.constants import SUPPORTED_MODELS

    upstream = {path: name for name, paths in SUPPORTED_MODELS.items() for path in paths.values()}
    found: dict[str, str] = {}
    for one in presets():
        path = one.recipe.get("model_name_or_path")
        if path and one.page != "infer" and path not in found:
            found[path] = upstream.get(path, one.name if one.folder in found.values() else one.folder)
    return found


def find(name: str, page: str) -> Preset | None:
    """The preset of that name for a page (train, eval, infer)."""
    return next((one for one in presets() if (one.name, one.page) == (name, page)), None)


def on_page(preset: Preset, elements: Mapping[str, Any]) -> dict[str, Any]:
    """Element id -> value for a preset, in the page's own words for models and stages."""
    from llamafactory.extras.constants import TRAINING_STAGES

    words = dict(preset.recipe)
    words["model_name_or_path"] = model_names().get(words.get("model_name_or_path", ""), "Custom")
    stages = {short: shown for shown, short in TRAINING_STAGES.items()}
    words["stage"] = stages.get(words.get("stage"), words.get("stage"))
    return fill(replace(preset, recipe=words), elements, parser_defaults())


def safe(args: dict[str, Any], extra: Mapping[str, Any], **ours: Any) -> dict[str, Any]:
    """Board's arguments with `ours` in place of what it hard-codes, and the extra arguments above both."""
    cores = os.cpu_count() or 1
    return args | {"preprocessing_num_workers": cores} | ours | dict(extra) | {"trust_remote_code": False}


@in_board
def refuse_remote_code(module: ModuleType) -> None:
    """No model brings its own code. Upstream: hparams/model_args.py, ModelArguments.

    The page asks for it when it trains, evaluates, chats and exports; every one of them comes by here.
    """
    arguments = module.ModelArguments
    upstream = arguments.__post_init__

    @wraps(upstream)
    def __post_init__(self):
        self.trust_remote_code = False
        upstream(self)

    arguments.__post_init__ = __post_init__


@in_board
def keep_together(module: ModuleType) -> None:
    """Our data, models and folders; a False is passed on. Upstream: webui/common.py, DEFAULT_*_DIR, _clean_cmd.

    Before the page's other modules bind the folders' names. The command leaves out what is False, which would turn
    `do_sample: false` into the parser's True.
    """
    module.DEFAULT_DATA_DIR = DATA
    module.DEFAULT_SAVE_DIR = str(folder() / "saves")
    module.DEFAULT_CACHE_DIR = str(folder() / "cache")
    module.DEFAULT_CONFIG_DIR = str(folder() / "config")

    ours = {name: path for path, name in model_names().items()}
    listed = {name: {module.DownloadSource.DEFAULT: path} for name, path in ours.items()}
    known = {name: paths for name, paths in module.SUPPORTED_MODELS.items() if name not in listed}
    listed |= {name: module.SUPPORTED_MODELS[name] for name in listed if name in module.SUPPORTED_MODELS}
    module.SUPPORTED_MODELS.clear()
    module.SUPPORTED_MODELS.update(listed | known)
    for one in presets():
        if name := model_names().get(one.recipe.get("model_name_or_path", "")):
            module.DEFAULT_TEMPLATE[name] = one.recipe.get("template", "default")
            if one.name == os.environ.get(OPENS):
                module.save_config("", model_name=name)

    upstream = module._clean_cmd

    @wraps(upstream)
    def _clean_cmd(args):
        stated = {key: one for key, one in args.items() if one is False and parser_defaults().get(key) is True}
        return upstream(args) | stated

    module._clean_cmd = _clean_cmd


@in_board
def obey_recipes(module: ModuleType) -> None:
    """Evaluation is greedy, workers are cores. Upstream: webui/runner.py, _parse_train_args, _parse_eval_args.

    Extra arguments are applied again after the page's own, so that a recipe's every key holds.
    """
    runner = module.Runner
    train, evaluate = runner._parse_train_args, runner._parse_eval_args

    def extra(self, data, page):
        return json.loads(data[self.manager.get_elem_by_id(f"{page}.extra_args")] or "{}")

    @wraps(train)
    def _parse_train_args(self, data):
        return safe(train(self, data), extra(self, data, "train"))

    @wraps(evaluate)
    def _parse_eval_args(self, data):
        try:
            more = extra(self, data, "eval")
        except ValueError:
            lang = data[self.manager.get_elem_by_id("top.lang")]
            raise module.gr.Error(module.ALERTS["err_json_schema"][lang]) from None
        return safe(evaluate(self, data), more, do_sample=False)

    runner._parse_train_args, runner._parse_eval_args = _parse_train_args, _parse_eval_args


@in_board
def add_eval_presets(module: ModuleType) -> None:
    """Presets and extra arguments for evaluation. Upstream: webui/components/eval.py, create_eval_tab.

    Upstream has both for training only. The element of the extra arguments joins what the tab's buttons pass on.
    """
    upstream = module.create_eval_tab

    @wraps(upstream)
    def create_eval_tab(engine):
        gr, manager = module.gr, engine.manager
        with gr.Row():
            names = sorted(one.name for one in presets() if one.page == "eval")
            opened = os.environ.get(OPENS)
            listed = gr.Dropdown(choices=names, value=opened if opened in names else None, scale=2)
            extra_args = gr.Textbox(value='{"do_sample": false}', lines=2, scale=4)
            load = gr.Button(scale=1)
        base_elems = manager.get_base_elems
        manager.get_base_elems = lambda: base_elems() | {extra_args}
        try:
            found = upstream(engine) | {"config_path": listed, "arg_load_btn": load, "extra_args": extra_args}
        finally:
            del manager.get_base_elems
        elements = {f"eval.{name}": one for name, one in found.items()}
        ids = [*PAGES["eval"].values(), "eval.extra_args"]
        elements |= {one: manager.get_elem_by_id(one) for one in ids if one not in elements}

        def fill_in(name):
            chosen = find(name, "eval")
            values = on_page(chosen, elements) if chosen else {}
            return [values.get(one, gr.skip()) for one in ids]

        load.click(fill_in, [listed], [elements[one] for one in ids])
        return found

    module.create_eval_tab = create_eval_tab


def _readable(task: Task, row: dict[str, Any], file: Path) -> dict[str, Any]:
    """A row by speaker, `user 2` for a second turn: a case as a list of its lines, a report as the JSON it is."""
    shown: dict[str, Any] = {}
    for turn in [*task.messages(row, file), {"role": "assistant", "content": task.answer(row)}]:
        role, text = turn["role"], turn["content"]
        turns = 1 + sum(one.startswith(role) for one in shown)
        name = role if turns == 1 else f"{role} {turns}"
        shown[name] = json.loads(text) if role == "assistant" else text.splitlines() if role == "user" else text
    return shown


@in_board
def preview_rows(module: ModuleType) -> None:
    """Rows of our formats as the model reads them; parquet files. Upstream: webui/components/data.py, get_preview.

    Outside its queue gradio 5 sends the name of its own object instead of the JSON in it ("root=[...]").
    """
    from gradio.data_classes import JsonData
    from gradio.routes import ORJSONResponse

    upstream, load, render = module.get_preview, module._load_data_file, ORJSONResponse.render

    def rendered(self, content):
        if isinstance(content, dict) and isinstance(content.get("data"), list):
            plain = [one.root if isinstance(one, JsonData) else one for one in content["data"]]
            content = content | {"data": plain}
        return render(self, content)

    @wraps(load)
    def _load_data_file(file_path):
        if not file_path.endswith(".parquet"):
            return load(file_path)
        from pyarrow import parquet

        return parquet.read_table(file_path).to_pylist()

    @wraps(upstream)
    def get_preview(dataset_dir, dataset, page_index):
        count, rows, box = upstream(dataset_dir, dataset, page_index)
        entry = json.loads((Path(dataset_dir) / module.DATA_CONFIG).read_text(encoding="utf-8"))[dataset[0]]
        if task := TASKS.get(entry.get("formatting")):
            file = Path(dataset_dir) / entry["file_name"]
            rows = [_readable(task, row, file) for row in rows]
        return count, rows, box

    module._load_data_file, module.get_preview = _load_data_file, get_preview
    ORJSONResponse.render = rendered


@in_board
def offer_adapters(module: ModuleType) -> None:
    """Adapters that `make` trained, beside the page's own. Upstream: webui/control.py, list_checkpoints."""
    upstream = module.list_checkpoints

    @wraps(upstream)
    def list_checkpoints(model_name, finetuning_type):
        found = upstream(model_name, finetuning_type)
        if finetuning_type not in module.PEFT_METHODS:
            return found
        folders = {
            one.folder for one in presets() if model_names().get(one.recipe["model_name_or_path"]) == model_name
        }
        trained = [path.parent for one in folders for path in Path("exports", one).rglob("adapter_config.json")]
        more = sorted(str(one) for one in trained if not one.name.startswith("checkpoint-"))
        choices = [*(name for name, _ in found.choices), *more]
        return module.gr.Dropdown(value=[], choices=choices, multiselect=True)

    module.list_checkpoints = list_checkpoints


def opening_values(elements: Mapping[str, Any]) -> dict[str, Any]:
    """Element id -> value of a page as it opens: training, evaluation, chat and export as the recipes have them."""
    name = os.environ.get(OPENS, "")
    values: dict[str, Any] = {}
    train, evaluate = find(name, "train"), find(name, "eval")
    for one in (train, evaluate, find(f"{train.folder}-api", "infer") if train else None):
        values |= on_page(one, elements) if one else {}
    values["export.export_dir"] = str(folder() / "merged")
    if "infer.infer_dtype" in values:
        # else a model would be exported in another type than it is tested in
        values["export.extra_args"] = json.dumps({"infer_dtype": values["infer.infer_dtype"]})
    from riskscribe.data.import_csv import import_csv

    with suppress(InputError):  # not there, or changed by its user
        values["infer.query"] = prompt.messages(import_csv(EXAMPLE))[-1]["content"]
    return values


@in_board
def open_with_recipes(module: ModuleType) -> None:
    """A page opens with the chosen recipes; they are listed as presets. Upstream: webui/engine.py, Engine.resume."""
    engine = module.Engine
    upstream, ours = engine.resume, module.load_config().get("last_model")

    @wraps(upstream)
    def resume(self):
        elements = {one: self.manager.get_elem_by_id(one) for one in self.manager._id_to_elem}
        for one in presets():
            if one.page == "train":
                save_preset(one.name, on_page(one, elements))
        for number, update in enumerate(upstream(self)):
            # of another model that was chosen on the page nothing is known here
            if number == 0 and module.load_config().get("last_model") == ours:
                update |= {elements[name]: value for name, value in opening_values(elements).items()}
                for page, lines in (("train", 4), ("eval", 3)):
                    # a box that is filled while it is hidden does not grow
                    box = elements[f"{page}.extra_args"]
                    update[box] = type(box)(value=update.get(box, box.value), lines=lines)
            yield update

    engine.resume = resume


def save_preset(name: str, values: Mapping[str, Any]) -> None:
    """A preset where the page's own list of saved arguments looks."""
    write_text(folder() / "config" / f"{name}.yaml", yaml.safe_dump(dict(values), allow_unicode=True))


def _as_case(text: str) -> Case | None:
    """The case that a text is as JSON, or None."""
    try:
        return Case.model_validate_json(text) if text.lstrip().startswith("{") else None
    except ValidationError:
        return None


@in_board
def chat_as_trained(module: ModuleType) -> None:
    """A case is asked as the model learned it, a report is shown as JSON. Upstream: webui/chatter.py, WebChatModel.

    By itself, with our system message unless another is given. A case's JSON may be pasted too.
    """
    chat = module.WebChatModel
    append, stream, shown = chat.append, chat.stream, module._format_response

    @wraps(append)
    def appended(chatbot, messages, role, query, escape_html):
        case = _as_case(query)
        if case:
            query = prompt.messages(case)[-1]["content"]
        if prompt.case_id_in(query):
            messages = []
        return append(chatbot, messages, role, query, escape_html)

    @wraps(stream)
    def streamed(self, chatbot, messages, lang, system, *rest, **options):
        asked = messages[-1]["content"]
        if not system and prompt.case_id_in(asked):
            system = prompt.SYSTEM["en" if asked.startswith("Case") else "zh"]
        # itself a generator: gradio asks the function
        yield from stream(self, chatbot, messages, lang, system, *rest, **options)

    @wraps(shown)
    def _format_response(text, lang, escape_html, thought_words):
        if not text.startswith("{"):
            return shown(text, lang, escape_html, thought_words)
        with suppress(ValueError):  # not finished
            text = json.dumps(json.loads(text), indent=2, ensure_ascii=False)
        return f"```json\n{text}\n```"

    chat.append, chat.stream, module._format_response = staticmethod(appended), streamed, _format_response


# a report is one line of JSON until it is finished; a case and its report are longer than gradio's 400 pixels
CSS = """
.block:has(> .wrapper > .bubble-wrap) { height: 80vh !important; }
.message pre code { white-space: pre-wrap !important; overflow-wrap: anywhere; }
"""


@in_board
def ask_nobody_else(module: ModuleType) -> None:
    """The page loads nothing from elsewhere. Upstream: webui/interface.py, create_ui.

    gradio's page asks for a script of a content network and for fonts of Google's; without them it shows the system's.
    """
    from gradio.routes import templates
    from jinja2 import ChoiceLoader, DictLoader

    name, loader = "frontend/index.html", templates.env.loader
    source = loader.get_source(templates.env, name)[0]
    source = re.sub(r"<link\b[^>]*\bhref=\"https://[^>]*>", "", source)
    source = re.sub(r"<script\b[^>]*\bsrc=\"https://[^>]*></script>", "", source)
    templates.env.loader = ChoiceLoader([DictLoader({name: source}), loader])
    module.CSS += CSS
    upstream = module.create_ui

    @wraps(upstream)
    def create_ui(demo_mode=False):
        page = upstream(demo_mode)
        page.stylesheets = [one for one in page.stylesheets if not one.startswith("https:")]
        return page

    module.create_ui = create_ui
