# `make demo` and `make test` do all the set-up they need; nothing else has to be run first.
PYTHON ?= python3.11
VENV ?= .venv
BENCH ?=
EXPERIMENT ?= mdit
PORT ?= 3000
WORKERS ?= 2
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
PACKAGES := $(VENV)/.packages
RAY := $(VENV)/.ray
PIP := $(BIN)/python -m pip install -q --disable-pip-version-check

.PHONY: demo test test-all lint bench experiment ui packages ray install format clean-data

demo: $(INSTALLED)
	@$(BIN)/sultana run --preset demo

ui: $(INSTALLED)
	@$(BIN)/sultana ui --port $(PORT)

test: $(INSTALLED)
	$(BIN)/python -m pytest -n $(WORKERS)

test-all: $(INSTALLED) $(RAY)
	$(BIN)/python -m pytest -n $(WORKERS) -m 'slow or not slow' --timeout=1800

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

packages: $(PACKAGES)

ray: $(RAY)

# Every file is compared with the hashes beside its version; without a hash nothing is installed or built with.
# First come what builds source packages, and pip itself: older ones miss the hash of a package that is asked for with
# an extra. torch is fetched by its version alone, because among files with hashes pip prefers an index to a folder,
# which may hold the build that fits this machine; what that build requires says whether it needs CUDA's libraries.
$(PACKAGES): constraints.txt resources/cuda_packages.txt resources/embedded_models.txt
	@command -v $(PYTHON) >/dev/null || { echo "Sultana needs $(PYTHON); set PYTHON=/path/to/python3.11"; exit 1; }
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@echo "Installing into $(VENV) (a few minutes, once) ..."
	@grep -E '^(pip|setuptools|wheel)==' constraints.txt | $(PIP) --require-hashes --no-deps -r /dev/stdin
	@$(BIN)/python -m pip download -q --disable-pip-version-check --no-deps -d $(VENV)/torch \
		"$$(grep -o '^torch==[^ ]*' constraints.txt)"
	@grep '^torch==' constraints.txt | $(PIP) --require-hashes --no-deps --no-index -f $(VENV)/torch -r /dev/stdin
	@rm -r $(VENV)/torch
	@$(PIP) --require-hashes --no-build-isolation -r constraints.txt $$($(BIN)/python -c \
		"from importlib.metadata import requires as r; print('-r resources/cuda_packages.txt' * ('cuda' in str(r('torch'))))")
	@$(PIP) --require-hashes --no-deps -r resources/embedded_models.txt
	@touch $@

$(INSTALLED): $(PACKAGES) pyproject.toml
	@$(PIP) --no-deps --no-build-isolation -e .
	@touch $@

$(RAY): $(PACKAGES) resources/ray_packages.txt
	@$(PIP) --require-hashes --no-deps -r resources/ray_packages.txt
	@touch $@
