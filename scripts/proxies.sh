#!/usr/bin/env bash
# The server behind a real HAProxy and a real nginx, with the configurations of contrib/proxies.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: proxies.sh

Runs metricstream on both drivers behind HAProxy (PROXY protocol version 2 with a checksum, version 1,
X-Forwarded-For) and behind nginx (PROXY protocol, X-Forwarded-For), as contrib/proxies configures them, on ports of
their own. Clients at 127.0.0.5 and 127.0.0.6 ask through each: the server must take each for the same client as when
it asks directly, and neither for the proxy, whatever it says of itself. HAProxy's health checks must pass, and
batches must be stored. Needs curl and python3, and haproxy or nginx (Debian: apt-get install haproxy nginx-light
libnginx-mod-stream). What is missing is skipped, and it is said so. Everything started is ended. Exit code: 0 passed
or skipped, 1 failed.

environment: BINARIES  a directory with metricstream, built already
HELP
}

no_arguments "$@"

need_tools 'Debian: apt-get install curl python3' curl python3
PATH=$PATH:/usr/sbin
proxies=()
for proxy in haproxy nginx; do
    if command -v "$proxy" >/dev/null; then
        proxies+=("$proxy")
    else
        printf 'proxies.sh: SKIPPED: there is no %s here (Debian: apt-get install haproxy nginx-light libnginx-mod-stream)\n' "$proxy"
    fi
done
((${#proxies[@]} > 0)) || exit 0
need_binaries metricstream

work=$(mktemp -d)
chmod 755 "$work"
pids=()
end_all() {
    for pid in "${pids[@]}"; do
        kill "$pid" 2>/dev/null || true
        wait "$pid" 2>/dev/null || true
    done
    pids=()
}
trap 'end_all; rm -rf "$work"' EXIT

fail() {
    printf 'proxies.sh: FAILED: %s\n' "$1" >&2
    tail -n 20 "$work"/*.log >&2 || true
    exit 1
}

# A port that is free, for each of those in the configurations.
declare -A port
for name in 8080 8081 9001 9002 9003 9011 9012; do
    port[$name]=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
done
with_ports() {
    local expressions=()
    for name in "${!port[@]}"; do
        expressions+=(-e "s/\\b$name\\b/${port[$name]}/g")
    done
    sed "${expressions[@]}" "$1"
}

until_open() {
    for _ in $(seq 300); do
        curl -s -o /dev/null --max-time 2 "http://127.0.0.1:$1/health" && return
        sleep 0.1
    done
    fail "nobody serves on port $1"
}

# Who the client at an address is to the server, when it asks at a port.
who() {
    local address=$1 at=$2
    shift 2
    curl -sS --max-time 10 --interface "$address" "$@" "http://127.0.0.1:$at/stats/clients" |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["asked_by"])'
}

check() {
    local name=$1 at=$2
    for client in 127.0.0.5 127.0.0.6; do
        local direct
        direct=$(who "$client" "${port[8080]}")
        for claim in 'X-Nothing: 1' 'X-Forwarded-For: 192.0.2.1' 'Forwarded: for=192.0.2.1'; do
            [[ $(who "$client" "$at" -H "$claim") == "$direct" ]] || fail "$name, '$claim': $client is another client than without a proxy"
        done
        curl -sS --max-time 10 --interface "$client" "http://127.0.0.1:$at/metrics" -d '{"metrics":[{"name":"a","value":1}]}' |
            grep -q '"metrics_processed":1' || fail "$name: a batch was not stored"
    done
    printf '  %s: each client is itself\n' "$name"
}

run_haproxy() {
    with_ports "$root/contrib/proxies/haproxy.cfg" >"$work/haproxy.cfg"
    # What HAProxy knows of its health checks.
    printf 'global\n    stats socket %s/haproxy.sock\n' "$work" >>"$work/haproxy.cfg"
    haproxy -db -f "$work/haproxy.cfg" >"$work/haproxy.log" 2>&1 &
    pids+=($!)
    for name in 9001 9002 9003; do until_open "${port[$name]}"; done
    check 'HAProxy, PROXY protocol version 2' "${port[9001]}"
    check 'HAProxy, PROXY protocol version 1' "${port[9002]}"
    check 'HAProxy, X-Forwarded-For' "${port[9003]}"
    python3 - "$work/haproxy.sock" <<'PYTHON' || fail "a health check of HAProxy does not pass"
import csv, socket, sys, time
for _ in range(100):
    with socket.socket(socket.AF_UNIX) as stats:
        stats.connect(sys.argv[1])
        stats.sendall(b"show stat\n")
        text = b"".join(iter(lambda: stats.recv(65536), b"")).decode()
    rows = [row for row in csv.DictReader(text.lstrip("# ").splitlines()) if row["svname"] == "metricstream"]
    states = {row["pxname"]: (row["status"], row["check_status"]) for row in rows}
    if len(states) == 3 and all(s[0] == "UP" and s[1] in ("L4OK", "L6OK", "L7OK") for s in states.values()):
        print("  HAProxy's health checks:", ", ".join(f"{n} {s[1]}" for n, s in sorted(states.items())))
        sys.exit(0)
    time.sleep(0.1)
print(states, file=sys.stderr)
sys.exit(1)
PYTHON
}

run_nginx() {
    mkdir -p "$work/nginx"
    {
        printf 'daemon off;\npid %s/nginx/pid;\nerror_log %s/nginx.log;\n' "$work" "$work"
        # Debian has the module for connections apart.
        module=/usr/lib/nginx/modules/ngx_stream_module.so
        [[ ! -e $module ]] || printf 'load_module %s;\n' "$module"
        with_ports "$root/contrib/proxies/nginx.conf" | sed "s|^http {|http { access_log off; client_body_temp_path $work/nginx/body; \
proxy_temp_path $work/nginx/proxy; fastcgi_temp_path $work/nginx/f; uwsgi_temp_path $work/nginx/u; scgi_temp_path $work/nginx/s;|"
    } >"$work/nginx.conf"
    nginx -p "$work/nginx" -c "$work/nginx.conf" >>"$work/nginx.log" 2>&1 &
    pids+=($!)
    for name in 9011 9012; do until_open "${port[$name]}"; done
    check 'nginx, PROXY protocol' "${port[9011]}"
    check 'nginx, X-Forwarded-For' "${port[9012]}"
}

for driver in io_uring epoll; do
    printf '%s\n' "$driver"
    "$BINARIES/metricstream" --listen "127.0.0.1:${port[8080]}" --proxy-listen "127.0.0.1:${port[8081]}" --trusted-proxies 127.0.0.1 \
        --forwarded-header x-forwarded-for --driver "$driver" --data-dir "$work/data-$driver" >"$work/server.log" 2>&1 &
    pids+=($!)
    until_open "${port[8080]}"
    for proxy in "${proxies[@]}"; do
        "run_$proxy"
    done
    end_all
done
echo 'proxies.sh: passed'
