# make demo · make test · make check — each makes its own environment first.
SHELL := /bin/bash
.DEFAULT_GOAL := help

VENV ?= .venv
RUN ?= demo
RECIPE ?= demo
# The first Python on the machine that Headwater supports.
PYTHON ?= $(shell for p in python3.11 python3.12 python3 python; do \
	$$p -c 'import sys; sys.exit(not (3, 11) <= sys.version_info[:2] <= (3, 12))' 2>/dev/null && { echo $$p; break; }; done)

BIN := $(VENV)/bin
PACKAGES := core data train eval monitor k8s
INSTALLED := $(VENV)/.installed

.PHONY: help env demo test check lint constraints k8s clean

help: ## this list
	@grep -hE '^[a-z]+:.*##' $(MAKEFILE_LIST) | sed -E 's/^([a-z]+):.*## /  make \1\t/' | expand -t 24

env: $(INSTALLED) ## make the environment in $(VENV)

# torch first and alone, so that a CPU build that pip can find is taken and nothing pulls another one.
# grafana-client brings urllib3-future, whose wheel writes over urllib3, which boto and others use; built from source it
# leaves it alone when told to.
$(INSTALLED): constraints.txt pyproject.toml $(foreach p,$(PACKAGES),packages/$(p)/pyproject.toml)
	@test -n "$(PYTHON)" || { echo "error: Python 3.11 or 3.12 is needed; none was found (set PYTHON=/path/to/python)"; exit 1; }
	@test -x $(BIN)/python || { echo "environment: $(VENV), $$($(PYTHON) --version)"; $(PYTHON) -m venv $(VENV); }
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check --upgrade -c constraints.txt pip
	@echo "environment: torch (several minutes the first time)"
	@$(BIN)/python -m pip install --quiet --disable-pip-version-check -c constraints.txt torch
	@echo "environment: the packages and their dependencies"
	@URLLIB3_NO_OVERRIDE=1 $(BIN)/python -m pip install --quiet --disable-pip-version-check --no-binary urllib3-future -c constraints.txt --group dev $(foreach p,$(PACKAGES),-e packages/$(p)) -e 'packages/monitor[grafana,grafana-push,tensorboard,wandb,mlflow]' -e 'packages/train[nvml]' -e 'packages/data[trafilatura,models,embeddings,spark,beam,ner,onnx,s3,gs,hf,http,pdf,mediawiki,latex,code]'
	@touch $@

demo: $(INSTALLED) ## the whole line on this machine, into ./$(RUN) (RUN=folder changes it)
	@$(BIN)/headwater line run $(RECIPE) --run $(RUN)

test: $(INSTALLED) ## every test that this machine can run; unchanged trees are not tested twice (FORCE=1 does)
	@$(BIN)/python tests/run_all.py $(if $(FORCE),--force)

lint: $(INSTALLED) ## ruff, pyright, import-linter
	@$(BIN)/ruff check . && $(BIN)/ruff format --check . && $(BIN)/pyright && $(BIN)/lint-imports

check: lint ## lint, documentation links and the quick tests: a few minutes on two cores
	@$(BIN)/python -m pytest -q -m "not slow and not browser and not network and not services" -n 2

constraints: ## pin what a clean environment resolves to today, in constraints.txt
	@PYTHON=$(PYTHON) bash tests/refresh_constraints.sh

k8s: $(INSTALLED) ## write k8s/ anew, as `headwater k8s render` has it
	@$(BIN)/python k8s/generate.py

clean: ## remove the environment and the demo
	rm -rf $(VENV) .stamps demo
