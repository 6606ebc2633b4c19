#!/usr/bin/env bash
# Puts the release server under load, on each driver, and checks that the log holds exactly what was acknowledged.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: smoke.sh [CLIENTS] [REQUESTS]

Starts metricstream on each driver, puts CLIENTS (default 500) with REQUESTS each (default 40) on it,
once with connections kept and once with a connection per request, then with each protocol that load_test speaks, posts
the real scrapes, stops it, and counts the lines of its log. Takes a few seconds a driver. Exit code: 0 every line is
there and no other, 1 not.

environment: BINARIES  a directory with metricstream and load_test, built already
HELP
}

help_option "$@"
cd "$root"
# shellcheck source=server.bash
source scripts/server.bash
need_binaries metricstream load_test
clients=${1:-500}
requests=${2:-40}
work=$(mktemp -d)
trap 'stop_server || true; rm -rf "$work"' EXIT

protocols=(json remote-write remote-write-2 influx influx-2 otlp text)
for driver in io_uring epoll; do
    data=$work/$driver
    start_server "$BINARIES/metricstream" "$data.log" --data-dir "$data" --driver "$driver" --rate-limit 0
    printf -- '-- %s: %s clients, connections kept, then a connection per request, then the real scrapes\n' "$driver" "$clients"
    "$BINARIES/load_test" "$server_port" "$clients" "$requests" --format json >"$work/kept.json"
    "$BINARIES/load_test" "$server_port" "$clients" 4 --no-keepalive --format json >"$work/fresh.json"
    reports=("$work/kept.json" "$work/fresh.json")
    for protocol in "${protocols[@]}"; do
        reports+=("$work/$protocol.json")
        "$BINARIES/load_test" "$server_port" 16 10 --protocol "$protocol" --batch 700 --format json >"${reports[-1]}"
    done
    scripts/send_file.sh bench/data/node_exporter.ndjson "http://127.0.0.1:$server_port/metrics"
    stop_server || { printf 'the server did not stop cleanly:\n' >&2; cat "$data.log" >&2; exit 1; }
    python3 - "$data/metrics.jsonl" "${reports[@]}" <<'PY'
import json, sys
log, *runs = sys.argv[1:]
acknowledged = sum(json.load(open(run))["metrics_acknowledged"] for run in runs) + 12168
lines = 0
for line in open(log, "rb"):
    assert line.endswith(b"\n") and set(json.loads(line)) == {"timestamp", "name", "value", "type", "tags"}, line
    lines += 1
print(f"   {lines} lines in the log, {acknowledged} metrics acknowledged")
sys.exit(lines != acknowledged)
PY
done
