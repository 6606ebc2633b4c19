#!/usr/bin/env bash
# SIGKILL at random moments, and an oracle of what was acknowledged.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: crash_test.sh [KILLS] [OPTION…]

For each driver and level: starts the server under load and kills it (SIGKILL) KILLS times, 100 unless said otherwise:
under load, while it starts and recovers, while it stops. One directory sees it all. After each kill every line of the
log is held against the responses to the clients, and what a receiver was forwarded against the log. Options are those
of `torture crash --help`: --driver, --level, --seed …

Exit code: 0 everything that must be zero is, 1 it is not, 2 it could not be tried.

environment: BINARIES  a directory with metricstream, built already
HELP
}

help_option "$@"
kills=100
if [[ ${1:-} =~ ^[0-9]+$ ]]; then
    kills=$1
    shift
fi
# shellcheck source=torture.bash
source "$scripts/torture.bash"
build_torture
exec "$torture" crash --kills "$kills" --binary "$binary" "$@"
