#!/usr/bin/env bash
# A disk that is really full: ENOSPC on a small tmpfs, and room again without a restart.
set -euo pipefail

usage() {
    cat <<'HELP'
usage: full_disk.sh

For each driver: starts a server whose data directory is a tmpfs of 1 MiB, posts batches until the disk is full (503 with
Retry-After, /ready 503, /health 200), makes room, posts on until batches are taken again, stops it, and checks that every
acknowledged batch is in the log, whole and once.
Needs the right to mount; where it is missing, says so and exits 0. Exit code: 0 passed or skipped, 1 failed.

environment: BINARY  a server that is built already
HELP
}

if [[ ${1:-} == --help || ${1:-} == -h ]]; then
    usage
    exit 0
fi
if (($# > 0)); then
    usage >&2
    exit 2
fi

scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
root=$(dirname "$scripts")
# shellcheck source=server.bash
source "$scripts/server.bash"

work=$(mktemp -d)
disk=$work/disk
mkdir "$disk"
if ! mount -t tmpfs -o size=1m tmpfs "$disk" 2>"$work/mount.log"; then
    printf 'full_disk.sh: skipped, a tmpfs cannot be mounted here: %s\n' "$(head -n 1 "$work/mount.log")"
    rm -rf "$work"
    exit 0
fi
trap 'stop_server || true; umount "$disk" 2>/dev/null || true; rm -rf "$work"' EXIT

if [[ -z ${BINARY:-} ]]; then
    (cd "$root" && cargo build --release --quiet --bin metricstream)
    BINARY=${CARGO_TARGET_DIR:-$root/target}/release/metricstream
fi

fail() {
    printf 'full_disk.sh: %s\n' "$1" >&2
    [[ ! -s $work/server.log ]] || tail -n 20 "$work/server.log" >&2
    exit 1
}

# Posts a batch of 50 metrics with the mark given; prints the status, 000 when no answer came.
post() {
    python3 -c '
import sys
mark = sys.argv[1]
metrics = (f"""{{"name":"disk","value":{i},"tags":{{"batch":"{mark}","index":"{i}"}}}}""" for i in range(50))
print("""{"metrics":[""" + ",".join(metrics) + "]}")' "$1" |
        curl --silent --max-time 10 --dump-header "$work/head" --output /dev/null --write-out '%{http_code}' \
            --data-binary @- "http://127.0.0.1:$server_port/metrics" || true
}

status_of() {
    curl --silent --max-time 10 --output /dev/null --write-out '%{http_code}' "http://127.0.0.1:$server_port$1" || true
}

for driver in io_uring epoll; do
    find "$disk" -mindepth 1 -delete
    # Most of the space is taken by a stranger, who can give it back.
    head -c 768K /dev/zero >"$disk/stranger"
    start_server "$BINARY" "$work/server.log" --driver "$driver" --ack write --write-timeout 2s --rate-limit 0 \
        --data-dir "$disk/data" || fail "$driver: it did not start"
    : >"$work/acknowledged"
    full=0
    for number in $(seq 400); do
        status=$(post "$number")
        case $status in
        200) echo "$number" >>"$work/acknowledged" ;;
        503)
            grep -qi '^retry-after: *[1-9]' "$work/head" || fail "$driver: a 503 without Retry-After"
            full=$number
            break
            ;;
        000) ;; # the batch that met the end of the disk may be closed without an answer
        *) fail "$driver: status $status where 200 or 503 was due" ;;
        esac
    done
    ((full > 0)) || fail "$driver: the disk was never full"
    before=$(wc -l <"$work/acknowledged")
    [[ $(status_of /ready) == 503 ]] || fail "$driver: /ready is not 503 on a full disk"
    [[ $(status_of /health) == 200 ]] || fail "$driver: /health is not 200 on a full disk"
    for extra in 1 2 3 4 5; do
        status=$(post "full-$extra")
        [[ $status != 200 ]] || fail "$driver: a batch was acknowledged on a full disk"
    done

    rm "$disk/stranger"
    recovered=0
    for number in $(seq 1000 1300); do
        status=$(post "$number")
        if [[ $status == 200 ]]; then
            echo "$number" >>"$work/acknowledged"
            recovered=$((recovered + 1))
            ((recovered < 20)) || break
        else
            sleep 0.1
        fi
    done
    ((recovered == 20)) || fail "$driver: it did not recover when there was room again"
    [[ $(status_of /ready) == 200 ]] || fail "$driver: /ready is not 200 again"
    stop_server || fail "$driver: it did not stop cleanly"

    python3 - "$work/acknowledged" "$disk/data/metrics.jsonl" <<'PYTHON' || fail "$driver: the log is not what was acknowledged"
import collections, json, sys

acknowledged = [line.strip() for line in open(sys.argv[1])]
text = open(sys.argv[2], encoding="utf-8").read()
assert text.endswith("\n"), "the log ends in a torn line"
found = collections.defaultdict(list)
for line in text.splitlines():
    tags = json.loads(line)["tags"]
    found[tags["batch"]].append(int(tags["index"]))
for mark, indices in found.items():
    assert indices == list(range(50)), f"batch {mark} is there as {indices}"
missing = [mark for mark in acknowledged if mark not in found]
assert not missing, f"acknowledged and not in the log: {missing}"
PYTHON
    printf '%-10s full after %d batches, %d acknowledged after, every one of them in the log\n' "$driver" "$before" "$recovered"
done
