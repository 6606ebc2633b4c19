#!/usr/bin/env python3
"""Attacks a server with hostile clients, and measures what an honest client beside them gets.

Every attack comes from one loopback address, the honest client from another. A check passes or fails by counts alone
(statuses, connections, memory); times are printed, not judged. Each server is started here, on a free port with a
directory of its own, and stopped by its pid.

usage: scripts/attacks.py [--binary PATH] [--driver io_uring|epoll] [NAME...]

Without a name all attacks run; without a driver, on both.
exit code: 0 all passed, 1 something failed, 2 it could not run
"""

import argparse
import collections
import gzip
import json
import multiprocessing
import os
import re
import resource
import select
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time

ATTACKER, HONEST, NEWCOMER = "127.0.0.66", "127.0.0.9", "127.0.0.10"
MIB = 1 << 20
NOW = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime()).encode()
LINE = b'{"timestamp":"%s","name":"honest","value":1,"type":"gauge","tags":{}}' % NOW


def body(lines):
    """The body of a POST of some metrics."""
    return b'{"metrics":[%s]}' % b",".join(lines)


METRIC = body([LINE])


class Server:
    """A running server."""

    def __init__(self, binary, driver, *flags):
        self.directory = tempfile.mkdtemp(prefix="attacks.")
        self.log_path = os.path.join(self.directory, "stderr")
        data = os.path.join(self.directory, "data")
        command = [binary, "--listen", "127.0.0.1:0", "--driver", driver, "--data-dir", data, *flags]
        with open(self.log_path, "wb") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        end = time.monotonic() + 60
        while True:
            with open(self.log_path, encoding="utf-8", errors="replace") as log:
                text = log.read()
            found = re.search(r"listening on [^ ]*:(\d+)", text)
            if found:
                self.port = int(found[1])
                return
            if self.process.poll() is not None or time.monotonic() > end:
                sys.exit(f"attacks.py: the server did not start:\n{text}")
            time.sleep(0.05)

    def rss(self):
        """Resident memory in bytes."""
        with open(f"/proc/{self.process.pid}/status", encoding="ascii") as status:
            return int(re.search(r"VmRSS:\s+(\d+) kB", status.read())[1]) * 1024

    def stop(self):
        """Ends it with SIGTERM. Returns the exit code."""
        self.process.terminate()
        try:
            code = self.process.wait(60)
        except subprocess.TimeoutExpired:
            self.process.kill()
            code = self.process.wait()
        shutil.rmtree(self.directory, ignore_errors=True)
        return code


def connect(port, source, timeout=30.0):
    """A connection to the server from a loopback address."""
    return socket.create_connection(("127.0.0.1", port), timeout=timeout, source_address=(source, 0))


def post(content, headers=b"", path=b"/metrics"):
    """The bytes of a POST."""
    return b"POST %s HTTP/1.1\r\nHost: x\r\n%sContent-Length: %d\r\n\r\n" % (path, headers, len(content)) + content


def get(path, headers=b""):
    """The bytes of a GET."""
    return b"GET %s HTTP/1.1\r\nHost: x\r\n%s\r\n" % (path, headers)


class Client:
    """A client that sends one request after another, and connects again where it was closed."""

    def __init__(self, port, source):
        self.port, self.source, self.socket, self.received = port, source, None, b""

    def status(self, request):
        """Status of one request, or 0 where there was no response."""
        try:
            if self.socket is None:
                self.socket, self.received = connect(self.port, self.source), b""
            self.socket.sendall(request)
            while b"\r\n\r\n" not in self.received:
                self.receive()
            head, _, self.received = self.received.partition(b"\r\n\r\n")
            length = re.search(rb"(?i)content-length: *(\d+)", head)
            if length:
                while len(self.received) < int(length[1]):
                    self.receive()
                self.received = self.received[int(length[1]):]
            else:
                self.close()
            if b"connection: close" in head.lower():
                self.close()
            return int(head.split()[1])
        except (OSError, EOFError):
            self.close()
            return 0

    def receive(self):
        """Takes what has come."""
        bytes_ = self.socket.recv(1 << 16)
        if not bytes_:
            raise EOFError
        self.received += bytes_

    def close(self):
        """Closes the connection; the next request opens another."""
        if self.socket is not None:
            self.socket.close()
        self.socket = None


def flood(port, source, request, seconds, connections, results):
    """Sends the same request on many connections in turn until the time is over. Puts the count of each status."""
    clients = [Client(port, source) for _ in range(connections)]
    counts, end = collections.Counter(), time.monotonic() + seconds
    while time.monotonic() < end:
        for client in clients:
            counts[client.status(request)] += 1
    results.put(counts)


def in_the_background(count, port, request, seconds, connections):
    """Starts so many processes that flood. Returns a function that waits for them and adds up what they counted."""
    results = multiprocessing.Queue()
    arguments = (port, ATTACKER, request, seconds, connections, results)
    processes = [multiprocessing.Process(target=flood, args=arguments) for _ in range(count)]
    for process in processes:
        process.start()

    def total():
        counts = collections.Counter()
        for _ in processes:
            counts += results.get(timeout=seconds + 120)
        for process in processes:
            process.join()
        return counts

    return total


def honest(port, seconds, request, pause=0.005, source=HONEST):
    """Sends requests at a gentle rate. Returns the counts of statuses, and the p50 of the latency in ms."""
    client, counts, times = Client(port, source), collections.Counter(), []
    end = time.monotonic() + seconds
    while time.monotonic() < end:
        begun = time.monotonic()
        counts[client.status(request)] += 1
        times.append((time.monotonic() - begun) * 1e3)
        time.sleep(pause)
    return counts, statistics.median(times)


def read_json(port, path):
    """A document of the server."""
    with connect(port, HONEST) as stream:
        stream.sendall(get(path, b"Connection: close\r\n"))
        response = b""
        while chunk := stream.recv(1 << 16):
            response += chunk
    head, _, body = response.partition(b"\r\n\r\n")
    if b"chunked" in head.lower():
        body = b"".join(re.split(rb"(?:^|\r\n)[0-9a-f]+\r\n", body))
    return json.loads(body)


class Attacks:
    """The attacks, each a method that yields what was found: whether it is right, and the figures."""

    def __init__(self, binary, driver):
        self.binary, self.driver, self.started = binary, driver, []

    def server(self, *flags):
        """Starts a server."""
        self.started.append(Server(self.binary, self.driver, *flags))
        return self.started[-1]

    def end(self):
        """Ends the servers that an attack left running, as it failed."""
        for server in self.started:
            if server.process.poll() is None:
                server.stop()

    def compressed_over_the_bound(self):
        """4.2 KB of gzip that are 4.2 MB: 413 is charged to its client like any request."""
        server = self.server("--rate-limit", "100")
        zipped = gzip.compress(bytes(4_300_000))
        bomb = post(zipped, b"Content-Encoding: gzip\r\n")
        pace = 0.0125  # 80 requests/s: under the limit.
        quiet, p50_quiet = honest(server.port, 3, post(METRIC), pace)
        total = in_the_background(2, server.port, bomb, 5, 4)
        beside, p50 = honest(server.port, 5, post(METRIC), pace)
        counts = total()
        found = f"{len(zipped)} bytes of gzip for 5 s: {dict(counts)}; at most 100/s are decompressed"
        yield counts[413] <= 100 * 6, found
        good = beside[200] == sum(beside.values()) and quiet[200] == sum(quiet.values())
        yield good, f"honest client: {dict(beside)}, p50 {p50_quiet:.2f} ms before, {p50:.2f} ms beside it"
        yield server.stop() == 0, "ends with exit code 0"

    def names_of_one_address(self):
        """66,000 Authorization values from one address do not lock newcomers out."""
        server = self.server("--rate-limit", "100")
        counts = collections.Counter()
        with connect(server.port, ATTACKER) as stream:
            for first in range(0, 66_000, 100):
                names = range(first, first + 100)
                burst = [post(METRIC, b"Authorization: Bearer name-%d\r\n" % name) for name in names]
                stream.sendall(b"".join(burst))
                received = b""
                while received.count(b"HTTP/1.1 ") < 100 or not received.endswith((b"\n", b"}")):
                    chunk = stream.recv(1 << 16)
                    if not chunk:
                        break
                    received += chunk
                counts.update(re.findall(rb"HTTP/1.1 (\d+)", received))
                if not received:
                    break
        counts = {int(status): count for status, count in counts.items()}
        newcomers = collections.Counter()
        for name in range(200):
            client = Client(server.port, f"127.0.1.{1 + name}")
            newcomers[client.status(post(METRIC, b"Authorization: Bearer newcomer-%d\r\n" % name))] += 1
            client.close()
        yield sum(counts.values()) == 66_000, f"66,000 names of one address: {counts}"
        yield newcomers == {200: 200}, f"200 newcomers from 200 addresses: {dict(newcomers)}"
        yield server.stop() == 0, "ends with exit code 0"

    def half_heads(self):
        """9,900 heads of 15.9 KB that never end, from one address: an honest batch of 100 KB is stored."""
        server = self.server("--head-timeout", "60s")
        batch = body([LINE.replace(b"honest", b"honest_" + b"a" * 70)] * 700)
        half = b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * (15_900 - 36)
        before, sockets, refused = server.rss(), [], 0
        for _ in range(9_900):
            try:
                stream = connect(server.port, ATTACKER)
                stream.sendall(half)
                sockets.append(stream)
            except OSError:
                refused += 1
        held = server.rss()
        counts, _ = honest(server.port, 2, post(batch), 0.02)
        closed = 0
        for stream in sockets:
            stream.setblocking(False)
            try:
                closed += bool(stream.recv(1 << 12) is not None)
            except BlockingIOError:
                pass
            except OSError:
                closed += 1
        for stream in sockets:
            stream.close()
        rss = f"RSS {before >> 20} -> {held >> 20} MiB"
        yield held < 400 * MIB, f"{len(sockets)} open, {refused} refused, {closed} evicted; {rss}"
        yield set(counts) == {200}, f"honest batches of {len(batch)} bytes: {dict(counts)}"
        # What it held goes back.
        end = time.monotonic() + 30
        while time.monotonic() < end and server.rss() > 2 * before:
            time.sleep(0.2)
        yield server.rss() <= 2 * before, f"RSS after they have gone: {server.rss() >> 20} MiB"
        yield server.stop() == 0, "ends with exit code 0"

    def statistics_in_a_loop(self):
        """150 clients in a loop on /metrics: a scrape beside them gets its response each time, keys or not."""
        server = self.server()
        total = in_the_background(2, server.port, get(b"/metrics"), 6, 75)
        scrapes, p50 = honest(server.port, 6, get(b"/metrics"), 0.02)
        health, p50_health = Client(server.port, NEWCOMER), 0
        healthy = [health.status(get(path)) for path in (b"/health", b"/ready")]
        counts = total()
        yield set(scrapes) == {200}, f"scrapes: {dict(scrapes)}, p50 {p50:.1f} ms; the others: {dict(counts)}"
        yield healthy == [200, 200], f"/health and /ready: {healthy}"
        yield server.stop() == 0, "ends with exit code 0"

    def narrow_table(self):
        """20 half heads at --max-connections 20: the honest client is served, and /health at once."""
        server = self.server("--max-connections", "20", "--reactors", "1", "--head-timeout", "60s")
        sockets = []
        for _ in range(20):
            stream = connect(server.port, ATTACKER)
            stream.sendall(b"POST /metrics HTTP/1.1\r\nHost:")
            sockets.append(stream)
        health = Client(server.port, HONEST).status(get(b"/health"))
        counts, _ = honest(server.port, 2, post(METRIC))
        yield health == 200, f"/health: {health}"
        yield set(counts) == {200}, f"honest client: {dict(counts)}"
        for stream in sockets:
            stream.close()
        yield server.stop() == 0, "ends with exit code 0"

    def answers_nobody_reads(self):
        """Two connections ask for 25 MB each and do not read: queries of others get their results."""
        server = self.server("--query-threads", "2", "--query-max-series", "200000", "--query-timeout", "10m")
        batches = 100
        line = b'{"timestamp":"%s","name":"m%d","value":%d,"type":"gauge","tags":{"t":"%s"}}'
        client, stored = Client(server.port, ATTACKER), 0
        for batch in range(batches):
            lines = [line % (NOW, i % 50, i, b"%d_%d" % (batch, i) + b"x" * 200) for i in range(1_000)]
            stored += client.status(post(body(lines))) == 200
        yield stored == batches, f"{stored} of {batches} batches of 1,000 series are stored"
        readers = []
        for _ in range(2):
            stream = connect(server.port, ATTACKER)
            stream.sendall(get(b"/series?name=~.*"))
            readers.append(stream)
        # Their responses have begun.
        for stream in readers:
            select.select([stream], [], [], 30)
        counts, p50 = honest(server.port, 3, get(b"/query?name=m1&agg=count"), 0.01)
        yield set(counts) == {200}, f"queries of another client: {dict(counts)}, p50 {p50:.1f} ms"
        received, end = 0, b""
        while received < 64 * MIB and not end.endswith(b"\r\n0\r\n\r\n"):
            chunk = readers[0].recv(1 << 20)
            if not chunk:
                break
            received, end = received + len(chunk), end[-16:] + chunk[-16:]
        yield received > 20_000_000, f"the first reads at last, and gets {received / 1e6:.1f} MB"
        for stream in readers:
            stream.close()
        yield server.stop() == 0, "ends with exit code 0"


def main():
    """Runs what the arguments select."""
    names = [name for name in vars(Attacks) if not name.startswith("_") and name not in ("server", "end")]
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/metricstream")
    parser.add_argument("--driver", choices=["io_uring", "epoll"])
    parser.add_argument("names", nargs="*", metavar="NAME", help=f"one of {', '.join(names)}")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in names]:
        parser.error(f"no attack is called {unknown[0]}; there are {', '.join(names)}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 12_000:
        sys.exit(f"attacks.py: {most} open files are allowed here, 12,000 are needed")
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    failed = 0
    for driver in [arguments.driver] if arguments.driver else ["io_uring", "epoll"]:
        for name in arguments.names or names:
            print(f"\n{name}, {driver}: {getattr(Attacks, name).__doc__}", flush=True)
            attacks = Attacks(arguments.binary, driver)
            try:
                for right, found in getattr(attacks, name)():
                    failed += not right
                    print(f"  {'ok  ' if right else 'FAIL'} {found}", flush=True)
            except (OSError, ValueError) as error:
                failed += 1
                print(f"  FAIL {error!r}", flush=True)
            finally:
                attacks.end()
    print(f"\n{failed} failed" if failed else "\nall passed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
