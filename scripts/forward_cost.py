#!/usr/bin/env python3
"""CPU time of forwarding to a receiver that only acknowledges, and of ingestion beside it; see forward_cost.sh."""
import argparse
import json
import os
import re
import shutil
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from callgrind import counts

DEADLINE_S = 300
CORES = sorted(os.sched_getaffinity(0))
# The load beside which a forward runs, how long, in how many pairs of runs a round, and the metrics of its batches.
METRICS_PER_SECOND, INGESTION_S, PAIRS, BATCHES = 100_000, 3, 2, (3, 100)
# Bodies in turn: at this load a series comes again after 30 ms and more, so that no sample takes another's place.
BODIES = 1_000
# The default of `batch_samples`.
BATCH_SAMPLES = 10_000
# Samples of a request in which vmagent gets what it relays, and who sends as many by default: the tags of a series are
# in a request once, so what it costs depends on that.
FEEDS = {2_000: "as from Prometheus", BATCH_SAMPLES: "as from a forward"}


def acknowledge(connection):
    """Acknowledges every request of a connection, with the fields of remote write 2.0."""
    response = b"HTTP/1.1 200 OK\r\nX-Prometheus-Remote-Write-Samples-Written: 1000000\r\nContent-Length: 0\r\n\r\n"
    with connection, connection.makefile("rb", buffering=1 << 20) as stream:
        while True:
            length = None
            line = stream.readline(65536)
            if not line:
                return
            while line not in (b"\r\n", b""):
                name, _, value = line.partition(b":")
                if name.lower() == b"content-length":
                    length = int(value)
                line = stream.readline(65536)
            if length is None:
                return
            stream.read(length)
            receiver_bytes[0] += length
            connection.sendall(response)


receiver_bytes = [0]
missed_sends = [0]


def start_receiver():
    listener = socket.create_server(("127.0.0.1", 0))

    def serve(connection):
        try:
            acknowledge(connection)
        except ConnectionResetError:
            # So a sender ends that has not read a last response.
            pass

    def accept():
        while True:
            connection, _ = listener.accept()
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            threading.Thread(target=serve, args=(connection,), daemon=True).start()

    threading.Thread(target=accept, daemon=True).start()
    return listener.getsockname()[1]


def write_log(path, samples, series):
    """Writes a log in the server's format: one sample of each series every ten seconds."""
    heads = []
    for number in range(series):
        tags = (f'{{"cpu":"{number % 64}","env":"production","instance":"10.0.{number // 250}.{number % 250}:9100",'
                f'"job":"node","mode":"mode{number % 8}"}}')
        kind = ("counter", "gauge")[number % 2]
        heads.append((f'Z","name":"node_{kind}_seconds_{number % 40}","value":', f',"type":"{kind}","tags":{tags}}}\n'))
    with open(path, "w", encoding="ascii") as file:
        for step in range(-(-samples // series)):
            text = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(1_767_312_000 + 10 * step))
            for number, (head, tail) in enumerate(heads[:samples - step * series]):
                time_and_value = f"{text}.{number % 1000:03}{head}{step * 17 + number}.{number % 100:02}"
                file.write(f'{{"timestamp":"{time_and_value}{tail}')


def cpu_s(pid, threads=""):
    """CPU time of a process's threads whose names begin so, user and system, in seconds."""
    total_ns = 0
    for task in os.listdir(f"/proc/{pid}/task"):
        with open(f"/proc/{pid}/task/{task}/comm", encoding="ascii") as file:
            is_counted = file.read().startswith(threads)
        if is_counted:
            with open(f"/proc/{pid}/task/{task}/schedstat", encoding="ascii") as file:
                total_ns += int(file.read().split()[0])
    return total_ns / 1e9


def free_port():
    with socket.create_server(("127.0.0.1", 0)) as listener:
        return listener.getsockname()[1]


def stats(port):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/stats", timeout=10) as response:
        return json.load(response)


def wait(what, found):
    deadline = time.monotonic() + DEADLINE_S
    while time.monotonic() < deadline:
        try:
            value = found()
            if value:
                return value
        except OSError:
            pass
        time.sleep(0.1)
    raise SystemExit(f"forward_cost: waited in vain for {what}")


def pinned(cores):
    """Starts a process on these cores only, where there are others."""
    return (lambda: os.sched_setaffinity(0, cores)) if len(CORES) > 1 else None


def write_bodies(path, batch):
    with open(path, "w", encoding="ascii") as file:
        for number in range(BODIES):
            metrics = [{"name": f"node_gauge_{index % 40}", "value": number + 0.25,
                        "tags": {"instance": f"10.0.{number // 250}.{number % 250}:9100", "mode": f"mode{index}"}}
                       for index in range(batch)]
            file.write(json.dumps({"metrics": metrics}) + "\n")


def run_ingestion(binary, load_test, bodies, batch, url):
    """Loads a server, which forwards to `url` unless that is empty. Returns CPU microseconds of its reactor for each
    request, and samples delivered for each second."""
    def load(port, duration_s):
        command = [load_test, str(port), "64", "--rate", str(METRICS_PER_SECOND // batch), "--body-file", bodies,
                   "--duration", f"{1000 * duration_s:.0f}ms", "--format", "json"]
        done = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, timeout=60,
                              preexec_fn=pinned({CORES[-1]}), check=False)
        found = json.loads(done.stdout) if done.stdout.startswith("{") else {}
        # A load that is behind its schedule is one too, and it is said so.
        if not found.get("requests") or found["successes"] != found["requests"]:
            raise SystemExit(f"forward_cost: the load did not succeed: {done.stdout[-500:]} {done.stderr[-500:]}")
        missed_sends[0] += found["missed_sends"] or 0
        return found["requests"]

    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        config = os.path.join(directory, "config.toml")
        with open(config, "w", encoding="ascii") as file:
            file.write(f'[[forward]]\nname = "bench"\nurl = "{url}"\n' if url else "")
        command = [binary, "--config", config, "--data-dir", directory, "--listen", f"127.0.0.1:{port}",
                   "--cores", str(CORES[0]), "--rate-limit", "0", "--stats-interval", "0s"]
        with open(os.path.join(directory, "stderr"), "wb") as stderr:
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr)

        def delivered():
            return sum(forward["delivered"] for forward in stats(port).get("forwards", []))
        def responds():
            if server.poll() is not None:
                raise SystemExit(f"forward_cost: the server ended with {server.returncode}")
            return stats(port)
        try:
            wait("the server", responds)
            load(port, 1)
            before, delivered_before = cpu_s(server.pid, "reactor-"), delivered()
            requests = load(port, INGESTION_S)
            cpu_us = (cpu_s(server.pid, "reactor-") - before) / requests * 1e6
            return cpu_us, (delivered() - delivered_before) / INGESTION_S
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)


def print_ingestion(found):
    """Prints what a forward costs ingestion; `found` has, for each batch, pairs without and with one."""
    print(f"\nCPU of the reactor for a request, at {METRICS_PER_SECOND:,} metrics a second")
    print(f"{'':34}{'without':>10}{'with':>10}{'ratio':>8}{'delivered/s':>13}")
    for batch, pairs in found.items():
        ratio = statistics.median(with_one[0] / without[0] for without, with_one in pairs)
        without, with_one = (statistics.median(run[0] for run in runs) for runs in zip(*pairs))
        rate = statistics.median(with_one[1] for _, with_one in pairs)
        print(f"{f'batches of {batch}, us':34}{without:10.2f}{with_one:10.2f}{ratio:8.3f}{rate:13,.0f}")
        yield f"ingestion with a forward over without, batches of {batch}", ratio, "at most", 1.05


def print_goals(goals):
    print()
    for what, value, kind, bound in goals:
        is_met = value <= bound if kind == "at most" else value >= bound
        print(f"{what:84}{value:14,.3f}  {kind} {bound:,.3f}: {'met' if is_met else 'MISSED'}")


def run_forward(binary, log, url, options, samples, behind, cores=None):
    """Forwards the log once, on `cores` if they are given. Returns CPU seconds and seconds, of the server and, by
    `behind`, what follows it."""
    with tempfile.TemporaryDirectory() as directory:
        os.link(log, os.path.join(directory, "metrics.jsonl"))
        port = free_port()
        config = os.path.join(directory, "config.toml")
        with open(config, "w", encoding="ascii") as file:
            file.write(f'[[forward]]\nname = "bench"\nurl = "{url}"\nstart = "beginning"\n{options}\n')
        command = [binary, "--config", config, "--data-dir", directory, "--listen", f"127.0.0.1:{port}",
                   "--reactors", "1"]
        with open(os.path.join(directory, "stderr"), "wb") as stderr:
            server = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=stderr,
                                      preexec_fn=pinned(cores) if cores else None)
        begin, bytes_before = time.monotonic(), receiver_bytes[0]
        try:
            def is_done():
                forward = stats(port)["forwards"][0]
                return forward["delivered"] + forward["superseded"] >= samples and forward["bytes_behind"] == 0
            wait("everything to be delivered", is_done)
            elapsed = time.monotonic() - begin
            if behind:
                behind()
            cpu = cpu_s(server.pid, "forward-")
        finally:
            server.send_signal(signal.SIGTERM)
            server.wait(30)
        return cpu, elapsed, receiver_bytes[0] - bytes_before


# Reads the log as a forward does, and sends as many requests of as many bytes as it has sent: nothing else. Prints the
# CPU seconds that this takes.
FLOOR = """
import mmap, os, resource, socket, sys
log, port, sent_bytes, requests = sys.argv[1], *map(int, sys.argv[2:])
def cpu_s():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_utime + usage.ru_stime
# At a page's start, as the pieces are: where the allocator puts it, 16 bytes behind, a copy takes three times as long.
file, piece = os.open(log, os.O_RDONLY), mmap.mmap(-1, 262144)
body, response = bytes(sent_bytes // requests), bytearray(4096)
head = b"POST / HTTP/1.1\\r\\nContent-Length: %d\\r\\n\\r\\n" % len(body)
connection = socket.create_connection(("127.0.0.1", port))
connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
each, begin, read = os.fstat(file).st_size / requests, cpu_s(), 0
for request in range(1, requests + 1):
    while read < request * each - 1:
        read += os.preadv(file, [piece], read)
    connection.sendall(head + body)
    connection.recv_into(response)
print(cpu_s() - begin)
"""


def run_floor(log, port, sent_bytes, samples):
    """The system calls alone of a forward that has sent so many bytes. Returns as `run_forward` does."""
    begin = time.monotonic()
    command = [sys.executable, "-c", FLOOR, log, str(port), str(sent_bytes), str(-(-samples // BATCH_SAMPLES))]
    done = subprocess.run(command, stdout=subprocess.PIPE, timeout=DEADLINE_S, check=True)
    return float(done.stdout), time.monotonic() - begin, sent_bytes


STAGES = ("reading", "encoding", "compressing")


def count_stages(binary, url, options, samples, series):
    """Instructions in user space of a forward's two threads, by stage."""
    with tempfile.TemporaryDirectory() as directory:
        log, under = os.path.join(directory, "log"), os.path.join(directory, "under")
        write_log(log, samples, series)
        with open(under, "w", encoding="utf-8") as file:
            # Without io_uring, which valgrind does not know.
            file.write(f'#!/bin/sh\nexec valgrind --tool=callgrind --separate-threads=yes --callgrind-out-file='
                       f'{directory}/callgrind {binary} "$@" --driver epoll\n')
        os.chmod(under, 0o755)
        run_forward(under, log, url, options, samples, None)
        stages = dict.fromkeys(STAGES, 0)
        for name in os.listdir(directory):
            thread = counts(os.path.join(directory, name)) if name.startswith("callgrind-") else {}
            is_reader, is_lane = (any(what in function for function in thread)
                                  for what in ("forward::sender::Job", "forward::lane::Lane"))
            for function, count in thread.items():
                if is_lane:
                    is_compressing = re.search(r"\bsnap(py)?::|ZSTD|HUF_|FSE_", function)
                    stages["compressing" if is_compressing else "encoding"] += count
                elif is_reader:
                    stages["reading"] += count
        return stages


def print_instructions(binary, url, samples, series):
    """Prints instructions for each sample: by how much more samples cost more."""
    print(f"instructions in user space for a sample, of {series} series")
    print(f"{'':34}" + "".join(f"{stage:>13}" for stage in STAGES) + f"{'sum':>9}")
    for name, options in OURS:
        few, many = (count_stages(binary, url, options, count, series) for count in (20_000, 20_000 + samples))
        each = [(many[stage] - few[stage]) / samples for stage in STAGES]
        print(f"{name:34}" + "".join(f"{count:13.1f}" for count in each) + f"{sum(each):9.1f}", flush=True)


def run_vmagent(vmagent, binary, log, receiver, options, feed, samples):
    """Relays what metricstream forwards by vmagent, `feed` samples a request. Returns its CPU seconds."""
    with tempfile.TemporaryDirectory() as directory:
        port = free_port()
        command = [vmagent, f"-remoteWrite.url=http://127.0.0.1:{receiver}/api/v1/write", *options,
                   f"-remoteWrite.tmpDataPath={directory}", f"-httpListenAddr=127.0.0.1:{port}", "-loggerLevel=ERROR"]
        agent = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        try:
            def metrics():
                if agent.poll() is not None:
                    raise SystemExit(f"forward_cost: vmagent ended with {agent.returncode}")
                with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=10) as response:
                    return response.read().decode()
            wait("vmagent", metrics)
            idle, begin = cpu_s(agent.pid), time.monotonic()

            def is_sent():
                name = "vmagent_remotewrite_pending_data_bytes"
                pending = [line for line in metrics().splitlines() if line.startswith(name)]
                return pending and all(float(line.rpartition(" ")[2]) == 0 for line in pending)
            sent = run_forward(binary, log, f"http://127.0.0.1:{port}/api/v1/write",
                               f'protocol = "1.0"\nbatch_samples = {feed}', samples,
                               lambda: (time.sleep(2), wait("vmagent to send everything", is_sent)))
            return cpu_s(agent.pid) - idle, time.monotonic() - begin, sent[2]
        finally:
            agent.send_signal(signal.SIGTERM)
            agent.wait(60)


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("--samples", type=int, default=2_000_000)
    parser.add_argument("--series", type=int, default=1_000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--instructions", action="store_true")
    arguments = parser.parse_args()
    load_test = os.path.join(os.path.dirname(arguments.binary), "load_test")
    batches = BATCHES if os.access(load_test, os.X_OK) else ()
    samples, receiver = arguments.samples, start_receiver()
    url = f"http://127.0.0.1:{receiver}/api/v1/write"
    if arguments.instructions:
        print_instructions(arguments.binary, url, min(samples, 100_000), arguments.series)
        return
    vmagent = shutil.which("vmagent")
    print(f"{samples} samples of {arguments.series} series; the median of {arguments.rounds} rounds, in turns\n")
    with tempfile.TemporaryDirectory() as directory:
        log = os.path.join(directory, "log")
        write_log(log, samples, arguments.series)
        runs = {name: lambda options=options: run_forward(arguments.binary, log, url, options, samples, None)
                for name, options in OURS}
        if len(CORES) > 1:
            runs[ONE_CORE] = lambda: run_forward(arguments.binary, log, url, OURS[0][1], samples, None, {CORES[0]})
        runs[FLOOR_OF_V1] = lambda: run_floor(log, receiver, found[V1][-1][2], samples)
        bodies = {batch: os.path.join(directory, f"bodies-{batch}") for batch in batches}
        for batch, path in bodies.items():
            write_bodies(path, batch)
        if vmagent is not None:
            relay = (vmagent, arguments.binary, log, receiver)
            runs |= {f"{name}, from {feed:,}": lambda options=options, feed=feed:
                     run_vmagent(*relay, options, feed, samples)
                     for name, options in vmagent_runs(vmagent) for feed in FEEDS}
        found = {name: [] for name in runs}
        beside = {batch: [] for batch in batches}
        for _ in range(arguments.rounds):
            for name, run in runs.items():
                found[name].append(run())
            for pair in range(PAIRS):
                for batch in batches:
                    # With a forward last, and first.
                    pair_of = [(to, run_ingestion(arguments.binary, load_test, bodies[batch], batch, to))
                               for to in (["", url] if pair % 2 == 0 else [url, ""])]
                    beside[batch].append([run for _, run in sorted(pair_of)])
    print(f"{'':34}{'CPU s':>8}{'us/sample':>11}{'samples/CPU s':>15}{'s':>8}{'B/sample':>10}")
    for name, results in found.items():
        cpu, elapsed, sent = (statistics.median(values) for values in zip(*results))
        print(f"{name:34}{cpu:8.2f}{cpu / samples * 1e6:11.3f}{samples / cpu:15,.0f}", end="")
        print(f"{elapsed:8.1f}{sent / samples:10.1f}")
    goals = list(print_ingestion(beside)) if beside else []
    if ONE_CORE in found:
        rate = samples / statistics.median(elapsed for _, elapsed, _ in found[ONE_CORE])
        goals.append(("samples a second of a server on one core", rate, "at least", 1_000_000))
    for feed, whose in FEEDS.items():
        theirs = found.get(f"vmagent, snappy, from {feed:,}", ())
        ratios = [our[0] / their[0] for our, their in zip(found[V1], theirs)]
        if ratios:
            what = f"CPU of a sample over vmagent's, which gets {feed:,} a request ({whose})"
            goals.append((what, statistics.median(ratios), "at most", 1 / 3))
    print_goals(goals)
    for is_missing, what in [(vmagent is None, "vmagent is not installed (Debian: victoria-metrics)"),
                             (not batches, f"ingestion: there is no {load_test}"),
                             (len(CORES) == 1, "one core: there is no other one for the receiver")]:
        if is_missing:
            print(f"forward_cost: SKIPPED, {what}")
    if missed_sends[0]:
        print(f"forward_cost: {missed_sends[0]} requests could not be sent in time: this was less than the load")


ONE_CORE = "metricstream, 2.0, on one core"
V1 = "metricstream, 1.0"
FLOOR_OF_V1 = "its system calls alone, 1.0"
OURS = [
    ("metricstream, 2.0", 'protocol = "2.0"'),
    (V1, 'protocol = "1.0"'),
    ("metricstream, 1.0, 2,000 a request", 'protocol = "1.0"\nbatch_samples = 2000'),
    ("metricstream, 1.0 zstd", 'compression = "zstd"'),
    ("metricstream, 2.0, 4 shards", 'protocol = "2.0"\nshards = 4'),
]


def vmagent_runs(vmagent):
    """The formats of vmagent: before 1.88 it has snappy alone, and no option for it."""
    run = subprocess.run([vmagent, "-help"], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=30, check=False)
    if b"forcePromProto" in run.stdout:
        return [("vmagent, snappy", ["-remoteWrite.forcePromProto=true"]), ("vmagent, zstd", [])]
    return [("vmagent, snappy", [])]


main()
