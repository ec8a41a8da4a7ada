"""LLaMA Board as `make board` opens it: presets through Board's own parsers, and the page in headless Chromium."""

import importlib
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from click.testing import CliRunner

from riskscribe import prompt
from riskscribe.cli import main
from riskscribe.data.rows import read_rows
from riskscribe.lf import attach, board, presets
from riskscribe.release.serve import free_port

ROOT = Path(__file__).resolve().parents[2]
VAL = ROOT / "datasets" / "risk_report" / "v1" / "val.jsonl"
SHOTS = ROOT / "exports" / "board" / "screenshots"
# what the page adds to every run: more in the log, a timeout, a number of rows that no dataset reaches
PAGE_ALONE = {"include_num_input_tokens_seen": "all", "ddp_timeout": 180000000, "max_samples": 100000}
PAGE_ALONE["packing"] = False  # for None, the same in supervised fine-tuning
NOT_ARGUMENTS = {"output_dir", "logging_dir", "run_name", "distributed_state"}
RECIPES = [one for one in presets.presets(ROOT / "recipes") if one.page != "infer"]


@pytest.fixture(scope="module")
def page(tmp_path_factory):
    """Board's page in this process: modules loaded anew with the plugin's attachments, engine and elements."""
    from llamafactory.extras import constants

    folder = tmp_path_factory.mktemp("board")
    before = {name: sys.modules.pop(name) for name in [*sys.modules] if name.startswith("llamafactory.webui")}
    models, templates = dict(constants.SUPPORTED_MODELS), dict(constants.DEFAULT_TEMPLATE)
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(ROOT)
        patch.setenv(board.FOLDER, str(folder))
        patch.setenv(board.OPENS, "smollm2_135m-quick")
        patch.setattr(attach, "FAILED", {})
        board.model_names.cache_clear()
        interface = importlib.import_module("llamafactory.webui.interface")
        made = []

        class Engine(interface.Engine):
            def __init__(self, *rest, **options):
                super().__init__(*rest, **options)
                made.append(self)

        patch.setattr(interface, "Engine", Engine)
        blocks = interface.create_ui()
        assert attach.FAILED == {}
        (engine,) = made
        opening = next(engine.resume())
        ids = [*engine.manager._id_to_elem]
        yield SimpleNamespace(
            engine=engine,
            folder=folder,
            blocks=blocks,
            element=engine.manager.get_elem_by_id,
            opening={name: opening[engine.manager.get_elem_by_id(name)] for name in ids
                     if engine.manager.get_elem_by_id(name) in opening},
            module=lambda name: importlib.import_module(f"llamafactory.webui.{name}"),
        )  # fmt: skip
    for name in [*sys.modules]:
        if name.startswith("llamafactory.webui"):
            del sys.modules[name]
    sys.modules.update(before)
    for found, saved in ((constants.SUPPORTED_MODELS, models), (constants.DEFAULT_TEMPLATE, templates)):
        found.clear()
        found.update(saved)


def chosen(page, values):
    """What the buttons pass on: every element's value, those of `values` (by id) in their place."""
    data = {one: one.value for _, one in page.engine.manager.get_elem_iter() if hasattr(one, "value")}
    name = values["top.model_name"]
    # choosing a model fills these two in
    path, template = page.module("control").get_model_info(name)
    data |= {page.element("top.model_path"): path, page.element("top.template"): template}
    data |= {page.element("top.lang"): "en"}
    data |= {page.element(f"{one}.output_dir"): "run" for one in ("train", "eval")}
    return data | {page.element(one): value for one, value in values.items()}


def launched(page, preset, **more):
    """The arguments of the YAML file that Board would start with this preset."""
    runner = page.engine.runner
    if preset.page == "train":
        loaded = runner.load_args("en", f"{preset.name}.yaml")
        values = {page.engine.manager.get_id_by_elem(one): value for one, value in loaded.items()}
        assert values.pop("train.output_box") == "Arguments have been restored."
        args = runner._parse_train_args(chosen(page, values | more))
    else:
        elements = {one: page.element(one) for one in page.engine.manager._id_to_elem}
        values = board.on_page(preset, elements)
        args = runner._parse_eval_args(chosen(page, values | more))
    return yaml.safe_load(Path(page.module("common").save_cmd(args)).read_text())


def parsed(recipe, tmp_path):
    """Every argument of a recipe as LLaMA-Factory's parser has it, but where it writes."""
    from llamafactory.hparams.parser import _TRAIN_ARGS
    from transformers import HfArgumentParser

    # this machine may have no GPU to train in bf16 on; the parser asks before anything is loaded
    given = {**recipe, "output_dir": str(tmp_path), "use_cpu": True, "load_best_model_at_end": False}
    found = HfArgumentParser(_TRAIN_ARGS).parse_dict(given)
    flat = {key: value for one in found for key, value in vars(one).items()}
    flat |= {key: recipe.get(key) or False for key in ("use_cpu", "load_best_model_at_end")}
    return {key: value for key, value in flat.items() if key not in NOT_ARGUMENTS}


@pytest.mark.parametrize("preset", RECIPES, ids=lambda one: f"{one.page}-{one.name}")
def test_a_preset_through_boards_own_parser_gives_the_recipes_arguments(page, preset, tmp_path):
    adapter = preset.recipe.get("adapter_name_or_path") if preset.page == "eval" else None
    args = launched(page, preset, **({"top.checkpoint_path": [adapter]} if adapter else {}))
    assert args.pop("output_dir").startswith(str(page.folder / "saves"))
    assert "trust_remote_code" not in args
    wanted, found = parsed(preset.recipe, tmp_path), parsed(args, tmp_path)
    alone = {key: value for key, value in PAGE_ALONE.items() if key not in preset.recipe}
    assert {key: found[key] for key in found if found[key] != wanted[key]} == {
        key: value for key, value in alone.items() if key in args
    }
    if preset.page == "eval":
        assert args["do_sample"] is False


def test_every_recipe_that_trains_or_predicts_is_a_preset_and_lists_its_model(page):
    folders = [path.parent for path in ROOT.glob("recipes/*/profiles.yaml")]
    files = {path for one in folders for path in one.glob("*.yaml") if path.stem.startswith(("sft", "predict"))}
    assert {f"{path.parent.name}-{path.stem}" for path in files} < {one.name for one in RECIPES}
    models = [*page.module("common").SUPPORTED_MODELS]
    assert models[0] == "Qwen2.5-7B-Instruct" and models[1] == "smollm2_135m"
    assert page.module("common").get_model_path("smollm2_135m") == "exports/base/smollm2_135m"
    listed = page.module("control").list_config_paths("now")
    assert {f"{one.name}.yaml" for one in RECIPES if one.page == "train"} < {name for name, _ in listed.choices}


def test_a_page_opens_with_what_make_would_run(page):
    assert page.opening["train.dataset"] == ["risk_report_train_quick"]
    assert page.opening["train.gradient_accumulation_steps"] == 1
    assert page.opening["eval.dataset"] == ["risk_report_test_quick"]
    assert page.opening["infer.infer_dtype"] == "float32"
    assert json.loads(page.opening["infer.extra_args"])["do_sample"] is False
    assert page.opening["top.model_name"] == "smollm2_135m" == page.module("common").load_config()["last_model"]
    assert prompt.case_id_in(page.opening["infer.query"])
    folders = [getattr(page.module("common"), f"DEFAULT_{one}_DIR") for one in ("DATA", "SAVE", "CACHE", "CONFIG")]
    assert folders == ["dataset_info", *(str(page.folder / one) for one in ("saves", "cache", "config"))]
    assert page.element("train.dataset_dir").value == page.element("eval.dataset_dir").value == "dataset_info"


def test_without_a_preset_evaluation_is_greedy_local_and_has_a_worker_a_core(page):
    values = {"top.model_name": "smollm2_135m", "eval.dataset": ["x"]}
    for extra in ("", '{"do_sample": false}', '{"trust_remote_code": true, "temperature": 0.1}'):
        args = page.engine.runner._parse_eval_args(chosen(page, values | {"eval.extra_args": extra}))
        assert (args["do_sample"], args["trust_remote_code"]) == (False, False)
        assert args["preprocessing_num_workers"] == os.cpu_count()
        # upstream's command leaves False out, and the parser's own value is True
        assert "--do_sample False" in page.module("common").gen_cmd(args)
    assert args["temperature"] == 0.1
    with pytest.raises(Exception, match="Invalid JSON"):
        page.engine.runner._parse_eval_args(chosen(page, values | {"eval.extra_args": "{"}))


def test_what_an_element_cannot_hold_goes_into_the_extra_arguments(page):
    recipe = {**RECIPES[0].recipe, "do_train": True, "stage": "sft", "save_steps": 3, "report_to": "clearml"}
    made = presets.Preset("x", "train", "smollm2_135m", recipe)
    values = board.on_page(made, {one: page.element(one) for one in page.engine.manager._id_to_elem})
    assert values["train.save_steps"] == page.element("train.save_steps").value
    extra = json.loads(values["train.extra_args"])
    assert (extra["save_steps"], extra["report_to"]) == (3, "clearml")


def test_a_broken_recipe_is_said_and_costs_only_itself(tmp_path, capsys):
    shutil.copytree(ROOT / "recipes" / "smollm2_135m", tmp_path / "own")
    (tmp_path / "own" / "sft_lora_live.yaml").write_text("a: [")
    names = [one.name for one in presets.presets(tmp_path)]
    assert "own-sft_lora" in names and "own-quick" in names and "own-sft_lora_live" not in names
    assert capsys.readouterr().err.startswith(f"riskscribe: {tmp_path}/own/sft_lora_live.yaml: line 1")


@pytest.mark.parametrize("name", ["risk_report_train", "risk_report_val", "risk_report_test_quick_few_shot"])
def test_rows_are_previewed_as_the_model_reads_them(page, name):
    count, rows, _ = page.module("components.data").get_preview("dataset_info", [name], 0)
    assert count == {"risk_report_train": 2000, "risk_report_val": 200}.get(name, 24) and len(rows) == 2
    turns = ["user", "assistant", "user 2", "assistant 2", "user 3", "assistant 3"]
    assert [*rows[0]] == ["system", *(turns if name.endswith("few_shot") else turns[:2])]
    assert rows[0]["system"].startswith("Write the risk report of this book as JSON")
    *_, user, answer = rows[0].values()
    assert user[0].startswith("Case c-") and answer["schema_version"] == "1"


def test_other_datasets_are_previewed_as_they_are(page, tmp_path):
    (tmp_path / "a.json").write_text('[{"instruction": "x"}]')
    (tmp_path / "dataset_info.json").write_text('{"a": {"file_name": "a.json"}}')
    assert page.module("components.data").get_preview(str(tmp_path), ["a"], 0)[1] == [{"instruction": "x"}]


def test_adapters_of_make_are_offered(page, tmp_path, monkeypatch):
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    for one in ("exports/smollm2_135m/quick/train/adapter", "exports/smollm2_135m/quick/train/adapter/checkpoint-20"):
        (tmp_path / one).mkdir(parents=True)
        (tmp_path / one / "adapter_config.json").write_text("{}")
    monkeypatch.chdir(tmp_path)
    found = page.module("control").list_checkpoints("smollm2_135m", "lora")
    assert [one for _, one in found.choices] == ["exports/smollm2_135m/quick/train/adapter"]
    assert page.module("control").list_checkpoints("Qwen2.5-7B-Instruct", "lora").choices == []
    assert page.module("control").list_checkpoints("smollm2_135m", "full").choices == []


def test_a_case_is_asked_by_itself_with_the_system_message_of_its_language(page, monkeypatch):
    rows = read_rows(VAL)
    before = [{"role": "user", "content": "x"}, {"role": "assistant", "content": "y"}]
    asked = []

    def stream_chat(self, messages, system, *rest, **options):
        asked.append((messages, system))
        yield '{"a": '
        yield "1}"

    chatter = page.engine.chatter
    template = SimpleNamespace(enable_thinking=None, thought_words=("<think>", "</think>"))
    monkeypatch.setattr(chatter, "engine", SimpleNamespace(template=template))
    monkeypatch.setattr(type(chatter), "stream_chat", stream_chat)
    for language in ("en", "zh"):
        row = next(one for one in rows if one.language == language)
        system, turn = prompt.messages(row.case)
        for query in (turn["content"], row.case.model_dump_json()):
            chatbot, messages, _ = chatter.append([*before], before, "user", query, True)
            assert messages == [turn] and len(chatbot) == 3
            *_, (shown, kept) = chatter.stream(chatbot, messages, "en", "", *[None] * 4, 8, 0.7, 0.95, *[True] * 3)
            assert asked.pop() == ([turn], system["content"])
            assert kept[-1] == {"role": "assistant", "content": '{"a": 1}'}
            assert shown[-1]["content"] == '```json\n{\n  "a": 1\n}\n```'
    # anything else goes on as upstream has it
    _, messages, _ = chatter.append([], before, "user", "and why?", True)
    assert messages == [*before, {"role": "user", "content": "and why?"}]
    list(chatter.stream([], messages, "en", "be brief", *[None] * 4, 8, 0.7, 0.95, *[True] * 3))
    assert asked.pop()[1] == "be brief"
    assert page.module("chatter")._format_response("<b>", "en", True, ("<think>", "</think>")) == "&lt;b&gt;"


def test_no_model_brings_its_own_code(monkeypatch):
    @dataclass
    class ModelArguments:
        trust_remote_code: bool = False

        def __post_init__(self):
            self.seen = self.trust_remote_code

    for where, expected in (("", True), ("exports/board", False)):
        monkeypatch.setenv(board.FOLDER, where)
        board.refuse_remote_code(SimpleNamespace(ModelArguments=ModelArguments))
        made = ModelArguments(trust_remote_code=True)
        assert made.trust_remote_code is made.seen is expected


def test_the_page_names_nobody_else(page):
    from gradio.routes import templates

    config = page.blocks.get_config_file()
    assert not [one for one in config["stylesheets"] if "://" in one]
    source = templates.env.loader.get_source(templates.env, "frontend/index.html")[0]
    assert "window.gradio_config" in source
    assert "cdnjs" not in source and "fonts.g" not in source


def test_any_other_board_is_upstreams_own(monkeypatch):
    monkeypatch.delenv(board.FOLDER, raising=False)
    untouched = SimpleNamespace()
    for one in attach.ATTACHMENTS:
        if ".webui." in one.module:
            one.extend(untouched)
    assert vars(untouched) == {}


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--model", "nope"], "recipes/nope/profiles.yaml: no such file"),
        (["--profile", "nope"], "no profile 'nope'"),
        (["--port", "{taken}"], "is taken; choose another with --port"),
    ],
    ids=["model", "profile", "port"],
)
def test_bad_input_is_one_line_and_nothing_is_written(arguments, message, tmp_path, monkeypatch):
    shutil.copytree(ROOT / "recipes", tmp_path / "recipes")
    monkeypatch.chdir(tmp_path)
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = str(taken.getsockname()[1])
        result = CliRunner().invoke(main, ["board", *(one.format(taken=port) for one in arguments)])
    assert result.exit_code == 2
    (line,) = result.stderr.splitlines()
    assert message in line
    assert not (tmp_path / "exports").exists()


# --- the page in a browser

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser")
MINUTES = 8 * 60_000  # a busy machine is slow, not wrong


BASE = ROOT / "exports" / "base" / "smollm2_135m"


@pytest.fixture(params=["tiny", "smollm2_135m"])
def workspace(request, tmp_path, tiny_model, make_dataset):
    """A folder to open Board in: recipes of a model that trains three steps and is asked at each, six rows.

    The model is a tiny one that was never trained, or the embedded base.
    """
    model, template, longest = (tiny_model, "qwen", 24) if request.param == "tiny" else (BASE, "smollm2", 160)
    if not model.is_dir():
        pytest.skip(f"{model} is not here; `riskscribe base build` makes it")
    folder = make_dataset(6)
    folder.rename(tmp_path / "dataset_info")
    info = tmp_path / "dataset_info" / "dataset_info.json"
    live = {"live_evaluation": {"cases": 2, "max_new_tokens": 16}}
    registry = json.loads(info.read_text())
    registry["live"] = {"file_name": "live.jsonl", "formatting": "risk_report", **live}
    shutil.copy(info.with_name("rows.jsonl"), info.with_name("live.jsonl"))
    info.write_text(json.dumps(registry))
    shutil.copytree(ROOT / "datasets" / "example_book", tmp_path / "datasets" / "example_book")

    recipes = tmp_path / "recipes" / request.param
    recipes.mkdir(parents=True)
    same = {"model_name_or_path": str(model), "template": template}
    steps = {"max_steps": 3, "logging_steps": 1, "save_steps": 3, "eval_steps": 1, "load_best_model_at_end": False}
    change = {
        "sft_lora_live": {**same, **steps, "dataset": "rows_few_shot", "eval_dataset": "live"},
        "predict_tuned": {**same, "eval_dataset": "rows", "max_new_tokens": longest},
        "api": {**same, "max_new_tokens": longest},
    }
    for name, more in change.items():
        recipe = yaml.safe_load((ROOT / "recipes" / "smollm2_135m" / f"{name}.yaml").read_text())
        (recipes / f"{name}.yaml").write_text(yaml.safe_dump(recipe | more))
    profile = {"train": {"recipe": "sft_lora_live.yaml"}, "eval": {}}
    (recipes / "profiles.yaml").write_text(yaml.safe_dump({"base": str(model), "quick": profile}))
    return tmp_path


@pytest.fixture
def served(workspace):
    """The address of `riskscribe board` run there, ended afterwards with all it started."""
    port, cli = free_port(), Path(sys.executable).with_name("riskscribe")
    (model,) = (one.name for one in (workspace / "recipes").iterdir())
    # a user's terminal has no virtual environment on its PATH
    env = {**os.environ, "PATH": os.defpath}
    with open(workspace / "board.log", "wb") as log:
        process = subprocess.Popen(
            [str(cli), "board", "--model", model, "--port", str(port)],
            **{"cwd": workspace, "env": env, "stdout": log, "stderr": log, "start_new_session": True},
        )
    try:
        for _ in range(300):
            assert process.poll() is None, (workspace / "board.log").read_text()
            with suppress(OSError), urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5):
                break
            time.sleep(1)
        yield f"http://127.0.0.1:{port}/"
    finally:
        os.killpg(process.pid, signal.SIGTERM)
        process.wait(30)


@pytest.fixture
def opened(served):
    """The page; a request to anyone else or an error on its console fails the test."""
    from playwright.sync_api import sync_playwright

    wrong = []
    with sync_playwright() as driver:
        options = ["--no-sandbox", "--disable-gpu", "--disable-dev-shm-usage"]
        browser = driver.chromium.launch(executable_path=CHROMIUM, args=options)
        tab = browser.new_page(viewport={"width": 1400, "height": 1000})
        tab.set_default_timeout(120_000)
        tab.on("console", lambda one: wrong.append(one.text) if one.type == "error" else None)
        tab.on("pageerror", lambda one: wrong.append(str(one)))
        tab.on(
            "request", lambda one: None if one.url.startswith((served, "data:", "blob:")) else wrong.append(one.url)
        )
        tab.goto(served)
        tab.get_by_text("rows_few_shot").first.wait_for()  # the recipe has filled the page in
        yield tab
        browser.close()
    assert wrong == []


@pytest.fixture
def shoot(opened, request):
    """Keeps a picture of the page under exports/, to be looked at."""

    def keep(name):
        folder = SHOTS / request.node.callspec.params["workspace"]
        folder.mkdir(parents=True, exist_ok=True)
        opened.screenshot(path=folder / f"{name}.png", full_page=True)

    return keep


def choose(tab, label, option):
    """Choose in the visible list of this name."""
    tab.get_by_label(label, exact=True).and_(tab.locator("input:visible")).first.click()
    tab.get_by_role("option", name=option, exact=True).click()
    tab.keyboard.press("Escape")


def press(tab, name):
    tab.get_by_role("button", name=name, exact=True).and_(tab.locator(":visible")).first.click()


def answered(tab):
    """Wait until the last answer of the chat is there and grows no more."""
    answer, before = tab.locator(".message.bot").last, ""
    for _ in range(MINUTES // 5000):
        text = answer.inner_text().strip() if answer.count() else ""
        if len(text) > 5 and text == before and not tab.get_by_text("processing |").count():
            return
        before = text
        time.sleep(5)
    raise AssertionError(f"no answer: {before!r}")


@pytest.mark.slow
@pytest.mark.skipif(CHROMIUM is None, reason="no chromium on this machine; apt-get install chromium")
def test_training_evaluation_and_chat_from_the_page(opened, workspace, shoot):
    tab = opened
    assert tab.evaluate("window.gradio_config.analytics_enabled") is False
    shoot("train_before")

    # a dataset is chosen and looked at
    tab.get_by_role("button", name="Remove rows_few_shot").or_(tab.locator(".token-remove:visible")).first.click()
    choose(tab, "Dataset", "rows")
    press(tab, "Preview dataset")
    tab.get_by_text("Write the risk report of this book").first.wait_for()
    assert not tab.get_by_text("root=").count()
    shoot("preview")
    press(tab, "Close")

    # three steps; the plot has the loss and the task curves
    press(tab, "Start")
    tab.get_by_text("Finished.").first.wait_for(timeout=MINUTES)
    tab.get_by_text("live evaluation at step 3, 2 cases").first.wait_for()
    tab.locator("[data-testid='matplotlib'] img, .matplotlib img").first.wait_for()
    shoot("train_finished")
    (run,) = (workspace / "exports" / "board" / "saves").glob("*/lora/*")
    log = [json.loads(line) for line in (run / "trainer_log.jsonl").read_text().splitlines()]
    assert [one["current_steps"] for one in log if "eval_risk_fatal_error_free" in one] == [1, 2, 3]
    assert yaml.safe_load((run / "training_args.yaml").read_text())["dataset"] == "rows"

    # what was trained is evaluated, greedily, and its metrics are shown
    choose(tab, "Checkpoint path", run.name)
    tab.get_by_role("tab", name="Evaluate & Predict").click()
    press(tab, "Start")
    tab.get_by_text("predict_risk_fatal_error_free").first.wait_for(timeout=MINUTES)
    shoot("evaluate_finished")
    (evaluated,) = (one for one in run.parent.iterdir() if one.name.startswith("eval_"))
    asked = yaml.safe_load((evaluated / "training_args.yaml").read_text())
    assert asked["do_sample"] is False and asked["adapter_name_or_path"] == str(run.relative_to(workspace))
    assert json.loads((evaluated / "all_results.json").read_text())["predict_risk_cases"] == 6

    # and talked with: the box holds the example book's case
    tab.get_by_role("tab", name="Chat").click()
    press(tab, "Load model")
    tab.get_by_role("button", name="Submit").and_(tab.locator(":visible")).wait_for(timeout=MINUTES)
    press(tab, "Submit")
    tab.get_by_text("Case c-").first.wait_for()
    answered(tab)
    shoot("chat")

    # and exported, in the type that the recipes serve in
    press(tab, "Unload model")
    tab.get_by_role("tab", name="Export").click()
    press(tab, "Export")
    tab.wait_for_function(
        "[...document.querySelectorAll('textarea')].some(one => one.value == 'Model exported.')", timeout=MINUTES
    )
    shoot("exported")
    config = json.loads((workspace / "exports" / "board" / "merged" / "config.json").read_text())
    assert config["dtype"] == "float32"

    tab.get_by_role("tab", name="Chat").click()
    choose(tab, "Language", "zh")
    tab.get_by_text("模型名称").first.wait_for()
    shoot("chat_zh")
    tab.get_by_role("tab", name="Train").click()
    shoot("train_zh")
    assert "Traceback" not in (workspace / "board.log").read_text()
    # all that was written is in its folder
    assert {one.name for one in workspace.iterdir()} == {
        "board.log", "dataset_info", "datasets", "exports", "recipes",
    }  # fmt: skip
    assert {one.name for one in (workspace / "exports").iterdir()} == {"board"}
