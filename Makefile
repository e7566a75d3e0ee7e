# All that a person or CI does here. A bare checkout needs nothing first: each target sets up what it uses.

SHELL := /bin/bash
.DEFAULT_GOAL := help
.DELETE_ON_ERROR:

# `make test PYTHON=python3.13` makes the environments with that interpreter.
PYTHON ?= python3
# What `make test` runs: paths, or anything else that pytest takes.
TESTS ?= tests
# How many processes share the tests; of `make up WORKERS=4`, how many each service has.
WORKERS ?= 2
# `make up UI=0` leaves MLflow's web UI out.
UI ?= 1
# What `make image` builds on; without one it makes a base of this machine's Debian.
BASE ?=
# `make lock UPGRADE=1` moves every pin to its newest release; without it, only what pyproject.toml changed moves.
UPGRADE ?=

BIN := .venv/bin
UV ?= $(BIN)/uv
PIP_FLAGS := --quiet --disable-pip-version-check
PROJECTS := pyproject.toml client/pyproject.toml

.PHONY: help up test faults check fix proto proto-release release bench image lock
.PHONY: check-format check-lint check-types check-protos check-stubs check-architecture

help: ## Show the targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/\1\t\2/' | expand -t 16

up: .venv/.run $(if $(filter-out 0,$(UI)),.venv/.ui) ## Run the whole platform here (MODELSTEAD_PORT, MODELSTEAD_DATA_DIR; UI=0 without the web UI, WORKERS=4 processes of each service)
	@$(if $(filter 0,$(UI)),MODELSTEAD_UI=false )exec $(BIN)/modelstead up$(if $(filter command,$(origin WORKERS)), --workers $(WORKERS))

test: .venv/.dev .venv/.ui $(if $(filter tests tests/deploy tests/deploy/%,$(TESTS)),.venv-deploy/.ready) ## Run the tests (TESTS=tests/unit narrows, WORKERS=2 spreads)
	$(if $(filter tests tests/deploy tests/deploy/%,$(TESTS)),@scripts/install-promtool.sh)
	$(if $(filter tests tests/store tests/store/%,$(TESTS)),@scripts/install-test-servers.sh)
	$(if $(filter tests tests/browser tests/browser/%,$(TESTS)),@scripts/install-test-browser.sh)
	@exec $(BIN)/python -m pytest --numprocesses=$(WORKERS) --dist=loadfile $(TESTS)

faults: .venv/.dev ## Run the tests of what is promised under faults in their long form, alone, for hours
	@MODELSTEAD_FAULTS=long exec $(BIN)/python -m pytest tests/faults tests/stateful tests/cluster tests/runbooks tests/upgrades

check: check-format check-lint check-types check-protos check-stubs check-architecture ## Run every check that needs no running service

fix: .venv/.dev .cache/googleapis/.copied ## Format the code and the protos, and fix what the linter can
	$(BIN)/ruff check --fix --quiet . || true
	$(BIN)/ruff format --quiet .
	$(BIN)/buf format --write protos

proto: .venv/.dev .venv-proto/.ready ## Generate client/modelstead/**/*_pb2* from protos/
	.venv-proto/bin/python scripts/generate_stubs.py

release: proto-release ## Record this version as released: contracts and schemas that those after it must suit
	$(BIN)/python scripts/record_release.py

proto-release: .venv/.dev .cache/googleapis/.copied ## Record protos/ as released: later breaking changes to it fail the check
	$(BIN)/buf build protos --exclude-source-info --output protos/released.binpb

bench: .venv/.dev .venv-bench/.ready ## Measure Modelstead beside stock MLflow and print the table
	@exec $(BIN)/python -m benchmarks

image: .venv/.dev .venv-deploy/.ready ## Build the container image without a daemon, and try it (BASE=docker.io/library/python:3.13-slim-trixie)
	@BASE='$(BASE)' scripts/build-image.sh
	@MODELSTEAD_IMAGE_ROOT="$$(cat .cache/image/root)" $(BIN)/python -m pytest --quiet tests/image

lock: .venv/.dev ## Rewrite requirements*.lock from pyproject.toml (UPGRADE=1 takes newest releases)
	$(COMPILE) $(PROJECTS) --group dev --output-file requirements-dev.lock
	$(COMPILE) $(PROJECTS) --group build --constraints requirements-dev.lock --output-file requirements.lock
	$(COMPILE) --group proto --output-file requirements-proto.lock
	$(COMPILE) --group bench --output-file requirements-bench.lock
	$(COMPILE) --no-deps --group ui --output-file services/local/requirements-ui.lock
	$(COMPILE) --group deploy --output-file requirements-deploy.lock

# Locks hold pins and hashes and no addresses, for every supported Python at once. Our own two distributions are
# installed from their folders.
COMPILE = $(UV) pip compile --quiet --universal --python-version 3.11 --generate-hashes --no-header --no-annotate \
	--no-emit-package modelstead --no-emit-package modelstead-server $(if $(UPGRADE),--upgrade)

check-format: .venv/.dev
	$(BIN)/ruff format --check .

check-lint: .venv/.dev
	$(BIN)/ruff check --quiet .

check-types: .venv/.dev
	$(BIN)/mypy

check-protos: .venv/.dev .cache/googleapis/.copied
	$(BIN)/buf lint
	$(BIN)/buf format --diff --exit-code protos
	$(BIN)/buf breaking protos --against protos/released.binpb --exclude-imports

check-stubs: .venv/.dev .venv-proto/.ready
	.venv-proto/bin/python scripts/generate_stubs.py --check

check-architecture: .venv/.dev
	$(BIN)/python -m pytest --quiet tests/unit/test_architecture.py

# Each stamp says that an environment holds what its lock names; a changed lock makes it stale.

.venv/.created:
	@scripts/create-venv.sh .venv $(PYTHON) 3.11
	@touch $@

.venv/.run: requirements.lock $(PROJECTS) | .venv/.created
	@echo 'Installing what the platform runs on into .venv (a minute, once).'
	@$(BIN)/python -m pip install $(PIP_FLAGS) --require-hashes --requirement requirements.lock
	@$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps --no-build-isolation --editable client --editable .
	@touch $@

.venv/.dev: requirements-dev.lock $(PROJECTS) | .venv/.created
	@echo 'Installing what the platform, its tests and its checks run on into .venv (two minutes, once).'
	@$(BIN)/python -m pip install $(PIP_FLAGS) --require-hashes --requirement requirements-dev.lock
	@$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps --no-build-isolation --editable client --editable .
	@touch .venv/.run $@

# As `modelstead ui install` does.
.venv/.ui: services/local/requirements-ui.lock | .venv/.created
	@echo "Installing MLflow's web UI (52 MB, once); UI=0 leaves it out."
	@$(BIN)/python -m pip install $(PIP_FLAGS) --no-deps --no-compile --upgrade --require-hashes \
		--target .venv/share/modelstead/web-ui --requirement $<
	@touch $@

.venv-proto/.ready: requirements-proto.lock
	@scripts/create-venv.sh .venv-proto $(PYTHON) 3.11 3.13
	@.venv-proto/bin/python -m pip install $(PIP_FLAGS) --require-hashes --requirement $<
	@touch $@

.venv-bench/.ready: requirements-bench.lock
	@scripts/create-venv.sh .venv-bench $(PYTHON) 3.11
	@echo 'Installing stock MLflow into .venv-bench (two minutes, once).'
	@.venv-bench/bin/python -m pip install $(PIP_FLAGS) --require-hashes --requirement $<
	@touch $@

.venv-deploy/.ready: requirements-deploy.lock
	@scripts/create-venv.sh .venv-deploy $(PYTHON) 3.11
	@echo 'Installing what looks at the manifests into .venv-deploy (two minutes, once).'
	@.venv-deploy/bin/python -m pip install $(PIP_FLAGS) --require-hashes --requirement $<
	@touch $@

.cache/googleapis/.copied: .venv/.dev
	@$(BIN)/python scripts/copy_googleapis.py $(@D)
	@touch $@
