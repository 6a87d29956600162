#!/usr/bin/env bash
# Calls every operation of a running server with generated requests and compares each answer with
# openapi.json: no 5xx, no status and no shape that the description does not have, nothing without a
# credential.
#
#   scripts/test-openapi.sh PARLANCE [MAX_EXAMPLES]      (default: 25 examples an operation)
set -euo pipefail

if [ $# -lt 1 ] || [ ! -x "$1" ]; then
    echo "usage: ${0##*/} path/to/parlance [examples]" >&2
    exit 2
fi
program=$(realpath "$1")
examples=${2:-25}
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/server.sh"
python=$("$root/scripts/python.sh")
start_server "$program"
status=0
(
    cd "$work"
    "$python" -m schemathesis.cli --config-file "$root/schemathesis.toml" run "$URL/openapi.json" \
        --checks all --max-examples "$examples" --header "Authorization: Api-Key $KEY" --no-color \
        --request-timeout 30 --warnings off --seed "${SCHEMATHESIS_SEED:-1}"
) || status=$?
check_server
exit "$status"
