#!/usr/bin/env bash
# Prints the Python that has the packages of scripts/requirements.txt. Installs them into .venv when
# they are missing or the list has changed.
set -euo pipefail
root=$(cd "$(dirname "${BASH_SOURCE[0]}")/.." && pwd)
python=$root/.venv/bin/python
list=$root/scripts/requirements.txt
done=$root/.venv/requirements.installed

# Two callers at once would spoil each other's work.
exec 9>"$root/.venv.lock"
if command -v flock >/dev/null; then flock 9; fi
if [ ! -x "$python" ]; then
    python3 -m venv "$root/.venv" >&2 || {
        echo "python3 cannot make a virtual environment; install it: sudo apt-get install python3-venv" >&2
        exit 1
    }
fi
if ! cmp -s "$list" "$done"; then
    echo "installing the Python packages of scripts/requirements.txt into .venv" >&2
    "$python" -m pip install --quiet --disable-pip-version-check --requirement "$list" >&2
    cp "$list" "$done"
fi
printf '%s\n' "$python"
