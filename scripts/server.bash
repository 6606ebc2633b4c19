# Sourced by the scripts that need a running server: starts one on a free port, waits until it listens, stops it by its
# pid. shellcheck shell=bash

# Sets server_pid and server_port. usage: start_server BINARY LOG FLAG…
start_server() {
    local binary=$1 log=$2
    shift 2
    : >"$log"
    "$binary" --listen 127.0.0.1:0 "$@" >/dev/null 2>"$log" &
    server_pid=$!
    for _ in $(seq 300); do
        server_port=$(sed -nE 's/.*listening on [^ ]*:([0-9]+).*/\1/p' "$log" | head -n 1)
        [[ -z $server_port ]] || return 0
        if ! kill -0 "$server_pid" 2>/dev/null; then
            break
        fi
        sleep 0.1
    done
    printf 'the server did not start; it said:\n' >&2
    cat "$log" >&2
    stop_server || true
    return 1
}

# Stops it with SIGTERM, after half a minute with SIGKILL; the exit code is the server's.
stop_server() {
    [[ -n ${server_pid:-} ]] || return 0
    local pid=$server_pid code=0
    server_pid=
    kill -TERM "$pid" 2>/dev/null || true
    for _ in $(seq 300); do
        kill -0 "$pid" 2>/dev/null || break
        sleep 0.1
    done
    kill -KILL "$pid" 2>/dev/null || true
    wait "$pid" || code=$?
    return "$code"
}
