#!/usr/bin/env bash
# What heavy queries cost those who post: CPU time of the reactor per request and p99, with and without them, in turns.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: query_isolation.sh [--rounds N] [--seconds S] [--clients N] [--rate R] [--queries N] [--lines N] [--driver NAME] [--layout NAME]

First a log of N lines (default 1000000) is stored. Then, in each of N rounds (default 7), two servers on that log,
one after the other, take R requests a second (default 3000, open loop) from load_test with 50 clients for S seconds
(default 3): once by themselves, and once while 4 clients ask without a pause for a percentile of everything by every
tag. The order is reversed from round to round.

Layouts, with one reactor on the first core (default: each that this machine has cores for):
  apart     queries on a core where nothing of the server runs. With two cores the load shares it (run by root,
            the script lets the load go first there), and the reactor has the writer beside it
  writer    queries on the writer's core, as they are by default where no core is free. With two cores the load shares it
  shared    reactor, writer and queries on one core, the load on another

Measured, each for a fresh process: CPU time of the reactor's thread (/proc/PID/task/TID/schedstat) by requests
served; p99 as the server sees it (from the arrival of a request until the kernel has its response) and as load_test
does, which has the queries beside it where it shares their core. Prints medians, and the median of the ratios taken
within each round with their quartiles. Exit code: 0 in the layout `apart` CPU time is at most 1.05 and the server's
p99 at most 1.5 of what they are without queries, 1 not (on a machine that does other things meanwhile that says
little), 2 wrong use.

environment: BINARIES  a directory with metricstream and load_test, built for release already
HELP
}

rounds=7 seconds=3 clients=50 rate=3000 queries=4 lines=1000000 driver=auto layout=all
while (($# > 0)); do
    case $1 in
        --help | -h) usage && exit 0 ;;
        --rounds | --seconds | --clients | --rate | --queries | --lines | --driver | --layout)
            (($# > 1)) || wrong_use
            printf -v "${1#--}" %s "$2"
            shift 2
            ;;
        *) wrong_use ;;
    esac
done

need_binaries metricstream load_test
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
exec 3<<'PY'
import contextlib, http.client, json, os, pathlib, re, signal, statistics, subprocess, sys, threading, time

binaries, work, rounds, seconds, clients, rate, queries, lines, driver, wanted = sys.argv[1:]
work, rounds, seconds, queries, lines = pathlib.Path(work), int(rounds), float(seconds), int(queries), int(lines)
data, log = work / "data", work / "server.log"
cores = sorted(os.sched_getaffinity(0))
if len(cores) < 2:
    sys.exit("query_isolation.sh: one core is not enough: load and server would measure each other")
# Of reactor, writer, queries, load.
LAYOUTS = {
    "apart": (cores[0], cores[1 if len(cores) > 3 else 0], cores[2 if len(cores) > 3 else 1], cores[-1]),
    "writer": (cores[0], cores[1], cores[1], cores[-1]),
    "shared": (cores[0], cores[0], cores[0], cores[-1]),
}
if wanted != "all" and wanted not in LAYOUTS:
    sys.exit(f"query_isolation.sh: there is no layout {wanted}, only {', '.join(LAYOUTS)}")


class Server:
    """A server with one reactor, and what it says of itself."""

    def __init__(self, reactor, writer, query):
        command = [f"{binaries}/metricstream", "--listen", "127.0.0.1:0", "--data-dir", data, "--cores", f"{min(reactor, writer)},{max(reactor, writer)}",
                   "--reactors", "1", "--writer-core", str(writer), "--query-cores", str(query), "--driver", driver, "--rate-limit", "0",
                   "--stats-interval", "0s", "--rotate-size", "1GiB"]
        environment = {name: value for name, value in os.environ.items() if not name.startswith("METRICSTREAM_")}
        with open(log, "w") as said:
            self.process = subprocess.Popen(command, env=environment, stdout=said, stderr=said,
                                            preexec_fn=lambda: os.sched_setaffinity(0, set(cores)))
        for _ in range(500):
            if port := re.search(r"listening on [^ \"]*:(\d+)", log.read_text()):
                self.port = int(port[1])
                return
            if self.process.poll() is not None:
                break
            time.sleep(0.02)
        sys.exit(f"the server did not start: {log.read_text()}")

    def get(self, target):
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=120)
        connection.request("GET", target)
        response = connection.getresponse()
        body = response.read()
        connection.close()
        return response.status, json.loads(body)

    def reactor_ns(self):
        for task in pathlib.Path(f"/proc/{self.process.pid}/task").iterdir():
            if (task / "comm").read_text().strip() == "reactor-0":
                return int((task / "schedstat").read_text().split()[0])
        sys.exit("there is no thread reactor-0")

    def stop(self):
        self.process.send_signal(signal.SIGTERM)
        if self.process.wait(timeout=60) != 0:
            sys.exit(f"the server did not stop as it should: {log.read_text()}")


def go_first():
    """The load is to come as evenly with queries on its core as without."""
    with contextlib.suppress(PermissionError):
        os.setpriority(os.PRIO_PROCESS, 0, -15)


def load(server, *flags, first=False):
    command = [f"{binaries}/load_test", str(server.port), *flags, "--format", "json"]
    ran = subprocess.run(command, capture_output=True, text=True, preexec_fn=go_first if first else None)
    if not ran.stdout:
        sys.exit(f"load_test failed: {ran.stderr}")
    found = json.loads(ran.stdout)
    if found["successes"] != found["requests"]:
        sys.exit(f"not every request succeeded: {found['statuses']} {found['errors']}")
    return found


def measured(layout, with_queries):
    reactor, writer, query, load_core = LAYOUTS[layout]
    os.sched_setaffinity(0, {load_core})
    server = Server(reactor, writer, query)
    done, counts = threading.Event(), [0, 0]

    def ask():
        while not done.is_set():
            status, result = server.get(f"/query?name=~.*&agg=p99&by=*&from=0&to={end_ms}")
            if status != 200:
                sys.exit(f"a query got status {status}: {result}")
            counts[0] += 1
            counts[1] += result["stats"]["scanned_bytes"]

    askers = [threading.Thread(target=ask, daemon=True) for _ in range(queries if with_queries else 0)]
    try:
        for asker in askers:
            asker.start()
        if askers:
            until(lambda: server.get("/stats")[1]["queries"]["running"] > 0)
        before_ns = server.reactor_ns()
        began = time.monotonic()
        found = load(server, clients, "--rate", rate, "--duration", f"{round(seconds * 1000)}ms",
                     first=load_core not in (reactor, writer))
        cpu_ns, took = server.reactor_ns() - before_ns, time.monotonic() - began
        stats = server.get("/stats")[1]
        done.set()
        for asker in askers:
            asker.join()
    finally:
        server.stop()
    assert stats["batches"]["stored"] == found["requests"], stats["batches"]
    return {"cpu_us": cpu_ns / found["requests"] / 1000, "server_p99_us": stats["latency_us"]["p99"], "client_p99_us": found["latency_us"]["p99"],
            "rate": found["requests"] / took, "queries": counts[0], "scanned": counts[1] / took}


def until(holds):
    for _ in range(1000):
        if holds():
            return
        time.sleep(0.01)
    sys.exit("waited in vain for a query to run")


filling = Server(*LAYOUTS["writer"][:3])
# Eight clients, each with so many requests.
load(filling, "8", "--requests", str(max(1, lines // 8000)), "--batch", "1000")
lines = filling.get("/stats")[1]["metrics_stored"]
end_ms = int(time.time() * 1000)
filling.process.send_signal(signal.SIGHUP)
until(lambda: filling.get("/stats")[1]["log"]["rotations"] == 1 and filling.get("/stats")[1]["segments"]["indexed"] == 1)
filling.stop()
print(f"{lines} lines, {sum(file.stat().st_size for file in data.iterdir()) / 1e6:.0f} MB; {rounds} rounds of {seconds} s, {clients} clients, {rate} requests/s, "
      f"{queries} clients that ask; kernel {os.uname().release}, {len(cores)} cores", flush=True)
failed = False
for layout in LAYOUTS if wanted == "all" else [wanted]:
    results = {False: [], True: []}
    for number in range(rounds):
        for with_queries in (number % 2 == 1, number % 2 == 0):
            results[with_queries].append(measured(layout, with_queries))
    reactor, writer, query, load_core = LAYOUTS[layout]
    print(f"{layout}: reactor on core {reactor}, writer {writer}, queries {query}, load {load_core}")
    for with_queries in (False, True):
        middle = {key: statistics.median(result[key] for result in results[with_queries]) for key in results[with_queries][0]}
        print(f"   {'with' if with_queries else 'without':8}{middle['cpu_us']:8.2f} us of CPU a request   p99 {middle['server_p99_us']:8.0f} us in the server, "
              f"{middle['client_p99_us']:8.0f} us at the client   {middle['rate']:6.0f} requests/s   {middle['queries']:4.0f} queries, {middle['scanned'] / 1e6:5.0f} MB/s scanned")
    for key, name, most in (("cpu_us", "CPU a request", 1.05), ("server_p99_us", "p99 in the server", 1.5), ("client_p99_us", "p99 at the client", None)):
        ratios = sorted(loaded[key] / alone[key] for loaded, alone in zip(results[True], results[False]))
        ratio, quarter = statistics.median(ratios), len(ratios) // 4
        verdict = ""
        if most and layout == "apart":
            failed |= ratio > most
            verdict = f", at most {most}: {'ok' if ratio <= most else 'OVER'}"
        print(f"   {name:18}{ratio:7.3f} of without ({ratios[quarter]:.3f} to {ratios[-1 - quarter]:.3f}){verdict}", flush=True)
sys.exit(failed)
PY
python3 /dev/fd/3 "$BINARIES" "$work" "$rounds" "$seconds" "$clients" "$rate" "$queries" "$lines" "$driver" "$layout"
