#!/usr/bin/env bash
# A real Prometheus scrapes the server under load, and must have counted what load_test has.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: prometheus.sh [--install]

For no limit and for a rate limit of 500: starts a server and Debian's Prometheus, which scrapes it every second; puts
load_test on the server; waits for the first scrape after the load; asks Prometheus' API, and compares with
load_test's own counts, to the last request: batches stored and refused, metrics stored, requests measured. Then it
shows the server's own p50 and p99 beside those of load_test and of Prometheus' histogram_quantile; load_test's also
hold the loopback and two wake-ups, so only a gross difference fails. --install gets Prometheus with apt-get. Where it
is missing otherwise, says so and exits 0. Exit code: 0 passed or skipped, 1 failed. Everything started is ended by
its pid.

environment: BINARIES  a directory with metricstream and load_test, built already
HELP
}

help_option "$@"
install=0
if [[ ${1:-} == --install ]]; then
    install=1
    shift
fi
no_arguments "$@"
((install == 0)) || install_package prometheus prometheus
need_tools '--install gets Prometheus' prometheus python3

# shellcheck source=server.bash
source "$scripts/server.bash"
need_binaries metricstream load_test

work=$(mktemp -d)
prometheus_pid=
stop_prometheus() {
    [[ -n $prometheus_pid ]] || return 0
    kill -TERM "$prometheus_pid" 2>/dev/null || true
    wait "$prometheus_pid" 2>/dev/null || true
    prometheus_pid=
}
trap 'stop_prometheus; stop_server || true; rm -rf "$work"' EXIT
failed=0

for limit in 0 500; do
    start_server "$BINARIES/metricstream" "$work/server-$limit.log" --data-dir "$work/data-$limit" --rate-limit "$limit"
    cat >"$work/prometheus.yml" <<YML
global: {scrape_interval: 1s, scrape_timeout: 1s}
scrape_configs:
  - job_name: metricstream
    static_configs: [{targets: ["127.0.0.1:$server_port"]}]
YML
    api_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
    prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb-$limit" \
        --web.listen-address="127.0.0.1:$api_port" >"$work/prometheus-$limit.log" 2>&1 &
    prometheus_pid=$!
    # An open loop well below what the server can do, so that its latency is not that of a queue.
    "$BINARIES/load_test" "$server_port" 32 --rate 2000 --duration 4s --format json >"$work/load.json" ||
        [[ $limit != 0 ]] || failed=1
    printf -- '-- rate limit %s\n' "$limit"
    python3 - "$server_port" "$api_port" "$work/load.json" "$limit" <<'PY' || {
import json, sys, time, urllib.parse, urllib.request

server, api, load_file, limit = *map(int, sys.argv[1:3]), sys.argv[3], int(sys.argv[4])
load = json.load(open(load_file))
over = time.time()
fetch = lambda url: json.load(urllib.request.urlopen(url, timeout=10))

def query(text):
    found = fetch(f"http://127.0.0.1:{api}/api/v1/query?" + urllib.parse.urlencode({"query": text}))["data"]["result"]
    return float(found[0]["value"][1]) if found else None

for _ in range(300):
    try:
        if (query("timestamp(metricstream_batches_received_total)") or 0) > over:
            break
    except OSError:
        pass  # It is still starting.
    time.sleep(0.1)
else:
    sys.exit("Prometheus has no scrape from after the load")

ok, refused = load["statuses"].get("200", 0), load["statuses"].get("429", 0)
failed = False
for name, text, expected in [
    ("requests", "metricstream_batches_received_total", load["requests"]),
    ("200", "metricstream_batches_stored_total", ok),
    ("429", 'metricstream_batches_rejected_total{reason="rate_limited"}', refused),
    ("429 by status", 'sum(metricstream_http_requests_total{status="429"})', refused),
    ("metrics", "metricstream_metrics_stored_total", load["metrics_acknowledged"]),
    ("measured", 'metricstream_request_duration_seconds_count{route="batch"}', load["requests"]),
    ("the sum", "sum(metricstream_batches_received_total) - sum(metricstream_batches_stored_total)"
     " - sum(metricstream_batches_rejected_total) - sum(metricstream_batches_shed_total)", 0),
]:
    found = query(text)
    failed |= found != expected
    print(f"   {name:14} load_test {expected:8}  Prometheus {found:10.0f}  {'equal' if found == expected else 'DIFFERENT'}")
if (refused > 0) != (limit > 0) or ok == 0:
    failed = True
    print(f"   this load was to be refused in part: {limit > 0}; {ok} x 200, {refused} x 429")

if limit == 0:
    own = fetch(f"http://127.0.0.1:{server}/stats")["latency_us"]
    client = load.get("latency_raw_us") or load["latency_us"]
    for name, quantile in [("p50", 0.5), ("p99", 0.99)]:
        bucket = 1e6 * query(
            f'histogram_quantile({quantile}, metricstream_request_duration_seconds_bucket{{route="batch"}})')
        print(f"   {name}: server {own[name]:.0f} us, Prometheus' buckets {bucket:.0f} us, load_test {client[name]:.0f} us")
        # The server's time is within the client's, but for the histograms' resolution of 1 %. The client's has the
        # loopback and its own wake-ups on top: that it is no other quantity is all that can be held against it on a
        # shared machine.
        if own[name] > 1.05 * client[name] or client[name] > 20 * own[name] + 5_000:
            failed = True
            print(f"   {name} of the server and of load_test have nothing to do with each other")
        # Buckets are 2 to 2.5 apart.
        if not own[name] / 2.6 <= bucket <= own[name] * 2.6:
            failed = True
            print(f"   {name} of the buckets is not that of the histogram they were made from")
sys.exit(failed)
PY
        failed=1
        tail -n 5 "$work/prometheus-$limit.log" >&2
    }
    stop_prometheus
    stop_server || failed=1
done
exit "$failed"
