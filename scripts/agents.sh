#!/usr/bin/env bash
# Real agents send to a real server; what each says it has sent must be in the log, metric by metric.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: agents.sh [--install] [--binary PATH] [--driver io_uring|epoll] [--seconds N] [--only AGENT,…] [CASE…]

Starts the server, points the agents at it by the very lines of PROTOCOLS.md, and compares what each agent says it has
sent and what was acknowledged to it (by its own counters, its own files or its own callbacks) with the log.

agents: Prometheus with its own storage and as an agent, vmagent, collectd, influx -import (Debian); influxdb-client,
        influxdb, OpenTelemetry's SDK, prometheus_client, datadog (PyPI); curl; hand-made requests in the encodings
        that no client from there sends; and an imitation of Telegraf's two outputs, which does what Telegraf's
        sources do with each status
cases:  plain      nothing is in the way: sent = acknowledged = log, no line twice; /stats closes for each protocol
        over-rate  each agent has an API key and sends more than its rate: none loses what it would keep elsewhere
        full-disk  the disk is full for some seconds, 503, then has space again (needs the right to mount a tmpfs)
        kill       kill -9 under load, thrice: what was acknowledged is in the log; lines that come twice are counted

Prints a table for each case: agent, metrics sent, acknowledged, dropped (by the agent's own rules, or returned
back to its caller as an error), lines in the log, lost (acknowledged and not in the log), duplicated, verdict. Without
a case all run; without a driver, on both. --install gets Debian's packages with apt-get; Python's come from PyPI into
an environment of the script's own. An agent that is missing is left out, and the table says so. Traffic is on loopback
only, everything started is ended by its pid. Exit code: 0 passed or skipped, 1 something is lost, 2 wrong arguments.

environment: BINARIES     a directory with metricstream, built already (otherwise cargo builds it for release)
             AGENTS_VENV  where the Python environment is kept [default: target/agents]
HELP
}

help_option "$@"
install=0 binary=
arguments=()
while (($# > 0)); do
    case $1 in
        --help | -h) usage && exit 0 ;;
        --install) install=1 && shift ;;
        --binary) binary=${2:?} && shift 2 ;;
        --driver | --seconds | --only) arguments+=("$1" "${2:?}") && shift 2 ;;
        -*) wrong_use ;;
        *) arguments+=("$1") && shift ;;
    esac
done

need_tools 'Debian: apt-get install python3 python3-venv' python3
if ((install)); then
    for pair in prometheus:prometheus vmagent:victoria-metrics collectd:collectd-core influx:influxdb-client \
        curl:curl; do
        install_package "${pair%%:*}" "${pair##*:}" || say "${pair##*:} cannot be installed; its agent is left out"
    done
    # collectd's write_http is linked with it, and its package only recommends it.
    /sbin/ldconfig -p | grep -q 'libyajl\.so\.2' || install_package '' libyajl2 || say 'libyajl2 cannot be installed'
fi

venv=${AGENTS_VENV:-$root/target/agents}
packages=(influxdb-client influxdb opentelemetry-sdk opentelemetry-exporter-otlp-proto-http prometheus-client datadog
    python-snappy zstandard)
if [[ ! -x $venv/bin/python ]]; then
    mkdir -p "$(dirname "$venv")"
    said=$(python3 -m venv "$venv" 2>&1) || skip "no Python environment can be made: $(tail -n 1 <<<"$said")"
fi
if [[ ! -e $venv/complete ]]; then
    if said=$("$venv/bin/pip" install --quiet --disable-pip-version-check "${packages[@]}" 2>&1); then
        : >"$venv/complete"
    else
        say "PyPI's packages cannot all be installed: $(tail -n 1 <<<"$said")"
    fi
fi

if [[ -z $binary ]]; then
    need_binaries metricstream
    binary=$BINARIES/metricstream
fi
[[ -x $binary ]] || die 2 "$binary cannot be run"

run=("$venv/bin/python" -B "$scripts/agents/run.py" --binary "$binary" "${arguments[@]}")
# The full disk is a tmpfs in a mount namespace of its own, which goes with it, however the script ends.
if unshare --mount true 2>/dev/null; then
    exec unshare --mount "${run[@]}"
elif unshare --mount --map-root-user true 2>/dev/null; then
    exec unshare --mount --map-root-user "${run[@]}"
fi
exec "${run[@]}"
