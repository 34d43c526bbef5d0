# The commands of this project. Everything is installed into .venv; Python 3.11 or newer, git and make are all it needs.

PYTHON ?= python3
HOST ?= 127.0.0.1
PORT ?= 5000
BIN := .venv/bin
# What the service needs: with a database of PostgreSQL its driver as well, with KEYHOOK_LIMITS_URL that of Redis,
# with KEYHOOK_OIDC_ISSUER the signatures of a provider.
RUNTIME := .venv/runtime $(if $(filter postgresql:%,$(KEYHOOK_DATABASE_URL)),.venv/postgresql) $(if $(KEYHOOK_LIMITS_URL),.venv/redis) $(if $(KEYHOOK_OIDC_ISSUER),.venv/oidc)
# Pins each package, with the hashes of its files for every platform: pip then takes no other file.
PIN = $(BIN)/pip-compile --quiet --upgrade --generate-hashes --allow-unsafe --strip-extras --no-emit-index-url --no-emit-find-links --no-header -o
QUICK := not faults and not ecosystem and not processes and not alone
.DEFAULT_GOAL := help

.PHONY: help install run serve test quick matrix check lint format bench pictures requirements migration clean

help:  ## this list
	@sed -n 's/^\([a-z]*\):.*## /\1\t/p' Makefile | expand -t 14

install: $(RUNTIME)  ## what the service needs, without a start

run: $(RUNTIME)  ## start the service: make run PORT=8080
	@$(BIN)/flask run --host $(HOST) --port $(PORT)

serve: $(RUNTIME)  ## the server for a long-running install
	@$(BIN)/flask serve --host $(HOST) --port $(PORT)

test: .venv/development  ## every test; ARGS="tests/keys -x": what pytest is to do
	$(BIN)/python -m tests $(ARGS)

quick: .venv/development  ## the tests that take place within one process
	$(BIN)/python -m pytest -n auto --dist worksteal -m "$(QUICK)" $(ARGS)

matrix:  ## the quick tests under every Python from 3.11 on that is here
	@for python in python3.11 python3.12 python3.13; do \
		$$python --version || { echo "$$python is not here"; continue; }; \
		$$python -m venv .venv/$$python && .venv/$$python/bin/pip install --quiet --disable-pip-version-check \
			-r requirements.txt -r requirements-postgresql.txt -r requirements-redis.txt -r requirements-oidc.txt -r requirements-dev.txt && \
		.venv/$$python/bin/python -m pytest -q -n auto --dist worksteal -m "$(QUICK)" $(ARGS) || exit 1; \
	done

check: lint test  ## all that CI looks at

lint: .venv/development  ## format, lint, types
	$(BIN)/ruff format --check .
	$(BIN)/ruff check .
	$(BIN)/mypy .

format: .venv/development
	$(BIN)/ruff format .
	$(BIN)/ruff check --fix .

bench: .venv/bench/done $(if $(filter --oidc,$(ARGS)),.venv/oidc .venv/postgresql)  ## the tables of docs/speed.md: about four minutes; ARGS=--servers: the one of servers; ARGS=--postgresql: those of PostgreSQL; ARGS=--pages: those of the console; ARGS=--oidc: those of a provider; ARGS=--long: ten minutes of everything; ARGS=--profile: where the time goes
	$(if $(filter --oidc,$(ARGS)),$(BIN),.venv/bench/bin)/python -m bench $(ARGS)

pictures: .venv/development  ## every page of the console as a picture, in pictures/
	$(BIN)/python -m tests.console.pictures pictures

requirements: .venv/development  ## renew every pin
	$(PIN) requirements.txt requirements.in
	$(PIN) requirements-postgresql.txt requirements-postgresql.in
	$(PIN) requirements-redis.txt requirements-redis.in
	$(PIN) requirements-oidc.txt requirements-oidc.in
	$(PIN) requirements-dev.txt requirements-dev.in
	$(PIN) bench/requirements.txt bench/requirements.in

migration: .venv/development  ## a new schema version from the models: make migration ID=0002 MESSAGE="what changes"
	rm -f scratch.db
	$(BIN)/alembic upgrade head
	$(BIN)/alembic revision --autogenerate --rev-id $(ID) -m "$(MESSAGE)"
	rm -f scratch.db

clean:  ## what can be made again; never instance/, which holds people's keys
	rm -rf .venv .pytest_cache .mypy_cache .ruff_cache .hypothesis scratch.db
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

.venv/runtime: requirements.txt
	@test -x $(BIN)/python || $(PYTHON) -m venv .venv
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements.txt
	@touch $@

.venv/postgresql: .venv/runtime requirements-postgresql.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-postgresql.txt
	@touch $@

.venv/redis: .venv/runtime requirements-redis.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-redis.txt
	@touch $@

.venv/oidc: .venv/runtime requirements-oidc.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-oidc.txt
	@touch $@

.venv/bench/done: .venv/runtime requirements-postgresql.txt bench/requirements.txt
	@test -x .venv/bench/bin/python || $(PYTHON) -m venv .venv/bench
	@.venv/bench/bin/pip install --quiet --disable-pip-version-check -r requirements.txt -r requirements-postgresql.txt -r bench/requirements.txt
	@touch $@

.venv/development: .venv/postgresql .venv/redis .venv/oidc requirements-dev.txt
	@$(BIN)/pip install --quiet --disable-pip-version-check -r requirements-dev.txt
	@touch $@
