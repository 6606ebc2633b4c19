#!/usr/bin/env bash
# Instructions in user space for one request, counted by callgrind: repeatable on a noisy machine, where times are not.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"
# shellcheck source=server.bash
source "$scripts/server.bash"

usage() {
    cat <<'HELP'
usage: instructions.sh [--check | --store | --show]

Runs the server under callgrind three times (epoll, one reactor, one connection, 3 metrics a request): with a few
requests, with 1,000 more one by one, and with 6,400 more with 16 in flight. What a count differs by from that of the
first run, divided by the requests more, is what one request costs; start and stop are left out. One connection, as the
reactor's turns then hardly depend on timing: two runs differ by 0.7 %. Prints for both ways the reactor's instructions
by stage, and those of the other threads. Stages of the reactor, and its sum with 16 in flight, are held against
perf/instructions.json; what depends on how often a thread polls, or on how long something took, is only shown: "others"
and "other threads", and one by one all but HTTP and the log, as they differ by up to 3 % between two runs.
  --check   compare with what is stored; so without an option
  --store   write what was counted to perf/instructions.json
  --show    only print it
Counts depend on how the binary was built, so the compiler and the profile are stored with them, and others are not
compared. What is stored is of the gate's build: CARGO_PROFILE_RELEASE_LTO=off, CARGO_PROFILE_RELEASE_CODEGEN_UNITS=16.
20 s on an idle machine.
Exit code: 0 good, or stored; 1 a count has grown by over 3 % and 5 instructions; 2 wrong use; 3 valgrind or
perf/instructions.json is missing, or it is of another build.

environment: BINARIES  a directory with metricstream and load_test, built for release already
             CARGO_PROFILE_RELEASE_LTO, CARGO_PROFILE_RELEASE_CODEGEN_UNITS  how they were built, if not by Cargo.toml
HELP
}

mode=check
while (($# > 0)); do
    case $1 in
        --help | -h) usage && exit 0 ;;
        --check | --store | --show) mode=${1#--} && shift ;;
        *) wrong_use ;;
    esac
done

stored=$root/perf/instructions.json
command -v valgrind >/dev/null || die 3 'SKIPPED, nothing was counted: valgrind is not installed (Debian: valgrind)'
[[ $mode != check || -e $stored ]] || die 3 "SKIPPED, nothing was compared: there is no $stored; --store writes it"
build="LTO ${CARGO_PROFILE_RELEASE_LTO:-thin}, codegen units ${CARGO_PROFILE_RELEASE_CODEGEN_UNITS:-1}, $(rustc -V)"
if [[ $mode == check ]] && ! grep -qF "\"$build\"" "$stored"; then
    die 3 "SKIPPED, nothing was compared: this build is $build, and $stored is of another"
fi
need_binaries metricstream load_test
work=$(mktemp -d)
trap 'stop_server || true; rm -rf "$work"' EXIT

# usage: count NAME [REQUESTS FLAG…]: counts a few requests in both ways, and then those that are given.
count() {
    local name=$1 under=$work/under.$1
    shift
    printf '#!/bin/sh\nexec valgrind --tool=callgrind --separate-threads=yes --callgrind-out-file=%q %q "$@"\n' \
        "$work/callgrind.$name" "$BINARIES/metricstream" >"$under"
    chmod +x "$under"
    mkdir "$work/data.$name"
    start_server "$under" "$work/log.$name" --driver epoll --reactors 1 --data-dir "$work/data.$name" \
        --rate-limit 10000000
    load 100
    load 160 --pipeline 16
    (($# == 0)) || load "$@"
    stop_server || die 1 'the server failed'
}

# usage: load REQUESTS FLAG…
load() {
    local requests=$1 served
    shift
    served=$("$BINARIES/load_test" "$server_port" 1 "$requests" "$@" --timeout 60s --format json |
        python3 -c 'import json, sys; print(json.load(sys.stdin)["successes"])')
    ((served == requests)) || die 1 "$served of $requests requests were served"
}

singles=1000 pipelined=6400
count few
count single "$singles"
count pipelined "$pipelined" --pipeline 16
PYTHONPATH=$scripts python3 -B - "$work" "$stored" "$mode" "$singles" "$pipelined" "$build" <<'PY'
import json, pathlib, re, sys
from callgrind import counts

work, stored, mode = pathlib.Path(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]
REQUESTS = {"single": int(sys.argv[4]), "pipelined": int(sys.argv[5])}

# The first pattern that a function's name matches is its group.
GROUPS = [
    ("parser and encoder", r"\bmetric::"),
    ("http", r"\bhttp1::|httparse|memchr"),
    ("limiter", r"\brate::|admission::|sip"),
    ("histograms", r"hdrhistogram|histograms"),
    ("log", r"\blog::|ingest::"),
    ("C library", r"^_*(mem|clock_gettime|pthread|malloc|free)|avx"),
]
# The thread that runs this is the reactor.
REACTOR = "metricstream::shard::state::State::receive"
# How often a thread polls depends on timing, and so does what a turn costs beside its requests. One by one each request
# has a turn to itself, and only these two repeat; with 16 in flight two runs differ by 0.5 %.
COMPARED = {
    "single": ("http", "log"),
    "pipelined": ("parser and encoder", "http", "limiter", "histograms", "log", "C library", "reactor"),
}


def group(name):
    return next((group for group, pattern in GROUPS if re.search(pattern, name)), "others")


def stages(run):
    """Instructions of the reactor by stage, and those of all other threads."""
    totals = dict.fromkeys([name for name, _ in GROUPS] + ["others", "reactor", "other threads"], 0)
    threads = [counts(path) for path in work.glob(f"callgrind.{run}-*")]
    if not any(REACTOR in thread for thread in threads):
        sys.exit("instructions.sh: no thread is the reactor: has it another name?")
    for thread in threads:
        if REACTOR not in thread:
            totals["other threads"] += sum(thread.values())
            continue
        for name, count in thread.items():
            totals[group(name)] += count
            totals["reactor"] += count
    return totals


few = stages("few")
now = {}
for run, requests in REQUESTS.items():
    many = stages(run)
    now[run] = {name: round((many[name] - few[name]) / requests, 1) for name in few}
before = json.loads(stored.read_text()) if mode == "check" else {}
grown = []
for run, of_run in now.items():
    print({"single": "one by one", "pipelined": "16 in flight"}[run])
    for name, count in of_run.items():
        earlier = before.get(run, {}).get(name)
        print(f"  {name:20} {count:9.1f}" + (f"  was {earlier:9.1f}" if earlier is not None else ""))
        is_compared = earlier is not None and name in COMPARED[run]
        if is_compared and count > 1.03 * earlier + 5:
            grown.append(f"{run} {name}")
if mode == "store":
    stored.write_text(json.dumps({"build": sys.argv[6], **now}, indent=2) + "\n")
if grown:
    sys.exit(f"instructions.sh: over 3 % and 5 more than stored: {', '.join(grown)}")
PY
