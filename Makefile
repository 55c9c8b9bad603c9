# make test   everything that must pass, from a fresh clone: environment, lint, types, floors, manifest, tests
# make demo   the plugin at work: a window, or without a display a scripted session that leaves demo.png
# make help   the other targets

SHELL := /bin/bash
VENV ?= .venv
BIN := $(VENV)/bin
# PyTorch goes in first and by itself: a plain `torch` that some package asks for would be the newest build with
# gigabytes of CUDA, where a CPU build at hand or already installed serves. `make env TORCH=torch` takes the newest.
TORCH ?= torch==2.13.0
EXTRAS ?= test,pyqt6
# --dist loadfile keeps the tests of one file in one process, in order; widget tests share a Qt application.
PYTEST_FLAGS ?= -n 2 --dist loadfile
PIP := $(BIN)/python -m pip install -qq --disable-pip-version-check --no-input
# One thread a process: the two of PyTorch on busy cores are far slower than one.
export OMP_NUM_THREADS ?= 1

.DEFAULT_GOAL := help
.NOTPARALLEL: # pytest comes last, and its closing line with it
.PHONY: help bench test env system lint format typecheck imports manifest unit build demo clean

help: ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 12

test: lint typecheck imports manifest unit ## everything (what CI runs)

# ---- environment -----------------------------------------------------------------------------------------------
# Stamps, so that a second run costs nothing; each is written last, so a broken install is tried again.

env: $(VENV)/.stamp-installed ## the virtual environment with everything for development

$(VENV)/.stamp-torch:
	@python="$(PYTHON)"; [ -n "$$python" ] || python="$$(bash scripts/find_python.sh)" || exit 1; \
	    echo "Making $(VENV) with $$python"; "$$python" -m venv $(VENV)
	@echo "Installing $(TORCH)"
	@$(BIN)/python -c 'import torch' 2>/dev/null || $(PIP) "$(TORCH)"
	@$(BIN)/python -m pip freeze | grep -i '^torch==' > $(VENV)/constraints.txt
	@touch $@

$(VENV)/.stamp-installed: $(VENV)/.stamp-torch pyproject.toml tests/requirements-reference.txt
	@echo "Installing napari-sam-workbench[$(EXTRAS)]"
	@$(PIP) --constraint $(VENV)/constraints.txt -e ".[$(EXTRAS)]"
	@$(PIP) --no-deps -r tests/requirements-reference.txt
	@touch $@

system: ## the system packages that windows need without a screen
	@bash scripts/system_packages.sh

# ---- checks ----------------------------------------------------------------------------------------------------

lint: env ## ruff: rules and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: env ## let ruff correct what it can
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

typecheck: env ## mypy, strict
	$(BIN)/mypy

imports: env ## the floors of the house
	$(BIN)/lint-imports --no-logo

manifest: env ## napari.yaml
	$(BIN)/npe2 validate napari-sam-workbench

unit: env system ## the tests, on a virtual screen
	bash scripts/headless.sh $(BIN)/python -m pytest $(PYTEST_FLAGS)

bench: env ## speed against the reference packages, in turns: encoders, decoder, clicks, import
	$(BIN)/python benchmarks/bench.py $(BENCH_FLAGS)

# ---- products --------------------------------------------------------------------------------------------------

build: env ## wheel and sdist in dist/
	rm -rf dist
	$(BIN)/python -m build --no-isolation
	$(BIN)/twine check --strict dist/*

demo: env ## a window with the plugin; without a display a scripted session and demo.png
	@if [ -n "$$DISPLAY$$WAYLAND_DISPLAY" ] || [ "$$(uname -s)" != Linux ]; then \
	    $(BIN)/python scripts/demo.py; \
	else \
	    $(MAKE) --no-print-directory system && bash scripts/headless.sh $(BIN)/python scripts/demo.py --save demo.png; \
	fi

clean: ## build products and caches; the environment stays
	rm -rf build dist demo.png .mypy_cache .ruff_cache .pytest_cache .import_linter_cache
	find src tests benchmarks scripts -name __pycache__ -type d -prune -exec rm -rf {} + 2>/dev/null || true
