#!/usr/bin/env bash
# A disk that is really full: ENOSPC on a small tmpfs, and space again without a restart.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: full_disk.sh [OPTION…]

For each driver and level: starts the server under load on a tmpfs of 64 MiB, fills it up (503 with Retry-After,
/ready 503, /health 200), frees space and sees it go on by itself, kills it while the disk is full, starts it on the
full disk, stops it while the disk is full, and holds every line of the log against the responses to the clients, and
what a receiver was forwarded against the log. Options are those of `torture full-disk --help`: --driver, --level,
--seed …

Needs the right to mount (root, or user namespaces); where it is missing, says so and exits 0.
Exit code: 0 passed or skipped, 1 something that must be zero is not, 2 it could not be tried.

environment: BINARIES  a directory with metricstream, built already
HELP
}

help_option "$@"
# shellcheck source=torture.bash
source "$scripts/torture.bash"

disk=$(mktemp -d)
# shellcheck disable=SC2016 # The shell in the new name space expands it.
mount_tmpfs='mount -t tmpfs -o size=64m tmpfs "$1"'
# A mount in a namespace of its own goes with it, however the test ends.
if unshare --mount true 2>/dev/null; then
    isolate=(unshare --mount)
else
    isolate=(unshare --mount --map-root-user)
fi
if ! said=$("${isolate[@]}" sh -c "$mount_tmpfs" sh "$disk" 2>&1); then
    rmdir "$disk"
    skip "a tmpfs cannot be mounted here: $(head -n 1 <<<"$said")"
fi
build_torture
code=0
"${isolate[@]}" sh -c "$mount_tmpfs"' && shift && exec "$@"' sh "$disk" \
    "$torture" full-disk --disk "$disk" --binary "$binary" "$@" || code=$?
rmdir "$disk"
exit "$code"
