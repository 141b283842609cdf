# One short command for each habit: `make help` lists them. Each sets up what it needs, once.

PYTHON ?= python3
VENV   ?= .venv
ARGS   ?=

BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-warn-script-location
STAMPS := $(VENV)/.stamps
IN_TWO := -n 2 --dist loadfile --no-loadscope-reorder

# Without bytecode each process that a test starts compiles all of Tidegate, and each run all of the tests.
unexport PYTHONDONTWRITEBYTECODE

.DEFAULT_GOAL := help
.PHONY: help install demo demo-flights dev services test test-long test-busy test-frameworks test-kubernetes test-newest-uvicorn lint format types contracts docs docs-generate dashboards screenshots bench clean

help: ## List these commands
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-19s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)
	@echo
	@echo "  ARGS=... is passed on: make demo ARGS=--exit, make test ARGS='-k gateway -x'"
	@echo "  PYTHON=... chooses the interpreter (3.11 or newer), VENV=... the folder of the environment"

install: $(STAMPS)/platform ## Install Tidegate with its platform into .venv

demo: $(STAMPS)/platform ## The whole path in a minute: train, register, deploy, predict, shift, roll back
	@$(BIN)/tidegate demo $(ARGS)

demo-flights: $(STAMPS)/flights ## A year of flights through the monitors, and what they alarm of (some minutes)
	@OMP_NUM_THREADS=1 $(BIN)/python scripts/demo_flights.py $(ARGS)

dev: $(STAMPS)/dev ## Install everything that development needs

services: ## Install the servers that the tests use (Debian or Ubuntu, as root); none is started
	@sh scripts/services.sh

test: $(STAMPS)/dev ## Run the tests
	@$(BIN)/python -m pytest $(IN_TWO) --ignore tests/frameworks --ignore tests/kubernetes -m "not long" $(ARGS)

test-long: $(STAMPS)/dev ## Run the tests that `make test` leaves out: faults, upgrades, MLflow's servers, images, statistics, browsers
	@$(BIN)/python -m pytest $(IN_TWO) --ignore tests/frameworks --ignore tests/kubernetes -m long $(ARGS)

test-busy: $(STAMPS)/dev ## Run the tests three times beside processes that keep the machine busy (an hour and more)
	@sh scripts/test_busy.sh $(BIN)/python -m pytest $(IN_TWO) --ignore tests/frameworks --ignore tests/kubernetes -o timeout=600 $(ARGS)

test-frameworks: $(STAMPS)/frameworks ## Run the tests with PyTorch, TensorFlow and CatBoost, which are large
	@TIDEGATE_REQUIRE_SERVICES=1 $(BIN)/python -m pytest $(IN_TWO) tests/frameworks $(ARGS)

test-kubernetes: $(STAMPS)/dev ## Run the tests of Kubernetes on the cluster of KUBECONFIG, in namespaces of their own that they remove
	@TIDEGATE_TEST_KUBERNETES=1 $(BIN)/python -m pytest tests/kubernetes tests/conformance/workloads -k 'kubernetes or cluster' -o timeout=600 -rs $(ARGS)

test-newest-uvicorn: $(STAMPS)/dev ## Report whether the tests of HTTP pass with uvicorn's newest release (never fails)
	@sh scripts/test_newest_uvicorn.sh $(BIN)/python $(VENV)/newest-uvicorn $(ARGS)

lint: $(STAMPS)/dev ## Check style
	@$(BIN)/ruff check .
	@$(BIN)/ruff format --check .

format: $(STAMPS)/dev ## Put the code into the house's format
	@$(BIN)/ruff check --fix .
	@$(BIN)/ruff format .

types: $(STAMPS)/dev ## Check types
	@$(BIN)/mypy

contracts: $(STAMPS)/dev ## Check that the layers keep their contracts
	@$(BIN)/lint-imports

docs: $(STAMPS)/docs ## Build the documentation into site/ (ARGS=--serve shows it while you write)
	@$(BIN)/python scripts/generate_docs.py --check
	@if [ "$(ARGS)" = "--serve" ]; then $(BIN)/mkdocs serve; else NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet && echo "site/index.html"; fi

docs-generate: $(STAMPS)/dev ## Write the generated reference pages anew
	@$(BIN)/python scripts/generate_docs.py

dashboards: $(STAMPS)/dev ## Write Grafana's dashboards anew
	@$(BIN)/python scripts/generate_dashboards.py

screenshots: $(STAMPS)/dev ## Take pictures of the console's pages into build/screenshots (Chromium: make services)
	@$(BIN)/python scripts/console_screenshots.py $(ARGS)

bench: $(STAMPS)/dev ## Run the benchmarks (five minutes of twenty models, then the comparison with peers)
	@$(BIN)/python benchmarks/twenty_models.py
	@$(BIN)/python benchmarks/serving.py

clean: ## Remove the environment and everything that was built
	rm -rf $(VENV) site build dist .mypy_cache .ruff_cache .pytest_cache .hypothesis .import_linter_cache
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

# -- set-up: a stamp for each step, made anew when pyproject.toml changes ------------------------------------------

$(STAMPS)/venv: scripts/make_venv.sh
	@sh scripts/make_venv.sh "$(PYTHON)" "$(VENV)"
	@mkdir -p $(STAMPS) && touch $@

$(STAMPS)/platform: $(STAMPS)/venv pyproject.toml
	@echo "Installing Tidegate with its platform into $(VENV) (a minute or two, once) ..."
	@$(PIP) --editable '.[platform,onnx,postgres,redis,celery,s3]'
	@touch $@

$(STAMPS)/flights: $(STAMPS)/platform
	@echo "Installing the flights (8.7 MB) into $(VENV) ..."
	@$(PIP) --group flights
	@touch $@

$(STAMPS)/dev: $(STAMPS)/venv pyproject.toml
	@echo "Installing Tidegate and what its development needs into $(VENV) (some minutes, once) ..."
	@$(PIP) --editable '.[platform,onnx,postgres,redis,celery,s3,cloudrun,xgboost,lightgbm,apprise]' --group dev
	@touch $(STAMPS)/platform $@

$(STAMPS)/frameworks: $(STAMPS)/dev
	@echo "Installing PyTorch, TensorFlow and CatBoost into $(VENV) (a gigabyte and a half, once) ..."
	@$(PIP) --editable '.[platform,onnx,postgres,celery,s3,cloudrun,xgboost,lightgbm,torch-onnx,tensorflow,catboost]' --group frameworks
	@touch $@

$(STAMPS)/docs: $(STAMPS)/dev
	@echo "Installing what the documentation needs into $(VENV) ..."
	@$(PIP) --group docs
	@touch $@
