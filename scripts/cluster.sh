#!/usr/bin/env bash
# Several nodes behind a real HAProxy, with real stores behind them: limits, acknowledgements, deliveries.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: cluster.sh [--install] [--nodes N] [--clients N] [--seconds N] [--minutes N] [--seed N]

Runs nodes of metricstream [default: 3] behind HAProxy, as contrib/haproxy/haproxy.cfg configures it, and lets clients
[default: 100] post to HAProxy for a number of seconds [default: 12], half of them faster than their rate. First nothing
happens to the nodes: then no client may be over its rate in any second of all nodes' logs together. Then nodes are
killed, stopped with SIGTERM and started again at random: each acknowledged batch must be in the log of a node, once,
and none that was refused. Then, for a number of minutes [default: 2; 0 for none], the nodes forward to Prometheus and
VictoriaMetrics; nodes and HAProxy are killed and stopped, and the stores stopped, at random; at the end everything is
delivered, and each store must have exactly the batches that are in the logs. There a client may be over its rate only
by having moved: in no second does it have more than its rate for each node that it was on.

Needs haproxy and python3, and for the last part prometheus and victoria-metrics; --install gets them with apt-get. What
is missing is skipped, and it is said so. Everything started is ended by its pid. Choices come from a seed [default: 1].
Exit code: 0 passed or skipped, 1 failed, 2 wrong arguments.

environment: BINARIES  a directory with metricstream, built already
HELP
}

help_option "$@"
options=()
while (($# > 0)); do
    case $1 in
        --install)
            PATH=$PATH:/usr/sbin install_package haproxy haproxy
            install_package prometheus prometheus
            install_package victoria-metrics victoria-metrics
            ;;
        --nodes | --clients | --seconds | --minutes | --seed)
            [[ ${2:-} =~ ^[0-9]+$ ]] || wrong_use
            options+=("$1" "$2")
            shift
            ;;
        *) wrong_use ;;
    esac
    shift
done
PATH=$PATH:/usr/sbin
need_tools 'Debian: apt-get install haproxy python3, or --install' haproxy python3
need_binaries metricstream
exec python3 "$scripts/cluster.py" "$BINARIES/metricstream" "$root/contrib/haproxy/haproxy.cfg" "${options[@]}"
