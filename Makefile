# The two that matter: make demo, make test. Both set everything up first.
PYTHON ?= python3
VENV ?= .venv
override VENV := $(patsubst ~/%,$(HOME)/%,$(VENV))
BIN := $(VENV)/bin
# Tests use tiny models: a second thread a model costs more than it gives.
PYTEST := OMP_NUM_THREADS=1 $(BIN)/python -m pytest

.DEFAULT_GOAL := help
.PHONY: help setup demo check test slow lint bench docs site dist clean model ray

help: ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-7s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: ## build or repair the environment; ACCEL=auto|cpu|cu126|cu130, VENV=DIR (.venv)
	@$(PYTHON) setup_env.py --venv '$(VENV)' $(if $(ACCEL),--accel '$(ACCEL)')

demo: setup ## Forge's own FAQ becomes a model that answers it (CPU, under 10 minutes)
	@PATH="$(abspath $(BIN)):$$PATH" bash demo/run.sh

model: setup ## fetch the real 0.5B model for the tests that want one (491 MB)
	$(BIN)/python -m tests.fetch_model

ray: setup ## add Ray, for datasets made on several machines
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[ray]'

check: setup ## run the quick tests (neither slow nor wanting the real model)
	$(PYTEST) -n 2 -m 'not slow and not real and not gpu'

test: setup ## run the tests
	$(PYTEST) -n 2

slow: setup ## run the tests that take long or want the real model (make model)
	$(PYTEST) -n 2 -m 'slow or real'

lint: setup ## ruff (style, format) and mypy
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy

bench: setup ## measure (see bench/README.md)
	$(BIN)/python bench/dataset.py
	$(BIN)/python bench/train_cpu.py

docs: setup ## write docs/schema.json, the JSON Schema of forge.yaml
	$(BIN)/forge config schema > docs/schema.json

site: setup ## build the documentation into site/
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt -e '.[site]'
	$(BIN)/python -m mkdocs build --strict

dist: setup ## build sdist and wheel into dist/ (see RELEASING.md)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt uv
	$(BIN)/uv build --clear

clean: ## remove what was built here, except the environment
	rm -rf build dist site src/*.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis
	rm -rf demo/models demo/outputs demo/dataset_package demo/logs demo/.forge demo/Modelfile
	find . -name __pycache__ -not -path './$(VENV)/*' -prune -exec rm -rf {} +
