#!/usr/bin/env bash
# Instructions in user space for one request, counted by callgrind: repeatable on a noisy machine, where times are not.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"
# shellcheck source=server.bash
source "$scripts/server.bash"

usage() {
    cat <<'HELP'
usage: instructions.sh [--store | --show]

Runs the server under callgrind twice (epoll, one reactor, 64 connections with 16 requests in flight, 3 metrics each):
with 100 and with 300 requests a connection. The difference of the counts, divided by the 12,800 requests between them,
is what one request costs, start and stop left out. Prints the sum and the share of parser and encoder, HTTP, limiter,
log, C library and the rest, and compares them with perf/instructions.json.
  --store   write what was counted to perf/instructions.json
  --show    only print it
Counts depend on how the binary was built: compare and store with the same profile. Half a minute on an idle machine.
Exit code: 0 good, or stored; 1 a count of over 50 instructions has grown by over 3 %; 2 wrong use; 3 valgrind or
perf/instructions.json is missing.

environment: BINARIES  a directory with metricstream and load_test, built for release already
HELP
}

mode=compare
while (($# > 0)); do
    case $1 in
        --help | -h) usage && exit 0 ;;
        --store | --show) mode=${1#--} && shift ;;
        *) wrong_use ;;
    esac
done

stored=$root/perf/instructions.json
command -v valgrind >/dev/null || die 3 'valgrind is not installed (Debian: valgrind)'
[[ $mode != compare || -e $stored ]] || die 3 "there is no $stored: --store writes it"
need_binaries metricstream load_test
work=$(mktemp -d)
trap 'stop_server || true; rm -rf "$work"' EXIT

# usage: count REQUESTS_PER_CONNECTION
count() {
    local counts=$work/callgrind.$1 under=$work/under.$1
    printf '#!/bin/sh\nexec valgrind --tool=callgrind --callgrind-out-file=%q %q "$@"\n' \
        "$counts" "$BINARIES/metricstream" >"$under"
    chmod +x "$under"
    mkdir "$work/data.$1"
    start_server "$under" "$work/log.$1" --driver epoll --reactors 1 --data-dir "$work/data.$1" --rate-limit 10000000
    "$BINARIES/load_test" "$server_port" 64 "$1" --pipeline 16 --timeout 60s --format json >"$work/report.$1"
    stop_server || die 1 'the server failed'
}

count 100
count 300
python3 - "$work" "$stored" "$mode" <<'PY'
import json, pathlib, re, sys

work, stored, mode = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]

# The first pattern that a function's name matches is its group.
GROUPS = [
    ("parser and encoder", r"\bmetric::"),
    ("http", r"\bhttp1::|httparse|memchr"),
    ("limiter", r"\brate::|admission::|sip"),
    ("histograms", r"hdrhistogram|histograms"),
    ("log", r"\blog::|ingest::"),
    ("C library", r"^_*(mem|clock_gettime|pthread|malloc|free)|avx"),
]


def counts(requests):
    """Instructions of each function itself, by its name."""
    names, of, current, is_call = {}, {}, None, False
    for line in (work / f"callgrind.{requests}").read_text(errors="replace").splitlines():
        if match := re.match(r"(c?)fn=\((\d+)\)(?: (.*))?$", line):
            is_callee, number, name = match.groups()
            if name:
                names[number] = name
            if not is_callee:
                current = names.get(number, number)
        elif line.startswith("calls="):
            is_call = True
        elif line and line[0] in "0123456789+-*":
            # The line behind a call has the cost of what was called.
            if not is_call:
                of[current] = of.get(current, 0) + int(line.split()[1])
            is_call = False
    return of


def group(name):
    return next((group for group, pattern in GROUPS if re.search(pattern, name)), "others")


served = {}
for requests in (100, 300):
    report = json.loads((work / f"report.{requests}").read_text())
    if report["successes"] != report["requests"]:
        sys.exit(f"instructions.sh: {report['successes']} of {report['requests']} requests were served")
    served[requests] = report["requests"]
few, many = counts(100), counts(300)
between = served[300] - served[100]
now = dict.fromkeys([name for name, _ in GROUPS] + ["others", "request"], 0)
for name, count in many.items():
    more = count - few.get(name, 0)
    now[group(name)] += more
    now["request"] += more
now = {name: round(count / between, 1) for name, count in now.items()}
before = json.loads(stored.read_text()) if mode == "compare" else {}
grown = []
for name, count in now.items():
    earlier = before.get(name)
    print(f"{name:20} {count:9.1f}" + (f"  was {earlier:9.1f}" if earlier is not None else ""))
    if earlier is not None and max(count, earlier) > 50 and count > 1.03 * earlier:
        grown.append(name)
if mode == "store":
    stored.write_text(json.dumps(now, indent=2) + "\n")
if grown:
    sys.exit(f"instructions.sh: over 3 % more than stored: {', '.join(grown)}")
PY
