#!/usr/bin/env bash
# Installs Pebble, the ACME server that the tests of HTTPS obtain certificates from, where that is
# possible without a question. Fails with the command to run where it is not.
set -euo pipefail

found() { command -v pebble >/dev/null; }

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        command -v sudo >/dev/null && sudo -n "$@"
    fi
}

install_package() {
    DEBIAN_FRONTEND=noninteractive as_root apt-get install --yes --no-install-recommends pebble
}

if ! found && command -v apt-get >/dev/null; then
    echo "no Pebble found; installing the system's package" >&2
    # A fresh machine has no list of packages yet.
    { install_package || { as_root apt-get update && install_package; }; } >&2 || true
fi
found || {
    printf '%s\n' "Pebble is missing. Install it:" \
        "  sudo apt-get install pebble      (or put the program pebble into the PATH)" >&2
    exit 1
}
