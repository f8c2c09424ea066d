# Two commands do all set-up on a machine that has only Python (with pip and venv) and make:
#   make demo    creates .venv, installs x2sam, segments a sample photo and a sample clip
#   make test    creates .venv, installs the test extras, runs the tests
PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin

.PHONY: demo test test-all test-newest lint browser docs clean
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

# The tests of the web page need Chromium. It is installed where that can be done; else they are skipped.
browser:
	@command -v chromium || command -v chromium-browser || command -v google-chrome || \
	{ test "$$(id -u)" = 0 && apt-get update -qq && \
	DEBIAN_FRONTEND=noninteractive apt-get install -y -qq chromium > .chromium.log 2>&1; } || \
	echo "Chromium is not on the PATH and cannot be installed here, so the tests of the web page are skipped."

test: lint browser
	$(BIN)/python -m pytest -n auto --dist loadfile

test-all: lint browser
	$(BIN)/python -m pytest -n auto --dist loadfile -m ''

# Against the newest release of everything, in an environment of its own; constraints.txt then follows what passed.
test-newest: browser
	$(PYTHON) -m venv $(VENV)-newest
	$(VENV)-newest/bin/python -m pip install --quiet --disable-pip-version-check --upgrade --upgrade-strategy eager \
		--editable '.[dev]'
	$(VENV)-newest/bin/python -m pip list --format freeze
	$(VENV)-newest/bin/python -m pytest -n auto --dist loadfile

# The documentation as a site, in site/; every warning (a link that leads nowhere, a page left out) is an error.
docs: $(VENV)/.core
	$(BIN)/python -m pip install --quiet --disable-pip-version-check --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet
	@echo "Open site/index.html"

clean:
	rm -rf $(VENV) $(VENV)-newest outputs site build dist *.egg-info .chromium.log
