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
	@for pause in 5 10 0; do $(PY) -m pip install --quiet --require-hashes --requirement requirements-dev.lock && exit; sleep $$pause; done; exit 1
	@for pause in 5 10 0; do $(PY) -m pip install --quiet --no-deps --editable . && exit; sleep $$pause; done; exit 1
	@touch $@

.PHONY: venv
venv: $(VENV)/.ready ## Install the locked dependencies into .venv

.PHONY: lock
lock: ## Renew the lock files from pyproject.toml
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra operator --extra local --extra gateway --extra tracing --extra milvus --group dev pyproject.toml -o requirements-dev.lock
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra operator pyproject.toml -o operator/requirements.lock
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes --extra gateway --extra tracing --extra milvus pyproject.toml -o proxy_image/requirements.lock
	@$(VENV)/bin/uv pip compile --quiet --universal --python-version 3.11 --generate-hashes proxy_image/runner-requirements.in -o proxy_image/runner-requirements.lock

.PHONY: check
check: lint types docs ui-check unit ## What every commit keeps green: lint, types, the documentation site, the page's checks, unit tests

.PHONY: lint
lint: venv ## Style and layers
	@$(VENV)/bin/ruff check operator proxy_image tests hack
	@$(VENV)/bin/ruff format --check --quiet operator proxy_image tests hack
	@$(VENV)/bin/lint-imports --no-cache

.PHONY: types
types: venv ## Strict types
	@$(VENV)/bin/mypy

.PHONY: stores
stores: ## Install the Redis and the PostgreSQL that unit tests start, where they are missing (Debian's; needs root)
	@hack/stores

.PHONY: prometheus
prometheus: ## Install the Prometheus and promtool that tests of alerts and dashboards start, where they are missing (Debian's; needs root)
	@hack/prometheus

.PHONY: valgrind
valgrind: ## Install the valgrind that counts instructions for bench-metrics, -traces and -inspector, where it is missing (Debian's; needs root)
	@hack/valgrind

.PHONY: ui
ui: venv ## Build the inspector's page into the proxy's package, when it has changed
	@$(PY) -m inspector_page

.PHONY: ui-check
ui-check: ui ## The page's own checks: eslint, tsc --strict, vitest
	@cd proxy_image/ui && PATH="$(CURDIR)/build/node/bin:$$PATH" npm run --silent check

.PHONY: unit
unit: venv stores prometheus ui ## Unit tests: no cluster
	@$(VENV)/bin/pytest tests/unit --numprocesses auto --quiet

.PHONY: crds
crds: venv ## Generate the CustomResourceDefinitions from the models
	@$(PY) -m mcp_operator.api.crd crds charts/mcp-operator/crds

.PHONY: docs-api
docs-api: venv ## Generate docs/api.md and docs/api/ from the CustomResourceDefinitions
	@$(PY) hack/api_docs.py

.PHONY: docs
docs: venv ## The documentation as a site in build/site; a broken link, an unknown anchor or a page without a place is an error
	@NO_MKDOCS_2_WARNING=1 $(VENV)/bin/mkdocs build --strict --quiet --config-file hack/mkdocs.yml
	@echo "build/site/index.html"

.PHONY: dashboards
dashboards: venv ## Generate the chart's Grafana dashboards from hack/dashboards
	@$(PY) -m dashboards

.PHONY: conformance
conformance: venv ## The public conformance suite through the proxy and without it; totals in build/conformance.json
	@mkdir -p build
	@$(PY) -m conformance

.PHONY: chromium
chromium: ## Install the Chromium that the browser tests drive, where it is missing (Debian's; needs root)
	@hack/chromium

.PHONY: browser
browser: venv ui chromium ## The inspector in a real Chromium; SCREENSHOTS=renew writes the pictures of docs/images anew
	@RENEW_SCREENSHOTS=$(filter renew,$(SCREENSHOTS)) $(VENV)/bin/pytest tests/browser --quiet

IN_CLUSTER := hack/cluster exec --
PYTEST_IN_CLUSTER := $(IN_CLUSTER) $(CURDIR)/$(PY) -m pytest -p no:cacheprovider

.PHONY: cluster-tests
cluster-tests: venv cluster prometheus prometheus-operator ## Tests against the real API server
	@$(PYTEST_IN_CLUSTER) tests/cluster

.PHONY: e2e
e2e: venv cluster images ## Tests end to end: the product installed by its chart on the real node
	@hack/image build-previous || echo "the test of an upgrade will be skipped"
	@$(PYTEST_IN_CLUSTER) tests/e2e

.PHONY: bench
bench: venv ## The proxy beside direct calls, stock FastMCP and other gateways (BENCH=quick: without those); build/bench/proxy.*
	@PYTHONPATH=$(PYTHONPATH):tests $(PY) -m bench.run $(if $(filter quick,$(BENCH)),--quick)

.PHONY: bench-swap
bench-swap: venv cluster images ## 20 swaps under the traffic of 8 clients; figures in build/bench/swap.json
	@$(PYTEST_IN_CLUSTER) tests/e2e/test_swap.py --capture=no

BENCH_OPERATOR_quick = --quick --sizes 100,500

.PHONY: bench-search
bench-search: venv ## How well, how fast and for how many tokens tools are found: 200 queries over 1,000 tools; build/bench/search.json
	@PYTHONPATH=$(PYTHONPATH):tests $(PY) -m bench.search

.PHONY: bench-metrics
bench-metrics: venv valgrind ## What metrics cost the fast lane: instructions, and CPU time, per call with and without them; build/bench/metrics.json
	@PYTHONPATH=$(PYTHONPATH):tests $(PY) -m bench.metrics $(if $(filter quick,$(BENCH)),--processes 1 --pairs 10)

.PHONY: bench-traces
bench-traces: venv valgrind ## What traces cost in the fast lane: instructions per call where they are off, CPU time where on; build/bench/traces.json
	@PYTHONPATH=$(PYTHONPATH):tests $(PY) -m bench.traces $(if $(filter quick,$(BENCH)),--processes 1 --rounds 4)

.PHONY: bench-inspector
bench-inspector: venv valgrind ## What the inspector costs in the fast lane while nobody watches: instructions per call; build/bench/instructions.json
	@PYTHONPATH=$(PYTHONPATH):tests $(PY) -m bench.instructions inspector $(if $(filter quick,$(BENCH)),--processes 1)

.PHONY: bench-operator
bench-operator: venv ## The operator at 100, 500 and 2,000 McpServers on a real API server; figures in build/bench/operator.json
	@PYTHONPATH=$(PYTHONPATH):tests $(PY) -m bench.operator.run $(BENCH_OPERATOR_$(BENCH))

.PHONY: test
test: check browser conformance cluster-tests e2e ## Everything: lint, types, documentation, unit, the inspector in a browser, the conformance suite, the real API server, end to end; leaves no cluster behind
	@$(MAKE) --no-print-directory cluster-down

.PHONY: demo
demo: venv ## Three real MCP servers behind one endpoint on this machine, one swapped in while a client is connected
	@PATH="$(CURDIR)/$(VENV)/bin:$$PATH" $(PY) hack/demo.py

.PHONY: demo-cluster
demo-cluster: venv cluster images ## The same on the real cluster
	@$(IN_CLUSTER) $(CURDIR)/$(PY) hack/demo_cluster.py

.PHONY: clean
clean: ## Remove what was built here
	@rm -rf build dist .pytest_cache .mypy_cache .ruff_cache .import_linter_cache
