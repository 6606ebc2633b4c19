#!/usr/bin/env bash
# What watching costs: CPU time per request with everything on, and with tracing on but nothing sampled, against
# everything off; or with the live page open, and while a profile is made, against neither.
# shellcheck source=prologue.bash
source "$(dirname "${BASH_SOURCE[0]}")/prologue.bash"

usage() {
    cat <<'HELP'
usage: observe_cost.sh [--page [--hz N]] [--rounds N] [--seconds S] [--clients N] [--driver NAME]

Three servers under the same load, in turns, in each round fresh processes with empty directories:
  off         no statistics line, nothing traced or exported
  unsampled   an OTLP endpoint is configured, but no batch is sampled, and none is slow
  all         a statistics line a second as JSON, 1 % of the batches traced, the server's figures exported each second
With --page they are:
  off         the live page is there, and nobody has it open
  streams     20 clients read /ui/stream: 20 browsers, as the tabs of one share a stream
  profile     POST /debug/profile samples all threads for the whole time, at 199 Hz unless --hz says otherwise; names
              are found after it
The receiver is a local one that throws away what it gets. In each of N rounds (default 11, with --page 15) each of them
serves load_test with 64 clients for S seconds (default 1.5, at most 20) after a warm-up; the order is reversed from
round to round. With --page one process and one load have all three, one after the other. CPU time is that of all the
server's threads, the exporter's included (/proc/PID/task/*/schedstat), divided by the requests served. Prints the
medians, and the median of the ratios taken within each round with their quartiles. The server has the first core and
load and receiver the second, where there are two. Takes some two minutes.

Exit code: 0 all is at most 1.05 and unsampled at most 1.01 of off, streams and profile at most 1.02; 1 not (on a
machine that does other things meanwhile that says little), 2 wrong use, 3 with --page, if the kernel permits no profile.

environment: BINARIES  a directory with metricstream and load_test, built for release already
HELP
}

page='' hz=199 rounds='' seconds=1.5 clients=64 driver=auto
while (($# > 0)); do
    case $1 in
        --help | -h) usage && exit 0 ;;
        --page) page=1 && shift ;;
        --hz | --rounds | --seconds | --clients | --driver)
            (($# > 1)) || wrong_use
            printf -v "${1#--}" %s "$2"
            shift 2
            ;;
        *) wrong_use ;;
    esac
done

[[ -n $rounds ]] || rounds=$([[ -n $page ]] && echo 15 || echo 11)
need_binaries metricstream load_test
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
exec 3<<'PY'
import contextlib, http.client, http.server, json, os, pathlib, re, selectors, shutil, signal, socket, statistics
import subprocess, sys, threading, time

binaries, work, page, hz, rounds, seconds, clients, driver = sys.argv[1:]
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
STREAMS = 20


@contextlib.contextmanager
def nothing(port):
    yield


@contextlib.contextmanager
def streams(port):
    """Clients that read the live page's figures, by one thread."""
    clients = [socket.create_connection(("127.0.0.1", port), timeout=30) for _ in range(STREAMS)]
    with selectors.DefaultSelector() as selector:
        for client in clients:
            client.sendall(b"GET /ui/stream HTTP/1.1\r\nHost: localhost\r\n\r\n")
            if not client.recv(65536).startswith(b"HTTP/1.1 200 "):
                sys.exit("a stream is refused")
            selector.register(client, selectors.EVENT_READ)
        over = threading.Event()

        def read():
            while not over.is_set():
                for key, _ in selector.select(timeout=0.2):
                    if not key.fileobj.recv(1 << 20):
                        sys.exit("a stream has ended")

        reader = threading.Thread(target=read)
        reader.start()
        try:
            yield
        finally:
            over.set()
            reader.join()
            for client in clients:
                client.close()


@contextlib.contextmanager
def profile(port):
    """A profile that goes on for longer than the load is measured."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
    connection.request("POST", f"/debug/profile?seconds={int(seconds) + 3}&hz={hz}", headers={"Content-Length": "0"})
    # It reads the tables of the program first.
    time.sleep(1)
    second = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    second.request("POST", "/debug/profile?seconds=1", headers={"Content-Length": "0"})
    response = second.getresponse()
    if response.status != 409:
        print(f"NOT SEEN: a profile: {response.read()[:300]}")
        sys.exit(3)
    yield
    response = connection.getresponse()
    response.read()
    sampled = re.search(r"samples=(\d+)", response.headers["X-MetricsStream-Profile"] or "")
    if not sampled or int(sampled[1]) < int(hz) * seconds / 2:
        sys.exit(f"a profile has {sampled and sampled[1]} samples")


QUIET = ["--stats-interval", "0s"]
# Flags, variables, what goes on meanwhile, and the most that it may cost.
SUBJECTS = {
    "off": (QUIET, {}, nothing, None),
    "streams": (QUIET, {}, streams, 1.02),
    "profile": (QUIET, {}, profile, 1.02),
} if page else {
    "off": (QUIET, {}, nothing, None),
    "unsampled": ([*QUIET, *endpoint, "--trace-ratio", "0", "--trace-slow", "30s"], {"OTEL_METRICS_EXPORTER": "none"},
                  nothing, 1.01),
    "all": (["--stats-interval", "1s", "--log-format", "json", *endpoint, "--trace-ratio", "0.01"],
            {"OTEL_METRIC_EXPORT_INTERVAL": "1000"}, nothing, 1.05),
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


@contextlib.contextmanager
def server(flags, variables):
    """A fresh process with an empty directory, warmed up: its number and its port."""
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
        yield process.pid, int(port[1])
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(timeout=30)


def processes(name):
    """A subject in a process of its own: CPU microseconds a request, and requests a second."""
    flags, variables, _, _ = SUBJECTS[name]
    with server(flags, variables) as (pid, port):
        before = cpu_ns(pid)
        requests = load(port, seconds)
        return (cpu_ns(pid) - before) / requests / 1000, requests / seconds


def stored(port):
    """Batches of three metrics that are stored."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    connection.request("GET", "/stats")
    return json.loads(connection.getresponse().read())["metrics_stored"] / 3


def under_way(name, pid, port):
    """A subject in a process and a load that go on."""
    with SUBJECTS[name][2](port):
        # The load may have begun just now, and the streams send all that was before.
        time.sleep(0.3)
        begun, cpu, requests = time.monotonic(), cpu_ns(pid), stored(port)
        time.sleep(seconds)
        requests, cpu = stored(port) - requests, cpu_ns(pid) - cpu
        return cpu / requests / 1000, requests / (time.monotonic() - begun)


results = {name: [] for name in SUBJECTS}
for number in range(rounds):
    order = list(SUBJECTS)[:: -1 if number % 2 else 1]
    if not page:
        for name in order:
            results[name].append(processes(name))
        continue
    # What differs goes on beside the load alone, so all have one process and one load: two processes of one program
    # differ by some percent.
    with server(QUIET, {}) as (pid, port), contextlib.ExitStack() as stack:
        command = [f"{binaries}/load_test", str(port), clients, "--duration", f"{round(3 * seconds + 30)}s"]
        stack.enter_context(loading := subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL))
        stack.callback(loading.terminate)
        for name in order:
            results[name].append(under_way(name, pid, port))
        if loading.poll() is not None:
            sys.exit("the load ended too early")
print(f"{rounds} rounds of {seconds} s, {clients} clients, server on core {server_core}, load on core {load_core}; {Sink.spans} bytes of spans came")
failed = Sink.spans == 0 and not page
for name, (_, _, _, most) in SUBJECTS.items():
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
python3 /dev/fd/3 "$BINARIES" "$work" "$page" "$hz" "$rounds" "$seconds" "$clients" "$driver"
