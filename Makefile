# Everything one needs from a fresh clone. `make` alone lists the targets.
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.installed
export PYTHONHASHSEED := 0
# One process for each of so many cores, with one thread: small networks are slower with more.
WORKERS ?= $(shell n=$$(nproc 2>/dev/null || echo 2); echo $$(( n < 4 ? n : 4 )))
# Not empty: every annotation of the library, shapes of tensors included, is checked at each call.
TYPES ?=
CHECKED := --jaxtyping-packages=xvcore,type_checker.check
PYTEST := $(BIN)/python -m pytest $(if $(TYPES),$(CHECKED))
AT_ONCE := OMP_NUM_THREADS=1 $(PYTEST) --numprocesses=$(WORKERS) --dist=loadscope

.PHONY: help install demo test test-slow test-slow-at-once check format clean

help:  ## list the targets
	@grep -E '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 26

$(STAMP): pyproject.toml infra/constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --constraint infra/constraints.txt --editable '.[all,dev]'
	@touch $(STAMP)

install: $(STAMP)  ## a virtual environment in .venv with all that is pinned in infra/constraints.txt

demo: $(STAMP)  ## draw PartBirds, train two networks, summarise them, write the report (no data, no weights needed)
	$(BIN)/xv demo --out xv-demo

test: $(STAMP)  ## the default tests (CPU, no network); TYPES=1 checks every annotation at run time, in twice the time
	$(AT_ONCE)

test-slow: $(STAMP)  ## the slow tests: crashes, browsers, real networks; SLOW="tests/store …" for some of them
	$(PYTEST) -m slow $(SLOW)

test-slow-at-once: $(STAMP)  ## those that measure no time and start no service, a process for each core
	$(AT_ONCE) -m slow $(SLOW)

check: $(STAMP)  ## format, lint, types, import contracts
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

format: $(STAMP)  ## rewrite the code in the project's format
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

clean:  ## remove what the targets made
	rm -rf $(VENV) xv-demo build .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
