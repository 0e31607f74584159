# Everything a person or a build machine types. `make` alone lists it.
# Needs make and Python 3.11; the rest is fetched into .venv, and as root by apt-get where a server is missing.

SHELL := /bin/sh
PYTHON ?= python3
VENV := .venv/bin
LOCAL := .local

# What ruff and mypy look at. mypy takes whole packages.
APPS := foundation identity orders funds gateway risk payments withdrawals redpacket collect reconciliation paysys simulator
TYPED := $(APPS) bootstrap
DEV_SETTINGS := DJANGO_SETTINGS_MODULE=paysys.settings.dev
LOCK_OPTIONS := --universal --python-version 3.11 --generate-hashes --no-emit-index-url --no-header \
	--override requirements-overrides.txt --quiet

.DEFAULT_GOAL := help
.PHONY: help run demo clean-demo test test-nightly check lock migrations messages format embedded tools

help: ## this list
	@awk -F ':.*## ' '/^[a-z-]+:.*## / { printf "  make %-13s %s\n", $$1, $$2 }' $(firstword $(MAKEFILE_LIST))
	@echo
	@echo '  make test ARGS="tests/unit -k split"   passes arguments on to pytest'
	@echo '  PAYSYS_PORT, PAYSYS_SIMULATOR_PORT, PAYSYS_STORY   are read by make run'

run: embedded ## start the platform with SQLite and a private Redis; Ctrl-C ends it
	@exec $(VENV)/python -m paysys.supervisor

demo: embedded ## tell the story of one day against the running platform
	@. $(LOCAL)/environment.sh && exec $(VENV)/python -m paysys.demo.story $(LOCAL)/demo.json

clean-demo: ## remove what make run has stored (not while it runs)
	@pid=$$(cat $(LOCAL)/supervisor.pid 2>/dev/null); \
	if [ -n "$$pid" ] && kill -0 "$$pid" 2>/dev/null; then \
		echo "make run is still going (process $$pid); end it first." >&2; exit 1; \
	fi
	@rm -rf $(LOCAL)

test: tools ## all tests, on two private MariaDB, Redis and RabbitMQ; those of orders also with four order databases
	@exec $(PYTHON) -m tests.provision run -- $(VENV)/python -m tests.suite $(ARGS)

test-nightly: tools ## the same with the random tests at full length: 100 000 ledger steps, 60 kills (5 to 20 minutes more)
	@PAYSYS_NIGHTLY=1 exec $(PYTHON) -m tests.provision run -- $(VENV)/python -m tests.suite $(ARGS)

check: tools ## format, lint, layers, types, unsafe constructs, migrations, Django's own checks
	$(VENV)/ruff format --check .
	$(VENV)/ruff check .
	$(VENV)/lint-imports --config .importlinter --no-cache
	$(VENV)/mypy $(TYPED)
	$(VENV)/bandit --quiet --configfile pyproject.toml --recursive $(TYPED) manage.py
	$(DEV_SETTINGS) $(VENV)/python manage.py makemigrations --check --dry-run
	$(DEV_SETTINGS) $(VENV)/python manage.py check

format: tools ## let ruff rewrite the code
	@$(VENV)/ruff format .
	@$(VENV)/ruff check --fix .

migrations: tools ## write the migrations that the models ask for
	@$(DEV_SETTINGS) $(VENV)/python manage.py makemigrations

lock: tools ## compile requirements*.in into the pinned lists
	@uv=$$(command -v uv) || { \
		uv=$(LOCAL)/uv/bin/uv; \
		[ -x "$$uv" ] || { $(VENV)/python -m venv $(LOCAL)/uv && $(LOCAL)/uv/bin/pip install --quiet uv; }; \
	} && \
	"$$uv" pip compile requirements.in $(LOCK_OPTIONS) -o requirements.txt && \
	"$$uv" pip compile requirements-dev.in $(LOCK_OPTIONS) -c requirements.txt -o requirements-dev.txt

messages: tools ## bring the Chinese catalogue up to the source and compile it; says what is left to translate
	@$(VENV)/python -m bootstrap.catalogue

embedded:
	@$(PYTHON) -m bootstrap.venv embedded

tools:
	@$(PYTHON) -m bootstrap.venv test
