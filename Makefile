# The jobs of this project, each with all the set-up that it needs: Python 3.10 or newer and make.

PYTHON ?= python3
# Where `make edges2handbags` finds trainA, trainB, testA and testB.
DATA ?= ../shared/data/edges2handbags

VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
# The Python of `make gpu-check`: one that has munit-edge and the engines to be measured; of these,
# .venv has torch and TensorRT-RTX.
GPU_PYTHON ?= $(BIN)/python
GPU_CHECK_OPTIONS ?=
# One process for each core. Each takes whole files, whose fixtures are the slow part, in the order of
# tests/conftest.py.
TEST_OPTIONS := -n auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
BENCH_TRAIN_OPTIONS ?=
BENCH_QUALITY_OPTIONS ?=

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint format check-py310 golden bench bench-train bench-quality gpu-check edges2handbags venv clean

help:  ## show this list
	@echo "make TARGET, with PYTHON=python3.12 for another Python than python3:"
	@sed -n 's/^\([a-z0-9-]*\):.*  ## \(.*\)/  \1\t\2/p' $(firstword $(MAKEFILE_LIST)) | expand -t 20

demo: $(INSTALLED)  ## draw sample data, train, export and translate: results after some minutes
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh tools/demo.sh

test: $(INSTALLED)  ## run the tests, without the slow ones: five minutes on 2 cores
	@$(BIN)/python -m pytest $(TEST_OPTIONS) -m "not slow"

test-all: $(INSTALLED)  ## run all tests
	@$(BIN)/python -m pytest $(TEST_OPTIONS)

lint: $(INSTALLED)  ## check style, formatting and types
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/mypy $(wildcard tools/*.py benchmarks/*.py)

format: $(INSTALLED)  ## apply the automatic fixes of ruff
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

check-py310: $(INSTALLED)  ## check that Python 3.10 can install what a device needs (asks the network)
	@$(BIN)/python tools/check_python310.py

golden: $(INSTALLED)  ## regenerate the help texts in tests/cli/golden
	@MUNIT_EDGE_WRITE_GOLDEN=1 $(BIN)/python -m pytest -q tests/cli/test_help.py

bench: $(INSTALLED)  ## measure the start of the command line, and translate against its targets
	@$(BIN)/python benchmarks/cli_startup.py
	@$(BIN)/python benchmarks/translate.py

bench-train: $(INSTALLED)  ## measure training against a plain step, on BENCH_TRAIN_OPTIONS="--device cuda --size 256"
	@$(BIN)/python benchmarks/train_throughput.py $(BENCH_TRAIN_OPTIONS)

bench-quality: $(INSTALLED)  ## train up to ten minutes on the sample data, and judge what comes out
	@$(BIN)/python benchmarks/quality.py $(BENCH_QUALITY_OPTIONS)

gpu-check: $(if $(filter $(BIN)/%,$(GPU_PYTHON)),$(INSTALLED))  ## on an NVIDIA GPU: parity and latency of every engine found there, as a file to send
	@$(GPU_PYTHON) tools/gpu_check.py $(GPU_CHECK_OPTIONS)

edges2handbags: $(INSTALLED)  ## the whole chain at 256 x 256 with the paper's sizes, on DATA=folder
	@PATH="$(CURDIR)/$(BIN):$$PATH" sh tools/edges2handbags.sh "$(DATA)"

venv: $(INSTALLED)  ## only set up: a virtual environment in .venv

clean:  ## remove what these targets made
	rm -rf $(VENV) demo build dist munit_edge.egg-info .pytest_cache .mypy_cache .ruff_cache

# Brought up to date when the requirements change; begun again when the last set-up failed or the
# checkout has moved, since the programs in a virtual environment know its path.
ifneq ($(shell cat $(INSTALLED) 2>/dev/null),$(CURDIR))
.PHONY: $(INSTALLED)
endif
$(INSTALLED): pyproject.toml constraints.txt
	@$(PYTHON) tools/check_python.py
	@test "$$(cat $@ 2>/dev/null)" = "$(CURDIR)" || { rm -rf $(VENV) && $(PYTHON) -m venv $(VENV); }
	$(BIN)/python -m pip install --disable-pip-version-check -c constraints.txt -e '.[dev]'
	@echo "$(CURDIR)" > $@
