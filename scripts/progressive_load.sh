#!/usr/bin/env bash
# Progressive load: 10 to 1000 clients on one server; a table and a plot of success, throughput, latency and CPU.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: progressive_load.sh [--server | --stage NAME] [--clients "10 20 …"] [--smoke] [FLAG…]

Builds the release binaries, then starts the server afresh for each number of clients (10 20 50 100 150 200 500 1000),
loads it, and prints success rate, throughput, p50/p99/p99.9 and server CPU for each request. Checks that every
request up to saturation succeeded, and that nothing acknowledged is missing from the log. Writes
perf/out/progressive.svg and .json.

  --server         the product, as it is shipped (the default)
  --stage NAME     a stage of the ladder: sequential, thread-per-request, thread-pool, epoll-single, epoll-cores, uring-cores
  --clients LIST   numbers of clients
  --smoke          one quick pass, to see that everything works
  FLAG…            any other flag of `ladder progressive` (--seconds, --no-keepalive, --plot, --json, --server-cores,
                   --client-cores): `ladder progressive --help`

Exit code: 0 every request up to saturation succeeded, 1 not, or it could not be tried, 2 wrong use.

environment: BINARIES  a directory with ladder, load_test and metricstream, built already
HELP
}

help_option "$@"

cd "$root"
need_binaries metricstream load_test ladder
# It starts, stops and cleans up after the servers itself, also when it is interrupted.
exec "$BINARIES/ladder" progressive "$@"
