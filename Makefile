# The commands of this repository. `make` alone lists them.
PYTHON ?= python3
VENV   := .venv
BIN    := $(VENV)/bin
PIP    := $(BIN)/python -m pip --quiet --disable-pip-version-check

.PHONY: help setup demo test scenarios check bench bench-all package conformance interop-edc interop-mqtt format lock clean

help:  ## list the commands
	@awk -F':.*## ' '/^[a-z-]+:.*## /{printf "  make %-11s %s\n", $$1, $$2}' $(MAKEFILE_LIST)

setup: $(VENV)/.ready  ## make .venv with .venv/bin/dataferry in it

$(VENV)/.ready: requirements.lock pyproject.toml
	@echo "setting up $(VENV) (once; about a minute)"
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11) and "DataFerry needs Python 3.11 or newer: make PYTHON=python3.12 setup")'
	@$(PYTHON) -m venv $(VENV)
	@$(PIP) install --require-hashes --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

demo: setup  ## two data planes move real data between real S3 servers
	@$(BIN)/dataferry demo

test: setup  ## every test but the scenarios
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile --ignore tests/scenario

scenarios: setup  ## stories of whole processes: kills, outages, partners, connectors
	@$(BIN)/python -m pytest --numprocesses 2 --dist loadfile tests/scenario

check: setup  ## lint, types, import contracts, docs
	@$(BIN)/ruff format --check src tests bench
	@$(BIN)/ruff check src tests bench
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/python -m pytest -q tests/docs

bench: setup  ## speed, processor time and memory beside rclone and boto3
	@$(BIN)/python bench/compare.py $(ARGS)

bench-all: setup  ## the same over a distance, a million objects, many flows, the gateway: an hour (bench/README.md)
	@$(BIN)/python bench/compare.py
	@$(BIN)/python bench/latency.py
	@$(BIN)/python bench/million.py
	@$(BIN)/python bench/flows.py
	@$(BIN)/python bench/gateway.py

package: setup  ## the wheel works alone, in a clean environment
	@$(BIN)/python -m tests.package.wheel

conformance: setup  ## the protocol's own conformance kit against a real plane (needs Java 17 and Maven)
	@$(BIN)/python -m tests.interop.tck.conformance

interop-edc: setup  ## two connectors of Eclipse Dataspace Components with two planes (needs Java 17 and Maven)
	@$(BIN)/python -m tests.interop.edc.interop $(if $(EDC_SOURCES),--sources $(EDC_SOURCES) --metamodel $(EDC_METAMODEL))

interop-mqtt: setup  ## a plane that tells a broker of MQTT 5 (needs Go)
	@$(BIN)/python -m pytest -q tests/interop/mqtt/version5.py

format:  ## let ruff lay out the code
	@$(BIN)/ruff format src tests bench
	@$(BIN)/ruff check --fix src tests bench

lock: setup  ## resolve the dependencies anew into requirements.lock
	@$(PIP) install uv
	@$(BIN)/uv pip compile --quiet --upgrade --universal --python-version 3.11 --generate-hashes --no-header \
	  --extra demo --extra mqtt --extra postgresql --group dev pyproject.toml --output-file requirements.lock

clean:  ## remove what setup and the tests made
	@rm -rf $(VENV) .pytest_cache .mypy_cache .ruff_cache .import_linter_cache .hypothesis
