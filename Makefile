# Every target sets itself up: `make help` lists them.
.DELETE_ON_ERROR:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
# The libraries that the benchmarks compare with have an environment of their own.
BENCH_VENV ?= .venv-bench
BENCH_BIN := $(BENCH_VENV)/bin
BENCH_READY := $(BENCH_VENV)/.installed
# So has the site.
DOCS_VENV ?= .venv-docs
DOCS_BIN := $(DOCS_VENV)/bin
DOCS_READY := $(DOCS_VENV)/.installed
# The lowest versions of what skvae needs.
LOWEST_VENV ?= .venv-lowest
LOWEST_BIN := $(LOWEST_VENV)/bin
LOWEST_READY := $(LOWEST_VENV)/.installed
# A wheel is tried where nothing else of skvae is.
DIST_VENV ?= .venv-dist
DIST_BIN := $(DIST_VENV)/bin
SPHINX := $(DOCS_BIN)/python -m sphinx --fail-on-warning --keep-going
BENCH := $(BENCH_BIN)/python examples/benchmarks
BENCH_DATA = $(if $(filter-out mnist digits,$(DATA)),--data $(DATA)) --out benchmarks
DATA ?= mnist
OUT ?= figures

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' Makefile | awk -F ':.*## ' '{printf "  make %-11s %s\n", $$1, $$2}'

demo: $(READY) ## Train on digits and draw what was learnt (DATA=mnist, digits, openml or a folder of IDX files)
	$(BIN)/python examples/plot_digits.py --data $(DATA) --out $(OUT)

test: $(READY) ## Run all tests
	$(BIN)/python -m pytest --numprocesses auto --dist worksteal

test-lowest: $(LOWEST_READY) ## Run all tests with the lowest versions of other packages (PYTHON=python3.11)
	$(LOWEST_BIN)/python -m pytest --numprocesses auto --dist worksteal

coverage: $(READY) ## Run all tests and report the lines that they miss
	$(BIN)/python -m pytest --cov

bench: $(BENCH_READY) ## Compare speed and quality with other libraries (DATA as for demo)
	$(BENCH)/overhead.py $(BENCH_DATA) --train 10000
	$(BENCH)/everyday.py $(BENCH_DATA) --rounds 3
	$(BENCH)/time_to_loss.py $(BENCH_DATA) --peers keras pytorch
	$(BENCH)/quality.py $(BENCH_DATA) --components 10 --methods skvae PCA
	$(BENCH)/gpu.py $(BENCH_DATA)

bench-full: $(BENCH_READY) ## The tables of docs/benchmarks.md (hours)
	$(BENCH)/overhead.py $(BENCH_DATA)
	$(BENCH)/everyday.py $(BENCH_DATA)
	$(BENCH)/time_to_loss.py $(BENCH_DATA) --repeats 5 --epochs keras=30
	$(BENCH)/quality.py $(BENCH_DATA)
	$(BENCH)/scaling.py $(BENCH_DATA)
	$(BENCH)/large.py --out benchmarks
	$(BENCH)/parallel.py $(BENCH_DATA)
	$(BENCH)/early_stopping.py $(BENCH_DATA)
	$(BENCH)/ablation.py $(BENCH_DATA) --repeats 3
	$(BENCH)/field.py $(BENCH_DATA) $(if $(CLOTHES),--clothes $(CLOTHES))
	$(BENCH)/likelihood.py $(BENCH_DATA)
	$(BENCH)/labels.py $(BENCH_DATA)
	$(BENCH)/clusters.py $(BENCH_DATA)
	$(BENCH)/holes.py $(BENCH_DATA) --complete
	$(BENCH)/runtimes.py $(BENCH_DATA)
	$(BENCH)/gpu.py $(BENCH_DATA)

bench-check: $(BENCH_READY) ## Run every benchmark once on few images, to see that it runs (minutes)
	for script in examples/benchmarks/[a-z]*.py; do \
		echo "$$script" && $(BENCH_BIN)/python "$$script" --quick --out benchmarks/quick > /dev/null; \
	done

docs: $(DOCS_READY) ## Build the site in docs/_build/html; the gallery runs (minutes)
	$(SPHINX) docs docs/_build/html

docs-check: docs ## Look at each page of the site in a browser: accessible, readable, from this machine alone
	$(DOCS_BIN)/python -m pytest docs/check_site.py

dist: ## Build wheel and sdist, check them, and run the demo from the wheel in an environment of its own
	rm -rf dist $(DIST_VENV)
	$(PYTHON) -m venv $(DIST_VENV)
	$(DIST_BIN)/python -m pip install --quiet --constraint constraints.txt build twine
	$(DIST_BIN)/python -m build --outdir dist .
	$(DIST_BIN)/twine check --strict dist/*
	$(DIST_BIN)/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	$(DIST_BIN)/python examples/plot_digits.py --data digits --max-iter 20 --out $(DIST_VENV)/figures
	$(DIST_BIN)/python -m pip install --quiet --force-reinstall --no-deps dist/*.tar.gz
	cd dist && $(abspath $(DIST_BIN))/python -c "import skvae; print(skvae.__version__, skvae.__file__)"

soak: $(READY) ## Test reliability at length (about half an hour)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt atheris || echo "atheris does not install here"
	cd tests && $(abspath $(BIN))/python soak.py

lint: $(READY) ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## Mend style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the virtual environment and what was made
	rm -rf $(VENV) $(LOWEST_VENV) $(BENCH_VENV) $(DOCS_VENV) $(DIST_VENV) docs/_build docs/generated docs/auto_examples $(OUT) benchmarks build dist *.egg-info .pytest_cache .ruff_cache .coverage

# Made anew when the dependencies change; a second call installs nothing.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

$(LOWEST_READY): pyproject.toml constraints-lowest.txt
	$(PYTHON) -m venv $(LOWEST_VENV)
	$(LOWEST_BIN)/python -m pip install --quiet --constraint constraints-lowest.txt --editable ".[dev]"
	touch $@

$(BENCH_READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(BENCH_VENV)
	$(BENCH_BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[bench]"
	touch $@

$(DOCS_READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(DOCS_VENV)
	$(DOCS_BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[docs]"
	touch $@

.PHONY: help demo test test-lowest coverage bench bench-full bench-check docs docs-check dist soak lint format clean
