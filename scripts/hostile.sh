#!/usr/bin/env bash
# Hostile clients as a benchmark: what a good client beside each kind of attack gets, and what the attack costs.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: hostile.sh [--driver io_uring|epoll] [--seconds N] [--smoke] [--judge-latency] [ATTACK…]

Starts a server and measures a good client alone, then beside each attack: slow drips, floods over the rate, RST storms,
readers with a zero window, gzip and zstd bombs, costly JSON, keys in many spellings, 66,000 names, half-sent heads and
bodies, floods of statistics and of queries. Prints a table for each driver: the good client's p50 and p99, resident
memory, descriptors, seconds until everything is back after the attack, and refusals by reason.

Judged: the good client gets 200 each time, memory is within what the server's bounds add up to, everything is back
within 10 s, the server stops with exit code 0. --judge-latency, on a machine that does nothing else: the good client's
p99 is within twice that of alone, or 5 ms. --smoke: four attacks of half a second. Traffic is on loopback only; every
process that is started is ended by its pid.

Exit code: 0 all is as it should be, 1 something is not, 2 it could not run.

environment: BINARIES  a directory with metricstream, built already (otherwise cargo builds it for release)
HELP
}

help_option "$@"
need_tools 'Debian: apt-get install python3' python3
need_binaries metricstream
exec python3 -B "$scripts/hostile.py" --binary "$BINARIES/metricstream" "$@"
