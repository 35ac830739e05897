# `make help` lists the targets. Only `servers`, `kafka` and `opensearch` write outside this directory.

PYTHON ?= python3
VENV ?= .venv
UV ?= uv
SYSTEM ?= commerce
ARGS ?=
JOBS ?= 3
SLOW ?=

# REQUIRE_SERVERS implies the slow tests
WHOLE := $(SLOW)$(REQUIRE_SERVERS)

PY := $(VENV)/bin/python
PIP := $(PY) -m pip --disable-pip-version-check --quiet
RUN_TIME := $(VENV)/.installed
DEVELOPMENT := $(VENV)/.installed-dev

# program:package, with the package names of Debian and Ubuntu
SERVERS := postgres:postgresql mariadbd:mariadb-server redis-server:redis-server nginx:nginx \
	rabbitmq-server:rabbitmq-server nats-server:nats-server mosquitto:mosquitto chromium:chromium promtool:prometheus

# extras of the run-time lock; `testing` is in the development lock
EXTRAS := mysql rabbitmq nats kafka dns otlp

KAFKA_JARS := /usr/local/share/kafka/libs
OPENSEARCH_JARS := /usr/local/share/opensearch

.DEFAULT_GOAL := help
.PHONY: help install develop up test drill fuzz coverage check check-style check-types check-benchmarks check-documents generate bench servers kafka opensearch node lock clean

help: ## list the targets
	@awk -F ':.*## ' '/^[a-z]+:.*## / { printf "  make %-10s %s\n", $$1, $$2 }' $(MAKEFILE_LIST)

install: $(RUN_TIME) ## create .venv with .venv/bin/portico, from the lock file

develop: $(DEVELOPMENT) ## make .venv as well with what the tests and checks need

up: $(RUN_TIME) ## run the commerce system; choose another with SYSTEM=catalog or SYSTEM=ticketing
	@$(VENV)/bin/portico up $(SYSTEM) $(ARGS)

test: $(DEVELOPMENT) ## run the tests, JOBS=3 files in parallel; SLOW=1 includes the slow ones; select with ARGS="-k gateway"
	@$(if $(WHOLE),,echo "Slow tests (whole systems whose processes are killed, MariaDB) are left out. Run them with: make test SLOW=1")
	@$(PY) -m pytest -q --numprocesses $(JOBS) --dist loadgroup --no-loadscope-reorder $(if $(WHOLE),,-m "not slow") $(ARGS)

drill: $(DEVELOPMENT) ## run the drill with twenty seeds; choose others with ARGS="--seed 100 --seeds 50"; takes minutes
	@$(VENV)/bin/portico drill commerce --orders 100 --seed 1 --seeds 20 $(ARGS)

fuzz: $(DEVELOPMENT) ## send a thousand valid and invalid generated requests to every operation; takes minutes
	@FUZZ_CASES=$(or $(CASES),1000) $(PY) -m pytest -q -k fuzz $(ARGS)

coverage: $(DEVELOPMENT) ## run the tests and show the lines that no test executes
	@$(PY) -m coverage erase
	@$(PY) -m coverage run -m pytest -q $(ARGS)
	@$(PY) -m coverage combine --quiet
	@$(PY) -m coverage report --skip-covered --show-missing
	@$(PY) -m coverage html --quiet

check: check-style check-types check-benchmarks check-documents ## check lint, format, types, layers, language and generated files

check-style: $(DEVELOPMENT)
	@$(VENV)/bin/ruff check .
	@$(VENV)/bin/ruff format --check .
	@$(VENV)/bin/lint-imports --no-logo
	@$(VENV)/bin/deptry --no-ansi src

check-types: $(DEVELOPMENT)
	@$(VENV)/bin/mypy

check-benchmarks: $(DEVELOPMENT)
	@MYPYPATH=src:bench $(VENV)/bin/mypy --config-file= --check-untyped-defs --ignore-missing-imports \
		--disable-error-code=call-arg --cache-dir=.mypy_cache/bench bench/*.py

check-documents: $(DEVELOPMENT)
	@$(PY) -m pytest -q tests/architecture/test_locks.py tests/architecture/test_documents.py \
		tests/architecture/test_language.py tests/service_contracts/test_event_schemas.py

generate: $(DEVELOPMENT) ## regenerate docs/configuration.md and deploy/, and freeze new event schemas
	@$(PY) -m portico.cli.reference docs/configuration.md
	@$(PY) -m portico.cli.deploy_files deploy
	@$(PY) -m portico.cli.event_schemas portico.contracts

bench: $(DEVELOPMENT) ## run the benchmarks beside those of peers; takes minutes
	@$(PY) -m bench $(ARGS)

servers: ## install the servers that the tests use, and Chromium; starts none
	@set -eu; \
	missing=; \
	for entry in $(SERVERS); do \
		program=$${entry%%:*}; \
		PATH="$$PATH:/usr/sbin:$$(echo /usr/lib/postgresql/*/bin | tr ' ' ':')" command -v $$program >/dev/null \
			|| missing="$$missing $${entry##*:}"; \
	done; \
	[ -n "$$missing" ] || { echo "The servers are installed."; exit 0; }; \
	command -v apt-get >/dev/null || { \
		echo "Missing packages, and apt-get is not available:$$missing" >&2; \
		echo "Install them with your package manager (Homebrew: brew install postgresql@17 mariadb redis nginx" >&2; \
		echo "rabbitmq nats-server mosquitto). Tests that need a missing server are skipped and reported." >&2; \
		exit 1; }; \
	sudo=; [ "$$(id -u)" = 0 ] || sudo=sudo; \
	policy=/usr/sbin/policy-rc.d; \
	if [ ! -e $$policy ]; then \
		trap "$$sudo rm -f $$policy" EXIT INT TERM; \
		printf '#!/bin/sh\nexit 101\n' | $$sudo tee $$policy >/dev/null; $$sudo chmod 755 $$policy; \
	fi; \
	echo "Installing$$missing"; \
	$$sudo apt-get update -qq; \
	$$sudo env DEBIAN_FRONTEND=noninteractive apt-get install -qq -y --no-install-recommends $$missing >/dev/null

kafka: ## install Kafka for its tests (there is no package); needs Java and Maven
	@command -v java >/dev/null && command -v mvn >/dev/null || { \
		echo "make kafka needs Java and Maven: apt-get install default-jre-headless maven. On macOS run brew install kafka instead" >&2; \
		exit 1; }
	@set -eu; \
	sudo=; [ -w /usr/local/share ] || sudo=sudo; \
	jars=$$(mktemp -d); trap 'rm -rf "$$jars"' EXIT INT TERM; \
	mvn --quiet --batch-mode --file tests/kafka/pom.xml dependency:copy-dependencies -DincludeScope=runtime \
		-DoutputDirectory="$$jars"; \
	$$sudo mkdir -p $(KAFKA_JARS); \
	$$sudo install -m 644 "$$jars"/*.jar $(KAFKA_JARS)

opensearch: ## install OpenSearch for the tests of search (there is no package); needs a JDK and Maven
	@command -v javac >/dev/null && command -v mvn >/dev/null || { \
		echo "make opensearch needs a JDK and Maven: apt-get install default-jdk-headless maven" >&2; \
		exit 1; }
	@set -eu; \
	sudo=; [ -w /usr/local/share ] || sudo=sudo; \
	jars=$$(mktemp -d); trap 'rm -rf "$$jars"' EXIT INT TERM; \
	mvn --quiet --batch-mode --file tests/opensearch/pom.xml dependency:copy-dependencies -DincludeScope=runtime \
		-DoutputDirectory="$$jars"; \
	javac -cp "$$jars/*" -d "$$jars" tests/opensearch/OpenSearchNode.java; \
	$$sudo mkdir -p $(OPENSEARCH_JARS); \
	$$sudo install -m 644 "$$jars"/*.jar "$$jars"/*.class $(OPENSEARCH_JARS)

node: ## install the Node.js clients that tests run: newman and the AsyncAPI parser; needs npm and network access
	@command -v npm >/dev/null || { echo "make node needs Node.js with npm: apt-get install nodejs npm" >&2; exit 1; }
	@npm install --prefix tests/node --no-audit --no-fund --no-package-lock --ignore-scripts --silent

lock: ## update the lock files; needs uv and network access
	@command -v $(UV) >/dev/null || { echo "make lock needs uv: python3 -m pip install uv, or set UV=<path of uv>" >&2; exit 1; }
	@$(call compile,$(patsubst %,--extra %,$(EXTRAS)) --group build,requirements.lock)
	@$(call compile,--all-extras --group dev --constraint requirements.lock,requirements-dev.lock)

# Lock files contain no package index and no paths of this machine.
define compile
env -u PIP_FIND_LINKS -u UV_FIND_LINKS $(UV) pip compile pyproject.toml --quiet --universal --python-version 3.11 \
	$(1) --generate-hashes --no-emit-index-url --no-emit-find-links \
	--custom-compile-command "make lock" --output-file $(2) $(ARGS)
endef

clean: ## remove everything that the other targets created, including embedded data
	rm -rf $(VENV) .portico build dist htmlcov .coverage .coverage.* .hypothesis \
		.mypy_cache .pytest_cache .ruff_cache .import_linter_cache .schemathesis tests/node/node_modules
	find src tests bench -name __pycache__ -type d -prune -exec rm -rf {} +

$(RUN_TIME): requirements.lock pyproject.toml | $(PY)
	@echo "Installing Portico into $(VENV)"
	@$(PIP) install --no-deps --require-hashes --requirement requirements.lock
	@$(PIP) install --no-deps --no-build-isolation --editable .
	@touch $@

$(DEVELOPMENT): requirements-dev.lock $(RUN_TIME)
	@echo "Installing the development requirements"
	@$(PIP) install --no-deps --require-hashes --requirement requirements-dev.lock
	@touch $@

$(PY):
	@command -v $(PYTHON) >/dev/null || { \
		echo "$(PYTHON) is not installed. Portico needs Python 3.11 or newer. Install it, or choose another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
		exit 1; }
	@$(PYTHON) -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null || { \
		echo "Portico needs Python 3.11 or newer; $(PYTHON) is $$($(PYTHON) --version 2>&1). Choose another one: make PYTHON=python3.12 $(MAKECMDGOALS)" >&2; \
		exit 1; }
	@$(PYTHON) -m venv $(VENV) || { \
		rm -rf $(VENV); \
		echo "$(PYTHON) could not create $(VENV). On Debian and Ubuntu: sudo apt-get install python3-venv" >&2; \
		exit 1; }
