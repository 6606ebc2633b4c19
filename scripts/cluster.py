#!/usr/bin/env python3
"""Runs several nodes behind HAProxy, and checks limits, acknowledgements and deliveries. See cluster.sh.

usage: scripts/cluster.py METRICSTREAM HAPROXY_CFG [--nodes N] [--clients N] [--seconds N] [--minutes N] [--seed N]
"""

import argparse
import bisect
import collections
import glob
import http.client
import json
import os
import random
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.request

from cluster_stores import STORES, free_port

try:
    from cluster_kafka import Kafka
except ImportError as error:
    # Its client is not there; said where the row would be.
    Kafka, no_client = None, error

RATE = 20
# The stamp of a line is taken once for each turn of a reactor, and the limiter's own a moment later: at most 102 ms
# were seen between them, at a load of 20 on two cores. A window is this much shorter than a second.
TURN_MS = 200
# Series of a client, in turn: no two batches of one series can have the same millisecond.
SLOTS = 4
# Far beyond what the delivery of everything takes.
DRAIN_S = 240


def mark_of(labels, value):
    return f"{labels['client']}-{int(value)}"


class Node:
    """One server, with a directory of its own, that forwards to all stores."""

    def __init__(self, binary, directory, stores):
        os.makedirs(directory)
        self.binary, self.directory = binary, directory
        self.port, self.proxy_port = free_port(), free_port()
        self.process = None
        # When each process of it was started, in milliseconds since 1970.
        self.starts_ms = []
        with open(os.path.join(directory, "config.toml"), "w", encoding="ascii") as file:
            for store in stores:
                file.write(f'[[forward]]\nname = "{store.name}"\n{store.forward()}start = "beginning"\n'
                           'batch_age = "200ms"\n')

    def start(self):
        self.starts_ms.append(time.time() * 1000)
        command = [
            self.binary, "--listen", f"127.0.0.1:{self.port}", "--proxy-listen", f"127.0.0.1:{self.proxy_port}",
            "--trusted-proxies", "127.0.0.1", "--data-dir", os.path.join(self.directory, "data"),
            "--config", os.path.join(self.directory, "config.toml"),
            "--rate-limit", str(RATE), "--reactors", "1", "--drain-timeout", "2s",
        ]
        with open(os.path.join(self.directory, "stderr"), "ab") as log:
            self.process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=log)
        for _ in range(600):
            try:
                with socket.create_connection(("127.0.0.1", self.port), timeout=1):
                    return
            except OSError:
                time.sleep(0.05)
        sys.exit(f"cluster: a node does not start: {self.directory}")

    def end(self, number):
        self.process.send_signal(number)
        self.process.wait(timeout=30)

    def lines(self):
        for path in sorted(glob.glob(os.path.join(self.directory, "data", "metrics*.jsonl"))):
            with open(path, encoding="utf-8") as log:
                for line in log:
                    yield json.loads(line)

    def forwards(self):
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}/stats", timeout=30) as response:
            return json.load(response)["forwards"]

    def cursors(self):
        """What `metricstream forwards` says, beside the server."""
        command = [self.binary, "forwards", "--data-dir", os.path.join(self.directory, "data"), "--format", "json"]
        found = subprocess.run(command, stdout=subprocess.PIPE, timeout=60, check=False)
        return json.loads(found.stdout)["forwards"]

    def said(self, pattern):
        """Lines of standard error that match, without what differs from node to node."""
        with open(os.path.join(self.directory, "stderr"), encoding="utf-8") as log:
            return [match.group(1) for match in map(re.compile(pattern).search, log) if match]


class Client(threading.Thread):
    """Posts batches of one metric, each with a number of its own, and notes the response to each."""

    def __init__(self, index, port, is_fast, ends):
        super().__init__()
        self.index, self.port, self.is_fast, self.ends = index, port, is_fast, ends
        self.stored, self.refused, self.unknown = set(), set(), set()
        self.statuses = collections.Counter()

    def run(self):
        connection, number = None, 0
        while time.monotonic() < self.ends:
            number += 1
            tags = {"client": str(self.index), "slot": str(number % SLOTS)}
            mark = mark_of(tags, number)
            body = json.dumps({"metrics": [{"name": "m", "value": number, "tags": tags}]})
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
                headers = {"Authorization": f"Bearer client-{self.index}"}
                connection.request("POST", "/metrics", body, headers)
                response = connection.getresponse()
                response.read()
                self.statuses[response.status] += 1
                # HAProxy's own 502, 503 and 504 say nothing about what the node did.
                is_own = response.getheader("Content-Type") == "application/json"
                if response.status == 200:
                    self.stored.add(mark)
                elif is_own:
                    self.refused.add(mark)
                else:
                    self.unknown.add(mark)
            except (OSError, http.client.HTTPException):
                self.statuses["cut off"] += 1
                self.unknown.add(mark)
                connection = None
            time.sleep(0.005 if self.is_fast else 1.5 / RATE)


class Proxy:
    """HAProxy, with the configuration of the documentation and the ports of this run."""

    def __init__(self, path, nodes, directory, is_exact):
        self.port, self.directory, self.process = free_port(), directory, None
        with open(path, encoding="utf-8") as file:
            text = file.read()
        if is_exact:
            # As the comment there says.
            text = re.sub(r"^    #exact ", "    ", text, flags=re.MULTILINE)
        text = text.replace("bind :9080", f"bind 127.0.0.1:{self.port}")
        text = re.sub(r"^    server node\d+ .*\n", "", text, flags=re.MULTILINE)
        text += "".join(f"    server node{n} 127.0.0.1:{node.proxy_port}\n" for n, node in enumerate(nodes, 1))
        with open(os.path.join(directory, "haproxy.cfg"), "w", encoding="utf-8") as file:
            file.write(text)

    def start(self):
        with open(os.path.join(self.directory, "haproxy.log"), "ab") as log:
            command = ["haproxy", "-db", "-f", os.path.join(self.directory, "haproxy.cfg")]
            self.process = subprocess.Popen(command, stdout=log, stderr=log)

    def end(self, number):
        self.process.send_signal(number)
        self.process.wait(timeout=30)

    def times_down(self):
        """How often it took a node for dead: also one that did not respond to its checks in time."""
        with open(os.path.join(self.directory, "haproxy.log"), encoding="utf-8", errors="replace") as log:
            return sum(" is DOWN, " in line for line in log)


class Limits:
    """The stamps of each client in all nodes' logs, and its seconds with more than RATE batches in them: by what was
    promised. A process of a node is a server of its own, as a restart begins all limits anew."""

    def __init__(self, nodes):
        stamps = collections.defaultdict(list)
        for number, node in enumerate(nodes):
            for line in node.lines():
                ms = 1000 * time_of(line["timestamp"])
                stamps[line["tags"]["client"]].append((ms, number, bisect.bisect(node.starts_ms, ms)))
        # Seconds on one server, over RATE; on several, over RATE for each; on several, over RATE in all.
        self.unmoved = self.unpromised = self.moved = self.most = self.batches = 0
        for found in stamps.values():
            found.sort()
            self.batches += len(found)
            for first, (begin_ms, *_) in enumerate(found):
                window = []
                for ms, *server in found[first:]:
                    if ms - begin_ms >= 1000 - TURN_MS:
                        break
                    window.append(tuple(server))
                self.note(window)

    def note(self, window):
        servers = collections.Counter(window)
        self.most = max(self.most, len(window))
        if len(window) <= RATE:
            return
        self.unmoved += len(servers) == 1
        self.moved += len(servers) > 1
        self.unpromised += max(servers.values()) > RATE

    def row(self, name):
        return f"{name:24} {self.batches:9} {self.unmoved:14} {self.unpromised:15} {self.moved:12} {self.most:17}"


LIMITS_HEAD = (f"{'limits':24} {'seconds':>9} {'over, unmoved':>14} {'over, per node':>15} {'over, moved':>12}"
               f" {'most in a second':>17}")


def time_of(text):
    whole, fraction = text.rstrip("Z").split(".")
    return time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) - time.timezone + int(fraction) / 1000


# Seconds for which a node or HAProxy is away, least and most. For exact limits it is a second at least, as after a
# restart by systemd with the unit in contrib.
AWAY_S, AWAY_EXACT_S = (0.1, 2), (1.1, 4)


def disturb(nodes, chance, ends, counts, pause):
    """Ends nodes at random and starts them again; one at least is always there."""
    while time.monotonic() < ends - 3:
        node = chance.choice(nodes)
        number = chance.choice([signal.SIGKILL, signal.SIGTERM])
        node.end(number)
        counts[f"node {signal.Signals(number).name}"] += 1
        time.sleep(chance.uniform(*pause))
        node.start()
        time.sleep(chance.uniform(1, 2.5))


def disturb_all(nodes, proxy, stores, chance, ends, counts, pause):
    """As disturb, and HAProxy and the stores too; a store is away for up to ten seconds, while the rest goes on."""
    away = []
    while time.monotonic() < ends - 3:
        for store, back in away:
            if time.monotonic() >= back:
                store.start()
        away = [(store, back) for store, back in away if time.monotonic() < back]
        what = chance.choice(["node", "node", "node", "haproxy", *[store.name for store in stores]])
        number = chance.choice([signal.SIGKILL, signal.SIGTERM])
        if what == "node":
            disturbed = chance.choice(nodes)
        elif what == "haproxy":
            disturbed = proxy
        else:
            disturbed = next(store for store in stores if store.name == what)
            back = time.monotonic() + chance.uniform(1, 10)
            if disturbed not in [store for store, _ in away]:
                disturbed.stop()
                counts[f"{what} stopped"] += 1
                away.append((disturbed, back))
            continue
        disturbed.end(number)
        counts[f"{what} {signal.Signals(number).name}"] += 1
        time.sleep(chance.uniform(*pause))
        disturbed.start()
        time.sleep(chance.uniform(0.5, 2))
    for store, _ in away:
        store.start()


def load(arguments, port, seconds):
    ends = time.monotonic() + seconds
    clients = [Client(index, port, index % 2 == 0, ends) for index in range(arguments.clients)]
    for client in clients:
        client.start()
    return clients, ends


def judge(name, clients, nodes):
    """Compares the responses with the logs; prints a row. Returns the faults, and the batches that are stored."""
    found = collections.Counter(mark_of(line["tags"], line["value"]) for node in nodes for line in node.lines())
    stored = set().union(*(client.stored for client in clients))
    refused = set().union(*(client.refused for client in clients))
    unknown = set().union(*(client.unknown for client in clients))
    lost = stored - set(found)
    twice = sum(count > 1 for count in found.values())
    wrong = refused & set(found)
    print(f"{name:24} {len(stored):13} {len(found):8} {len(lost):5} {twice:6} {len(refused):8}", end="")
    print(f" {len(wrong):15} {len(unknown):8}", flush=True)
    faults = []
    for text, count in [("lost", len(lost)), ("stored twice", twice), ("refused and stored", len(wrong))]:
        if count:
            faults.append(f"{name}: {count} batches {text}")
    return faults, (stored, set(found))


def drain(nodes):
    """Waits until every node has delivered everything. Returns what is not."""
    ends = time.monotonic() + DRAIN_S
    behind = ["unknown"]
    while behind and time.monotonic() < ends:
        behind = [f"{node.directory} {cursor['name']}: {cursor['bytes_behind']} bytes, {cursor['error']}"
                  for node in nodes for cursor in node.cursors() if cursor["bytes_behind"] != 0]
        time.sleep(0.5)
    return behind


def judge_stores(stores, nodes, batches):
    """Compares each store with the logs and the responses; prints a table, and returns the faults."""
    acknowledged, logged = batches
    faults = []
    print(f"\n{'':24} {'batches':>9} {'lost':>6} {'foreign':>8} {'repeated':>9}  refused, retries since the last start")
    print(f"{'acknowledged':24} {len(acknowledged):9}")
    print(f"{'in the logs of nodes':24} {len(logged):9} {len(acknowledged - logged):6}")

    def tried(name):
        own = [forward for node in nodes for forward in node.forwards() if forward["name"] == name]
        return sum(sum(forward["refused_by"].values()) for forward in own), sum(forward["retries"] for forward in own)
    for store in stores:
        refused, retries = tried(store.name)
        if refused:
            faults.append(f"{store.name}: {refused} samples refused")
        if store.name == "kafka":
            rows, found, note = store.judge(nodes, logged, mark_of)
            faults += found
            for name, count, lost, foreign, repeated in rows:
                print(f"{name:24} {count:9} {lost:6} {foreign:8} {repeated:9}  {refused}, {retries}")
            print(note)
            continue
        kept = {mark_of(labels, value) for labels, value in store.samples()}
        lost, foreign = len(logged - kept), len(kept - logged)
        print(f"{store.name:24} {len(kept):9} {lost:6} {foreign:8} {'-':>9}  {refused}, {retries}")
        if lost or foreign:
            faults.append(f"{store.name}: {lost} batches lost, {foreign} of no log")
    print(flush=True)
    return faults


class Cluster:
    """Nodes, HAProxy before them and stores behind them, each with a directory in one."""

    def __init__(self, arguments, directory, stores, is_exact):
        self.stores = [store(directory) for store in stores]
        self.nodes = [Node(arguments.binary, os.path.join(directory, str(number)), self.stores)
                      for number in range(arguments.nodes)]
        self.proxy = Proxy(arguments.configuration, self.nodes, directory, is_exact)

    def start(self):
        for part in [*self.stores, *self.nodes, self.proxy]:
            part.start()
        time.sleep(3)

    def kill(self):
        for part in [*self.stores, *self.nodes, self.proxy]:
            if part.process is not None and part.process.poll() is None:
                # Also if it hangs.
                part.process.kill()
                part.process.wait()


def run(name, arguments, place, stores, chance):
    """One phase. Returns its faults, a line about it, and its limits."""
    is_exact = name in (EXACT, ALL)
    pause = AWAY_EXACT_S if is_exact else AWAY_S
    cluster = Cluster(arguments, place, stores, is_exact)
    counts = collections.Counter()
    try:
        cluster.start()
        clients, ends = load(arguments, cluster.proxy.port, 60 * arguments.minutes if stores else arguments.seconds)
        if stores:
            disturb_all(cluster.nodes, cluster.proxy, cluster.stores, chance, ends, counts, pause)
        elif name != UP:
            disturb(cluster.nodes, chance, ends, counts, pause)
        for client in clients:
            client.join()
        cluster.proxy.end(signal.SIGTERM)
        behind = drain(cluster.nodes)
        faults, batches = judge(name, clients, cluster.nodes)
        faults += [f"{name}: not delivered: {text}" for text in behind]
        if stores:
            faults += judge_stores(cluster.stores, cluster.nodes, batches)
        for node in cluster.nodes:
            node.end(signal.SIGTERM)
    finally:
        cluster.kill()
    limits = Limits(cluster.nodes)
    used = sum(any(True for _ in node.lines()) for node in cluster.nodes)
    statuses = sum((client.statuses for client in clients), collections.Counter())
    row = f"{name}: {used} of {len(cluster.nodes)} nodes used; statuses {dict(statuses)}, {dict(counts)}"
    formats = sorted({text for node in cluster.nodes for text in node.said(r"forward (\S+ .*remote write.*)")})
    if formats:
        row += "\n  " + "\n  ".join(formats)
    down = cluster.proxy.times_down()
    if name == UP and down:
        row += f"\n  HAProxy took a node for dead {down} times, as the machine is busy: it moved clients then"
    if limits.unmoved or limits.unpromised or (limits.moved and (is_exact or (name == UP and not down))):
        faults.append(f"{LIMITS_HEAD}\n{limits.row(name)}")
    if name == UP and (used < len(cluster.nodes) or not statuses[429]):
        faults.append(row)
    return faults, row, limits


UP, KILLED, EXACT, ALL = "all nodes up", "nodes killed, stopped", "the same, exact limits", "everything, with stores"


def without_kafka(binary, place):
    """The reason why nothing is forwarded to Kafka, if there is one."""
    if Kafka is None:
        return f"{no_client}: cluster.sh --install, or KAFKA_VENV (cluster.sh --help)"
    # A URL without a topic ends either server, one because it does not know the scheme.
    command = [binary, "--forward", "kafka://localhost", "--data-dir", os.path.join(place, "none")]
    said = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=60, check=False).stdout
    return None if b"has no topic" in said else "this metricstream is built without the feature kafka"


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("configuration")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=12)
    parser.add_argument("--minutes", type=int, default=2)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    stores = [store for store in STORES if store.is_installed()]
    faults, rows, limits = [], [], []
    directory = tempfile.mkdtemp(prefix="cluster.")
    why_no_kafka = without_kafka(arguments.binary, directory)
    if why_no_kafka is None:
        stores.append(Kafka)
    print("phase                     acknowledged  in logs  lost  twice  refused  refused, stored  unknown")
    for phase in [UP, KILLED, EXACT, ALL]:
        behind = stores if phase == ALL else []
        if phase == ALL and (not stores or arguments.minutes == 0):
            rows.append(f"{phase}: SKIPPED, there is no Prometheus, no VictoriaMetrics and no Kafka, or no time")
            continue
        place = os.path.join(directory, phase.replace(" ", "-").replace(",", ""))
        os.makedirs(place)
        found, row, limit = run(phase, arguments, place, behind, chance)
        faults += found
        rows.append(row)
        limits.append(limit.row(phase))
    if why_no_kafka is not None:
        print(f"{'Kafka':24} SKIPPED: {why_no_kafka}\n")
    print("\n".join([LIMITS_HEAD, *limits, "", *rows]))
    missing = [store.program for store in STORES if store not in stores]
    if missing:
        print(f"cluster: SKIPPED, not installed: {', '.join(missing)}")
    if faults:
        sys.exit("cluster: FAILED\n" + "\n".join(faults) + f"\nlogs and configurations: {directory}")
    shutil.rmtree(directory)
    print("cluster: passed")


if __name__ == "__main__":
    main()
