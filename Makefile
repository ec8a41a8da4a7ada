# `make help` lists the targets; MODEL=<folder in recipes/> and PROFILE=quick|full apply to every one of them.
PYTHON  ?= python3
MODEL   ?= smollm2_135m
PROFILE ?= quick
AWQ     ?= auto
# what serves: hf (LLaMA-Factory, anywhere) or vllm (on a GPU)
ENGINE  ?= hf
# another LLaMA-Factory to test the plugin on, and what that one must have of another version than .venv
LF      ?= llamafactory==0.9.4 transformers==4.57.1 peft==0.17.1

BIN := .venv/bin
JOB := --model $(MODEL) --profile $(PROFILE)
UV  := 0.13.9
export HF_HUB_OFFLINE := 1
# a run is many processes: where compiled modules are not kept, as in most Python images, each starts ten seconds later
export PYTHONDONTWRITEBYTECODE :=

.PHONY: help setup data baseline train eval export serve board demo all test test-slow test-lf quality bench bench-grounding clean
.DEFAULT_GOAL := help

help: ## list the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | awk -F ':.*## ' '{printf "  make %-15s %s\n", $$1, $$2}'

setup: .venv/installed ## make .venv from requirements.lock and the embedded base (once; 8 GB, 2 to 3 minutes, a 4 GB download)

.venv/installed: requirements.lock pyproject.toml plugins/riskscribe.pth plugins/riskscribe_hook.py
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "Python 3.11 or newer is needed, $(PYTHON) is " + sys.version.split()[0] + "; try make PYTHON=python3.11")'
	@echo "setup: creating .venv and installing $$(grep -c '^[a-z].*==' requirements.lock) pinned packages (hashes checked)"
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check uv==$(UV)
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --require-hashes -r requirements.lock
	$(BIN)/uv pip install --python $(BIN)/python --no-deps --editable .
	$(BIN)/riskscribe base build
	@touch $@

data baseline train eval demo: setup ## a stage of the main job, and what it needs
	@$(BIN)/riskscribe run $@ $(JOB)

export: setup ## merge, AWQ where its environments are (AWQ=1 installs them, 12 GB), parity gate
	@$(BIN)/riskscribe run parity $(JOB) --awq $(AWQ)

all: setup ## the main job: data, baseline, training, evaluation, export, verified reports
	@$(BIN)/riskscribe run all $(JOB)

serve: setup ## the tuned model on 127.0.0.1:8000 (needs RISKSCRIBE_API_KEY; ENGINE=vllm on a GPU)
	@$(BIN)/riskscribe serve --engine $(ENGINE) --check
	@$(BIN)/riskscribe run export $(JOB)
	@$(BIN)/riskscribe serve --engine $(ENGINE) $(JOB)

board: setup ## LLaMA Board on 127.0.0.1:7860 with our datasets
	@$(BIN)/riskscribe run data $(JOB)
	@$(BIN)/riskscribe board $(JOB)

test: setup ## the tests, under 10 minutes
	$(BIN)/python -m pytest

test-slow: setup ## the tests that train and generate with the embedded model
	$(BIN)/python -m pytest -m slow

test-lf: setup ## the plugin's tests on another LLaMA-Factory: make test-lf LF="llamafactory==0.9.4 ..."
	$(BIN)/uv venv --quiet --clear --python $(BIN)/python .venv-lf
	$(BIN)/uv pip install --quiet --python .venv-lf/bin/python --no-deps $(LF)
	@$(BIN)/python -c "import pathlib, site; (one,) = pathlib.Path('.venv-lf').glob('lib/python*/site-packages'); \
	  (one / 'base.pth').write_text(f'import site; site.addsitedir({site.getsitepackages()[0]!r})')"
	.venv-lf/bin/python -m pytest tests/lf

quality: setup ## lint and format checks
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: setup ## speed and memory, paired in one run
	@$(BIN)/riskscribe run data $(JOB)
	@$(BIN)/python -m riskscribe.lf.bench
	@$(BIN)/python -m riskscribe.lf.bench_guide
	@$(BIN)/python -m riskscribe.load
	@$(BIN)/python -m riskscribe.data.bench

bench-grounding: setup ## planted faults: what verify and ground catch, and what they flag wrongly
	@$(BIN)/python -m riskscribe.evaluate.bench --page docs/grounding_bench.md

clean: ## remove what runs produced (keeps .venv and the log of test scorings)
	find exports -mindepth 1 -not -path exports/README.md -not -path exports/test_scorings.jsonl -not -path 'exports/releases*' -delete
