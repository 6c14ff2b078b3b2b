# The two commands of the README are `run` and `test`; the others are for every day.
SHELL := /bin/sh
BIN := $(or $(PORTICO_VENV),.venv)/bin

.PHONY: run test setup-test lint types layers unit integration e2e postgres bench lock format clean

run:
	@scripts/setup.sh run
	@exec $(BIN)/python manage.py portico up

test: setup-test
	@scripts/test.sh

setup-test:
	@scripts/setup.sh test

lint: setup-test
	@scripts/test.sh lint

types: setup-test
	@scripts/test.sh types

unit: setup-test
	@scripts/test.sh unit

integration: setup-test
	@scripts/test.sh integration

postgres: setup-test
	@scripts/test.sh postgres

e2e: setup-test
	@scripts/test.sh e2e

bench: setup-test
	@for b in benchmarks/[a-z]*.py; do echo "== $$b"; $(BIN)/python $$b || exit 1; done

format: setup-test
	@$(BIN)/ruff check -q --fix . ; $(BIN)/ruff format -q .

lock: setup-test
	@{ echo '# Written by `make lock`: every package that requirements*.txt pull in, pinned.'; \
	   $(BIN)/uv pip compile -q --universal --python-version 3.11 --no-annotate --no-header requirements-dev.txt; } \
	   > constraints.txt.new && mv constraints.txt.new constraints.txt

clean:
	rm -rf .mypy_cache .ruff_cache .pytest_cache .import_linter_cache embed_js/node_modules
