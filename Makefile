# Every target sets itself up: `make help` lists them.
.DELETE_ON_ERROR:
SHELL := bash
.SHELLFLAGS := -euo pipefail -c

PYTHON ?= python3
VENV ?= .venv
BIN := $(VENV)/bin
READY := $(VENV)/.installed
DATA ?= digits
OUT ?= pictures

help: ## List the targets
	@grep -E '^[a-z-]+:.*##' Makefile | awk -F ':.*## ' '{printf "  make %-8s %s\n", $$1, $$2}'

demo: $(READY) ## Train on digits and draw what was learnt (DATA=digits, openml or a folder of IDX files)
	$(BIN)/python examples/plot_digits.py --data $(DATA) --out $(OUT)

test: $(READY) ## Run all tests
	$(BIN)/python -m pytest

coverage: $(READY) ## Run all tests and report the lines that they miss
	$(BIN)/python -m pytest --cov

soak: $(READY) ## Test reliability at length (about 15 minutes)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt atheris || echo "atheris does not install here"
	cd tests && $(abspath $(BIN))/python soak.py

lint: $(READY) ## Check style and format
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .

format: $(READY) ## Mend style and format
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

clean: ## Remove the virtual environment and what was made
	rm -rf $(VENV) $(OUT) build dist *.egg-info .pytest_cache .ruff_cache .coverage

# Made anew when the dependencies change; a second call installs nothing.
$(READY): pyproject.toml constraints.txt
	$(PYTHON) -m venv $(VENV)
	$(BIN)/python -m pip install --quiet --constraint constraints.txt --editable ".[dev]"
	touch $@

.PHONY: help demo test coverage soak lint format clean
