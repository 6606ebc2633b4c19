#!/usr/bin/env python3
"""Runs several nodes behind HAProxy and checks limits and acknowledgements over all of them. See cluster.sh.

usage: scripts/cluster.py METRICSTREAM HAPROXY_CFG [--nodes N] [--clients N] [--seconds N] [--seed N]
"""

import argparse
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

RATE = 20
# The stamp of a line is taken once for each turn of a reactor, and the limiter's own a moment later.
TURN_MS = 50


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Node:
    """One server, with a directory of its own."""

    def __init__(self, binary, directory):
        self.binary, self.directory = binary, directory
        self.port, self.proxy_port = free_port(), free_port()
        self.process = None

    def start(self):
        command = [
            self.binary, "--listen", f"127.0.0.1:{self.port}", "--proxy-listen", f"127.0.0.1:{self.proxy_port}",
            "--trusted-proxies", "127.0.0.1", "--data-dir", os.path.join(self.directory, "data"),
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


class Client(threading.Thread):
    """Posts batches of one metric, each with a number of its own, and notes what each was answered."""

    def __init__(self, index, port, is_fast, ends):
        super().__init__()
        self.index, self.port, self.is_fast, self.ends = index, port, is_fast, ends
        self.stored, self.refused, self.unknown = set(), set(), set()
        self.statuses = collections.Counter()

    def run(self):
        connection, number = None, 0
        while time.monotonic() < self.ends:
            number += 1
            mark = f"{self.index}-{number}"
            body = json.dumps({"metrics": [{"name": "m", "value": number, "tags": {"mark": mark}}]})
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


def configure(path, nodes, bind, directory):
    """HAProxy's configuration, with the ports of this run."""
    with open(path, encoding="utf-8") as file:
        text = file.read()
    text = text.replace("bind :9080", f"bind 127.0.0.1:{bind}")
    text = re.sub(r"^    server node\d+ .*\n", "", text, flags=re.MULTILINE)
    text += "".join(f"    server node{n} 127.0.0.1:{node.proxy_port}\n" for n, node in enumerate(nodes, 1))
    with open(os.path.join(directory, "haproxy.cfg"), "w", encoding="utf-8") as file:
        file.write(text)
    return file.name


def over_rate(lines):
    """Seconds of clients with more than RATE batches in them, over all nodes."""
    stamps = collections.defaultdict(list)
    for line in lines:
        time_ms = int(1000 * time_of(line["timestamp"]))
        stamps[line["tags"]["mark"].split("-")[0]].append(time_ms)
    found = 0
    for times in stamps.values():
        times.sort()
        found += sum(later - first < 1000 - TURN_MS for first, later in zip(times, times[RATE:]))
    return found


def time_of(text):
    whole, fraction = text.rstrip("Z").split(".")
    return time.mktime(time.strptime(whole, "%Y-%m-%dT%H:%M:%S")) - time.timezone + int(fraction) / 1000


def disturb(nodes, chance, ends, counts):
    """Ends nodes at random and starts them again; one at least is always there."""
    while time.monotonic() < ends - 3:
        node = chance.choice(nodes)
        number = chance.choice([signal.SIGKILL, signal.SIGTERM])
        node.end(number)
        counts[signal.Signals(number).name] += 1
        time.sleep(chance.uniform(0.1, 2))
        node.start()
        time.sleep(chance.uniform(1, 2.5))


def load(arguments, port, seconds):
    ends = time.monotonic() + seconds
    clients = [Client(index, port, index % 2 == 0, ends) for index in range(arguments.clients)]
    for client in clients:
        client.start()
    return clients, ends


def judge(name, clients, nodes):
    """Compares what the clients were told with the logs; prints a row, and returns the faults."""
    found = collections.Counter(line["tags"]["mark"] for node in nodes for line in node.lines())
    stored = set().union(*(client.stored for client in clients))
    refused = set().union(*(client.refused for client in clients))
    unknown = set().union(*(client.unknown for client in clients))
    lost = stored - set(found)
    twice = sum(count > 1 for count in found.values())
    wrong = refused & set(found)
    print(f"{name:24} {len(stored):13} {len(found):8} {len(lost):5} {twice:6} {len(refused):8}", end="")
    print(f" {len(wrong):15} {len(unknown):8}")
    faults = []
    for text, count in [("lost", len(lost)), ("stored twice", twice), ("refused and stored", len(wrong))]:
        if count:
            faults.append(f"{name}: {count} batches {text}")
    return faults


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("configuration")
    parser.add_argument("--nodes", type=int, default=3)
    parser.add_argument("--clients", type=int, default=100)
    parser.add_argument("--seconds", type=int, default=12)
    parser.add_argument("--seed", type=int, default=1)
    arguments = parser.parse_args()
    chance = random.Random(arguments.seed)
    faults, rows = [], []
    directory = tempfile.mkdtemp(prefix="cluster.")
    print("phase                     acknowledged  in logs  lost  twice  refused  refused, stored  unknown")
    processes = []
    try:
        for phase in ["all nodes up", "nodes killed, stopped"]:
            place = os.path.join(directory, phase.split()[0])
            nodes = []
            for number in range(arguments.nodes):
                os.makedirs(os.path.join(place, str(number)))
                nodes.append(Node(arguments.binary, os.path.join(place, str(number))))
                nodes[-1].start()
                processes.append(nodes[-1])
            bind = free_port()
            configuration = configure(arguments.configuration, nodes, bind, place)
            with open(os.path.join(place, "haproxy.log"), "wb") as log:
                proxy = subprocess.Popen(["haproxy", "-db", "-f", configuration], stdout=log, stderr=log)
            time.sleep(3)
            clients, ends = load(arguments, bind, arguments.seconds)
            counts = collections.Counter()
            if phase != "all nodes up":
                disturb(nodes, chance, ends, counts)
            for client in clients:
                client.join()
            proxy.terminate()
            proxy.wait(timeout=30)
            for node in nodes:
                node.end(signal.SIGTERM)
            faults += judge(phase, clients, nodes)
            over = over_rate(line for node in nodes for line in node.lines())
            used = sum(any(True for _ in node.lines()) for node in nodes)
            statuses = sum((client.statuses for client in clients), collections.Counter())
            rows.append(f"{phase}: {used} of {len(nodes)} nodes used, "
                        f"{over} seconds of clients over their rate of {RATE}, "
                        f"statuses {dict(statuses)}, {dict(counts)}")
            if phase == "all nodes up" and (over or used < len(nodes) or not statuses[429]):
                faults.append(rows[-1])
    finally:
        for node in processes:
            if node.process.poll() is None:
                node.process.kill()
                node.process.wait()
    print("\n".join(rows))
    if faults:
        sys.exit("cluster: FAILED\n" + "\n".join(faults) + f"\nlogs and configurations: {directory}")
    shutil.rmtree(directory)
    print("cluster: passed")


if __name__ == "__main__":
    main()
