#!/usr/bin/env bash
# Runs scripts/published_client.py against a server of its own.
#
#   scripts/test-published-client.sh PARLANCE
set -euo pipefail

if [ $# -lt 1 ] || [ ! -x "$1" ]; then
    echo "usage: ${0##*/} path/to/parlance" >&2
    exit 2
fi
program=$(realpath "$1")
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
. "$root/scripts/server.sh"
python=$("$root/scripts/python.sh")
receiver=$(free_port)
export PARLANCE__OUTBOUND__ALLOW=127.0.0.1:$receiver
start_server "$program"
status=0
timeout 300 "$python" "$root/scripts/published_client.py" "$URL" "$KEY" "$receiver" || status=$?
check_server
exit "$status"
