# For scripts that test a running server; to be sourced.
#
#   start_server PROGRAM [DATA]   starts it on an empty folder; sets URL and KEY, waits until it is ready
#   stop_server                   stops it
#   check_server                  fails when it is gone or has logged an error
#   free_port                     prints a port that nobody listens on
#
# Its log is "$log", what else is in "$work" is gone when the script ends.

work=$(mktemp -d)
server=
log=

stop_server() {
    if [ -n "$server" ]; then
        kill "$server" 2>/dev/null || true
        wait "$server" 2>/dev/null || true
        server=
    fi
}
trap 'stop_server; rm -rf "$work"' EXIT
trap 'exit 130' INT TERM

# One run inherits nothing from the caller's settings.
for name in $(compgen -e PARLANCE__ || true) OPENAI_API_KEY; do unset "$name"; done
export no_proxy='*' NO_PROXY='*'

free_port() {
    python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])'
}

start_server() {
    local data=${2:-$work/data} port
    log=$data.log
    port=$(free_port)
    URL=http://127.0.0.1:$port
    KEY=$(python3 -c 'import secrets; print(secrets.token_hex(24))')
    export URL KEY
    PARLANCE__BOOTSTRAP__API_KEY=$KEY PARLANCE__METRICS__LISTEN='' \
        "$1" serve --data-dir "$data" --listen "127.0.0.1:$port" 2>"$log" &
    server=$!
    for _ in $(seq 150); do
        if curl -sf "$URL/readyz" >/dev/null; then return; fi
        kill -0 "$server" 2>/dev/null || break
        sleep 0.2
    done
    echo "the server did not start:" >&2
    cat "$log" >&2
    exit 1
}

check_server() {
    if ! kill -0 "$server" 2>/dev/null; then
        echo "the server is gone; its log:"
        tail -n 50 "$log"
        exit 1
    fi
    if grep -E ' ERROR ' "$log"; then
        echo "the server logged the errors above"
        exit 1
    fi
}
