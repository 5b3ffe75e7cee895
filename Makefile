# One verb each. Everything lives in a virtual environment of its own, made on first use.
#   make run | test | check | bench | docs | clean       PYTHON=python3.13 VENV=.venv-3.13 for another

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
HOST ?= 127.0.0.1
PORT ?= 8000
# What `make test` tells pytest, such as ARGS="-k demo".
ARGS ?=
# 1: measure, and fail below 98 % (99 is reached, 100 is the aim). 0: only run the tests.
COVERAGE ?= 1

.PHONY: run test check bench docs clean help
.DEFAULT_GOAL := help

help:
	@echo "make run     the demo, on http://$(HOST):$(PORT)/"
	@echo "make test    every test, with the coverage of src/hesper (98 % of it, or it fails)"
	@echo "make check   style, types, layers"
	@echo "make bench   the ratios of the design page, measured here"
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

test: $(VENV)/.dev
ifeq ($(COVERAGE),1)
	@$(BIN)/coverage erase
	$(BIN)/coverage run -m pytest -q $(ARGS)
	@$(BIN)/coverage combine --quiet
	@# Silent when all is covered, so that the last lines are pytest's.
	@$(BIN)/coverage report --fail-under=98 >$(VENV)/coverage.txt || (cat $(VENV)/coverage.txt; exit 1)
else
	$(BIN)/python -m pytest -q $(ARGS)
endif

check: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/python -m pytest -q tests/unit/test_import_law.py

bench: $(VENV)/.bench
	$(BIN)/python -m benchmarks

docs: $(VENV)/.dev
	$(BIN)/python docs/check.py

clean:
	rm -rf .venv .venv-* .mypy_cache .ruff_cache .hypothesis htmlcov .coverage .coverage.* build dist
	find src tests benchmarks -name __pycache__ -prune -exec rm -rf {} +
