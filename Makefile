# Every target sets up what it needs from python3 (3.11 or newer), make, git and a package index; the second time that is instant.

PYTHON ?= python3
BIN    := .venv/bin
READY  := .venv/.ready
CODE   := $(wildcard src tests benchmarks scripts examples)
ARGS   ?=

export UV_PYTHON_DOWNLOADS := never
unexport PYTHONDONTWRITEBYTECODE  # where it is set, every command that the tests start would compile all of src again
MAKEFLAGS += --no-print-directory

.DEFAULT_GOAL := help
.PHONY: help demo test check fix bench simulate torture explore mutants guards contract machine lock clean

help:  ## show this
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-8s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

demo: $(READY)  ## see the agent repair a small failing project (needs no key)
	@$(BIN)/quell demo $(ARGS)

test: $(READY)  ## run the tests; ARGS="-k cancel -x" reaches pytest
	@$(BIN)/python -m pytest -n auto --maxprocesses 4 --dist worksteal $(ARGS)

check: $(READY)  ## format, lint, types, layers, sizes, then the tests
	@$(BIN)/ruff format --quiet --check $(CODE) || { echo 'make fix formats these'; exit 1; }
	@$(BIN)/ruff check --quiet $(CODE)
	@$(BIN)/mypy --no-error-summary $(CODE)
	@$(BIN)/lint-imports --no-logo > .venv/layers.txt || { cat .venv/layers.txt; exit 1; }
	@$(BIN)/python scripts/sizes.py
	@$(MAKE) test

fix: $(READY)  ## format, and mend what the linter can mend
	@$(BIN)/ruff check --quiet --fix-only $(CODE)
	@$(BIN)/ruff format --quiet $(CODE)

bench: $(READY)  ## measure; ARGS reaches the benchmarks
	@$(BIN)/python -m benchmarks $(ARGS)

simulate: $(READY)  ## play SEEDS=n seeded stories of faults against the engine; ARGS="--seed 7 --shrink" tells one
	@$(BIN)/python -m quell.testing.simulate --seeds $(or $(SEEDS),1000) $(ARGS)

torture: $(READY)  ## kill the real server at random moments for MINUTES=n, and look at what is left; ARGS="--seed 7"
	@$(BIN)/python -m quell.testing.torture --minutes $(or $(MINUTES),1) $(ARGS)

explore: $(READY)  ## explore the session machine; ARGS="--large --minutes 30", or a world of your own: ARGS="submits=3 cancels=2"
	@$(BIN)/python -m quell.testing.explore $(ARGS)

mutants: $(READY)  ## break the session machine in every way, and see that it is noticed; ARGS="--pairs 500"
	@$(BIN)/python -m quell.testing.mutate $(ARGS)

guards: $(READY)  ## take away the guards against races, one at a time, and see that their tests fail; ARGS="deletion crash"
	@$(BIN)/python -m quell.testing.guards $(ARGS)

contract: $(READY)  ## renew docs/reference/contract-tests.md from the tests' names
	@$(BIN)/python scripts/contract.py

machine: $(READY)  ## renew docs/reference/machine.md from the session machine
	@$(BIN)/python scripts/machine.py

lock: $(READY)  ## renew requirements.lock from pyproject.toml; UPGRADE=1 takes the newest of everything
	@$(BIN)/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-annotate \
		--no-emit-index-url --no-emit-find-links --custom-compile-command 'make lock' \
		$(if $(UPGRADE),--upgrade) --group dev pyproject.toml --output-file requirements.lock
	@$(MAKE) $(READY)

clean:  ## remove everything that was made here
	@rm -rf .venv .hypothesis .import_linter_cache .mypy_cache .pytest_cache .ruff_cache build dist
	@find $(CODE) -name __pycache__ -prune -exec rm -rf {} +

$(READY): requirements.lock pyproject.toml scripts/setup
	@PYTHON='$(PYTHON)' scripts/setup
