#!/usr/bin/env bash
# A disk that fails: EIO, EROFS, short and torn writes, a quota, no space for drafts, a failed sync, a directory gone.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: failing_disk.sh [OPTION…]

For each driver, level and fault: starts the server under load on a disk that comes to fail, holds its end against
what is promised (exit code 1, the reason in the last line, no sync after a failed one), starts it again on a sound
disk, and holds every line of the log against the responses to the clients, and what a receiver was forwarded against
the log. Options are those of `torture failing-disk --help`: --fault, --driver, --level, --seed …

The faults come from a small library between the server and libc (LD_PRELOAD): needs a C compiler; without one, says
so and exits 0. Exit code: 0 passed or skipped, 1 something that must be zero is not, 2 it could not be tried.

environment: BINARIES  a directory with metricstream, built already
HELP
}

help_option "$@"
need_tools 'a C compiler; Debian: apt-get install gcc' cc
# shellcheck source=torture.bash
source "$scripts/torture.bash"
build_torture
exec "$torture" failing-disk --binary "$binary" "$@"
