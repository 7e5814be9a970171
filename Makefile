# `make train`, and at each commit `make check`; `make test` runs every test but those of `make test-faults`,
# which break real jobs. Each sets up its environment first.
PYTHON ?= python3
# Tests run in so many processes; those that start Ray one after another, in one of them (tests/support/distribution.py).
PROCESSES ?= 2
VENV := .venv
BIN := $(VENV)/bin
READY := $(VENV)/.ready
DEV := $(VENV)/.ready-dev

.PHONY: train test test-faults check lint docs gpu clean

# What a training needs, which is all that `make train` waits for.
$(READY): pyproject.toml constraints.txt
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { echo "Python 3.11 or newer is needed: make PYTHON=python3.11 …" >&2; exit 2; }
	@echo "Installing PyTorch, Ray, MLflow and what they need into $(VENV), once: some 2 GB, 1 to 2 minutes from a"
	@echo "warm package cache, else as long as they take to download (PyTorch for NVIDIA GPUs: 3 GB more)."
	@test -x $(BIN)/python || $(PYTHON) -m venv $(VENV)
	@$(BIN)/python -m pip install --quiet -c constraints.txt torch
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e .
	@touch $@

# Besides, what tests and docs need.
$(DEV): $(READY)
	@echo "Installing what tests and docs need into $(VENV), once …"
	@$(BIN)/python -m pip install --quiet -c constraints.txt -e '.[dev,docs,medical,video]'
	@touch $@

train: $(READY)
	@PATH="$(CURDIR)/$(BIN):$$PATH" bash jobs/try_it.sh $(ARGS)

PYTEST = $(BIN)/python -m pytest -q -n $(PROCESSES) --durations=25

check: $(DEV) lint
	$(PYTEST) -m "not ray and not slow"

test: $(DEV) lint
	$(PYTEST) -m "not faults"

# Real jobs that are broken on purpose: at most 25 minutes.
test-faults: $(DEV)
	$(PYTEST) -m faults tests/faults tests/jobs

lint: $(DEV)
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

docs: $(DEV)
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

gpu:
	bash analysis/benchmarks/on_gpu.sh $(ARGS)

clean:
	rm -rf $(VENV) site build .pytest_cache .mypy_cache .ruff_cache
