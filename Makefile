# Every target creates what it needs on first use. VENV=dir chooses the environment, PYTHON=exe the interpreter.
VENV ?= .venv
# Tests wait for the processes that they start: one worker more than two cores have.
WORKERS ?= 3
PYTEST_ARGS ?=

BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.PHONY: help demo test test-slow coverage lint hooks bench docs wheel audit clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(RUN_STAMP) ## make a small world, seal it, expand it, check it
	@$(BIN)/arrivals demo

test: $(DEV_STAMP) ## the tests, without the slow ones
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow" $(PYTEST_ARGS)

test-slow: $(DEV_STAMP) ## the slow tests
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m slow $(PYTEST_ARGS)

# On its own, because tracing makes the suite slower. Processes that the tests start are traced too.
coverage: $(DEV_STAMP) ## the tests of `make test`, and the lines they reach
	@$(BIN)/coverage erase
	@$(BIN)/coverage run -m pytest -n $(WORKERS) --dist worksteal -m "not slow" $(PYTEST_ARGS)
	@$(BIN)/coverage combine --quiet
	@$(BIN)/coverage report

lint: $(DEV_STAMP) ## ruff and mypy
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .
	@$(BIN)/mypy

hooks: $(DEV_STAMP) ## the checks of `make lint` before every commit
	@$(BIN)/pre-commit install

bench: $(DEV_STAMP) ## measure this machine
	@$(BIN)/python -m bench

docs: $(DEV_STAMP) ## the documentation, warnings as errors, into build/site
	@NO_MKDOCS_2_WARNING=1 $(BIN)/python -m mkdocs build --strict

wheel: $(DEV_STAMP) ## build into dist, install the wheel by itself and run the demo
	@rm -rf dist build/wheel
	@$(BIN)/python -m build --no-isolation
	@$(BIN)/python -m venv build/wheel
	@build/wheel/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	@build/wheel/bin/arrivals demo build/wheel/world

# A package that the advisories' index does not have fails too: what was not looked up is not known to be sound.
audit: $(RUN_STAMP) ## look up the pinned packages in PyPI's index of known vulnerabilities
	@$(BIN)/python -m venv --clear build/audit
	@build/audit/bin/python -m pip install --quiet --constraint constraints.txt pip-audit
	@build/audit/bin/pip-audit --strict --requirement constraints.txt --no-deps --disable-pip --progress-spinner off

clean: ## remove the environment and every cache
	rm -rf $(VENV) dist build .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -not -path './.git/*' -prune -exec rm -rf {} +

$(RUN_STAMP): pyproject.toml constraints.txt scripts/venv.sh
	@scripts/venv.sh "$(VENV)"
	@touch $@

$(DEV_STAMP): pyproject.toml constraints.txt scripts/venv.sh
	@scripts/venv.sh "$(VENV)" test,lint
	@touch $@ $(RUN_STAMP)
