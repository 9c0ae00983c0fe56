# `make demo` and `make test` need Python and make only: they set up an environment themselves, with the versions in
# constraints/, which have passed the tests.

PYTHON ?= python3
VENV ?= .venv
CONSTRAINTS ?= constraints
WORKERS ?= 2

BIN := $(VENV)/bin
LOCK := $(CONSTRAINTS)/py$(shell $(PYTHON) -c 'import sys; print("%d%d" % sys.version_info[:2])').txt
INSTALL := $(BIN)/python -m pip install --quiet --constraint $(LOCK)
PYTEST := $(BIN)/python -m pytest --numprocesses $(WORKERS) --dist loadfile
PACKAGES := $(patsubst %/__init__.py,%,$(wildcard */__init__.py))

.PHONY: demo test test-fast sound-events nightly hf-tests matrix lock coverage lint static site bench bench-gpu clean

demo: $(VENV)/installed
	$(BIN)/polyaudio demo --output runs/demo --overwrite

test: $(VENV)/installed
	$(PYTEST) tests

# All but the slow tests: for the time between two changes.
test-fast: $(VENV)/installed
	$(PYTEST) tests -m "not slow"

# The library that scores events, for which pip needs a C++ compiler. Without it, their tests are skipped.
sound-events: $(VENV)/installed
	$(INSTALL) --build-constraint $(LOCK) --editable ".[sound-events]"

# The tests of hostile input, with 500 examples of each instead of 40.
nightly: $(VENV)/installed
	HYPOTHESIS_PROFILE=nightly $(PYTEST) tests/end_to_end/test_hostile_input.py

# What transformers demands of its own models. The first run fetches those tests from the package index; see hf_tests.
hf-tests: $(VENV)/installed
	cd hf_tests && $(abspath $(BIN))/python -m pytest

# The tests on every Python that is here, with the newest, the locked and the lowest versions of all requirements, and
# those of adapters with other pairs of transformers and PEFT.
matrix: $(VENV)/installed
	$(BIN)/nox --noxfile .ci/noxfile.py

# Renew constraints/: the newest versions of everything, once the checks and the tests have passed with them.
lock:
	$(PYTHON) .ci/lock.py

lint: $(VENV)/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/codespell
	if grep -qs importlinter pyproject.toml .importlinter; then $(BIN)/lint-imports; fi

# Which lines the tests run, in all the processes that they start.
coverage: $(VENV)/installed
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest tests
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --show-missing --skip-covered

# The package as a release would build it: its metadata, what is in the wheel, and types.
static: $(VENV)/installed
	rm -rf build/wheel dist
	PIP_CONSTRAINT=$(abspath $(LOCK)) $(BIN)/python -m build
	$(BIN)/twine check --strict dist/*
	$(INSTALL) --no-deps --target build/wheel dist/*.whl
	for folder in $(PACKAGES); do diff -r -x __pycache__ $$folder build/wheel/polyaudio/$$folder || exit 1; done
	cd build && PYTHONPATH=wheel wheel/bin/polyaudio --help
	cd build && PYTHONPATH=wheel $(abspath $(BIN))/python -m pytest ../tests/test_package.py -k "every or heavy"
	MYPYPATH=build/wheel $(BIN)/mypy
	MYPYPATH=build/wheel $(BIN)/mypy --strict --explicit-package-bases tests/public_types.py

# The site of docs/, in build/site. Broken links, pages in no menu and requests to other hosts are errors.
site: $(VENV)/installed
	$(BIN)/mkdocs build --strict

bench: $(VENV)/installed
	$(BIN)/python benchmarks/run.py

# On the first GPU, with the torch of $(PYTHON), which is the one for its driver. Nothing is installed.
bench-gpu:
	mkdir -p build/checkout
	ln -sfn "$(CURDIR)" build/checkout/polyaudio
	PYTHONPATH=build/checkout $(PYTHON) benchmarks/gpu.py $(ARGS)

$(VENV)/installed: setup.py setup.cfg pyproject.toml tests/without_requirements.txt $(LOCK)
	$(PYTHON) -m venv $(VENV)
	$(INSTALL) --upgrade pip
	$(INSTALL) --build-constraint $(LOCK) --editable ".[dev]"
	$(BIN)/python -m pip install --quiet --no-deps --requirement tests/without_requirements.txt
	touch $@

$(CONSTRAINTS)/py%.txt:
	@echo "There are no locked versions for this Python. Name one that has them: make PYTHON=python3.12" >&2; exit 1

clean:
	rm -rf .venv runs build dist *.egg-info
