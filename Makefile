# Every target works alone on a fresh clone: what it needs first, it makes first.
# Only python3 >= 3.11 has to be there; Java, Maven, Redis and a C compiler are used where they are.

PYTHON ?= python3
UV_VERSION := 0.13.9
BIN := .venv/bin
INSTALLED := .venv/.installed
COMPILED := .cache/compiled
# Fault tests wait most of their time. A file's tests share servers, so they stay together.
PARALLEL ?= -n 2 --dist loadfile --no-loadscope-reorder
LAWS ?= $(wildcard tests/laws)
SOURCES := $(shell find schemas streams -name '*.py' -not -path '*/__pycache__/*')

.DEFAULT_GOAL := help
.PHONY: help demo test faults check bench compile lock

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / {printf "  make %-8s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(INSTALLED) ## publish, resolve, show conflicts with reasons, verify; ARGS="--input FILE"
	@$(BIN)/syncline demo $(ARGS)

test: $(COMPILED) ## all tests, half an hour; ARGS="tests/laws -k union" for some of them
	@$(BIN)/python -m pytest $(PARALLEL) $(ARGS)

faults: $(COMPILED) ## of these: processes killed and paused, networks cut, offsets moved; prints a table
	@$(BIN)/python -m pytest $(or $(ARGS),tests/faults)

check: $(COMPILED) ## style, types, import direction, house rules, laws
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/python -m pytest -q tests/test_tidy.py tests/test_compose.py $(LAWS)

bench: $(COMPILED) ## measure; ARGS="--help" lists what
	@$(BIN)/python -m benchmarks $(ARGS)

compile: $(COMPILED) ## compile the inner loop with mypyc where there is a C compiler

lock: ## renew both lock files from pyproject.toml
	@$(PYTHON) -m venv .cache/lock
	@.cache/lock/bin/pip install --quiet --disable-pip-version-check uv==$(UV_VERSION)
	@.cache/lock/bin/uv pip compile --quiet pyproject.toml --all-extras --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --custom-compile-command 'make lock' -o requirements.lock
	@.cache/lock/bin/uv pip compile --quiet pyproject.toml --extra postgresql --universal --python-version 3.11 \
		--generate-hashes --no-emit-index-url --custom-compile-command 'make lock' \
		--constraint requirements.lock -o deploy/requirements.lock

$(INSTALLED): requirements.lock pyproject.toml
	@$(PYTHON) -c 'import sys; v = sys.version_info; sys.exit(v < (3, 11) and \
		"Python %d.%d is too old: make PYTHON=python3.11 (or newer)" % v[:2])'
	@test -x $(BIN)/pip || $(PYTHON) -m venv --clear .venv
	@echo 'installing what requirements.lock names into .venv'
	@$(BIN)/pip install --quiet --disable-pip-version-check --require-hashes -r requirements.lock
	@$(BIN)/pip install --quiet --disable-pip-version-check --no-deps --no-build-isolation --editable .
	@touch $@

$(COMPILED): $(INSTALLED) deploy/compile.py $(SOURCES)
	@$(BIN)/python deploy/compile.py
	@mkdir -p $(@D) && touch $@
