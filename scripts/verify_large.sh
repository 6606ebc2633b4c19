#!/usr/bin/env bash
# A log of gigabytes for `metricstream verify`: how fast it is, and what it says of each kind of damage.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: verify_large.sh [GB]

Makes a log of at least GB (default 2) out of the real scrapes in bench/data, in a directory that is removed at the
end: four sealed segments with sidecars, and the active one. Runs verify on it three times and prints the rates, in
all and per core (the first run may find the page cache cold), then damages a small log in each way and shows what
verify says, and repairs it. Exit code: 0 all as expected, 1 not, 2 it could not be tried.

environment: BINARIES  a directory with metricstream, built already; THREADS  threads of verify (default: all cores); TMPDIR  where the log is made
HELP
}

help_option "$@"
[[ $# -le 1 && ${1:-2} =~ ^[1-9][0-9]*$ ]] || wrong_use
gigabytes=${1:-2}

work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
free_bytes=$(($(df --output=avail -k "$work" | tail -n 1) * 1024))
if ((free_bytes < (gigabytes + 1) * 1000000000)); then
    die 2 "$work has no space for $gigabytes GB"
fi
need_binaries metricstream
threads=${THREADS:-$(nproc)}

# make_log DIRECTORY BYTES SEGMENTS: the scrapes' metrics as lines of the log, again and again, each time 15 s later;
# so many equal segments sealed, and the rest active.
make_log() {
    python3 - "$root/bench/data/node_exporter.ndjson" "$@" <<'PYTHON'
import json, sys
from datetime import datetime, timedelta, timezone

source, directory, size, segments = sys.argv[1], sys.argv[2], int(sys.argv[3]), int(sys.argv[4])


def text(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"))


# Numbers keep their digits.
decode = json.JSONDecoder(parse_float=lambda digits: ("digits", digits), parse_int=lambda digits: ("digits", digits)).decode
lines = [
    f'"name":{text(metric["name"])},"value":{metric["value"][1]},"type":"{metric.get("type", "gauge")}",'
    f'"tags":{text(metric.get("tags", {}))}}}\n'.encode()
    for document in open(source, encoding="utf-8")
    for metric in decode(document)["metrics"]
]
begin = moment = datetime(2026, 1, 2, 3, 4, 5, 678000, timezone.utc)
for index in range(segments + 1):
    sealed = begin + timedelta(days=index)
    name = f"metrics-{sealed:%Y%m%dT%H%M%S}.678Z.jsonl" if index < segments else "metrics.jsonl"
    with open(f"{directory}/{name}", "wb") as log:
        while log.tell() < size / (segments + 1):
            head = f'{{"timestamp":"{moment:%Y-%m-%dT%H:%M:%S}.678Z",'.encode()
            log.write(b"".join(head + line for line in lines))
            moment += timedelta(seconds=15)
PYTHON
}

# verify DIRECTORY [FLAG...]: runs it; its exit code is in `code`.
verify() {
    code=0
    "$BINARIES/metricstream" verify "$@" --threads "$threads" || code=$?
}

expect() { # expect CODE WHAT
    if ((code != $1)); then
        printf 'verify_large.sh: %s: exit code %d where %d was due\n' "$2" "$code" "$1" >&2
        exit 1
    fi
}

printf '== a log of %s GB\n' "$gigabytes"
mkdir "$work/large"
make_log "$work/large" $((gigabytes * 1000000000)) 4
# Makes the sidecars; a repair of a sound log does nothing else.
verify "$work/large" --repair
expect 0 "making the sidecars"
for run in 1 2 3; do
    printf '== run %d\n' "$run"
    # Per core: by the CPU time, which others on the machine do not lengthen.
    python3 - "$BINARIES/metricstream" verify "$work/large" --json --threads "$threads" <<'PYTHON'
import json, resource, subprocess, sys

output = subprocess.run(sys.argv[1:], check=True, stdout=subprocess.PIPE).stdout
used = resource.getrusage(resource.RUSAGE_CHILDREN)
cpu_s = used.ru_utime + used.ru_stime
totals = json.loads(output)["totals"]
print(f'{totals["lines"]} lines, {totals["bytes"]} bytes in {totals["elapsed_s"]:.2f} s with {totals["threads"]} threads: '
      f'{totals["bytes_per_s"] / 1e9:.2f} GB/s; {cpu_s:.2f} s of CPU: {totals["bytes"] / cpu_s / 1e9:.2f} GB/s per core; '
      f"{used.ru_maxrss / 1024:.0f} MiB of memory")
PYTHON
done
rm -rf "$work/large"

printf '\n== damage, on a log of 8 MB with one sealed segment\n'
mkdir "$work/small"
make_log "$work/small" 8000000 1
verify "$work/small" --repair >/dev/null
sealed=$(basename "$work/small"/metrics-*.jsonl)
sidecar=${sealed%.jsonl}.index.json

# damage WHAT FILE PYTHON: a copy of the log with FILE's bytes `b` changed by PYTHON; then verify, repair, verify.
damage() {
    rm -rf "$work/damaged"
    cp -r "$work/small" "$work/damaged"
    python3 - "$work/damaged/$2" "$3" <<'PYTHON'
import sys

path, change = sys.argv[1:]
b = bytearray(open(path, "rb").read())
line = b.index(b"\n", 2_000_000) + 1
names = {"b": b, "line": line}
exec(change, names)
open(path, "wb").write(names["b"])
PYTHON
    printf '\n-- %s\n' "$1"
    verify "$work/damaged"
    expect 1 "$1"
    verify "$work/damaged" --repair | grep -E '^(repaired|it is)'
    verify "$work/damaged" >/dev/null
    expect 0 "$1, after the repair"
}

damage 'a torn tail' metrics.jsonl 'del b[-40:]'
damage 'a torn middle' metrics.jsonl 'del b[line + 50 : b.index(b"\n", line) + 1]'
damage 'a flipped bit, the line is still a line' "$sealed" 'at = b.index(b"value", line) + 7; b[at] ^= 1'
damage 'a flipped bit, the line is none' "$sealed" 'b[line + 40] ^= 4'
damage 'zeros' "$sealed" 'b[line + 100 : line + 20100] = bytes(20000)'
damage 'binary bytes' metrics.jsonl 'b[line:line] = bytes(range(128, 256)) + b"\n"'
damage 'text of somebody else' metrics.jsonl 'b[line:line] = b"hello from a shell\n"'
damage 'a truncated segment' "$sealed" 'del b[3_000_000:]'
printf '\n-- a sidecar of another segment\n'
rm -rf "$work/damaged"
mkdir "$work/damaged"
make_log "$work/damaged" 8000000 2
verify "$work/damaged" --repair >/dev/null
rm "$work/damaged"/metrics-20260103*.index.json
cp "$work/damaged"/metrics-20260102*.index.json "$work/damaged/metrics-20260103T030405.678Z.index.json"
python3 -c 'import sys; b = open(sys.argv[1], "rb").read(); open(sys.argv[1], "wb").write(b[: b.index(b"\n", 1_500_000) + 1])' \
    "$work/damaged/metrics-20260103T030405.678Z.jsonl"
verify "$work/damaged"
expect 1 "a sidecar of another segment"
printf '\n-- a garbled sidecar\n'
rm -rf "$work/damaged"
cp -r "$work/small" "$work/damaged"
truncate --size=1000 "$work/damaged/$sidecar"
verify "$work/damaged"
expect 1 "a garbled sidecar"
printf '\n-- an empty directory\n'
rm -rf "$work/damaged"
mkdir "$work/damaged"
verify "$work/damaged"
expect 0 "an empty directory"
printf '\nall as expected\n'
