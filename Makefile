# mcp-operator: every command of the project. `make` or `make help` lists them.
.DEFAULT_GOAL := help
SHELL := /bin/bash
VENV := .venv
PY := $(VENV)/bin/python
export PYTHONPATH := operator:proxy_image:hack

-include hack/cluster.mk

.PHONY: help
help: ## List the commands
	@grep -hE '^[a-z][a-z0-9-]*:.*## ' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{printf "  \033[1m%-18s\033[0m %s\n", $$1, $$2}'

$(VENV)/.ready: requirements-dev.lock pyproject.toml
	@test -x $(PY) || python3 -m venv $(VENV)
	@$(PY) -m pip install --quiet --require-hashes --requirement requirements-dev.lock
	@$(PY) -m pip install --quiet --no-deps --editable .
	@touch $@

.PHONY: venv
venv: $(VENV)/.ready ## Install the locked dependencies into .venv

.PHONY: lock
lock: ## Renew the lock files from pyproject.toml
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra operator --extra local --group dev pyproject.toml -o requirements-dev.lock
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra operator pyproject.toml -o operator/requirements.lock
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes pyproject.toml -o proxy_image/requirements.lock

.PHONY: check
check: lint types unit ## What every commit keeps green: lint, types, unit tests

.PHONY: lint
lint: venv ## Style and layers
	@$(VENV)/bin/ruff check operator proxy_image tests hack
	@$(VENV)/bin/ruff format --check --quiet operator proxy_image tests hack
	@$(VENV)/bin/lint-imports --no-cache

.PHONY: types
types: venv ## Strict types
	@$(VENV)/bin/mypy

.PHONY: unit
unit: venv ## Unit tests: no cluster
	@$(VENV)/bin/pytest tests/unit --numprocesses auto --quiet

.PHONY: crds
crds: venv ## Generate the CustomResourceDefinitions from the models
	@$(PY) -m mcp_operator.api.crd crds charts/mcp-operator/crds

.PHONY: clean
clean: ## Remove what was built here
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
