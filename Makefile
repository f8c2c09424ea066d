# Two commands do all set-up on a machine that has only Python (with pip and venv) and make:
#   make demo    creates .venv, installs x2sam, segments a sample photo and a sample clip
#   make test    creates .venv, installs the test extras, runs the tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all lint clean
.DELETE_ON_ERROR:

# constraints.txt names the versions that the tests were last seen to pass with; a plain `pip install x2sam` is freer.
$(VENV)/.core: pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[demo]'
	@touch $@

$(VENV)/.dev: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --constraint constraints.txt --editable '.[dev]'
	@touch $@

demo: $(VENV)/.core
	$(BIN)/python examples/demo.py

lint: $(VENV)/.dev
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

test: lint
	$(BIN)/python -m pytest -n auto --dist loadfile

test-all: lint
	$(BIN)/python -m pytest -n auto --dist loadfile -m ''

clean:
	rm -rf $(VENV) outputs build dist *.egg-info
