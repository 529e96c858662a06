# make run    an environment, the models, and Landline in the foreground
# make test   everything that a machine without a GPU can run
# make demo   a caller who speaks a script rings the sample clinic; leaves a WAV and a picture
# make bench  response gap with its ledger, barge-in, failover and memory on the wire; 100 calls at once; the models
# make bench-peer    the same lines to Landline and to Pipecat over the same WebSocket, by turns
# make bench-voice   voicebench, a benchmark of others, against the WebSocket
# make bench-report  docs/bench/README.md from the figures; measures what has none yet
# make check  what a commit must pass: format, lint, types, import directions, unit tests
#
# PYTHON    a Python 3.11                              make run PYTHON=/opt/python3.11/bin/python3
# PIP_ARGS  further arguments for pip, for instance an index that holds the CPU build of torch. On Linux the plain
#           pin may bring several gigabytes of CUDA libraries that nothing here needs:
#           make run PIP_ARGS="--extra-index-url INDEX", INDEX being the one pytorch.org names for "CPU"

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
.DELETE_ON_ERROR:

PYTHON ?= $(shell command -v python3.11 || command -v python3)
PIP_ARGS ?=
PYTEST_ARGS ?=
VENV := .venv
PIPER := .venv-piper
PYVOIP := .venv-pyvoip
PEER := .venv-peer
VOICEBENCH := .venv-voicebench
BIN := $(VENV)/bin
REQUIREMENTS := deploy/requirements
PIP := -m pip install --quiet --disable-pip-version-check $(PIP_ARGS)

.PHONY: run setup setup-test setup-peer models test check demo bench bench-peer bench-voice bench-report clean

run: setup models
	@exec $(BIN)/landline serve

setup: $(VENV)/.installed $(PIPER)/.installed

$(VENV)/.installed: pyproject.toml $(REQUIREMENTS)/constraints.txt
	@scripts/check_python.sh "$(PYTHON)"
	@test -x $(BIN)/python || "$(PYTHON)" -m venv $(VENV)
	@echo "Installing the application into $(VENV) (a few minutes the first time) ..."
	@$(BIN)/python $(PIP) -c $(REQUIREMENTS)/constraints.txt -e .
	@touch $@

$(VENV)/.installed-test: $(VENV)/.installed
	@echo "Installing what the tests use ..."
	@$(BIN)/python $(PIP) -c $(REQUIREMENTS)/constraints.txt -e ".[dev]"
	@touch $@

$(PIPER)/.installed: $(REQUIREMENTS)/piper.txt
	@scripts/check_python.sh "$(PYTHON)"
	@test -x $(PIPER)/bin/python || "$(PYTHON)" -m venv $(PIPER)
	@echo "Installing the voice into $(PIPER) ..."
	@$(PIPER)/bin/python $(PIP) -r $(REQUIREMENTS)/piper.txt
	@touch $@

# pyVoIP is GPL: it rings Landline in tests, from an environment of its own.
$(PYVOIP)/.installed: tests/interop/pyvoip/requirements.txt
	@test -x $(PYVOIP)/bin/python || "$(PYTHON)" -m venv $(PYVOIP)
	@$(PYVOIP)/bin/python $(PIP) -r $<
	@touch $@

setup-test: setup $(VENV)/.installed-test $(PYVOIP)/.installed

models: setup
	@$(BIN)/landline models fetch

test: setup-test models
	@scripts/check_packages.sh
	@$(BIN)/pytest -m "not gpu" $(PYTEST_ARGS)

check: setup-test
	@$(BIN)/ruff format --check .
	@$(BIN)/ruff check .
	@$(BIN)/mypy
	@$(BIN)/lint-imports
	@$(BIN)/pytest -q -m "not loopback and not model and not interop and not e2e and not gpu" $(PYTEST_ARGS)

demo: setup-test models
	@$(BIN)/python -m scripts.demo

# The peer brings libraries of its own versions, and Piper (GPL) into its process.
$(PEER)/.installed: scripts/peer/requirements.txt
	@scripts/check_python.sh "$(PYTHON)"
	@test -x $(PEER)/bin/python || "$(PYTHON)" -m venv $(PEER)
	@echo "Installing the peer into $(PEER) (a few minutes the first time) ..."
	@$(PEER)/bin/python $(PIP) -r $<
	@touch $@

$(VOICEBENCH)/.installed: scripts/peer/voicebench.txt
	@test -x $(VOICEBENCH)/bin/python || "$(PYTHON)" -m venv $(VOICEBENCH)
	@$(VOICEBENCH)/bin/python $(PIP) -r $<
	@touch $@

setup-peer: $(PEER)/.installed

bench: setup-test models
	@$(BIN)/python -m scripts.bench_latency
	@$(BIN)/python -m scripts.bench_barge_in
	@$(BIN)/python -m scripts.bench_failover
	@$(BIN)/python -m scripts.bench_load
	@$(BIN)/python -m scripts.bench_models
	@$(BIN)/python -m scripts.bench_echo

bench-peer: setup-test models setup-peer
	@$(BIN)/python -m scripts.bench_peer

bench-voice: setup-test models $(VOICEBENCH)/.installed
	@$(BIN)/python -m scripts.bench_voice

bench-report: setup-test models setup-peer $(VOICEBENCH)/.installed
	@$(BIN)/python -m scripts.bench_report --measure

clean:
	rm -rf $(VENV) $(PIPER) $(PYVOIP) $(PEER) $(VOICEBENCH) var build *.egg-info .mypy_cache .ruff_cache .pytest_cache .import_linter_cache .hypothesis
