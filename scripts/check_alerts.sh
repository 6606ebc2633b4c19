#!/usr/bin/env bash
# The alert rules and the dashboard: tested by promtool, and held against a live server.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: check_alerts.sh [--install]

Runs `promtool check rules` and `promtool test rules` on contrib/prometheus; every alert must have a test that sees it
fire. Then starts a server and Debian's Prometheus with those rules, puts a little of everything on the server, and
checks every expression of the rules and of the Grafana dashboard: that its metrics, labels and values are exposed,
and that the units of the panels are those of the metrics. --install gets Prometheus (promtool is in it) with apt-get.
Where it is missing otherwise, says so and exits 0. Exit code: 0 passed or skipped, 1 failed. Everything started is
ended by its pid.

environment: BINARIES  a directory with metricstream, built already
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
need_tools '--install gets Prometheus' promtool prometheus python3 curl

rules=$root/contrib/prometheus/alerts.yml
tests=$root/contrib/prometheus/alerts_test.yml
dashboard=$root/contrib/grafana/metricstream.json
# shellcheck source=server.bash
source "$scripts/server.bash"

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT

promtool check rules "$rules" | tail -n 2 | head -n 1
promtool test rules "$tests" >"$work/tests.log" 2>&1 || { cat "$work/tests.log" >&2 && exit 1; }
printf '  %s tests pass\n' "$(grep -c '^  - name: ' "$tests")"
while read -r alert; do
    grep -q "alertname=\"$alert\"" "$tests" || { printf 'no test sees %s fire\n' "$alert" >&2 && exit 1; }
done < <(sed -nE 's/^ *- alert: *(\w+)/\1/p' "$rules")

need_binaries metricstream
prometheus_pid=
stop_prometheus() {
    [[ -n $prometheus_pid ]] || return 0
    kill -TERM "$prometheus_pid" 2>/dev/null || true
    wait "$prometheus_pid" 2>/dev/null || true
    prometheus_pid=
}
trap 'stop_prometheus; stop_server || true; rm -rf "$work"' EXIT

api_port=$(python3 -c 'import socket; s = socket.socket(); s.bind(("127.0.0.1", 0)); print(s.getsockname()[1])')
# A forward to the Prometheus that scrapes it, so that its figures are there too.
start_server "$BINARIES/metricstream" "$work/server.log" --data-dir "$work/data" --reactors 2 --stats-interval 500ms \
    --forward "http://127.0.0.1:$api_port/api/v1/write"
cat >"$work/prometheus.yml" <<YML
global: {scrape_interval: 500ms, scrape_timeout: 500ms, evaluation_interval: 500ms}
rule_files: ["$rules"]
scrape_configs:
  - job_name: metricstream
    static_configs: [{targets: ["127.0.0.1:$server_port"]}]
YML
prometheus --config.file="$work/prometheus.yml" --storage.tsdb.path="$work/tsdb" --web.enable-remote-write-receiver \
    --web.listen-address="127.0.0.1:$api_port" >"$work/prometheus.log" 2>&1 &
prometheus_pid=$!

url=http://127.0.0.1:$server_port
scrapes() {
    curl --silent --get "http://127.0.0.1:$api_port/api/v1/query" --data-urlencode 'query=count_over_time(metricstream_ready[1h])' |
        sed -nE 's/.*"value":\[[^,]*,"([0-9]+)"\].*/\1/p'
}
# A little of everything between the scrapes, so that rates have something to show: of rates that see no change
# Prometheus has no samples.
for _ in $(seq 600); do
    for ack in memory write fsync; do
        curl --silent --output /dev/null "$url/metrics?ack=$ack" --data '{"metrics":[{"name":"a","value":1},{"name":"b","value":2}]}'
    done
    curl --silent --output /dev/null "$url/stats"
    [[ $(scrapes) -lt 8 ]] || break
    sleep 0.1
done
[[ $(scrapes) -ge 8 ]] || { printf 'Prometheus does not scrape:\n' >&2 && tail -n 5 "$work/prometheus.log" >&2 && exit 1; }
python3 "$scripts/check_expressions.py" "http://127.0.0.1:$api_port" "$dashboard"
stop_prometheus
stop_server
