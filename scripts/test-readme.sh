#!/usr/bin/env bash
# Runs the examples of README files against a server of its own, and checks that they print what
# they promise.
#
#   scripts/test-readme.sh PARLANCE [README...]      (default: README.md and README.zh-TW.md)
#
# An example is a fenced block whose info string is `bash run`. All blocks of a file run in one bash,
# in order, with $URL and $KEY set, in an empty folder. A line `# => TEXT` says that the output of its
# block contains TEXT.
set -euo pipefail

if [ $# -lt 1 ] || [ ! -x "$1" ]; then
    echo "usage: ${0##*/} path/to/parlance [README...]" >&2
    exit 2
fi
program=$(realpath "$1")
shift
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
if [ $# -eq 0 ]; then set -- "$root/README.md" "$root/README.zh-TW.md"; fi

work=$(mktemp -d)
server=
stop() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
        server=
    fi
}
trap 'stop; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# One run inherits nothing from the caller's settings.
for name in $(compgen -e PARLANCE__ || true) OPENAI_API_KEY; do unset "$name"; done
export no_proxy='*' NO_PROXY='*'

start() {
    local data=$1 port
    port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    URL=http://127.0.0.1:$port
    KEY=$(python3 -c 'import secrets; print(secrets.token_hex(24))')
    export URL KEY
    PARLANCE__BOOTSTRAP__API_KEY=$KEY PARLANCE__METRICS__LISTEN='' \
        "$program" serve --data-dir "$data" --listen "127.0.0.1:$port" 2>"$data.log" &
    server=$!
    for _ in $(seq 150); do
        if curl -sf "$URL/readyz" >/dev/null; then return; fi
        kill -0 "$server" 2>/dev/null || break
        sleep 0.2
    done
    echo "the server did not start:" >&2
    cat "$data.log" >&2
    exit 1
}

# Writes the blocks of README $1 as one script to stdout; block n appends its output to the file
# out.n of folder $2, and its promises go to expected.n. Fails when there is no block.
extract() {
    python3 - "$1" "$2" <<'PYTHON'
import pathlib, re, sys
readme, folder = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2])
blocks = re.findall(r"^```bash run\n(.*?)^```$", readme.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
if not blocks:
    sys.exit(f"{readme}: no block says `bash run`")
print("set -euo pipefail")
for number, block in enumerate(blocks, 1):
    promised = re.findall(r"^# => (.*)$", block, re.MULTILINE)
    if not promised:
        sys.exit(f"{readme}: block {number} promises nothing")
    (folder / f"expected.{number}").write_text("".join(line + "\n" for line in promised), encoding="utf-8")
    # Redirected within the same shell, so that later blocks see its variables and functions.
    print(f"exec >'{folder}/out.{number}' 2>&1\n{block}")
PYTHON
}

failed=0
for readme in "$@"; do
    name=$(basename "$readme")
    folder=$work/$name
    mkdir -p "$folder/results" "$folder/cwd"
    extract "$readme" "$folder/results" >"$folder/script.sh"
    start "$folder/data"
    status=0
    (cd "$folder/cwd" && timeout 300 bash "$folder/script.sh") || status=$?
    stop
    for expected in "$folder"/results/expected.*; do
        number=${expected##*.}
        output=$folder/results/out.$number
        if [ ! -f "$output" ]; then
            echo "$name: block $number did not run"
            failed=1
            continue
        fi
        while IFS= read -r text; do
            if grep -qF -- "$text" "$output"; then
                echo "$name: block $number: ok: $text"
            else
                echo "$name: block $number: MISSING: $text"
                sed 's/^/    | /' "$output"
                failed=1
            fi
        done <"$expected"
    done
    if [ "$status" -ne 0 ]; then
        echo "$name: the examples ended with status $status; the server's log:"
        sed 's/^/    | /' "$folder/data.log"
        failed=1
    fi
done
exit "$failed"
