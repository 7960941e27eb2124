# Every target creates what it needs on first use. VENV=dir chooses the environment, PYTHON=exe the interpreter.
VENV ?= .venv
# Tests wait for the processes that they start: one worker more than two cores have.
WORKERS ?= 3
PYTEST_ARGS ?=
# Where `make test-wheel` installs the wheel.
WHEEL_VENV ?= build/test-wheel
# A wheel that is there already, for `make test-wheel`; without one it is built.
export WHEEL ?=
DOCKER ?= docker

BIN := $(VENV)/bin
RUN_STAMP := $(VENV)/.installed
DEV_STAMP := $(VENV)/.installed-dev

.DEFAULT_GOAL := help
.PHONY: help demo test test-wheel test-slow coverage lint hooks bench docs wheel sbom image image-cuda conda audit clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z-]+:.*## / {printf "  make %-10s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

demo: $(RUN_STAMP) ## make a small world, seal it, expand it, check it
	@$(BIN)/arrivals demo

test: $(DEV_STAMP) ## the tests, without the slow ones
	@$(BIN)/python -m pytest -n $(WORKERS) --dist worksteal -m "not slow" $(PYTEST_ARGS)

# With src off the path, Python and all processes that tests start can find only the package that is installed.
test-wheel: ## the tests of `make test` on the wheel, built and installed
	@scripts/venv.sh --wheel "$(WHEEL_VENV)" test
	@$(WHEEL_VENV)/bin/python -m pytest -o pythonpath=. -n $(WORKERS) --dist worksteal -m "not slow" $(PYTEST_ARGS)

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

wheel: $(DEV_STAMP) ## build into dist, install the wheel by itself and compare its demo's digest
	@rm -rf dist build/wheel
	@$(BIN)/python -m build --no-isolation
	@$(BIN)/python -m venv build/wheel
	@build/wheel/bin/python -m pip install --quiet --constraint constraints.txt dist/*.whl
	@scripts/demo_digest.sh "$(CURDIR)/build/wheel/bin/arrivals"

sbom: wheel ## write dist/sbom.cdx.json, the packages that the wheel is installed with
	@$(BIN)/python -m venv --clear build/sbom
	@build/sbom/bin/python -m pip install --quiet --constraint constraints.txt cyclonedx-bom
	@build/sbom/bin/cyclonedx-py environment --output-reproducible --output-file dist/sbom.cdx.json build/wheel/bin/python

image: ## build the container for CPUs and compare its demo's digest
	@$(DOCKER) build --tag arrival-engine .
	@scripts/demo_digest.sh $(DOCKER) run --rm arrival-engine

image-cuda: ## build the container for CUDA devices and compare its demo's digest, on the CPU where no device is
	@$(DOCKER) build --file Dockerfile.cuda --tag arrival-engine:cuda .
	@scripts/demo_digest.sh $(DOCKER) run --rm arrival-engine:cuda

conda: $(RUN_STAMP) ## build the conda package from conda-forge's packages, and test it
	@$(BIN)/python -m venv --clear build/conda
	@build/conda/bin/python -m pip install --quiet --constraint constraints.txt py-rattler-build
	@build/conda/bin/python scripts/conda_package.py build/conda/packages

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
