#!/usr/bin/env bash
# The CPU time of load_test for a request by that of wrk for the same one, in one run, in turns.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: wrk_ratio.sh [PAIRS [SECONDS]]

Loads the floor server on the first core from the last, with 64 connections and the same POST, PAIRS (default 10) times
by load_test and by wrk 4 (Debian's package, installed when it is missing), in pairs of random order, SECONDS (default
3, whole ones) each. Prints the CPU time for each request and the median of the pairs' ratios, with the interval of the
sign test at 95 %. load_test's is that of its thread in the measured part, by its own report; that of its whole process
stands beside it, and includes the search for the server's process and the checksum of its own file. wrk's is that of
its process, which does nothing else. The goal is 0.70.

The commit that both were built from stands above; programs older than their sources are refused.
Exit code: 0 at the goal, 1 above it or refused, 2 wrong use.

environment: BINARIES  a directory with floor and load_test, built for release already
HELP
}

help_option "$@"
pairs=${1:-10} seconds=${2:-3}
[[ $pairs =~ ^[1-9][0-9]*$ && $seconds =~ ^[1-9][0-9]*$ && $# -le 2 ]] || wrong_use

install_package wrk wrk
need_tools "Debian's package wrk" wrk
need_binaries floor load_test
built_from=$(commit_of_binaries floor load_test)
printf 'programs built from: %s\n' "${built_from//$'\n'/, }"
exec python3 - "$BINARIES" "$pairs" "$seconds" "$root/bench/src/compare/wrk.lua" <<'PY'
import json, math, os, pathlib, random, statistics, subprocess, sys, tempfile

binaries, pairs, seconds, script = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), sys.argv[4]
GOAL = 0.70
cores = sorted(os.sched_getaffinity(0))
work = pathlib.Path(tempfile.mkdtemp(prefix="wrk_ratio."))
METRIC = {"name": "cpu_usage", "value": 75.5, "type": "gauge", "tags": {"host": "web1"}}
body = work / "body.json"
body.write_text(json.dumps({"metrics": 3 * [METRIC]}))


def on(core):
    return lambda: os.sched_setaffinity(0, {core})


def run(command):
    """The report of a process, and its CPU time for each request, microseconds."""
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True,
                               preexec_fn=on(cores[-1]))
    text = process.stdout.read()
    _, status, used = os.wait4(process.pid, 0)
    process.returncode = os.waitstatus_to_exitcode(status)
    lines = [line for line in text.splitlines() if line.startswith("{")]
    if process.returncode != 0 or not lines:
        sys.exit(f"wrk_ratio.sh: {command[0]} ended with {process.returncode}: {text}")
    report = json.loads(lines[-1])
    return report, 1e6 * (used.ru_utime + used.ru_stime) / report["requests"]


def interval(ordered):
    """The interval of the median at 95 % by the sign test; all of them where they are few."""
    beyond = max(1, math.floor((len(ordered) - 1.96 * math.sqrt(len(ordered))) / 2)) - 1
    return ordered[beyond], ordered[-1 - beyond]


server = subprocess.Popen([f"{binaries}/floor", "--listen", "127.0.0.1:0", "--reactors", "1"], text=True,
                          stdout=subprocess.PIPE, preexec_fn=on(cores[0]))
try:
    port = server.stdout.readline().strip().rsplit(":", 1)[1]
    load_test = [f"{binaries}/load_test", port, "-c", "64", "-t", "1", "-d", f"{seconds}s", "--body", f"@{body}",
                 "--format", "json"]
    wrk = ["wrk", "-t", "1", "-c", "64", "-d", f"{seconds}s", "-s", script, f"http://127.0.0.1:{port}/metrics", "--",
           str(body)]
    ratios = []
    for number in range(pairs):
        pair = {}
        for name, command in random.sample([("load_test", load_test), ("wrk", wrk)], 2):
            pair[name] = run(command)
        report, whole = pair["load_test"]
        ours, theirs = report["cpu_us_per_request"], pair["wrk"][1]
        ratios.append(ours / theirs)
        print(f"   load_test {ours:6.3f} us (whole process {whole:6.3f}), wrk {theirs:6.3f} us a request:"
              f" {ratios[-1]:.3f}", flush=True)
finally:
    server.terminate()
    server.wait(timeout=30)
ratios.sort()
low, high = interval(ratios)
median = statistics.median(ratios)
print(f"load_test by wrk, CPU time of a request: {median:.3f} ({low:.3f} to {high:.3f}), goal {GOAL:.2f}")
sys.exit(median > GOAL)
PY
