# make demo: find a lottery ticket on MNIST-1D; make test: run every test;
# make test-fast: those that run no study and compile little; make test-slow: the
# long ones, of faults, which `make test` leaves out; make docs: the site.
# All set up .venv first, and again only when what it is made from changes.
PYTHON ?= python3
BIN := .venv/bin
WORKDIR ?= runs/demo
# Of tests: one more than two cores, for some wait for command lines.
WORKERS ?= 3

.PHONY: demo test test-fast test-slow lint docs setup clean

demo: setup
	$(BIN)/python -m launch.main --config=configs/mnist1d.py --workdir=$(WORKDIR)

test: setup
	$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal

test-slow: setup
	$(BIN)/python -m pytest -m long

test-fast: setup
	$(BIN)/python -m pytest -n 2 --dist worksteal -m "not slow" tests/pure

lint: setup
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/pyright

docs: setup
	$(BIN)/python -m mkdocs build --strict --site-dir runs/site

setup: .venv/installed

.venv/installed: pyproject.toml constraints.txt
	test -x $(BIN)/python || $(PYTHON) -m venv .venv
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
	  --constraint constraints.txt --editable '.[dev]'
	touch $@

clean:
	rm -rf .venv runs
