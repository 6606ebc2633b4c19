#!/usr/bin/env bash
# Holds load_test's comparison to its promise: no difference where there is none, and a tenth more CPU time found.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: check_baseline.sh [--busy | --quiet] [PAIRS [SECONDS]]

Twice PAIRS (default 6) comparisons of three rounds each, in turns, of SECONDS (default 2) each, with the floor server
on the first core and load_test with 64 connections on the last:

  --busy   the same server on both sides, while another process keeps every core busy: nothing may be claimed
  --quiet  a server that spins a tenth of its CPU time more for each request: that has to be found each time

Without either both are done, one after the other. The second wants a machine where nothing else runs.

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
pairs=${1:-6} seconds=${2:-2}
[[ $pairs =~ ^[1-9][0-9]*$ && $seconds =~ ^[0-9]+(\.[0-9]+)?$ ]] || wrong_use

need_binaries floor load_test
exec python3 - "$BINARIES" "$pairs" "$seconds" "${parts[@]}" <<'PY'
import json, os, pathlib, subprocess, sys, tempfile

binaries, pairs, seconds, parts = sys.argv[1], int(sys.argv[2]), float(sys.argv[3]), sys.argv[4:]
cores = sorted(os.sched_getaffinity(0))
server_core, load_core = cores[0], cores[-1]
work = pathlib.Path(tempfile.mkdtemp(prefix="check_baseline."))
CLAIMS = {"faster", "slower", "more", "less"}


def on(core):
    return lambda: os.sched_setaffinity(0, {core})


def run(name, extra_ns):
    """One round against a fresh server; the report's file."""
    server = subprocess.Popen([f"{binaries}/floor", "--listen", "127.0.0.1:0", "--extra-ns", str(extra_ns)], text=True,
                              stdout=subprocess.PIPE, preexec_fn=on(server_core))
    try:
        port = server.stdout.readline().strip().rsplit(":", 1)[1]
        command = [f"{binaries}/load_test", port, "-c", "64", "-w", "300ms", "-d", f"{round(seconds * 1000)}ms", "--format", "json"]
        ran = subprocess.run(command, capture_output=True, text=True, preexec_fn=on(load_core))
    finally:
        server.terminate()
        server.wait(timeout=30)
    path = work / f"{name}.json"
    path.write_text(ran.stdout)
    return path, json.loads(ran.stdout)


def pair(name, extra_ns):
    """The verdicts of three rounds each, in turns."""
    before, now = [], []
    for turn in range(3):
        before.append(run(f"{name}a{turn}", 0)[0])
        now.append(run(f"{name}b{turn}", extra_ns)[0])
    flags = [flag for path in before for flag in ("--baseline", path)] + [flag for path in now for flag in ("--with", path)]
    ran = subprocess.run([f"{binaries}/load_test", *flags, "--format", "json"], capture_output=True, text=True, check=True)
    changes = json.loads(ran.stdout)["baseline"]
    for change in changes:
        measured = change["before"] is not None
        shown = f"{change['difference_percent']:+6.1f} %, noise {change['noise_percent']:5.1f} %" if measured else ""
        print(f"   {name} {change['figure']:11} {shown}: {change['verdict']}", flush=True)
    return {change["figure"]: change["verdict"] for change in changes}


failed = False
if "busy" in parts:
    print("-- the same server on both sides, every core busy", flush=True)
    spin = [sys.executable, "-c", "while True: pass"]
    neighbours = [subprocess.Popen(spin, preexec_fn=on(core)) for core in cores]
    try:
        for number in range(pairs):
            verdicts = pair(f"A/A{number}".replace("/", ""), 0)
            failed |= any(verdict in CLAIMS for verdict in verdicts.values())
    finally:
        for neighbour in neighbours:
            neighbour.kill()
            neighbour.wait()
if "quiet" in parts:
    _, base = run("base", 0)
    extra_ns = round(100 * base["server_cpu_us_per_request"])
    print(f"-- {base['server_cpu_us_per_request']:.2f} us a request, and {extra_ns} ns more", flush=True)
    for number in range(pairs):
        failed |= pair(f"AB{number}", extra_ns).get("server CPU") != "more"
print("NOT as promised" if failed else "as promised")
sys.exit(failed)
PY
