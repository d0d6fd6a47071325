# The verbs of this house. Needs make and Python 3.11 or newer with pip and venv; everything else goes into .venv.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help setup demo test test-long conformance security policies lint fmt bench bench-quick docs lock clean

VENV := .venv
BIN := $(VENV)/bin
STAMP := $(VENV)/.stamp
UV := uv==0.13.9
PYTHON ?= python3.11 python3.12 python3.13 python3
PYTEST := $(BIN)/pytest

help:  ## List the verbs
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-11s  %s\n", $$1, $$2}' Makefile

setup: $(STAMP)  ## Make the environment in .venv (every other verb does this by itself)

# The first Python of the list that runs and is new enough. Hashes are checked; the project itself is editable.
$(STAMP): pyproject.toml requirements.lock
	@for python in $(PYTHON); do \
	  if "$$python" -c 'import sys, venv; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then found="$$python"; break; fi; \
	done; \
	if [ -z "$${found:-}" ]; then \
	  echo "Modelyard needs Python 3.11 or newer with venv; tried: $(PYTHON)" >&2; \
	  echo "  fix: install it, or name it: make setup PYTHON=/path/to/python3.11" >&2; exit 1; \
	fi; \
	echo "Environment  $(VENV) with $$("$$found" --version) (a minute or two the first time)"; \
	[ -x $(BIN)/python ] || "$$found" -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check "$(UV)"
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --compile-bytecode --require-hashes -r requirements.lock
	@VIRTUAL_ENV=$(CURDIR)/$(VENV) $(BIN)/uv pip install --quiet --no-deps --no-build-isolation --editable .
	@$(BIN)/python -m compileall -q src  # so that a first start is as quick as the next, where Python may not write
	@touch $@

demo: $(STAMP)  ## The article's example and a real model, both served; ONCE=1 stops after the calls, PORT=8080
	@ONCE="$(ONCE)" PORT="$(PORT)" $(BIN)/python examples/demo/demo.py

lint: $(STAMP)  ## Format, style, types and the floor plan: checked, nothing changed
	$(BIN)/ruff format --check src tests benchmarks examples
	$(BIN)/ruff check src tests benchmarks examples
	$(BIN)/mypy
	$(BIN)/lint-imports

test: lint  ## Lint, then every test that takes seconds
	$(PYTEST) -n 2 -m "not long"

test-long: lint  ## Lint, then every test there is
	$(PYTEST) -n 2

conformance: $(STAMP)  ## The real clients of other servers against this one: a table client x feature, pass or fail
	@$(BIN)/python -m tests.conformance

security: $(STAMP)  ## What is promised of security, row by row, with numbers: an hour or so; QUICK=1 in minutes, ROWS="AUT"
	@$(BIN)/python -m tests.scoreboard $(if $(QUICK),--quick) $(ARGS) $(ROWS)

policies: $(STAMP)  ## What checkov finds in all that targets render for a cluster; tests/policies.py says what is not asked
	@$(BIN)/python -m tests.policies

docs: $(STAMP)  ## Run what the README and the docs show, and compare the docs with the code
	$(PYTEST) tests/house -k "docs or readme or architecture"

bench: $(STAMP)  ## Measure Modelyard beside other servers and write docs/performance.md: 30-40 minutes; ROUNDS=3, ARGS
	@$(BIN)/python -m benchmarks --document --rounds $(or $(ROUNDS),3) $(ARGS)

bench-quick: $(STAMP)  ## Two items beside FastAPI and Mosec, in under five minutes
	@$(BIN)/python -m benchmarks --results benchmarks/results/quick --rounds $(or $(ROUNDS),1) --items w1,w2 \
	  --systems fastapi,mosec,mosec-batching --connections 1,64 $(ARGS)

fmt: $(STAMP)  ## Format and mend what can be mended
	$(BIN)/ruff check --fix src tests benchmarks examples
	$(BIN)/ruff format src tests benchmarks examples

lock: $(STAMP)  ## Write requirements.lock, and those of images, again from pyproject.toml
	$(BIN)/uv pip compile --quiet pyproject.toml --universal --python-version 3.11 --all-extras --group dev \
	  --generate-hashes --no-emit-index-url --no-header --no-annotate --output-file requirements.lock
	@for part in serving serving-convert serving-clouds; do \
	  $(BIN)/uv pip compile --quiet --group "$$part" --universal --python-version 3.11 --constraint requirements.lock \
	    --generate-hashes --no-emit-index-url --no-header --no-annotate --output-file "src/modelyard/ship/image/$$part.lock"; \
	done

clean:  ## Remove environments, caches and the demo's folder
	rm -rf .venv .venv-* .demo .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
