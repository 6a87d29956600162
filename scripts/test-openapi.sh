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
python=$("$root/scripts/python.sh")

work=$(mktemp -d)
server=
stop() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
    fi
    rm -rf "$work"
}
trap stop EXIT
trap 'exit 130' INT TERM

for name in $(compgen -e PARLANCE__ || true) OPENAI_API_KEY; do unset "$name"; done
export no_proxy='*' NO_PROXY='*'
port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
key=$(python3 -c 'import secrets; print(secrets.token_hex(24))')
PARLANCE__BOOTSTRAP__API_KEY=$key PARLANCE__METRICS__LISTEN='' \
    "$program" serve --data-dir "$work/data" --listen "127.0.0.1:$port" 2>"$work/log" &
server=$!
for _ in $(seq 150); do
    curl -sf "http://127.0.0.1:$port/readyz" >/dev/null && break
    kill -0 "$server" 2>/dev/null || break
    sleep 0.2
done

status=0
(
    cd "$work"
    "$python" -m schemathesis.cli --config-file "$root/schemathesis.toml" run "http://127.0.0.1:$port/openapi.json" \
        --checks all --max-examples "$examples" --header "Authorization: Api-Key $key" --no-color \
        --request-timeout 30 --warnings off --seed "${SCHEMATHESIS_SEED:-1}"
) || status=$?
if ! kill -0 "$server" 2>/dev/null; then
    echo "the server is gone; its log:"
    tail -n 50 "$work/log"
    exit 1
fi
if grep -E ' ERROR ' "$work/log"; then
    echo "the server logged the errors above"
    exit 1
fi
exit "$status"
