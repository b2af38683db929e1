# make demo       train on MNIST's digits, export, serve and sample them: demo/digits.png
# make test       run the quick tests, which touch everything: five to eight minutes on two cores
# make test-slow  run the other tests: whole trainings, killed runs, several processes, README and tutorial, pages in a
#                 browser, benchmarks, an install from the wheel
# make test-all   run all tests
# make coverage   measure how much of the SDK its tests reach; fail below 95 %
# make lint       check style, types, imports between components, protos and the generated code
# make docs       build the site of docs/ in build/docs; every warning is an error
# make format     format Python and protos
# make generate   write the generated code anew: from the protos (make protos), the blocking client, train's options
# make clean      delete what these commands made
#
# Each sets up .venv first. Another Python: make PYTHON=python3.12 ...
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
# --no-compile: Python compiles the modules that are used when it first imports them, a fraction of what is installed.
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-compile --constraint constraints.txt

# auto: one worker more than cores, because many tests wait (tests/conftest.py). A test file stays on one worker, which
# makes its fixtures once. The files go in the order of testpaths in pyproject.toml, the longest first, which keeps all
# workers busy to the end.
PYTEST := $(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile --no-loadscope-reorder
# Keep bytecode, also where the environment says not to: else each worker compiles all tests again, and each process
# that a test starts all of ganserve.
export PYTHONDONTWRITEBYTECODE :=
# What dev installs is enough for the demo, too.
DEMO_READY := $(if $(wildcard $(VENV)/.ready-dev),$(VENV)/.ready-dev,$(VENV)/.ready-all)

.PHONY: demo test test-slow test-all coverage lint lint-code lint-types lint-imports lint-generated docs format protos generate clean

demo: $(DEMO_READY)
	$(BIN)/python scripts/demo.py

test: $(VENV)/.ready-dev
	$(PYTEST) -m 'not slow'

test-slow: $(VENV)/.ready-dev
	$(PYTEST) -m slow

test-all: $(VENV)/.ready-dev
	$(PYTEST)

coverage: $(VENV)/.ready-dev
	$(BIN)/python -m pytest tests/client_sdk --cov --cov-report=term:skip-covered --cov-fail-under=95

# Parts, so that `make --jobs 2 lint` checks types beside the rest.
lint: lint-code lint-types lint-imports lint-generated

lint-code: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

lint-types: $(VENV)/.ready-dev
	$(BIN)/mypy

lint-imports: $(VENV)/.ready-dev
	$(BIN)/lint-imports

lint-generated: $(VENV)/.ready-dev
	$(BIN)/buf lint protos
	$(BIN)/buf format --diff --exit-code protos
	$(BIN)/python scripts/generate_protos.py --check
	$(BIN)/python scripts/generate_sync_client.py --check
	$(BIN)/python scripts/list_train_options.py --check

docs: $(VENV)/.ready-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: $(VENV)/.ready-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format --write protos

protos: $(VENV)/.ready-dev
	$(BIN)/python scripts/generate_protos.py

generate: protos
	$(BIN)/python scripts/generate_sync_client.py
	$(BIN)/python scripts/list_train_options.py

clean:
	rm -rf $(VENV) build demo dist

$(VENV)/bin/python:
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || \
	  { echo "ganserve needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Say which to use: make PYTHON=python3.12 …" >&2; exit 1; }
	$(PYTHON) -m venv $(VENV)

# The stamp of an extra is renewed when what it was installed from changes.
$(VENV)/.ready-%: $(VENV)/bin/python pyproject.toml constraints.txt
	$(PIP) --editable '.[$*]'
	@touch $@
