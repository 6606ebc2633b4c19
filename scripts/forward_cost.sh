#!/usr/bin/env bash
# What forwarding costs: CPU time for each sample, beside vmagent relaying the same samples, and that of ingestion.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: forward_cost.sh [--samples N] [--series N] [--rounds N] [--install | --instructions]

Makes a log of samples [default: 2000000] of series [default: 1000] with five tags, lets metricstream forward it from
the beginning to a receiver that only acknowledges, in each format, and to vmagent (Debian: victoria-metrics, or
--install), which relays it to the same receiver; all in turns, for a number of rounds [default: 3]. Prints the median
of the CPU time of each for a sample, and samples for a second of CPU time; and that of the system calls alone, made by
a program that reads the same log and sends as many bytes.

Then 100,000 metrics a second are posted for 3 seconds to a server without and to one with a forward, in batches of 3
and of 100, in turns, twice a round: the CPU time of the reactor for a request in each, and the median of the ratios
within the pairs. At the end come the goals: at most 1.05 of that, a million samples a second caught up by a server on
one core, and at most a third of vmagent's CPU time for a sample. They say little while the machine does other things.

With --instructions only those of the forward's threads are counted, by callgrind, for each sample and stage: they
repeat on a busy machine. 100,000 samples at most, four minutes.

Takes some 300 MB of disk in a temporary directory, and two minutes a round. Without vmagent or load_test their rows are
left out, and it is said so. Exit code: 0 done, 1 failed, 2 wrong arguments, 3 --instructions without valgrind.

environment: BINARIES  a directory with metricstream and load_test, built already
HELP
}

help_option "$@"
options=()
while (($# > 0)); do
    case $1 in
        --install) install_package vmagent victoria-metrics ;;
        --instructions)
            command -v valgrind >/dev/null || \
                die 3 'SKIPPED, nothing was counted: valgrind is not installed (Debian: valgrind)'
            options+=(--instructions)
            ;;
        --samples | --series | --rounds)
            [[ ${2:-} =~ ^[0-9]+$ ]] || wrong_use
            options+=("$1" "$2")
            shift
            ;;
        *) wrong_use ;;
    esac
    shift
done
need_tools 'Debian: apt-get install python3' python3
need_binaries metricstream load_test
exec python3 -B "$scripts/forward_cost.py" "$BINARIES/metricstream" "${options[@]}"
