# make demo   everything, from real digits to samples in demo/digits.png; make test   the tests; make lint   the linters;
# make docs   the site of docs/, in build/docs; make coverage   what of the SDK its tests reach, at least 95 %.
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt

.PHONY: demo test coverage lint docs format protos generate clean

demo: $(VENV)/.ready-all
	$(BIN)/python scripts/demo.py

test: $(VENV)/.ready-dev
	$(BIN)/python -m pytest --numprocesses auto --maxprocesses 4 --dist loadfile

coverage: $(VENV)/.ready-dev
	$(BIN)/python -m pytest tests/client_sdk --cov --cov-report=term:skip-covered --cov-fail-under=95

lint: $(VENV)/.ready-dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	$(BIN)/lint-imports
	$(BIN)/buf lint protos
	$(BIN)/buf format --diff --exit-code protos
	$(BIN)/python scripts/generate_protos.py --check
	$(BIN)/python scripts/generate_sync_client.py --check

# Every warning is an error: a link that leads nowhere, a docstring that can't be read, a message without a comment.
docs: $(VENV)/.ready-dev
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

format: $(VENV)/.ready-dev
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .
	$(BIN)/buf format --write protos

protos: $(VENV)/.ready-dev
	$(BIN)/python scripts/generate_protos.py

# Everything that is generated and committed.
generate: protos
	$(BIN)/python scripts/generate_sync_client.py

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
