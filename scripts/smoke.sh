#!/usr/bin/env bash
# Starts the release server on each driver, puts it under load, stops it, and checks that the log holds exactly what was
# acknowledged. Takes a few seconds a driver. Usage: scripts/smoke.sh [CLIENTS] [REQUESTS]
set -euo pipefail
cd "$(dirname "$0")/.."
clients=${1:-500}
requests=${2:-40}
work=$(mktemp -d)
server=""
stop() {
  [ -z "$server" ] || kill "$server" 2>/dev/null || true
  rm -rf "$work"
}
trap stop EXIT

for driver in io_uring epoll; do
  data="$work/$driver"
  target/release/metricstream --listen 127.0.0.1:0 --data-dir "$data" --driver "$driver" --rate-limit 0 2>"$data.log" &
  server=$!
  for _ in $(seq 100); do
    port=$(sed -n 's/.*listening on 127\.0\.0\.1:\([0-9]*\).*/\1/p' "$data.log")
    [ -z "$port" ] || break
    kill -0 "$server" 2>/dev/null || { cat "$data.log" >&2; exit 1; }
    sleep 0.1
  done
  [ -n "$port" ] || { echo "the server did not say where it listens" >&2; cat "$data.log" >&2; exit 1; }

  echo "-- $driver: $clients clients, $requests requests each, keep-alive, then a connection per request"
  target/release/load_test "$port" "$clients" "$requests" --format json >"$work/kept.json"
  target/release/load_test "$port" "$clients" 4 --no-keepalive --format json >"$work/fresh.json"
  echo "-- $driver: the real scrapes"
  scripts/send_file.sh bench/data/node_exporter.ndjson "http://127.0.0.1:$port/metrics"

  kill -TERM "$server"
  wait "$server" || { echo "the server did not stop cleanly" >&2; cat "$data.log" >&2; exit 1; }
  server=""
  python3 - "$data/metrics.jsonl" "$work/kept.json" "$work/fresh.json" <<'PY'
import json, sys
log, *runs = sys.argv[1:]
acknowledged = sum(json.load(open(run))["metrics_acknowledged"] for run in runs) + 12168
lines = sum(1 for line in open(log, "rb") if json.loads(line) and line.endswith(b"\n"))
print(f"   {lines} lines in the log, {acknowledged} metrics acknowledged")
sys.exit(lines != acknowledged)
PY
done
