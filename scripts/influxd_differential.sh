#!/usr/bin/env bash
# A real influxd and the decoder of line protocol take the same lines, and must accept and store the same.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: influxd_differential.sh [--install] [--lines N] [--seed N]

Starts Debian's influxd (InfluxDB 1.6) on the loopback, with its data in a temporary directory, makes N bodies [default:
2000] of one line each, half of them with a few bytes changed at random, writes each to influxd and to the decoder, and
compares: whether all, some or none of it is accepted, and what is stored: names, tags, values, numbers of strings and
timestamps, as influxd's /query gives them. The differences that the decoder's documentation names are counted; any
other fails. --install gets influxd with apt-get. Where it is missing otherwise, says so and exits 0. Exit code:
0 passed or skipped, 1 failed, 2 wrong arguments. influxd is ended by its pid.

environment: DECODE  the example `decode` of crates/metric, built already
HELP
}

help_option "$@"
install=0 lines=2000 seed=1
while (($# > 0)); do
    case $1 in
        --install) install=1 && shift ;;
        --lines) lines=${2:?} && shift 2 ;;
        --seed) seed=${2:?} && shift 2 ;;
        *) wrong_use ;;
    esac
done
((install == 0)) || install_package influxd influxdb
need_tools '--install gets influxd' influxd python3

if [[ -z ${DECODE:-} ]]; then
    (cd "$root" && cargo build --quiet --package metricstream-metric --example decode)
    DECODE=${CARGO_TARGET_DIR:-$root/target}/debug/examples/decode
fi
work=$(mktemp -d)
influxd_pid=
stop_influxd() {
    [[ -z $influxd_pid ]] || { kill -TERM "$influxd_pid" && wait "$influxd_pid"; } 2>/dev/null || true
    rm -rf "$work"
}
trap stop_influxd EXIT

read -r http_port rpc_port < <(python3 -c '
import socket
probes = [socket.create_server(("127.0.0.1", 0)) for _ in range(2)]
print(*(probe.getsockname()[1] for probe in probes))')
cat >"$work/influxd.conf" <<CONF
reporting-disabled = true
bind-address = "127.0.0.1:$rpc_port"
[meta]
  dir = "$work/meta"
  logging-enabled = false
[data]
  dir = "$work/data"
  wal-dir = "$work/wal"
  query-log-enabled = false
[monitor]
  store-enabled = false
[http]
  bind-address = "127.0.0.1:$http_port"
  log-enabled = false
CONF
influxd -config "$work/influxd.conf" >"$work/influxd.log" 2>&1 &
influxd_pid=$!
python3 "$scripts/influxd_differential.py" "$DECODE" "$http_port" "$lines" "$seed" ||
    die 1 "failed; try --seed $seed again, or see the lines above"
