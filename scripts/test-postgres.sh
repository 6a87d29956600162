#!/usr/bin/env bash
# A throw-away PostgreSQL for the tests.
#
#   scripts/test-postgres.sh start           start it (does nothing when it runs)
#   scripts/test-postgres.sh url             address of a plain role that may make databases
#   scripts/test-postgres.sh superuser-url   address of its superuser
#   scripts/test-postgres.sh stop            stop it and remove its data
#   scripts/test-postgres.sh run COMMAND...  all of it around one command
#
# TEST_POSTGRES_BIN may name the folder of initdb, postgres and pg_ctl to use.
# Uses the PostgreSQL of the system, else the one in the Python package pgserver, which it installs
# into .venv. It listens on a Unix socket in a private folder only and flushes nothing to disk.
set -euo pipefail

root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
# Remembers the folder of the running server between calls.
state=${CARGO_TARGET_DIR:-$root/target}/test-postgres.folder

fail() {
    printf '%s\n' "$@" >&2
    exit 1
}

# --- Which PostgreSQL -------------------------------------------------------------------------

# Prints the folder of initdb, postgres and pg_ctl that belong together.
system_binaries() {
    local candidate initdb
    # On Debian the link in the PATH leads to the versioned folder, which has the rest.
    if initdb=$(command -v initdb); then
        candidate=$(dirname "$(readlink -f "$initdb" 2>/dev/null || printf '%s' "$initdb")")
        if [ -x "$candidate/postgres" ] && [ -x "$candidate/pg_ctl" ]; then
            printf '%s\n' "$candidate"
            return
        fi
    fi
    # The newest version that is installed.
    candidate=$(find /usr/lib/postgresql /usr/pgsql-* /opt/homebrew/opt/postgresql* /usr/local/opt/postgresql* \
        -maxdepth 3 -follow -path '*/bin/pg_ctl' 2>/dev/null | sort -V | tail -n 1 || true)
    if [ -n "$candidate" ]; then
        dirname "$candidate"
    fi
}

# Installs the Python package when it is missing and prints the folder of its binaries.
python_binaries() {
    local found
    find_in_venv() { find "$root/.venv" -path '*/pgserver/pginstall/bin/pg_ctl' -print -quit 2>/dev/null || true; }
    found=$(find_in_venv)
    if [ -z "$found" ]; then
        echo "no PostgreSQL found; installing the Python package pgserver into .venv" >&2
        { [ -x "$root/.venv/bin/python" ] || python3 -m venv "$root/.venv"; } >&2 &&
            "$root/.venv/bin/python" -m pip install --quiet 'pgserver>=0.1.4' >&2 || true
        found=$(find_in_venv)
    fi
    [ -n "$found" ] || fail "PostgreSQL is missing and pgserver could not be installed. Install one of them:" \
        "  sudo apt-get install postgresql      (or your system's package)" \
        "  python3 -m venv .venv && .venv/bin/pip install pgserver"
    dirname "$found"
}

# --- Which user -------------------------------------------------------------------------------

# PostgreSQL refuses to run as root, so root hands over to a user with fewer rights.
database_user() {
    if id postgres >/dev/null 2>&1; then echo postgres; else echo nobody; fi
}

as_database_user() {
    if [ "$(id -u)" -ne 0 ]; then
        "$@"
    elif command -v setpriv >/dev/null; then
        local user
        user=$(database_user)
        setpriv --reuid "$user" --regid "$(id -g "$user")" --clear-groups "$@"
    elif command -v runuser >/dev/null; then
        runuser -u "$(database_user)" -- "$@"
    else
        su -s /bin/sh "$(database_user)" -c 'exec "$0" "$@"' -- "$@"
    fi
}

# --- Commands ---------------------------------------------------------------------------------

folder_of_running() {
    [ -f "$state" ] && cat "$state" || true
}

start() {
    local folder binaries
    folder=$(folder_of_running)
    if [ -n "$folder" ] && [ -S "$folder/.s.PGSQL.5432" ]; then
        return
    fi
    binaries=${TEST_POSTGRES_BIN:-$(system_binaries)}
    if [ -z "$binaries" ]; then
        binaries=$(python_binaries)
    fi
    [ -x "$binaries/initdb" ] && [ -x "$binaries/postgres" ] && [ -x "$binaries/pg_ctl" ] ||
        fail "$binaries is not the folder of a PostgreSQL's programs"

    # Not below target/: root's checkout is often closed to the database's user, and the path of a
    # socket may have 107 characters at most.
    folder=$(mktemp -d /tmp/parlance-postgres.XXXXXX)
    if [ "$(id -u)" -eq 0 ]; then
        chown "$(database_user)" "$folder"
        chmod 755 "$folder"
        if ! as_database_user test -x "$binaries/postgres"; then
            # Only the Python package, which is small, and never a folder named by mistake.
            case $binaries in
            */pgserver/pginstall/bin) ;;
            *) fail "the user $(database_user) may not run $binaries/postgres" ;;
            esac
            local packages=${binaries%/pgserver/pginstall/bin}
            mkdir "$folder/install"
            # pgserver.libs has the libraries, which the programs look for beside the package.
            cp -R "$packages"/pgserver* "$folder/install/"
            chmod -R a+rX "$folder/install"
            binaries=$folder/install/pgserver/pginstall/bin
        fi
    fi
    mkdir -p "$(dirname "$state")"
    printf '%s\n' "$folder" >"$state"
    printf '%s\n' "$binaries" >"$folder/binaries"

    # The folder of this script may be closed to the database's user.
    cd "$folder"
    as_database_user "$binaries/initdb" --pgdata="$folder/data" --username=postgres --auth=trust \
        --encoding=UTF8 --locale=C --no-sync >"$folder/initdb.log" 2>&1 ||
        fail "initdb failed:" "$(cat "$folder/initdb.log")"
    as_database_user tee -a "$folder/data/postgresql.conf" >/dev/null <<CONFIG
listen_addresses = ''
unix_socket_directories = '$folder'
max_connections = 200
shared_buffers = 64MB
fsync = off
full_page_writes = off
synchronous_commit = off
CONFIG
    # The tests use a plain role, because the product refuses one that bypasses row-level security.
    printf '%s\n' 'CREATE ROLE parlance_test LOGIN CREATEDB NOSUPERUSER NOBYPASSRLS' |
        as_database_user "$binaries/postgres" --single -D "$folder/data" postgres >"$folder/roles.log" 2>&1 ||
        fail "the role of the tests could not be made:" "$(cat "$folder/roles.log")"
    as_database_user "$binaries/pg_ctl" start --pgdata="$folder/data" --log="$folder/data/server.log" \
        --wait --silent </dev/null >/dev/null 2>&1 ||
        fail "PostgreSQL did not start:" "$(cat "$folder/data/server.log")"
    echo "PostgreSQL from $binaries runs in $folder" >&2
}

stop() {
    local folder
    folder=$(folder_of_running)
    [ -n "$folder" ] || return 0
    if [ -f "$folder/data/postmaster.pid" ]; then
        (cd "$folder" && as_database_user "$(cat "$folder/binaries")/pg_ctl" stop --pgdata="$folder/data" \
            --mode=immediate --wait --silent >/dev/null 2>&1) || echo "PostgreSQL in $folder did not stop" >&2
    fi
    # Only what this script made.
    case $folder in /tmp/parlance-postgres.*) rm -rf "$folder" ;; esac
    rm -f "$state"
}

url() {
    local folder
    folder=$(folder_of_running)
    [ -n "$folder" ] || fail "it does not run; start it with: $0 start"
    printf 'postgres://%s@localhost/postgres?host=%s\n' "$1" "$folder"
}

case ${1:-} in
start)
    # A failed start leaves nothing behind.
    trap '[ $? -eq 0 ] || stop' EXIT
    start
    ;;
stop) stop ;;
url) url parlance_test ;;
superuser-url) url postgres ;;
run)
    shift
    trap stop EXIT
    trap 'exit 130' INT TERM
    # In a shell of its own, so that a failure ends this one and the trap runs.
    (start)
    TEST_DATABASE_URL=$(url parlance_test) TEST_DATABASE_SUPERUSER_URL=$(url postgres) "$@"
    ;;
*) fail "usage: $0 start | url | superuser-url | stop | run COMMAND..." ;;
esac
