#!/usr/bin/env bash
# Holds load_test's comparison to its promise: no difference where there is none, and a tenth more CPU time found.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: check_baseline.sh [--busy | --quiet] [PAIRS [SECONDS]]

Twice PAIRS (default 6) comparisons of two floor servers on the first core, by load_test --against with 64 connections
on the last: three rounds each, of SECONDS (default 5) for each server, in slices of 250 ms in turns, with both servers
started anew for each round.

  --busy   the same server on both sides, while another process keeps every core busy: nothing may be claimed
  --quiet  a server that spins a tenth of its CPU time more for each request: that has to be found each time; and the
           same server on both sides, where nothing may be claimed

Without either both are done, one after the other. The second wants a machine where nothing else runs. A comparison
takes some 40 s.

Exit code: 0 as promised, 1 not, 2 wrong use.

environment: BINARIES  a directory with floor and load_test, built for release already
HELP
}

parts=(busy quiet)
case ${1:-} in
    --help | -h) usage; exit 0 ;;
    --busy | --quiet) parts=("${1#--}"); shift ;;
    -*) wrong_use ;;
esac
pairs=${1:-6} seconds=${2:-5}
[[ $pairs =~ ^[1-9][0-9]*$ && $seconds =~ ^[0-9]+(\.[0-9]+)?$ ]] || wrong_use

need_binaries floor load_test
exec python3 - "$BINARIES" "$pairs" "$seconds" "${parts[@]}" <<'PY'
import contextlib, json, os, pathlib, subprocess, sys, tempfile

binaries, pairs, seconds, parts = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]
cores = sorted(os.sched_getaffinity(0))
server_core, load_core = cores[0], cores[-1]
work = pathlib.Path(tempfile.mkdtemp(prefix="check_baseline."))
CLAIMS = {"faster", "slower", "more", "less"}
LOAD = ["-c", "64", "-d", f"{round(seconds * 1000)}ms", "--format", "json"]


def on(core):
    return lambda: os.sched_setaffinity(0, {core})


@contextlib.contextmanager
def floor(extra_ns):
    """A fresh server; its port."""
    command = [f"{binaries}/floor", "--listen", "127.0.0.1:0", "--reactors", "1", "--extra-ns", str(extra_ns)]
    server = subprocess.Popen(command, text=True, stdout=subprocess.PIPE, preexec_fn=on(server_core))
    try:
        yield server.stdout.readline().strip().rsplit(":", 1)[1]
    finally:
        server.terminate()
        server.wait(timeout=30)


def load(*arguments):
    command = [f"{binaries}/load_test", *map(str, arguments)]
    ran = subprocess.run(command, capture_output=True, text=True, timeout=600, preexec_fn=on(load_core))
    if not ran.stdout:
        sys.exit(f"check_baseline.sh: {ran.stderr}")
    return ran.stdout


def pair(name, extra_ns):
    """The verdicts on three rounds."""
    rounds = []
    for number in range(3):
        with floor(0) as before, floor(extra_ns) as now:
            rounds.append(work / f"{name}{number}.json")
            rounds[-1].write_text(load(before, "--against", now, *LOAD))
    report = json.loads(load(*(flag for path in rounds for flag in ("--round", path)), "--format", "json"))
    for change in report["baseline"]:
        noise = "-" if change["noise_percent"] is None else f"{change['noise_percent']:5.1f} %"
        measured = change["before"] is not None
        shown = f"{change['difference_percent']:+6.1f} %, noise {noise}, {change['pairs']} pairs" if measured else ""
        print(f"   {name} {change['figure']:11} {shown}: {change['verdict']}", flush=True)
    for remark in report["remarks"]:
        print(f"   {name} {remark}", flush=True)
    return {change["figure"]: change["verdict"] for change in report["baseline"]}


def claims_nothing(name):
    return not any(verdict in CLAIMS for verdict in pair(name, 0).values())


wrong = []
if "busy" in parts:
    print("-- the same server on both sides, every core busy", flush=True)
    spin = [sys.executable, "-c", "while True: pass"]
    neighbours = [subprocess.Popen(spin, preexec_fn=on(core)) for core in cores]
    try:
        wrong += [f"AA{number} busy" for number in range(pairs) if not claims_nothing(f"AA{number}")]
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()
if "quiet" in parts:
    with floor(0) as port:
        cost_us = json.loads(load(port, "-w", "300ms", *LOAD))["server_cpu_us_per_request"]
    extra_ns = round(100 * cost_us)
    print(f"-- {cost_us:.2f} us a request, and {extra_ns} ns more", flush=True)
    wrong += [f"AB{number}" for number in range(pairs) if pair(f"AB{number}", extra_ns).get("server CPU") != "more"]
    print("-- the same server on both sides", flush=True)
    wrong += [f"AA{number}" for number in range(pairs) if not claims_nothing(f"AA{number}")]
print(f"NOT as promised: {', '.join(wrong)}" if wrong else "as promised")
sys.exit(bool(wrong))
PY
