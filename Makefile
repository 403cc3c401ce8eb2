# Two commands: `make up` shows everything on this machine, `make test` checks it. `make help` lists the rest.

SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DELETE_ON_ERROR:
.DEFAULT_GOAL := help

VENV ?= .venv
# The first Python here that the locked wheels are for; `make PYTHON=/path/to/python3.12` names another one.
PYTHON ?= $(firstword $(foreach name,python3 python3.14 python3.13 python3.12 python3.11,$(shell \
	$(name) -c 'import sys; (3, 11) <= sys.version_info < (3, 15) and print("$(name)")' 2>/dev/null)))
RUN := $(VENV)/bin
INSTALL := $(RUN)/python -m pip install -qq --disable-pip-version-check
COMPILE := $(RUN)/uv pip compile --quiet --universal --generate-hashes --no-emit-index-url --no-emit-find-links \
	--custom-compile-command 'make lock'
CLIENTS := tests/clients
# One process a core and one more, as many tests wait, whole files each. Four at the most: every one brings up a Postgres of
# its own.
# PYTEST_ARGS='-n 0 tests/db/test_x.py' runs in this process, for a debugger.
# A process that dies, or hangs until it is ended (pyproject.toml), ends the run: a new one would begin the same file again.
WORKERS = $(shell $(RUN)/python -c 'import os; print(min(4, (os.cpu_count() or 1) + 1))')
PARALLEL = -n $(WORKERS) --max-worker-restart 0 --dist loadfile --no-loadscope-reorder
PEERS := bench/.peers
CONTRACTS := node pipeline/devnet/contracts/compile.mjs
# Minutes of `make promise` and `make availability`; 0.1 tries them out.
MINUTES ?= 30
# Whatever npm does, it is for some tests, and for BSC in `make up`: they say themselves what they miss.
NPM := $(shell command -v npm 2>/dev/null)

# Containers often set it; every process would compile all that it imports, and an end-to-end test starts ten of them.
unexport PYTHONDONTWRITEBYTECODE

.PHONY: help setup audit up test chaos walks reliability recovery availability simulation check manifest lock bench bench-setup bench-short bench-report promise contracts clean

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "make %-12s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

setup: $(VENV)/.ready ## virtual environment with the locked dependencies
	@:

up: $(VENV)/.ready $(CLIENTS)/node_modules/.ready ## everything on this machine, until Ctrl-C
	@exec $(RUN)/flagpost up

test: $(VENV)/.ready-dev $(CLIENTS)/node_modules/.ready ## every test
	$(RUN)/python -m pytest $(PARALLEL) $(PYTEST_ARGS)

chaos: $(VENV)/.ready-dev $(CLIENTS)/node_modules/.ready ## random runs of real processes under faults: SEED=… RUNS=…, or SCHEDULE=file
	@$(RUN)/python -m tests.chaos.run $(if $(SCHEDULE),--schedule $(SCHEDULE)) $(if $(SEED),--seed $(SEED)) \
		$(if $(RUNS),--runs $(RUNS)) $(CHAOS_ARGS)

walks: $(VENV)/.ready-dev $(CLIENTS)/node_modules/.ready ## every crash point with every fault of a node, of which make test takes a sixth
	FLAGPOST_CHAOS=full $(RUN)/python -m pytest $(PARALLEL) tests/chaos/test_crash_walk.py tests/chaos/test_evm_crash_walk.py \
		tests/chaos/test_batch_walk.py

recovery: $(VENV)/.ready-dev $(CLIENTS)/node_modules/.ready ## how long recovery takes, measured: ROUNDS=…
	@$(RUN)/python -m tests.chaos.recovery $(if $(ROUNDS),--rounds $(ROUNDS))

availability: $(VENV)/.ready-dev $(CLIENTS)/node_modules/.ready ## how often a flag is taken within 30 s, under faults: MINUTES=30 SEED=…
	@$(RUN)/python -m tests.chaos.availability --minutes $(MINUTES) $(if $(SEED),--seed $(SEED)) $(AVAILABILITY_ARGS)

reliability: $(VENV)/.ready-dev ## docs/reliability.md from the runs that were made here
	@$(RUN)/python -m tests.chaos.reliability

check: $(VENV)/.ready-dev $(CLIENTS)/node_modules/.ready ## lint, types, layers, contracts
	$(RUN)/ruff check .
	$(RUN)/ruff format --check .
	$(RUN)/mypy
	$(RUN)/lint-imports
	@if command -v node >/dev/null && [[ -d $(CLIENTS)/node_modules/solc ]]; then $(CONTRACTS) --check; \
	else echo "contracts not rebuilt: node or the package solc is missing"; fi

audit: $(VENV)/.ready .audit/.ready ## known vulnerabilities of what is locked, licences of what production runs
	@$(RUN)/python .ci/audit.py

manifest: $(VENV)/.ready-dev ## sql/manifest.txt, what doctor compares a schema with
	$(RUN)/python -m tests.manifest

contracts: $(CLIENTS)/node_modules/.ready ## compile the Solidity sources again
	$(CONTRACTS)

bench-setup: $(VENV)/.ready-bench $(PEERS)/pgqueuer/.ready $(PEERS)/procrastinate/.ready bench/peers/node_modules/.ready ## the peers that bench compares with
	@:

bench: $(VENV)/.ready-bench $(VENV)/.ready-dev $(CLIENTS)/node_modules/.ready ## every measure, beside the peers that bench-setup installed; 50 minutes
	@$(RUN)/python -m bench.run $(BENCH_ARGS)

bench-short: $(VENV)/.ready-bench ## the same in small, three minutes: whether it works, not how fast it is
	@$(RUN)/python -m bench.run --short --output bench/results/partial/short.json $(BENCH_ARGS)
	@$(RUN)/python -m bench.report bench/results/partial/short.json --page bench/results/partial/short.md
	@$(RUN)/python -m bench.promise --minutes 0.05 --per-hour 500 --pace 20000 --wallets 20 --kill-every 10 --block-time 0.25

bench-report: $(VENV)/.ready-bench ## docs/benchmarks.md and its plots, from the newest results
	@$(RUN)/python -m bench.report $(REPORT_ARGS)

promise: $(VENV)/.ready $(CLIENTS)/node_modules/.ready ## 10,000 payments an hour under faults, for MINUTES=30; exit code 0 if it held
	@$(RUN)/python -m bench.promise --minutes $(MINUTES) $(PROMISE_ARGS)

simulation: $(VENV)/.ready-dev ## seeded runs of the workers in one process, every await a place to die: SEED=… RUNS=… [NETWORK=…] [REPLAY=…]
	@$(RUN)/python -m tests.simulation.campaign $(if $(SEED),--seed $(SEED)) $(if $(RUNS),--runs $(RUNS)) \
		$(if $(NETWORK),--network $(NETWORK)) $(if $(REPLAY),--replay $(REPLAY)) $(SIMULATION_ARGS)

lock: $(VENV)/.ready-dev ## resolve the dependencies anew
	$(INSTALL) 'uv>=0.13,<0.14'
	$(COMPILE) --group build -o requirements.lock pyproject.toml
	$(COMPILE) --group dev -c requirements.lock -o requirements-dev.lock pyproject.toml
	$(COMPILE) --group bench -c requirements.lock -o bench/requirements.lock pyproject.toml
	$(COMPILE) --python-version 3.11 -o .ci/audit.lock .ci/audit.in
	for peer in pgqueuer procrastinate; do \
		$(COMPILE) --python-version 3.11 -o bench/peers/$$peer/requirements.lock bench/peers/$$peer/requirements.in; \
	done

clean: ## remove the virtual environment and caches, keep the state in .flagpost
	rm -rf $(VENV) .audit $(CLIENTS)/node_modules .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis

$(VENV)/bin/python:
	@if [[ -z "$(PYTHON)" ]]; then \
		echo "Flagpost needs Python 3.11, 3.12, 3.13 or 3.14, and found none under those names nor as python3:" >&2; \
		echo "install one (Debian: apt-get install python3 python3-venv) or name it (make PYTHON=/path/to/python3.12)" >&2; \
		exit 1; \
	fi
	@$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "This Python cannot make virtual environments: install python3-venv (Debian: apt-get install python3-venv)" >&2; \
		exit 1; \
	}
	@echo "Creating $(VENV) with $$($(PYTHON) --version)"
	@rm -rf $(VENV)
	@$(PYTHON) -m venv $(VENV)

$(VENV)/.ready: requirements.lock pyproject.toml | $(VENV)/bin/python
	@echo "Installing the locked dependencies"
	@$(INSTALL) --require-hashes --only-binary :all: -r requirements.lock
	@$(INSTALL) --no-deps --no-build-isolation --editable .
	@touch $@

$(VENV)/.ready-dev: requirements-dev.lock $(VENV)/.ready
	@echo "Installing what the tests need"
	@$(INSTALL) --require-hashes --only-binary :all: -r requirements-dev.lock
	@touch $@

$(VENV)/.ready-bench: bench/requirements.lock $(VENV)/.ready
	@echo "Installing what the benchmarks need"
	@$(INSTALL) --require-hashes --only-binary :all: -r bench/requirements.lock
	@touch $@

.audit/.ready: .ci/audit.lock $(VENV)/.ready
	@echo "Installing what the audit needs"
	@rm -rf $(@D)
	@$(RUN)/python -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r $<
	@touch $@

$(PEERS)/%/.ready: bench/peers/%/requirements.lock $(VENV)/.ready-bench
	@echo "Installing $*"
	@rm -rf $(@D)
	@$(RUN)/python -m venv $(@D)
	@$(@D)/bin/python -m pip install --quiet --disable-pip-version-check --require-hashes --only-binary :all: -r $<
	@touch $@

bench/peers/node_modules/.ready: bench/peers/package-lock.json
	@mkdir -p $(@D)
ifneq ($(NPM),)
	@echo "Installing graphile-worker, pg-boss and a Node.js for them"
	@if $(NPM) ci --prefix $(dir $<) --silent; then touch $@; \
	else echo "npm could not install them: graphile-worker and pg-boss are left out" >&2; fi
else
	@echo "No npm here: graphile-worker and pg-boss are left out"
endif

$(CLIENTS)/node_modules/.ready: $(wildcard $(CLIENTS)/package-lock.json)
	@mkdir -p $(@D)
ifneq ($(NPM),)
	@if [[ -f $(CLIENTS)/package-lock.json ]]; then \
		echo "Installing anvil and the JavaScript clients of the tests"; \
		if $(NPM) ci --prefix $(CLIENTS) --silent --no-audit --no-fund; then touch $@; \
		else echo "npm could not install them; the tests that need them say so" >&2; fi; \
	fi
else
	@echo "No npm here: no anvil and no JavaScript clients"
endif
