# Everything a developer does, each in one command; a bare `make` lists them.

SHELL := bash
.SHELLFLAGS := -eu -o pipefail -c
.DEFAULT_GOAL := help

PYTHON ?= python3
VENV := .venv
BIN := $(VENV)/bin
INSTALLED := $(VENV)/.installed
CORE := $(VENV)/.core

# bash keeps a variable SECONDS of its own, and a shell that exports it hands it to make:
# these count only when they stand on the command line (make run SECONDS=30).
given = $(if $(filter command line,$(origin $(1))),$($(1)),$(2))
run_options = \
	$(if $(call given,SECONDS,),--seconds $(call given,SECONDS,)) \
	$(if $(call given,SCALE,),--scale $(call given,SCALE,)) \
	$(if $(call given,WORKERS,),--workers $(call given,WORKERS,))

.PHONY: help install run test unit integration fresh image coverage lint format docs reference faults upgrade-test bench console sanitize dist clean

help: ## list these targets
	@grep -hE '^[a-z-]+:.*## ' $(MAKEFILE_LIST) | sed -E 's/^([a-z-]+):.*## (.*)/  make \1\t\2/' | expand -t 20

install: $(INSTALLED) $(CORE) ## build .venv with everything, as constraints.txt says

# Debian's python3 has a venv without pip until python3-venv is installed.
make_venv = { \
	$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' || { \
		echo "Python 3.11 or later is needed: make PYTHON=python3.12" >&2; exit 1; }; \
	$(PYTHON) -c 'import ensurepip, venv' 2>/dev/null || { \
		echo "$(PYTHON) lacks ensurepip; on Debian: apt-get install python3-venv" >&2; exit 1; }; \
	$(PYTHON) -m venv $(VENV); }

# Anew only when what is to be installed has changed.
$(INSTALLED): pyproject.toml constraints.txt
	@test -x $(BIN)/pip || $(make_venv)
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[worker,embedded,dev]'
	@touch $@

# The native core. Where it cannot be built, Streams runs without it.
$(CORE): $(wildcard native/src/*) native/compile.py native/install.py native/pyproject.toml | $(INSTALLED)
	$(BIN)/python native/install.py
	@touch $@

run: install ## play the workload on a Kafka of its own (SECONDS=30 SCALE=1 WORKERS=1)
	$(BIN)/streams run $(strip $(run_options))

# Each process runs whole modules, and all share a Kafka; the long modules come first. A test that
# fails is run once more, alone and in a new Kafka; what passes then is named as unsteady.
test: install ## all tests, in four processes
	tools/all-tests

unit: install ## the tests that need no broker
	$(BIN)/python -m pytest tests/unit

integration: install ## the tests on a Kafka of their own
	$(BIN)/python -m pytest tests/integration

fresh: ## make run and make test on a bare Debian (PYTHON=3.11; needs root and debootstrap)
	tools/fresh-machine $(call given,PYTHON,3.11)

# `make test` decides whether the tests pass; what counts here is how much of the code they run.
image: install ## build the image of docker/ without an engine, and run a worker from it (needs root, debootstrap)
	tools/image-check

coverage: install ## the tests that need no broker, with the share of the code that they run
	-$(BIN)/python -m pytest -q -n 2 tests/unit --cov --cov-report= --cov-fail-under=0
	$(BIN)/coverage report --skip-covered

lint: install ## ruff and mypy, as strict as they go
	$(BIN)/ruff check .
	$(BIN)/ruff format --check .
	$(BIN)/mypy

format: install ## let ruff lay out the code
	$(BIN)/ruff check --fix .
	$(BIN)/ruff format .

docs: install ## build the documentation site into site/; fail on a broken link
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[docs]'
	NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --quiet --strict

reference: install ## write the files that are generated from schemas and code
	$(BIN)/python -m streams.events.generate
	$(BIN)/python docs/generate.py

faults: install ## kill, stop and starve everything under load; check that nothing is lost
	$(BIN)/streams faults $(call given,ARGS,)

upgrade-test: install ## roll workers from the former version to this one and back, under load
	rm -rf .streams/former
	$(BIN)/python -m streams.lab.faults.former .streams/former
	FAULTS_FORMER=.streams/former/installed $(BIN)/streams faults --only roll

bench: install ## measure the published figures (NAME=all WORKERS=1), into .streams/figures
	$(BIN)/python -m pip install --quiet --disable-pip-version-check \
		--constraint constraints.txt --editable '.[worker,bench]'
	$(BIN)/streams bench $(call given,NAME,all) --workers $(call given,WORKERS,1) \
		--json .streams/figures/$(call given,NAME,all).json --plot .streams/figures

console: install ## read a topic by Kafka's own console consumer (TOPIC=group-events)
	@$(BIN)/python -m streams.operate.console $(call given,TOPIC,group-events)

sanitize: install ## compare the core with Python, each access to memory checked (SECONDS=60)
	$(BIN)/python native/fuzz.py --sanitize --seconds $(call given,SECONDS,60)

dist: install ## build wheels and sdists into dist/, and check them in empty venvs
	rm -rf dist
	$(BIN)/python -m build --outdir dist .
	$(BIN)/python -m build --outdir dist packaging/lab
	$(BIN)/python native/dist.py dist
	$(BIN)/python packaging/check.py dist

clean: ## remove .venv, caches and the data of make run
	rm -rf $(VENV) native/streams_core/*.so .streams site .mypy_cache .ruff_cache .pytest_cache .hypothesis .coverage dist build
	find . -name __pycache__ -type d -prune -exec rm -rf {} +
