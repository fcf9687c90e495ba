# Two commands: `make up` gives a working AI cloud on this machine, `make test` runs every test.
# Nothing is installed outside .venv but the Debian packages that `make test` needs: tests/debian.sh.

PYTHON ?= $(shell command -v python3.11 || command -v python3)
VENV := .venv
BIN := $(VENV)/bin
SHELL := /bin/bash

.PHONY: up test check format docs schema install dev clean

up: $(VENV)/.installed ## install, then start the cloud
	@$(BIN)/haneul up $(ARGS)

install: $(VENV)/.installed

dev: $(VENV)/.installed-dev

test: $(VENV)/.installed-dev ## every test, the slow ones too
	@bash tests/debian.sh
ifdef ARGS
	@$(BIN)/pytest $(ARGS)
else # two processes: kernels that units load stay apart from browsers, loops and other kernels
	@failed=0; \
	$(BIN)/pytest tests/unit tests/laws $(wildcard tests/test_*.py) || failed=1; \
	$(BIN)/pytest tests/browser tests/flow || failed=1; \
	exit $$failed
endif

check: $(VENV)/.installed-dev ## format, lint, types, shape, size of the base install, cost of a request
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/pytest -q tests/test_shape.py
	@$(BIN)/python tests/base_install.py
	@$(BIN)/python -m bench.gate

format: $(VENV)/.installed-dev
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

docs: $(VENV)/.installed-dev ## docs/cli.md from the commands' own help, docs/reference from the code
	@$(BIN)/python tests/cli_reference.py > docs/cli.md
	@$(BIN)/python tests/api_reference.py

schema: $(VENV)/.installed-dev ## what an empty SQLite file gets, after a migration was added
	@$(BIN)/python tests/newest_schema.py > haneul/store/newest.sql

clean:
	rm -rf $(VENV) build *.egg-info .pytest_cache .mypy_cache .ruff_cache .hypothesis

$(VENV)/bin/python:
	@test -n "$(PYTHON)" && $(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
		{ echo "haneul needs Python 3.11: apt-get install python3.11 python3.11-venv"; exit 1; }
	@$(PYTHON) -m venv $(VENV) || \
		{ rm -rf $(VENV); echo "venv is missing: apt-get install python3.11-venv"; exit 1; }

$(VENV)/.installed: $(VENV)/bin/python pyproject.toml requirements.lock
	@echo "installing haneul into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --require-hashes -r requirements.lock
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --no-deps -e .
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed pyproject.toml
	@echo "installing what the tests need into $(VENV)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -e ".[dev]"
	@touch $@
