#!/usr/bin/env bash
# What watching costs: CPU time per request with everything on, and with tracing on but nothing sampled, against
# everything off.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: observe_cost.sh [--rounds N] [--seconds S] [--clients N] [--driver NAME]

Three servers under the same load, in turns, each time a fresh process with an empty directory:
  off         no statistics line, nothing traced or exported
  unsampled   an OTLP endpoint is configured, but no batch is sampled, and none is slow
  all         a statistics line a second as JSON, 1 % of the batches traced, the server's figures exported each second
The receiver is a local one that throws away what it gets. In each of N rounds (default 11) each of them serves
load_test with 64 clients for S seconds (default 1.5) after a warm-up; the order is reversed from round to round. CPU
time is that of all the server's threads, the exporter's included (/proc/PID/task/*/schedstat), divided by the
requests answered. Prints the medians, and the median of the ratios taken within each round with their quartiles. The
server has the first core and load and receiver the second, where there are two. Exit code: 0 all is at most 1.05 and
unsampled at most 1.01 of off, 1 not (on a machine that does other things meanwhile that says little), 2 wrong use.

environment: BINARIES  a directory with metricstream and load_test, built for release already
HELP
}

rounds=11 seconds=1.5 clients=64 driver=auto
while (($# > 0)); do
    case $1 in
        --help | -h) usage && exit 0 ;;
        --rounds | --seconds | --clients | --driver)
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
import contextlib, http.server, json, os, pathlib, re, shutil, signal, statistics, subprocess, sys, threading, time

binaries, work, rounds, seconds, clients, driver = sys.argv[1:]
work, rounds, seconds = pathlib.Path(work), int(rounds), float(seconds)
cores = sorted(os.sched_getaffinity(0))
server_core, load_core = cores[0], cores[1 % len(cores)]
os.sched_setaffinity(0, {load_core})


class Sink(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    spans = 0

    def do_POST(self):
        size = len(self.rfile.read(int(self.headers["content-length"])))
        Sink.spans += size if self.path == "/v1/traces" else 0
        self.send_response(200)
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


class Server(http.server.ThreadingHTTPServer):
    daemon_threads, block_on_close = True, False


sink = Server(("127.0.0.1", 0), Sink)
threading.Thread(target=sink.serve_forever, daemon=True).start()
endpoint = ["--otlp-endpoint", f"http://127.0.0.1:{sink.server_address[1]}"]
SUBJECTS = {
    "off": (["--stats-interval", "0s"], {}),
    "unsampled": (["--stats-interval", "0s", *endpoint, "--trace-ratio", "0", "--trace-slow", "30s"], {"OTEL_METRICS_EXPORTER": "none"}),
    "all": (["--stats-interval", "1s", "--log-format", "json", *endpoint, "--trace-ratio", "0.01"], {"OTEL_METRIC_EXPORT_INTERVAL": "1000"}),
}


def cpu_ns(pid):
    total = 0
    for task in pathlib.Path(f"/proc/{pid}/task").iterdir():
        with contextlib.suppress(FileNotFoundError):
            total += int((task / "schedstat").read_text().split()[0])
    return total


def load(port, duration_s):
    command = [f"{binaries}/load_test", str(port), clients, "--duration", f"{round(duration_s * 1000)}ms", "--format", "json"]
    found = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    if found["successes"] != found["requests"]:
        sys.exit(f"not every request succeeded: {found['statuses']} {found['errors']}")
    return found["requests"]


def measured(flags, variables):
    """CPU microseconds a request, and requests a second."""
    data, log = work / "data", work / "server.log"
    shutil.rmtree(data, ignore_errors=True)
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "METRICSTREAM_"))} | variables
    command = [f"{binaries}/metricstream", "--listen", "127.0.0.1:0", "--data-dir", data, "--cores", str(server_core), "--driver", driver,
               "--rate-limit", "0", *flags]
    with open(log, "w") as lines:
        process = subprocess.Popen(command, env=environment, stdout=lines, stderr=lines,
                                   preexec_fn=lambda: os.sched_setaffinity(0, {server_core}))
    try:
        for _ in range(500):
            if port := re.search(r"listening on [^ \"]*:(\d+)", log.read_text()):
                break
            if process.poll() is not None:
                sys.exit(f"the server did not start: {log.read_text()}")
            time.sleep(0.02)
        load(port[1], seconds / 4)
        before = cpu_ns(process.pid)
        requests = load(port[1], seconds)
        return (cpu_ns(process.pid) - before) / requests / 1000, requests / seconds
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


results = {name: [] for name in SUBJECTS}
for number in range(rounds):
    for name in list(SUBJECTS)[:: -1 if number % 2 else 1]:
        results[name].append(measured(*SUBJECTS[name]))
print(f"{rounds} rounds of {seconds} s, {clients} clients, server on core {server_core}, load on core {load_core}; {Sink.spans} bytes of spans came")
failed = Sink.spans == 0
for name, most in [("off", None), ("unsampled", 1.01), ("all", 1.05)]:
    cpu_us = statistics.median(cpu for cpu, _ in results[name])
    rate = statistics.median(rate for _, rate in results[name])
    line = f"   {name:10} {cpu_us:7.3f} us of CPU a request   {rate:8.0f} requests/s"
    if most:
        ratios = sorted(own / base for (own, _), (base, _) in zip(results[name], results["off"]))
        ratio, quarter = statistics.median(ratios), len(ratios) // 4
        failed |= ratio > most
        line += f"   {ratio:.4f} of off ({ratios[quarter]:.4f} to {ratios[-1 - quarter]:.4f}), at most {most}: {'ok' if ratio <= most else 'OVER'}"
    print(line)
sys.exit(failed)
PY
python3 /dev/fd/3 "$BINARIES" "$work" "$rounds" "$seconds" "$clients" "$driver"
