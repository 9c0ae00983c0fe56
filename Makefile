# `make demo` and `make test` need Python and make only: they set up .venv themselves.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test nightly hf-tests matrix coverage lint static bench clean

demo: .venv/installed
	$(BIN)/polyaudio demo --output runs/demo

test: .venv/installed
	$(BIN)/python -m pytest tests

# The tests of hostile input, with 500 examples of each instead of 40.
nightly: .venv/installed
	HYPOTHESIS_PROFILE=nightly $(BIN)/python -m pytest tests/test_hostile_input.py

# What transformers demands of its own models. The first run fetches those tests from the package index; see hf_tests.
hf-tests: .venv/installed
	cd hf_tests && $(abspath $(BIN))/python -m pytest

# The tests on every Python that is here, with the newest and with the lowest versions of all requirements.
matrix:
	$(PYTHON) -m venv build/matrix
	build/matrix/bin/python -m pip install --quiet nox
	build/matrix/bin/nox --noxfile .ci/noxfile.py

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

# Which lines the tests run, in all the processes that they start.
coverage: .venv/installed
	$(BIN)/python -m pip install --quiet "coverage>=7.10"
	$(BIN)/python -m coverage erase
	$(BIN)/python -m coverage run -m pytest tests
	$(BIN)/python -m coverage combine --quiet
	$(BIN)/python -m coverage report --show-missing --skip-covered

# The package as a release would build it: its metadata, what is in the wheel, and types.
static: .venv/installed
	rm -rf build dist
	$(PYTHON) -m venv build/static
	build/static/bin/python -m pip install --quiet build twine mypy
	build/static/bin/python -m build
	build/static/bin/twine check --strict dist/*
	$(BIN)/python -m pip install --quiet --no-deps --target build/wheel dist/*.whl
	for folder in configuration feature_extraction modeling training scripts recipes; do \
	    diff -r -x __pycache__ $$folder build/wheel/polyaudio/$$folder || exit 1; done
	cd build && PYTHONPATH=wheel wheel/bin/polyaudio --help
	cd build && PYTHONPATH=wheel $(abspath $(BIN))/python -m pytest ../tests/test_package.py -k "every or heavy"
	MYPYPATH=build/wheel build/static/bin/mypy --python-executable $(BIN)/python
	MYPYPATH=build/wheel build/static/bin/mypy --python-executable $(BIN)/python --strict tests/public_types.py

bench: .venv/installed
	$(BIN)/python benchmarks/run.py

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	touch $@

clean:
	rm -rf .venv runs build dist *.egg-info
