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

. "$root/scripts/server.sh"

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
    start_server "$program" "$folder/data"
    status=0
    (cd "$folder/cwd" && timeout 300 bash "$folder/script.sh") || status=$?
    stop_server
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
        sed 's/^/    | /' "$log"
        failed=1
    fi
done
exit "$failed"
