# `make demo` and `make test` need Python and make only: they set up .venv themselves.

PYTHON ?= python3
BIN := .venv/bin

.PHONY: demo test hf-tests lint bench clean

demo: .venv/installed
	$(BIN)/polyaudio demo --output runs/demo

test: .venv/installed
	$(BIN)/python -m pytest tests

# What transformers demands of its own models. The first run fetches those tests from the package index; see hf_tests.
hf-tests: .venv/installed
	cd hf_tests && $(abspath $(BIN))/python -m pytest

lint: .venv/installed
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

bench: .venv/installed
	$(BIN)/python benchmarks/sam_audio.py
	$(BIN)/python benchmarks/sslam.py
	$(BIN)/python benchmarks/sslam_pretraining.py

.venv/installed: setup.cfg pyproject.toml
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --upgrade pip
	$(BIN)/python -m pip install --quiet --editable ".[test]"
	$(BIN)/python -m pip install --quiet --editable ".[sound-events]" \
	    || echo "No C++ compiler: scores of sound events are left out, and their tests skipped."
	touch $@

clean:
	rm -rf .venv runs build dist *.egg-info
