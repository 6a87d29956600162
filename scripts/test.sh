#!/usr/bin/env bash
# `make test`: every test on SQLite, those of the database again on PostgreSQL, format and lints.
# Goes on after a failure, so that one run shows all of them. With CI=true nothing may be skipped.
set -uo pipefail
cd "$(dirname "${BASH_SOURCE[0]}")/.."

CI=${CI:-false}
# What would make the next build faster makes the first one slower, and is kept nowhere in CI.
if [ "$CI" = true ]; then export CARGO_INCREMENTAL=0; fi
# The packages whose tests open a database: what runs a second time.
DATABASE_PACKAGES=(parlance-storage parlance-service parlance-http parlance-jobs parlance-server parlance-testkit)

results=()
failed=0

# Runs a named step and notes how it ended.
step() {
    local name=$1 began=$SECONDS
    shift
    printf '\n== %s: %s\n' "$name" "$*"
    if "$@"; then
        results+=("ok      $name ($((SECONDS - began)) s)")
    else
        results+=("FAILED  $name ($((SECONDS - began)) s)")
        failed=1
        return 1
    fi
}

# Notes a step that cannot run here: a failure in CI.
skip() {
    if [ "$CI" = true ]; then
        results+=("FAILED  $1: $2")
        failed=1
    else
        results+=("SKIPPED $1: $2")
    fi
}

if cargo nextest --version >/dev/null 2>&1; then
    profile=default
    if [ "$CI" = true ]; then profile=ci; fi
    cargo_test() { cargo nextest run --locked --profile "$profile" --no-tests pass "$@"; }
    # A filter instead of -p: with fewer packages cargo would choose other features of their
    # dependencies and build those again.
    database_test() {
        local filter
        filter=$(printf 'package(%s) + ' "${DATABASE_PACKAGES[@]}")
        cargo_test --workspace --filterset "${filter% + }"
    }
else
    echo "cargo-nextest is not installed; using cargo test"
    cargo_test() { cargo test --locked --no-fail-fast "$@"; }
    database_test() { cargo_test "${DATABASE_PACKAGES[@]/#/--package=}"; }
fi

# One run inherits nothing from the caller's settings.
for name in $(compgen -e PARLANCE__); do unset "$name"; done
unset TEST_DATABASE_URL TEST_DATABASE_SUPERUSER_URL

stop_postgres() { scripts/test-postgres.sh stop; }
trap stop_postgres EXIT
trap 'exit 130' INT TERM

step "format" cargo fmt --all --check
# Tests that need it say so and pass when it is missing, but not in CI.
scripts/test-acme.sh || skip "certificates from an ACME server" "no Pebble; see above for the command that installs it"
step "tests on SQLite" cargo_test --workspace
# The tests have built it.
step "README" scripts/test-readme.sh "${CARGO_TARGET_DIR:-target}/debug/parlance"
step "published client" scripts/test-published-client.sh "${CARGO_TARGET_DIR:-target}/debug/parlance"
step "OpenAPI" scripts/test-openapi.sh "${CARGO_TARGET_DIR:-target}/debug/parlance" 15

if scripts/test-postgres.sh start; then
    TEST_DATABASE_URL=$(scripts/test-postgres.sh url) TEST_DATABASE_SUPERUSER_URL=$(scripts/test-postgres.sh superuser-url)
    export TEST_DATABASE_URL TEST_DATABASE_SUPERUSER_URL
    step "tests on PostgreSQL" database_test
    unset TEST_DATABASE_URL TEST_DATABASE_SUPERUSER_URL
else
    skip "tests on PostgreSQL" "no PostgreSQL; see above for the command that installs one"
fi

step "lints" cargo clippy --workspace --all-targets --locked -- -D warnings

printf '\n'
printf '%s\n' "${results[@]}"
if [ "$failed" -eq 0 ]; then echo "make test: passed in $SECONDS s"; else echo "make test: FAILED in $SECONDS s"; fi
exit "$failed"
