# One verb each. Everything lives in a virtual environment of its own, made on first use.
#   make run | test | check | bench | docs | clean       PYTHON=python3.13 VENV=.venv-3.13 for another

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
HOST ?= 127.0.0.1
PORT ?= 8000
# What `make test` tells pytest instead of running all tests, such as ARGS="-k demo".
ARGS ?=
# Which cases `make bench` runs instead of all, such as WHAT=routing or WHAT="json uploads".
WHAT ?=
# 1: measure, branches included, and fail below 100 %, over those tests that suffice for that (see
# tests/conftest.py): it doubles their time. 0: only run the tests.
COVERAGE ?= 1
# 1: with the tests on real servers and in a browser. 0: without.
SERVERS ?= 1
ALONE := tests/servers tests/browser
TOGETHER := --numprocesses=auto --dist=worksteal $(ALONE:%=--ignore=%)
ifeq ($(COVERAGE),1)
MEASURED := --cov --cov-report=
GATE := --cov-append --cov-report=term --cov-fail-under=100
endif

.PHONY: run test check bench docs clean help
.DEFAULT_GOAL := help

help:
	@echo "make run     the demo, on http://$(HOST):$(PORT)/"
	@echo "make test    every test, with the coverage of src/hesper (100 %, or it fails)"
	@echo "make check   style, types, layers"
	@echo "make bench   Hesper beside its peers, measured here (under 10 minutes); WHAT=routing for a part"
	@echo "make docs    are the examples and the links of the documentation right?"
	@echo "make clean   removes what the others made"

# A stamp is older than pyproject.toml when what is installed may be out of date.
$(VENV)/.made:
	$(PYTHON) -m venv $(VENV)
	@touch $@

$(VENV)/.run: pyproject.toml | $(VENV)/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[standard,cli]'
	@touch $@

$(VENV)/.dev: pyproject.toml | $(VENV)/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[dev]'
	@touch $@ $(VENV)/.run

$(VENV)/.bench: pyproject.toml | $(VENV)/.made
	$(BIN)/python -m pip install --quiet --disable-pip-version-check -e '.[bench]'
	@touch $@

run: $(VENV)/.run
	$(BIN)/hesper demo --host $(HOST) --port $(PORT)

# The servers and the browser first and alone, because their time is real; then the others on all cores.
test: $(VENV)/.dev
ifdef ARGS
	$(BIN)/python -m pytest -q $(ARGS)
else
ifeq ($(SERVERS),1)
	$(BIN)/python -m pytest -q $(MEASURED) $(ALONE)
endif
ifeq ($(COVERAGE),1)
	HESPER_PART=rest $(BIN)/python -m pytest -q $(TOGETHER)
	HESPER_PART=measured $(BIN)/python -m pytest -q $(MEASURED) $(TOGETHER) $(GATE)
else
	$(BIN)/python -m pytest -q $(TOGETHER)
endif
endif

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_import_law.py

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks $(WHAT)

docs: $(VENV)/.dev
	$(BIN)/python docs/check.py

clean:
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .hypothesis htmlcov .coverage .coverage.* build dist
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
