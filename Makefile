# Everything that this project is run, tried and checked with. `make` alone lists it.
# Needs python3 (3.11 or newer) and make; the rest goes into .venv, once, from requirements.lock.

PYTHON ?= python3
BIN := .venv/bin
READY := .venv/ready

.DEFAULT_GOAL := help
.PHONY: help demo test slow conformance check fmt lint lock bench chaos emulate mutants image-check

JOBS ?= 200
# Most tests wait for processes that start and clouds that lag, so two a core.
WORKERS = $(shell $(BIN)/python -c 'import os; print(2 * len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 4)')

LOCK = uv pip compile pyproject.toml --quiet --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-emit-find-links --no-header

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-11s %s\n", $$1, $$2 }' Makefile

demo: $(READY) ## the whole way of a job, here, in about half a minute
	$(BIN)/gpulease demo

test: $(READY) ## the tests, in about five minutes on two cores
	$(BIN)/pytest -n $(WORKERS) -m "not slow and not conformance"

slow: $(READY) ## the tests that take longer: processes killed at the worst moments, long faults
	$(BIN)/pytest -n $(WORKERS) -m "slow and not conformance"

conformance: $(READY) ## clients of five other systems against a running server: a table, surface by case
	$(BIN)/pytest -n 2 --dist loadfile -m conformance tests/conformance

check: lint test slow conformance ## format, lint, types, layers, all tests

lint: $(READY)
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

fmt: $(READY) ## put the code into its format, and mend what can be mended
	$(BIN)/ruff check --fix-only --quiet .
	$(BIN)/ruff format .

chaos: $(READY) ## JOBS jobs (200) over emulated clouds that lie and die; then nothing is leased and the bill is right
	$(BIN)/python tests/chaos/run.py --jobs $(JOBS)

emulate: $(READY) ## Comput3 and Salad on this machine, and a server that leases from them; Ctrl-C ends all
	$(BIN)/python tests/emulators/play.py

mutants: $(READY) ## break the program in four ways, one by one, and show the test that notices
	$(BIN)/python tests/mutants/run.py

image-check: $(READY) ## build both images for real, with buildah on a base made here, and start them (root, Debian)
	$(BIN)/python tests/images/check.py

lock: ## resolve the dependencies anew; needs uv
	$(LOCK) --extra build --extra server --extra worker --extra demo --extra dev -o requirements.lock
	$(LOCK) --extra build --extra server --extra worker -o requirements.server.lock
	$(LOCK) --extra build --extra worker --extra demo -o requirements.worker.lock

bench: $(READY) ## list the benchmarks, which are run by hand
	@for script in bench/*.py; do \
	  printf '  %s %-24s ' $(BIN)/python $$script; sed -n '1s/"//gp' $$script; done

# Python's own venv module is a package of its own on Debian.
$(READY): pyproject.toml requirements.lock
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
	  echo "gpulease needs Python 3.11 or newer; $(PYTHON) is not. Name another one: make PYTHON=python3.12" >&2; \
	  exit 1; }
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
	  if command -v apt-get >/dev/null && [ "$$(id -u)" = 0 ]; then \
	    apt-get update -qq && DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends python3-venv; \
	  else \
	    echo "Python's venv module is missing. On Debian: sudo apt-get install python3-venv" >&2; exit 1; \
	  fi; }
	[ -x $(BIN)/python ] || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --require-hashes -r requirements.lock
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@
