# Every command a person types. `make` alone lists them.
PYTHON ?= python3
BIN := .venv/bin
INSTALLED := .venv/.installed
PEERS := .venv/.installed-bench
SPHINX := .venv/.installed-docs
SHARED := --numprocesses 2 --dist loadfile # tests with Ray in three lots, which go first (tests/conftest.py)
MODEL ?= runs/quickstart/stack/model

.DEFAULT_GOAL := help
.PHONY: help install quickstart serve check format test bench gpu-check versions coverage docs clean

help: ## list these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(INSTALLED) ## make .venv with the tested versions of everything

$(INSTALLED): pyproject.toml constraints.txt
	@echo "installing the tested versions into .venv; this takes some minutes the first time"
	@$(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --quiet --constraint constraints.txt --editable '.[dev]'
	@touch $@

quickstart: $(INSTALLED) ## install, then the whole run on the embedded digits: data, models, samples, report
	$(BIN)/noisestack quickstart

serve: $(INSTALLED) ## answer the OpenAI images API from MODEL=DIR (the quickstart's, unless told otherwise)
	$(BIN)/noisestack serve --model $(MODEL)

check: $(INSTALLED) ## format, lint, types, import contracts and the fast tests
	$(BIN)/ruff format --check --quiet .
	$(BIN)/ruff check --quiet .
	$(BIN)/mypy
	$(BIN)/lint-imports --no-logo
	$(BIN)/pytest -q $(SHARED) -m 'not ray and not slow'

format: $(INSTALLED) ## rewrite the code in the house's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

test: $(INSTALLED) ## every test, those that start Ray included
	$(BIN)/pytest -q $(SHARED)

bench: $(PEERS) ## every measurement against its peers, in one table; three hours or so, on a machine at rest
	$(BIN)/python -m benchmarks

versions: $(INSTALLED) ## the fast tests on each of Python 3.11, 3.12 and 3.13 that is here, each in an environment of its own
	$(BIN)/tox run

coverage: $(INSTALLED) ## which lines the fast tests run; renews the table of docs/testing.md
	$(BIN)/pytest -q -m 'not ray and not slow' --cov --cov-report=term --cov-report=json:.coverage.json
	$(BIN)/python -m docs.tables.coverage .coverage.json

gpu-check: $(INSTALLED) ## on a GPU: speed, memory, exactness, and how far results lie from a CPU's
	$(BIN)/python benchmarks/gpu_check.py

$(PEERS): $(INSTALLED)
	@$(BIN)/pip install --quiet --quiet --constraint constraints.txt --editable '.[dev,bench]'
	@$(BIN)/pip install --quiet --quiet --constraint constraints.txt --no-deps adv-lib attackbenchlib mosaicml-streaming robustbench torchattacks
	@touch $@

docs: $(SPHINX) ## the documentation as a site in build/site; a broken link ends it, examples are run
	$(BIN)/python -m docs.site
	$(BIN)/pytest -q --doctest-modules --doctest-glob='*.md' --ignore noisestack/files noisestack pipeline docs/*.md *.md tests/test_readme.py tests/test_own_models_docs.py tests/face/test_python_page.py

$(SPHINX): $(INSTALLED)
	@$(BIN)/pip install --quiet --quiet --constraint constraints.txt --editable '.[dev,docs]'
	@touch $@

clean: ## remove .venv, caches and what the quickstart wrote (runs/)
	rm -rf .venv .tox .coverage .coverage.json .mypy_cache .pytest_cache .ruff_cache .import_linter_cache .hypothesis build *.egg-info runs
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
