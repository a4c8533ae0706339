# A fresh machine needs python3 (3.11 to 3.13) and make; everything else goes into $(VENV), into
# $(VENV)-light, without torch, and for the peers, which need an older numpy, into $(VENV)-peers, all
# at the versions of requirements/.
#   make demo      encode and decode a photograph with the bundled checkpoint, without torch
#   make test      run the test suite, its tests without torch, and those of the peers where they
#                  can be installed
#   make test-latest  run the suite with the newest versions there are, in $(VENV)-latest
#   make test-all  the slow tests as well, and those for a GPU where there is one
#   make lint      ruff and pyright
#   make bench     speed and memory against peers
#   make fuzz      mutate streams, adapters and bases; goes on where its record in docs/results ends
#   make fuzz-guided  the same by coverage, with Atheris (Linux)
#   make requirements  renew requirements/ from pyproject.toml
#   make clean     remove what these commands made, except $(VENV) and its like

VENV ?= .venv
PYTHON ?=
PYTEST_ARGS ?= -n 2
FUZZ_ARGS ?= --executions 1000000
GUIDED_ARGS ?= --seconds 600
THREADS ?= 1

BIN := $(VENV)/bin
INSTALLED := $(VENV)/.promptcodec
LIGHT := $(VENV)-light
PEERS := $(VENV)-peers
LATEST := $(VENV)-latest
# compressai has no wheels beyond Python 3.12.
NO_PEERS = $(shell $(BIN)/python -c 'import sys; print("yes" if sys.version_info >= (3, 13) else "")')
COMPILE := python -m uv pip compile -q --universal --python-version 3.11 --upgrade --no-annotate \
    --no-emit-index-url --custom-compile-command "make requirements" -c requirements/torch.in

.DEFAULT_GOAL := help
.PHONY: help demo test test-light test-peers test-all test-latest lint bench fuzz fuzz-guided \
    requirements clean

help:
	@sed -n 's/^#  *\(make .*\)/\1/p' Makefile

demo: $(LIGHT)/.promptcodec
	mkdir -p demo
	$(LIGHT)/bin/python -m promptcodec compare promptcodec/io/assets/chelsea.png --rates 4 \
	    -o demo/side-by-side.png --page demo/side-by-side.html --force

# One OpenMP thread a worker: more of them on the same cores wait for each other.
test: $(INSTALLED)
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest $(PYTEST_ARGS)
	$(MAKE) test-light
	@$(if $(NO_PEERS),echo "no tests of the peers: compressai has no wheels for this Python",$(MAKE) test-peers)

# pytest comes last, so that the demo does without.
test-light: $(LIGHT)/.promptcodec
	$(LIGHT)/bin/python -m pip install -q -c requirements/full.txt pytest pytest-timeout
	OMP_NUM_THREADS=$(THREADS) $(LIGHT)/bin/python -m pytest -p no:cacheprovider tests/light

test-peers: $(PEERS)/.promptcodec
	OMP_NUM_THREADS=$(THREADS) $(PEERS)/bin/python -m pytest -m peers tests/evaluation

test-latest: | $(BIN)/python
	rm -rf $(LATEST)
	$(BIN)/python -m venv $(LATEST)
	$(LATEST)/bin/python -m pip install -q --upgrade -e '.[test,ray]'
	OMP_NUM_THREADS=$(THREADS) $(LATEST)/bin/python -m pytest $(PYTEST_ARGS)

test-all: $(INSTALLED)
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python -m pytest $(PYTEST_ARGS) -m "not peers"

lint: $(INSTALLED)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright --pythonpath $(BIN)/python

bench: $(PEERS)/.promptcodec
	$(PEERS)/bin/python -m benchmarks.speed.run

fuzz: $(INSTALLED)
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python tests/fuzz/run.py $(FUZZ_ARGS)

fuzz-guided: $(INSTALLED)
	$(BIN)/python -m pip install -q -e '.[fuzz]'
	OMP_NUM_THREADS=$(THREADS) $(BIN)/python tests/fuzz/guided.py $(GUIDED_ARGS)

requirements: | $(BIN)/python
	$(BIN)/python -m pip install -q uv
	$(BIN)/$(COMPILE) pyproject.toml --extra dev -o requirements/full.txt
	$(BIN)/$(COMPILE) pyproject.toml -c requirements/full.txt -o requirements/light.txt
	$(BIN)/$(COMPILE) pyproject.toml --extra test --extra peers -o requirements/peers.txt

clean:
	rm -rf build dist demo .pytest_cache .ruff_cache .hypothesis
	find promptcodec tests benchmarks -name __pycache__ -type d -prune -exec rm -rf {} +

# The package itself last, by the pinned build backend.
$(INSTALLED): requirements/full.txt pyproject.toml | $(BIN)/python
	$(BIN)/python -m pip install -q -r requirements/full.txt
	$(BIN)/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

# The package itself is run from here; Python compiles what is imported.
$(LIGHT)/.promptcodec: requirements/light.txt | $(LIGHT)/bin/python
	$(LIGHT)/bin/python -m pip install -q --no-compile -r requirements/light.txt
	@touch $@

# What both have, torch above all, is installed once: the peers see $(VENV) behind their own packages.
$(PEERS)/.promptcodec: requirements/peers.txt $(INSTALLED)
	$(BIN)/python -m venv --clear $(PEERS)
	$(BIN)/python -c "import sysconfig; print(sysconfig.get_path('purelib'))" \
	    > "$$($(PEERS)/bin/python -c "import sysconfig; print(sysconfig.get_path('purelib'))")/full.pth"
	$(PEERS)/bin/python -m pip install -q -r requirements/peers.txt
	$(PEERS)/bin/python -m pip install -q --no-deps --no-build-isolation -e .
	@touch $@

$(BIN)/python $(LIGHT)/bin/python:
	@for python in $(PYTHON) python3 python3.13 python3.12 python3.11; do \
	    if "$$python" -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] < (3, 14))' \
	            2> /dev/null; then \
	        "$$python" -m venv $(@:/bin/python=) && exit 0; \
	        rm -rf $(@:/bin/python=); \
	        echo "$$python cannot make a virtual environment: install its venv package" \
	            "(Debian, Ubuntu: apt install python3-venv)" >&2; \
	        exit 1; \
	    fi; \
	done; \
	echo "promptcodec needs Python 3.11 to 3.13; here is" \
	    "$$(python3 --version 2> /dev/null || echo no python3):" \
	    "install one, or name it: make PYTHON=/path/to/python3.12" >&2; \
	exit 1
