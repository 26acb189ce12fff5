# Everything a newcomer needs: `make demo` and `make test`. Nothing is installed outside .venv.
SHELL := /bin/bash
.SHELLFLAGS := -euo pipefail -c
.DEFAULT_GOAL := help
.PHONY: help demo test test-fast torture check check-format check-types check-spelling check-shell format site test-k2 .venv

VENV := .venv
BIN := $(VENV)/bin
PIP := $(BIN)/python -m pip --disable-pip-version-check --quiet
# Where test-k2 lives: k2 on the package index needs Python 3.10 and an older torch (see tools/install_k2.sh).
K2_VENV := .venv-k2
# Where torch is taken from, see utils/install_torch.sh: an index or a folder; its CPU builds' own where there is no GPU.
export TORCH_INDEX ?=
# Which torch, for example TORCH='torch==2.8.*'.
TORCH ?= torch>=2.8
# Options of the demo's run.sh, for example DEMO_OPTIONS="--hours 3 --nj 8".
DEMO_OPTIONS ?=
# How long make torture goes on.
MINUTES ?= 5
SCRIPTS = $(shell find . -path './.venv*' -prune -o \( -name '*.sh' -o -name '*.sbatch' \) -print) .ci/run

help: ## what can be made
	@sed -n 's/^\([a-z0-9.-]*\):[^#]*## \(.*\)/make \1 - \2/p' Makefile

.venv: $(VENV)/.installed ## the environment: packages and the dualtk command

$(VENV)/.installed: setup.py utils/install_torch.sh
	@$(BIN)/python -m pip --version >/dev/null 2>&1 || "$$(utils/find_python.sh 3.11 3.12 3.13 3.14 3.10)" -m venv $(VENV)
	@echo "== installing into $(VENV): most of it is torch, 1 GB if built for the CPU, 5 GB for NVIDIA GPUs"
	@utils/install_torch.sh $(BIN)/python '$(TORCH)'
	@$(PIP) install --editable '.[demo,plots]' '$(TORCH)'
	@touch $@

$(VENV)/.installed-dev: $(VENV)/.installed
	@echo "== installing the tools for tests and checks"
	@$(PIP) install --editable '.[dev]' '$(TORCH)'
	@touch $@

demo: $(VENV)/.installed ## make a corpus, train a dual-mode network, print the table of both modes
	@egs/synthetic/asr1/run.sh $(DEMO_OPTIONS)

test: $(VENV)/.installed-dev ## run the tests
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2

test-fast: $(VENV)/.installed-dev ## run the tests that take no seconds
	@OMP_NUM_THREADS=1 $(BIN)/python -m pytest -n 2 -m "not slow and not gpu"

torture: $(VENV)/.installed-dev ## kills, signals, full disks and changed bytes, for MINUTES (5)
	@OMP_NUM_THREADS=1 $(BIN)/python tools/torture.py --minutes $(MINUTES)

check: check-format check-types check-spelling check-shell test ## all that CI checks

check-format: $(VENV)/.installed-dev
	@$(BIN)/ruff check . && $(BIN)/ruff format --check .

check-types: $(VENV)/.installed-dev
	@$(BIN)/mypy

check-spelling: $(VENV)/.installed-dev
	@$(BIN)/codespell

check-shell: $(VENV)/.installed-dev
	@$(BIN)/shellcheck $(SCRIPTS)
	@if [ -x $(BIN)/hadolint ]; then $(BIN)/hadolint docker/*.Dockerfile; fi

format: $(VENV)/.installed-dev ## format the code
	@$(BIN)/ruff check --fix . && $(BIN)/ruff format .

site: $(VENV)/.installed-dev ## the documentation as a site, in site/
	@NO_MKDOCS_2_WARNING=1 $(BIN)/mkdocs build --strict --quiet

test-k2: ## compare with k2 in an environment of its own (Python 3.10)
	@PYTHON310="$$(utils/find_python.sh 3.10)" tools/install_k2.sh $(K2_VENV)
	@OMP_NUM_THREADS=1 $(K2_VENV)/bin/python -m pytest test/k2
