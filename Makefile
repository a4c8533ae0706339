# A fresh machine needs python3 (3.11 or 3.12) and make; everything else goes into $(VENV).
#   make demo      encode and decode a photograph with the bundled checkpoint
#   make test      run the test suite
#   make test-all  the slow tests as well, and those for a GPU where there is one
#   make lint      ruff and pyright
#   make bench     speed and memory against peers
#   make fuzz      mutate streams, adapters and bases; goes on where docs/results/fuzz.json ends
#   make fuzz-guided  the same by coverage, with Atheris (Linux)
#   make clean     remove what these commands made, except $(VENV)

VENV ?= .venv
PYTHON ?=
PYTEST_ARGS ?= -n 2
FUZZ_ARGS ?= --executions 1000000
GUIDED_ARGS ?= --seconds 600
THREADS ?= 1

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.promptcodec-test
INSTALLED_DEV := $(VENV)/.promptcodec-dev

.DEFAULT_GOAL := help
.PHONY: help demo test test-all lint bench fuzz fuzz-guided clean

help:
	@sed -n 's/^#  *\(make .*\)/\1/p' Makefile

demo: $(INSTALLED)
	$(BIN)/python -m promptcodec.cli.demo

# One OpenMP thread a worker: more of them on the same cores wait for each other.
test: $(INSTALLED)
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest $(PYTEST_ARGS)

test-all: $(INSTALLED)
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest $(PYTEST_ARGS) -m "slow or not slow"

lint: $(INSTALLED_DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(INSTALLED)
	$(BIN)/python -m benchmarks.speed.run

fuzz: $(INSTALLED)
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python tests/fuzz/run.py $(FUZZ_ARGS)

fuzz-guided: $(INSTALLED)
	$(BIN)/python -m pip install -q -e '.[fuzz]'
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python tests/fuzz/guided.py $(GUIDED_ARGS)

clean:
	rm -rf build dist demo .pytest_cache .ruff_cache .hypothesis
	find promptcodec tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

$(INSTALLED): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -e '.[test]'
	@touch $@

$(INSTALLED_DEV): pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -e '.[dev]'
	@touch $@ $(INSTALLED)

$(BIN)/python:
	@for python in $(PYTHON) python3 python3.12 python3.11; do \
	    if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 13))' \
	            2> /dev/null; then \
	        "$$python" -m venv $(VENV) && exit 0; \
	        rm -rf $(VENV); \
	        echo "$$python cannot make a virtual environment: install its venv package" \
	            "(Debian, Ubuntu: apt install python3-venv)" >&2; \
	        exit 1; \
	    fi; \
	done; \
	echo "promptcodec needs Python 3.11 or 3.12; here is" \
	    "$$(python3 --version 2> /dev/null || echo no python3):" \
	    "install one, or name it: make PYTHON=/path/to/python3.12" >&2; \
	exit 1
