#!/usr/bin/env bash
# The goals for speed, measured: prints goal, figure and verdict of each.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"
# shellcheck source=server.bash
source "$scripts/server.bash"

usage() {
    cat <<'HELP'
usage: goals.sh [--rounds N] [--seconds SECONDS] [--only P1,P5,…] [--name HOST] [--keep DIR]

Measures what the table of goals in PERFORMANCE.md asks for, and prints it with a verdict: `compare` with the free
memory touched first (in turns, ratios within a round, medians), benchmark_json_parser beside simdjson, the server's
memory with 10,000 idle connections and after a flood, instructions of a request under callgrind, and benchmark_query.
A part whose peer is missing (nginx, victoria-metrics, libsimdjson-dev and a C++ compiler, valgrind) is shown as
`skipped`. It wants a machine where nothing else runs; 7 rounds of 1.2 seconds take some 11 minutes. The commit that
the programs were built from stands above the table; programs older than their sources are refused.

  --rounds N         rounds of compare and of the benchmarks (default 7)
  --seconds SECONDS  of each cell of compare (default 1.2)
  --only LIST        goals to measure, by name
  --name HOST        the host's name in what is stored
  --keep DIR         where the runs are stored: compare's directory and goals.txt (default perf/runs)

Exit code: 0 measured (also where a goal is missed: the table says so), 1 something failed, 2 wrong use.

environment: BINARIES  a directory with metricstream and the benchmarks, built for release already
HELP
}

command="scripts/goals.sh $*"
rounds=7 seconds=1.2 only='' name=$(uname -n) keep=$root/perf/runs
while (($# > 0)); do
    case $1 in
        --help | -h) usage && exit 0 ;;
        --rounds) rounds=${2:?} && shift 2 ;;
        --seconds) seconds=${2:?} && shift 2 ;;
        --only) only=${2:?} && shift 2 ;;
        --name) name=${2:?} && shift 2 ;;
        --keep) keep=${2:?} && shift 2 ;;
        *) wrong_use ;;
    esac
done
[[ $rounds =~ ^[1-9][0-9]*$ && $seconds =~ ^[0-9]+(\.[0-9]+)?$ && $only =~ ^(P[0-9]+(,P[0-9]+)*)?$ ]] || wrong_use
need_binaries metricstream compare floor load_test benchmark_json_parser benchmark_query
BINARIES=$(cd "$BINARIES" && pwd)
built_from=$(commit_of_binaries metricstream compare floor load_test benchmark_json_parser benchmark_query)
work=$(mktemp -d)
trap 'stop_server || true; rm -rf "$work"' EXIT
mkdir -p "$keep"

# usage: wanted GOAL…: true if one of them is to be measured.
wanted() {
    local goal
    [[ -n $only ]] || return 0
    for goal in "$@"; do
        [[ ,$only, != *",$goal,"* ]] || return 0
    done
    return 1
}

# usage: cells SCENARIOS SUBJECTS: one run of compare, its measurements added to those before.
cells() {
    local run
    mkdir "$work/run"
    "$BINARIES/compare" --touch-memory --clients load_test --rounds "$rounds" --seconds "$seconds" --name "$name" \
        --scenarios "$1" --subjects "$2" --out "$work/run" >/dev/null
    for run in "$work"/run/*; do
        cat "$run/compare.jsonl" >>"$work/compare.jsonl"
    done
    rm -r "$work/run"
}

: >"$work/compare.jsonl"
io_uring=floor-io_uring,metricstream-io_uring
epoll=floor-epoll,metricstream-epoll
if wanted P1 P2 P3 P4 P7; then
    cells c64,c500 "$io_uring,metricstream-memory,metricstream-fsync,floor-epoll,nginx,victoriametrics"
fi
! wanted P3 || cells c1000 "$io_uring,floor-epoll,nginx"
! wanted P5 || cells b100,b1000 "$io_uring"
! wanted P6 || cells pipelined "$io_uring"
# A stall of the host, 30 ms, hits half of the rounds of 1.5 s: more and shorter ones.
! wanted P10 || rounds=$((2 * rounds)) seconds=0.6 cells paced "$io_uring,$epoll,nginx"
! wanted P11 || cells c1 "$io_uring,floor-epoll,nginx"
! wanted P12 || cells fresh "$io_uring,floor-epoll,nginx"

if wanted P8 P9; then
    simdjson=()
    if "$scripts/simdjson.sh" "$work/simdjson" >&2; then
        simdjson=(--simdjson "$work/simdjson")
    fi
    "$BINARIES/benchmark_json_parser" --format json "${simdjson[@]}" >"$work/parsers.json"
fi

# usage: rss_kib: resident memory of the server.
rss_kib() {
    sed -n 's/^VmRSS:[[:space:]]*\([0-9]*\) kB/\1/p' "/proc/$server_pid/status"
}

if wanted P13; then
    ulimit -n "$(ulimit -Hn)"
    start_server "$BINARIES/metricstream" "$work/p13.log" --reactors 1 --data-dir "$work/p13" --rate-limit 0
    "$BINARIES/load_test" "$server_port" 8 200 --format json >/dev/null
    before=$(rss_kib)
    python3 - "$server_port" "$server_pid" >"$work/idle.txt" <<'PY'
import resource, socket, sys, time

port, pid = int(sys.argv[1]), sys.argv[2]
wanted = 10_000
most = resource.getrlimit(resource.RLIMIT_NOFILE)[0] - 50
# A source address has some 28,000 ports; 10,000 connections need one.
idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(min(wanted, most))]
time.sleep(2)
status = open(f"/proc/{pid}/status").read()
rss = next(int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS"))
print(len(idle), rss)
PY
    read -r idle idle_kib <"$work/idle.txt"
    "$BINARIES/load_test" "$server_port" -c 1000 -d 3s --format json >"$work/flood.json"
    flood=$(rss_kib)
    sleep 12
    after=$(rss_kib)
    stop_server || die 1 'the server failed'
    printf '{"idle": %s, "idle_kib": %s, "before_kib": %s, "flood_kib": %s, "after_kib": %s}\n' \
        "$idle" "$idle_kib" "$before" "$flood" "$after" >"$work/memory.json"
fi

if wanted P14; then
    if command -v valgrind >/dev/null; then
        BINARIES=$BINARIES "$scripts/instructions.sh" --show >"$work/instructions.txt"
    fi
fi

if wanted P15; then
    "$BINARIES/benchmark_query" --directory "$root/target/benchmark_query" --rounds "$rounds" --samples 2000 \
        --raw "$work/query.jsonl" >"$work/query.txt"
fi

{
    printf 'command: %s\ncommit: %s\nprograms built from: %s\ndate: %s\nload average at the end: %s\n\n' "${command% }" \
        "$(git -C "$root" rev-parse HEAD)" "${built_from//$'\n'/, }" "$(date -u +%FT%TZ)" "$(cut -d' ' -f1-3 /proc/loadavg)"
    python3 "$scripts/goals.py" "$work" "$only"
} | tee "$work/goals.txt"

stem=$keep/$(date -u +%F)-$name-goals number=''
while [[ -e $stem$number ]]; do
    number=.$((${number#.} + 1))
done
mkdir "$stem$number"
cp "$work/goals.txt" "$stem$number/"
for file in compare.jsonl parsers.json memory.json instructions.txt query.txt query.jsonl; do
    [[ ! -s $work/$file ]] || cp "$work/$file" "$stem$number/"
done
say "stored in $stem$number"
