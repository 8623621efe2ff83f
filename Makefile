# make demo, make test and make lint share one virtual environment, made when it is missing or older than what it
# is made from. PYTHON chooses the interpreter (3.11 to 3.13).
PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
OUT ?= runs/demo

# One process a core; a file's tests stay together, since they share what they prepare.
PYTEST := $(BIN)/python -m pytest -n auto --maxprocesses 8 --dist loadfile --durations 12

.PHONY: demo test test-slow benchmark lint clean

demo: $(READY)
	$(BIN)/domainssl demo galaxies --out $(OUT)/galaxies
	$(BIN)/domainssl demo chest --out $(OUT)/chest

test: $(READY)
	$(PYTEST) -m "not slow"

test-slow: $(READY)
	$(PYTEST) -m slow --ignore tests/benchmarks

# Alone, one after the other, and without type checks at run time: they compare speeds.
benchmark: $(READY)
	$(BIN)/python -m pytest tests/benchmarks -o addopts="--strict-markers --strict-config"

lint: $(READY)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy
	PYTHONPATH=. $(BIN)/lint-imports

$(READY): pyproject.toml constraints.txt
	$(PYTHON) -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 13))' || \
		{ echo "domainssl needs Python 3.11 to 3.13; give one with make PYTHON=python3.11"; exit 1; }
	$(PYTHON) -m venv --clear $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable '.[test,lint]'
	touch $(READY)

clean:
	rm -rf $(VENV) runs
