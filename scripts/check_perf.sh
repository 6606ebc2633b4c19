#!/usr/bin/env bash
# The scripts in perf/ on programs made for it: a binary that is replaced while it runs, one without symbols, a
# recording of another build, a thread that is blocked all the time, a perf that cannot be run; and on a server under
# load: what stands in a picture's title, and that the two tables of stat.sh agree.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"
cd "$root"

usage() {
    cat <<'HELP'
usage: check_perf.sh

Needs perf, with permission to record (exit code 3 without), and a C compiler.

environment: BINARIES  a directory with metricstream, load_test and flamegraph, built already

exit code: 0 all as expected, 1 not, 3 not permitted here
HELP
}
no_arguments "$@"

need_binaries metricstream load_test flamegraph
BINARIES=$(realpath "$BINARIES")
export BINARIES

work=$(mktemp -d)
pids=()
clean_up() {
    for pid in "${pids[@]}"; do kill "$pid" 2>/dev/null || true; done
    rm -rf "$work"
}
trap clean_up EXIT
export PERF_OUT=$work/out
# What perf remembers of the programs below would name their frames for ever.
export HOME=$work

failures=0
check() { # check NAME CONDITION…
    local name=$1
    shift
    if "$@"; then
        printf 'ok      %s\n' "$name"
    else
        printf 'FAILED  %s\n' "$name"
        failures=$((failures + 1))
    fi
}

# Runs a script of perf/, with its outputs in $work/stdout and $work/stderr; sets `code`.
run() {
    code=0
    "$@" >"$work/stdout" 2>"$work/stderr" || code=$?
    if ((code == 3)); then
        cat "$work/stderr" >&2
        exit 3
    fi
}

cat >"$work/spin.c" <<'C'
#include <pthread.h>
#include <time.h>
#include <unistd.h>
__attribute__((noinline)) long hot_function(long n) {
    volatile long sum = 0;
    for (long i = 0; i < n; i++) sum += i;
    return sum;
}
static void *sleeper(void *name) { return (void *)(long)pause(); }
int main(void) {
    pthread_t thread;
    pthread_create(&thread, 0, sleeper, 0);
    for (time_t start = time(0); time(0) - start < 60;) hot_function(1000000);
}
C
spin() { # spin FLAG…: starts a program of its own and sets `pid`
    cc -O1 -o "$work/spin.new" "$work/spin.c" -pthread "$@"
    mv "$work/spin.new" "$work/spin"
    "$work/spin" &
    pid=$!
    pids+=("$pid")
    until [[ $(readlink "/proc/$pid/exe") == "$work/spin" ]]; do :; done
}
has() { grep -q "$1" "$2"; }

spin
cc -O0 -o "$work/spin.new" "$work/spin.c" -pthread
mv "$work/spin.new" "$work/spin"
run perf/flamegraph.sh --seconds 1 "$pid"
check 'a binary that was replaced while it runs keeps its names' has ';main;hot_function ' "$PERF_OUT"/*-on-cpu.folded
check 'and it is said' has 'replaced while it runs' "$work/stderr"
check 'nothing is left behind' test ! -e "$work/spin (deleted)"
run perf/flamegraph.sh "$(echo "$PERF_OUT"/*-on-cpu.data)"
check 'its recording can be drawn later' test "$code" = 0
run perf/offcpu.sh --seconds 1 "$pid"
if compgen -G "$PERF_OUT/*-off-cpu.folded" >/dev/null && ! grep -q 'switches off' "$work/stderr"; then
    check 'a thread that is blocked all the time is there' grep -qE '\[blocked\] [0-9]{6,}$' "$PERF_OUT"/*-off-cpu.folded
fi
rm -rf "$PERF_OUT"

spin -s -Wl,--build-id=none
run perf/flamegraph.sh --seconds 1 "$pid"
check 'a program without symbols is an error' test "$code" = 1
check 'that names it' has "$work/spin" "$work/stderr"
rm -rf "$PERF_OUT"

spin -DONE
run perf/record.sh --seconds 1 "$pid"
cc -O0 -g -o "$work/spin.new" "$work/spin.c" -pthread
mv "$work/spin.new" "$work/spin"
run perf/flamegraph.sh "$(cat "$work/stdout")"
check 'a recording of another build is an error' test "$code" = 1
check 'that says so' has 'another build' "$work/stderr"

PERF=/nonexistent run perf/flamegraph.sh --seconds 1 "$pid"
check 'a PERF that cannot be run is wrong use' test "$code" = 2
check 'and not the fault of the kernel' has 'PERF=/nonexistent' "$work/stderr"

rm -rf "$PERF_OUT"

run perf/flamegraph.sh --smoke
commit=$(git rev-parse --short HEAD 2>/dev/null) || commit=nogit
check 'a title has commit, load and samples' \
    grep -qE "MetricsStream ${commit}[^,<]*, on-CPU, [^<]*load -c 16, [0-9]+ samples<" "$PERF_OUT"/*-on-cpu.svg
rm -rf "$PERF_OUT"

# Two threads, one of which never runs: what perf counts and what /proc says must be the same work. The hypervisor's
# share is in the clock of the first alone.
spin
run perf/stat.sh --seconds 2 "$pid"
cat >"$work/agree.py" <<'PY'
import re, sys
text = open(sys.argv[1]).read()
def counted(event):
    return float(re.search(r"([0-9.,]+)\s+(?:msec\s+)?" + event, text)[1].replace(",", ""))
threads = re.findall(r"^(\S+) +([0-9.]+) +[0-9.]+ +[0-9.]+ +([0-9]+) +([0-9]+) +-$", text, re.M)
rows, everything = [row for row in threads if row[0] != "all"], next(row for row in threads if row[0] == "all")
assert len(rows) == 2, text
for column in (1, 2, 3):
    assert abs(sum(float(row[column]) for row in rows) - float(everything[column])) <= 0.1 * len(rows), text
assert 0.5 * counted("task-clock") <= float(everything[1]) <= 1.02 * counted("task-clock") + 10, text
if "context-switches" in text:
    # perf begins before the first reading of /proc and ends after the second: longer where its core is busy.
    switches, of_threads = counted("context-switches"), int(everything[2]) + int(everything[3])
    assert 0.75 * switches - 5 <= of_threads <= switches + 5, text
PY
check 'both tables of stat.sh agree' python3 "$work/agree.py" "$PERF_OUT"/*-stat.txt

printf '%d failed\n' "$failures"
((failures == 0))
