# make help lists the targets.

SHELL := /bin/bash
.SHELLFLAGS := -eu -o pipefail -c
MAKEFLAGS += --no-print-directory
.DEFAULT_GOAL := help

# The environment of the tests, and the one with the oldest lsst-daf-butler.
VENV ?= build/venv
VENV_FLOOR ?= build/venv-floor
DEMO_DIR ?= build/demo
SAMPLE_DIR ?=
# The scenarios of `make molecule`, in this order.
SCENARIOS ?= guard default two_hosts occupied
# Processes for the unit tests, scenarios at a time.
JOBS ?= $(shell nproc 2>/dev/null || echo 2)
MOLECULE_JOBS ?= 2
# Each process begins with a part of the files, so that what the tests of a file share is made once.
WORKERS := -n $(JOBS) --dist worksteal

PACKAGE := files/butler_replica
# Without $(abspath), which takes a path with a space for two.
absolute = $(if $(filter /%,$(1)),$(1),$(CURDIR)/$(1))
VENV_BIN := $(call absolute,$(VENV))/bin
FLOOR_BIN := $(call absolute,$(VENV_FLOOR))/bin
export PATH := $(VENV_BIN):$(PATH)
export ANSIBLE_CONFIG := $(CURDIR)/ansible.cfg
export ANSIBLE_HOME := $(CURDIR)/build/ansible
# What was skipped, and why, for the last line of `make test`.
export BUTLER_REPLICA_SKIPPED := $(CURDIR)/build/skipped

# Jobs side by side, unless a make above has said how many.
side_by_side = $(if $(findstring --jobserver,$(MAKEFLAGS)),,--jobs=$(1) --output-sync=target)

.PHONY: help
help: ## show this list
	@grep -hE '^[a-z-]+:.*##' $(MAKEFILE_LIST) | sort | awk -F ':.*## ' '{ printf "  make %-12s %s\n", $$1, $$2 }'

.PHONY: demo
demo: ## a replica of the sample in DEMO_DIR (build/demo): SQLite, no root
	@tools/demo "$(DEMO_DIR)"

.PHONY: sample
sample: venv ## write the sample DC2 to SAMPLE_DIR=...
	@test -n "$(SAMPLE_DIR)" || { echo "make sample SAMPLE_DIR=the folder to write the sample to" >&2; exit 2; }
	@butler-replica sample "$(SAMPLE_DIR)"

.PHONY: test
test: ## everything that must pass; as root it installs what is missing (Docker too)
	@tools/system-packages
	@mkdir -p build && rm -f "$$BUTLER_REPLICA_SKIPPED"
	@$(MAKE) venv
	@$(MAKE) $(call side_by_side,2) timed-lint timed-docs
	@$(MAKE) timed-unit
	@# Half of both is pip, which has one process.
	@$(MAKE) $(call side_by_side,2) timed-floor timed-demo-test
	@$(MAKE) timed-molecule
	@echo "All tests passed$$(test -s "$$BUTLER_REPLICA_SKIPPED" && echo ' that were not skipped:')"
	@sort -u "$$BUTLER_REPLICA_SKIPPED" 2>/dev/null || true

timed-%:
	@tools/timed $* $(MAKE) $*

.PHONY: test-fast
test-fast: venv ## lint and the fast unit tests: no Docker, no PostgreSQL
	@$(MAKE) $(call side_by_side,3) lint-ansible lint-others fast-unit

.PHONY: fast-unit
fast-unit:
	@cd $(PACKAGE) && BUTLER_REPLICA_NO_POSTGRES=1 pytest $(WORKERS) -m "not slow and not thorough and not postgres" $(PYTEST_ARGS)

.PHONY: lint
lint: venv ## ansible-lint, yamllint, ruff, mypy, shellcheck, documentation against the source
	@# ansible-lint alone takes as long as all others.
	@$(MAKE) $(call side_by_side,$(JOBS)) lint-ansible lint-others

.PHONY: lint-ansible
lint-ansible:
	ansible-lint --offline --strict

.PHONY: lint-others
lint-others:
	yamllint --strict .
	ruff check .
	ruff format --check .
	cd $(PACKAGE) && mypy
	cd $(PACKAGE) && lint-imports --no-cache
	shellcheck $$(grep -rlE '^#!.*bash' tools .ci molecule)
	python tools/derive.py --check
	cd $(PACKAGE) && pytest -n 0 tests/contracts/test_contracts.py
	ansible-playbook --syntax-check -i inventory/vm site.yml playbooks/*.yml >/dev/null
	ansible-doc -t module $$(basename -s .py plugins/modules/*.py) >/dev/null

.PHONY: docs
docs: venv ## the documentation, in build/docs; fails at any warning
	sphinx-build -q -W --keep-going -j $(JOBS) -b html docs build/docs
	@echo "build/docs/index.html"

.PHONY: docs-links
docs-links: venv ## the links of the documentation that lead elsewhere, where there is a network
	sphinx-build -q -j $(JOBS) -b linkcheck docs build/docs-links

.PHONY: unit
unit: venv ## all tests of the package, those against a real PostgreSQL included
	cd $(PACKAGE) && pytest $(WORKERS) $(PYTEST_ARGS)

.PHONY: coverage
coverage: venv ## the tests of unit, with the lines and branches that they come to; fails below the figure in pyproject.toml
	cd $(PACKAGE) && pytest $(WORKERS) --cov --cov-report=term $(PYTEST_ARGS)

.PHONY: floor
floor: ## what depends on the release, with the oldest lsst-daf-butler
	@tools/venv "$(VENV_FLOOR)" -r requirements/floor.txt -e '$(PACKAGE)[postgres,test]'
	cd $(PACKAGE) && BUTLER_REPLICA_NO_POSTGRES=1 "$(FLOOR_BIN)/pytest" $(WORKERS) -m "release and not slow and not postgres" $(PYTEST_ARGS)
	@# What works on tables also runs on PostgreSQL.
	cd $(PACKAGE) && "$(FLOOR_BIN)/pytest" $(WORKERS) -m postgres tests/internals/test_internals.py tests/internals/test_bulk_dimensions.py tests/imports/test_equal_to_stock.py $(PYTEST_ARGS)

.PHONY: molecule
molecule: venv ## every Molecule scenario of SCENARIOS, in containers, MOLECULE_JOBS at a time
	@tools/docker-engine
	@tools/molecule-image base >/dev/null
	@tools/molecule-image prepared >/dev/null
	@printf '%s\n' $(SCENARIOS) | xargs -P $(MOLECULE_JOBS) -I '{}' tools/molecule-scenario '{}'

.PHONY: demo-test
demo-test: ## make demo as an ordinary user, from a clone of what is committed
	@tools/demo-test

.PHONY: bench
bench: venv ## the benchmarks
	@for benchmark in $(PACKAGE)/benchmarks/*.py; do echo "== $$benchmark"; python "$$benchmark"; done

.PHONY: venv
venv: ## the environment of the tests (VENV)
	@tools/venv "$(VENV)" -c requirements/constraints.txt -r requirements/test.txt -r requirements/docs.txt -e '$(PACKAGE)[postgres,test]'

.PHONY: constraints
constraints: ## renew the versions that are tested and installed (requirements/constraints.txt)
	@tools/constraints

.PHONY: clean
clean: ## remove build/ (not the containers and images)
	rm -rf build
