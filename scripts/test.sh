#!/bin/sh
# Every check of the project, in the order in which they are quick to fail; or the ones named.
set -eu
cd "$(dirname "$0")/.."
bin=${PORTICO_VENV:-.venv}/bin
PATH="$(pwd)/$bin:$PATH"
export PORTICO_TESTING=true

step() { printf '\n== %s\n' "$*"; }

lint() {
    step "ruff"
    ruff check -q .
    ruff format --check -q .
    step "layers"
    lint-imports --no-cache >/tmp/portico-layers.$$ || { cat /tmp/portico-layers.$$; rm -f /tmp/portico-layers.$$; exit 1; }
    rm -f /tmp/portico-layers.$$
    step "embed_js: tsc"
    (cd embed_js && npx --no-install tsc)
}

types() {
    step "mypy"
    mypy
}

deploy_check() {
    scratch=$(mktemp -d)
    step "migrations"
    PORTICO_DATA=$scratch python manage.py makemigrations --check --dry-run
    step "check --deploy, with production settings"
    PORTICO_DATA=$scratch PORTICO_URL=https://portico.example \
        PORTICO_SPACES_DOMAIN=spaces-of-portico.example python manage.py check --deploy --fail-level WARNING
    rm -rf "$scratch"
}

unit() {
    step "unit tests"
    pytest -q -rs -n 2 -m "not integration and not e2e and not services"
}

integration() {
    step "integration tests: real builds, workers and servers"
    pytest -q -rs -n 2 --dist loadfile -m integration
}

postgres() {
    step "the same on PostgreSQL and Redis"
    # Without those of bytes on the wire and of the sandbox, which have no database.
    python scripts/with_services.py pytest -q -rs -n 2 -m "not integration and not e2e and not services" \
        --ignore-glob="tests/gateway/test_wire*" --ignore=tests/gateway/test_fuzz.py --ignore=tests/gateway/test_leaks.py \
        --ignore=tests/gateway/test_server.py --ignore=tests/sandbox
    python scripts/with_services.py pytest -q -rs -m services tests/portal
}

e2e() {
    step "end to end, in Chromium"
    pytest -q -rs -n 2 --dist loadfile -m e2e
}

if [ $# -gt 0 ]; then
    for name in "$@"; do "$name"; done
else
    lint; types; deploy_check; unit; postgres; integration; e2e
    step "all checks passed"
fi
