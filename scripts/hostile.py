#!/usr/bin/env python3
"""Measures a good client beside hostile ones: its latency alone and beside each attack, the server's memory against
what its bounds allow, its descriptors, its refusals by reason, and how soon everything is back after the attack.

The hostile clients have one loopback address and processes of their own, at a lower priority; the good one sends a
batch every 5 ms from another address. Every server is started here, on a free port with a directory of its own, and
stopped by its pid.

usage: scripts/hostile.py [--binary PATH] [--driver io_uring|epoll] [--seconds N] [--smoke] [ATTACK...]

Judged, for each attack: the good client gets 200 each time; memory is within the declared sum; within 10 s after the
end connections are closed, nothing is pending, memory held for peers is returned; the server stops with exit code 0.
With --judge-latency also the good client's p99: within twice that of alone, or 5 ms, on a machine that does nothing
else. Without it times are printed, not judged.

exit code: 0 all is as it should be, 1 something is not, 2 it could not run
"""

import argparse
import collections
import gzip
import multiprocessing
import os
import re
import resource
import select
import socket
import statistics
import struct
import sys
import time

sys.path.insert(0, os.path.dirname(os.path.abspath(__file__)))
# pylint: disable=wrong-import-position
from attacks import ATTACKER, HONEST, METRIC, MIB, Client, Server, body, get, post, read_json  # noqa: E402

# Processes of hostile clients in each attack, and connections of each.
PROCESSES, CONNECTIONS = 2, 200
RECOVERY_S = 10
# Beside what the server says of its bounds: threads, code, tables of connections, queries and their responses.
OTHER_BYTES = 256 * MIB
PACE_S = 0.005


def zstd_bomb(size):
    """A frame of zstd of blocks that repeat one byte: 4 bytes for each 128 KiB."""
    block = 128 * 1024
    count = size // block
    blocks = b"".join(struct.pack("<I", block << 3 | 2 | (index == count - 1))[:3] + b" " for index in range(count))
    # A window of 1 MiB, no size of the content.
    return b"\x28\xb5\x2f\xfd\x00" + bytes([10 << 3]) + blocks


def respelled(text, number):
    """A JSON string in one of its spellings: bit by bit an escape or the character."""
    return "".join(f"\\u{ord(c):04x}" if number >> index & 1 else c for index, c in enumerate(text)).encode()


def costly_json():
    """A batch of 1,000 metrics of 20 tags with escapes, and numbers of many digits."""
    tags = b",".join(b'"\\u00e9\\n%d":"\\ud83d\\ude00\\\\\\"%d"' % (index, index) for index in range(20))
    line = b'{"tags":{%s},"value":-1.%se-5,"ignored":%s1%s,"name":"n\\u0061me"}'
    nested = (b'{"a":[' * 28, b"]}" * 28)
    return body([line % (tags, b"7" * 200, nested[0], nested[1])] * 1_000)


def spellings():
    """Metrics whose 100 tags have keys that are equal but for the last byte, each spelled another way."""
    def tags(first):
        keys = [respelled("key_of_a_tag", first * 100 + index) for index in range(100)]
        return b",".join(b'"%s%d":"x"' % (key, index) for index, key in enumerate(keys))
    return body([b'{"name":"m","value":1,"tags":{%s}}' % tags(first) for first in range(40)])


class Crowd:
    """Connections of one process to the server."""

    def __init__(self, port, end, receive_bytes=None):
        self.port, self.end, self.receive_bytes, self.streams = port, end, receive_bytes, []

    def is_over(self):
        """True once the attack is to end."""
        return time.monotonic() >= self.end

    def open(self, count):
        """Opens connections until there are so many."""
        while len(self.streams) < count and not self.is_over():
            stream = socket.socket()
            try:
                if self.receive_bytes:
                    stream.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, self.receive_bytes)
                stream.settimeout(5)
                stream.bind((ATTACKER, 0))
                stream.connect(("127.0.0.1", self.port))
                stream.setblocking(False)
                self.streams.append(stream)
            except OSError:
                stream.close()
                time.sleep(0.01)

    def send(self, content):
        """Sends to each connection what it takes at once, and drops those that are closed."""
        self.streams = [stream for stream in self.streams if self.take(stream, content)]

    @staticmethod
    def take(stream, content):
        """Sends to one connection. False: it is closed, on both sides."""
        try:
            stream.send(content)
        except BlockingIOError:
            pass
        except OSError:
            stream.close()
            return False
        return True

    def drain(self):
        """Reads what has come, and drops connections that were closed."""
        ready, _, _ = select.select([stream for stream in self.streams if stream.fileno() < 1_000], [], [], 0)
        for stream in ready:
            try:
                if not stream.recv(1 << 16):
                    raise OSError
            except BlockingIOError:
                pass
            except OSError:
                stream.close()
                self.streams.remove(stream)

    def close(self):
        """Closes all."""
        for stream in self.streams:
            stream.close()


def repeat(crowd, connections, content, pause=0.0, reads=True):
    """Sends the same on all connections until the end."""
    while not crowd.is_over():
        crowd.open(connections)
        crowd.send(content)
        if reads:
            crowd.drain()
        time.sleep(pause)


def slow_drips(crowd):
    """A byte of a head on each connection, five times a second."""
    repeat(crowd, CONNECTIONS, b"G", 0.2)


def flood_over_the_rate(crowd):
    """Batches as fast as they go, pipelined, far over the rate."""
    repeat(crowd, 8, post(METRIC) * 50)


def rst_storm(crowd):
    """Connections that send half a request and are reset."""
    half = post(METRIC)[:-20]
    linger = struct.pack("ii", 1, 0)
    while not crowd.is_over():
        crowd.open(20)
        crowd.send(half)
        for stream in crowd.streams:
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
            stream.close()
        crowd.streams = []


def readers_with_a_zero_window(crowd):
    """Connections that request statistics again and again, and read nothing."""
    crowd.receive_bytes = 2_304
    repeat(crowd, CONNECTIONS // 2, get(b"/metrics") * 20, 0.05, reads=False)


def gzip_bombs(crowd):
    """4 KB of gzip that are 4 MB."""
    repeat(crowd, 8, post(gzip.compress(bytes(4_300_000)), b"Content-Encoding: gzip\r\n"))


def zstd_bombs(crowd):
    """A few hundred bytes of zstd that are 64 MB."""
    repeat(crowd, 8, post(zstd_bomb(64 * MIB), b"Content-Encoding: zstd\r\n"))


def json_that_costs(crowd):
    """Batches of escapes, nesting and long numbers, under the bounds."""
    blocking(crowd, [post(costly_json())])


def keys_in_many_spellings(crowd):
    """Batches of keys that are compared in full, as each is spelled another way."""
    blocking(crowd, [post(spellings())])


def names_of_one_address(crowd):
    """Another Authorization with each request."""
    names = [b"".join(post(METRIC, b"Authorization: Bearer %d-%d\r\n" % (first, index)) for index in range(100))
             for first in range(330)]
    blocking(crowd, names)


def half_heads(crowd):
    """Heads of 15 KB that never end."""
    crowd.open(CONNECTIONS * 5)
    crowd.send(b"GET / HTTP/1.1\r\nHost: x\r\nX-Long: " + b"a" * 15_000)
    while not crowd.is_over():
        crowd.drain()
        crowd.open(CONNECTIONS * 5)
        time.sleep(0.05)


def half_bodies(crowd):
    """Bodies of a megabyte that stop one byte short."""
    content = post(bytes(MIB))[:-1]
    left = {}
    while not crowd.is_over():
        crowd.open(CONNECTIONS)
        for stream in list(crowd.streams):
            rest = left.setdefault(stream, content)
            try:
                left[stream] = rest[stream.send(rest):] if rest else rest
            except BlockingIOError:
                pass
            except OSError:
                stream.close()
                crowd.streams.remove(stream)
                left.pop(stream)
        crowd.drain()
        left = {stream: left[stream] for stream in crowd.streams if stream in left}
        time.sleep(0.02)


def statistics_in_a_loop(crowd):
    """Requests of every document of statistics."""
    blocking(crowd, [get(b"/metrics"), get(b"/stats")])


def queries_in_a_loop(crowd):
    """Queries over all that is there, with expressions."""
    paths = [b"/query?name=~.*&agg=p99&step=1s&by=*", b"/series?name=~(h|o)+.*", b"/query?name=~.*%5Cb.*&agg=raw"]
    blocking(crowd, [get(path) for path in paths])


def blocking(crowd, requests):
    """A few clients that send one request after another and read the responses."""
    clients = [Client(crowd.port, ATTACKER) for _ in range(4)]
    at = 0
    while not crowd.is_over():
        for client in clients:
            client.status(requests[at % len(requests)])
            at += 1


ATTACKS = {attack.__name__: attack for attack in (
    slow_drips, flood_over_the_rate, rst_storm, readers_with_a_zero_window, gzip_bombs, zstd_bombs, json_that_costs,
    keys_in_many_spellings, names_of_one_address, half_heads, half_bodies, statistics_in_a_loop, queries_in_a_loop)}
SMOKE = ("slow_drips", "flood_over_the_rate", "rst_storm", "zstd_bombs")


def attack_in_process(name, port, seconds):
    """One process of an attack."""
    os.nice(5)
    crowd = Crowd(port, time.monotonic() + seconds)
    try:
        ATTACKS[name](crowd)
    finally:
        crowd.close()


class Good:
    """The good client: counts of statuses, and its latencies in ms."""

    def __init__(self, port):
        self.client, self.request = Client(port, HONEST), post(METRIC)

    def run(self, seconds, meanwhile=lambda: None):
        """Sends for a time. Returns the counts, p50 and p99."""
        counts, times, end = collections.Counter(), [], time.monotonic() + seconds
        while time.monotonic() < end:
            begun = time.monotonic()
            counts[self.client.status(self.request)] += 1
            times.append((time.monotonic() - begun) * 1e3)
            meanwhile()
            time.sleep(PACE_S)
        times.sort()
        return counts, statistics.median(times), times[int(len(times) * 0.99)]


def descriptors(server):
    """Open descriptors of the server."""
    return len(os.listdir(f"/proc/{server.process.pid}/fd"))


def refusals(stats):
    """Refusals by reason and closings by cause."""
    counts = collections.Counter(stats["refused_by"])
    counts.update({f"shed_{reason}": count for reason, count in stats["batches"]["shed_by"].items()})
    closed = stats["connections"]["closed_by"]
    counts.update({reason: closed[reason] for reason in ("evicted", "receive_timeout", "send_timeout")})
    return counts


def declared(stats):
    """What the bounds of a server allow its memory to be."""
    memory = stats["memory_bytes"]
    held = sum(reactor["held_bytes_limit"] for reactor in stats["reactors"])
    return held + memory["rings"] + memory["receive_buffers"] + memory["limiter"] + OTHER_BYTES


def recovery(server, before, end):
    """Seconds until the server is as it was before; None: it is not, and what is left."""
    while True:
        stats = read_json(server.port, b"/stats")
        held = sum(reactor["held_bytes"] for reactor in stats["reactors"])
        # The good client's, and this one.
        left = {"connections": stats["connections"]["active"] - 2, "pending": stats["batches"]["pending"],
                "held MiB": held // MIB, "descriptors": descriptors(server) - before - 1}
        since = time.monotonic() - end
        if all(value <= 0 for value in left.values()):
            return since, None
        if since > RECOVERY_S:
            return None, {what: value for what, value in left.items() if value > 0}
        time.sleep(0.1)


def measure(server, good, name, seconds, alone, judges_latency):
    """One attack. Returns its row, and what is wrong."""
    before, open_before = read_json(server.port, b"/stats"), descriptors(server)
    peak = {"rss": 0, "descriptors": 0, "next": 0.0}

    def watch():
        if time.monotonic() >= peak["next"]:
            peak["next"] = time.monotonic() + 0.1
            peak["rss"] = max(peak["rss"], server.rss())
            peak["descriptors"] = max(peak["descriptors"], descriptors(server))

    processes = [multiprocessing.Process(target=attack_in_process, args=(name, server.port, seconds))
                 for _ in range(PROCESSES)]
    for process in processes:
        process.start()
    time.sleep(min(0.3, seconds / 4))
    counts, p50, p99 = good.run(seconds * 0.8, watch)
    for process in processes:
        process.join(60)
        if process.is_alive():
            process.kill()
    back, left = recovery(server, open_before, time.monotonic())
    after = read_json(server.port, b"/stats")
    bound = declared(after)
    reasons = (refusals(after) - refusals(before)).most_common(3)
    wrong = []
    if set(counts) != {200}:
        wrong.append(f"the good client got {dict(counts)}")
    if peak["rss"] > bound:
        wrong.append(f"{peak['rss'] // MIB} MiB, and its bounds allow {bound // MIB}")
    if left:
        wrong.append(f"not back after {RECOVERY_S} s: {left}")
    if judges_latency and p99 > max(2 * alone[1], 5):
        wrong.append(f"p99 of {p99:.1f} ms, {alone[1]:.1f} alone")
    row = (name, f"{p50:.2f}", f"{p99:.2f}", f"{peak['rss'] // MIB}", str(peak["descriptors"]),
           "-" if back is None else f"{back:.1f}", ", ".join(f"{reason} {count}" for reason, count in reasons))
    return row, wrong


def run(binary, driver, names, seconds, judges_latency):
    """All attacks on one driver. Returns the number of those that went wrong."""
    failed = 0
    server = Server(binary, driver, "--rate-limit", "2000", "--stats-interval", "0s")
    try:
        good = Good(server.port)
        good.run(min(1, seconds))
        _, *alone = good.run(seconds)
        stats = read_json(server.port, b"/stats")
        print(f"\n{driver}: alone p50 {alone[0]:.2f} ms, p99 {alone[1]:.2f} ms; {server.rss() // MIB} MiB, its bounds "
              f"allow {declared(stats) // MIB}; {descriptors(server)} descriptors")
        form = "{:<27} {:>8} {:>8} {:>8} {:>11} {:>7}  {}"
        print(form.format("attack", "p50 ms", "p99 ms", "RSS MiB", "descriptors", "back s", "refused"), flush=True)
        for name in names:
            row, wrong = measure(server, good, name, seconds, alone, judges_latency)
            failed += bool(wrong)
            print(form.format(*row), flush=True)
            for what in wrong:
                print(f"  FAIL {what}", flush=True)
        good.client.close()
        code = server.stop()
        if code != 0:
            failed += 1
            print(f"  FAIL the server ends with exit code {code}")
    finally:
        if server.process.poll() is None:
            server.stop()
    return failed


def main():
    """Runs what the arguments select."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--binary", default="target/release/metricstream")
    parser.add_argument("--driver", choices=["io_uring", "epoll"])
    parser.add_argument("--seconds", type=float, default=5.0, help="time of each attack [default: 5]")
    parser.add_argument("--smoke", action="store_true", help="four attacks of half a second each, on both drivers")
    parser.add_argument("--judge-latency", action="store_true", help="judge the good client's p99 too")
    parser.add_argument("names", nargs="*", metavar="ATTACK", help=f"one of {', '.join(ATTACKS)}")
    arguments = parser.parse_args()
    if unknown := [name for name in arguments.names if name not in ATTACKS]:
        parser.error(f"no attack is called {unknown[0]}; there are {', '.join(ATTACKS)}")
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    if most < 12_000:
        print(f"hostile.py: {most} open files are allowed here, 12,000 are needed", file=sys.stderr)
        sys.exit(2)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    names = arguments.names or (SMOKE if arguments.smoke else ATTACKS)
    seconds = 0.5 if arguments.smoke else arguments.seconds
    drivers = [arguments.driver] if arguments.driver else ["io_uring", "epoll"]
    failed = sum(run(arguments.binary, driver, names, seconds, arguments.judge_latency) for driver in drivers)
    print(f"\n{failed} failed" if failed else "\nall as it should be")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
