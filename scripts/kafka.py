"""A broker, a server that forwards to it and is killed, and the comparison of log and topic: see kafka.sh."""

import argparse
import collections
import glob
import http.client
import json
import os
import random
import signal
import subprocess
import sys
import threading
import time

from kafka_broker import TIMEOUT_S, TOPIC, Broker, free_port, until

SERIES, CLIENTS = 50, 4


def say(text):
    print(f"kafka.sh: {text}", file=sys.stderr, flush=True)


class Server:
    def __init__(self, binary, config, data, log):
        self.port = free_port()
        command = [binary, "--config", config, "--data-dir", data, "--listen", f"127.0.0.1:{self.port}"]
        command += ["--rate-limit", "0", "--reactors", "1", "--rotate-size", "1MiB"]
        self.process = subprocess.Popen(command, stdout=log, stderr=log)

        def responds():
            if self.process.poll() is not None:
                raise SystemExit("kafka.sh: the server has ended")
            return self.get("/ready")

        until("the server", responds)

    def get(self, path):
        try:
            connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
            connection.request("GET", path)
            response = connection.getresponse()
            body = response.read()
            connection.close()
            return body if response.status == 200 else None
        except OSError:
            return None

    def end(self, how):
        self.process.send_signal(how)
        self.process.wait(TIMEOUT_S)


class Load:
    """Clients that post numbered metrics, and what of these was acknowledged."""

    def __init__(self):
        self.server, self.is_over, self.lock = None, False, threading.Lock()
        self.next, self.acknowledged = 0, set()
        self.threads = [threading.Thread(target=self.run, daemon=True) for _ in range(CLIENTS)]
        for thread in self.threads:
            thread.start()

    def run(self):
        connection = None
        while not self.is_over:
            server = self.server
            if server is None:
                connection = None
                time.sleep(0.01)
                continue
            with self.lock:
                numbers = range(self.next, self.next + random.randint(1, 200))
                self.next = numbers.stop
            metrics = [{"name": f"m{number % SERIES}", "value": number} for number in numbers]
            try:
                if connection is None:
                    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=10)
                connection.request("POST", "/metrics", json.dumps({"metrics": metrics}),
                                   {"Content-Type": "application/json"})
                response = connection.getresponse()
                body = json.loads(response.read())
                if response.status == 200 and body.get("metrics_processed") == len(metrics):
                    with self.lock:
                        self.acknowledged.update(numbers)
            except (OSError, http.client.HTTPException, ValueError):
                connection = None  # It was killed: the metrics may be in the log, or not.
            time.sleep(random.random() * 0.01)

    def stop(self):
        self.is_over = True
        for thread in self.threads:
            thread.join(TIMEOUT_S)


def lines_of(data):
    """The lines of the log, in its order. Segments are named by their time; the active one comes last."""
    names = sorted(glob.glob(os.path.join(data, "metrics-*.jsonl"))) + [os.path.join(data, "metrics.jsonl")]
    found = []
    for name in names:
        with open(name, "rb") as file:
            found += file.read().splitlines()
    return found


def compare(log, topic):
    """Lines that are lost, repeated and out of order."""
    counts = collections.Counter(value for records in topic for _, value in records)
    lost = sum(counts[line] == 0 for line in log)
    repeated = sum(count - 1 for count in counts.values())
    place = {line: index for index, line in enumerate(log)}
    disordered, last, partition_of = 0, {}, {}
    for partition, records in enumerate(topic):
        for key, value in records:
            index = place.get(value, -1)
            disordered += index < last.get(key, -1) or partition_of.setdefault(key, partition) != partition
            last[key] = max(index, last.get(key, -1))
    return lost, repeated, disordered


def main():
    parser = argparse.ArgumentParser()
    for name in ("--binary", "--work"):
        parser.add_argument(name, required=True)
    for name in ("--kills", "--seed"):
        parser.add_argument(name, type=int, required=True)
    options = parser.parse_args()
    random.seed(options.seed)
    say(f"seed {options.seed}")
    broker = Broker(options.work)
    server = None
    try:
        broker.create_topics()
        hides = broker.hides_what_is_aborted()
        config, data = os.path.join(options.work, "config.toml"), os.path.join(options.work, "data")
        with open(config, "w") as to:
            to.write(f'[[forward]]\nname = "kafka"\nurl = "kafka://{broker.address}/{TOPIC}"\nstart = "beginning"\n'
                     'batch_age = "20ms"\n')
        log = open(os.path.join(options.work, "server.log"), "wb")
        load = Load()
        for _ in range(options.kills):
            server = Server(options.binary, config, data, log)
            load.server = server
            time.sleep(0.2 + random.random() * 1.5)
            server.end(signal.SIGKILL)
            load.server = None
        server = Server(options.binary, config, data, log)
        load.server = server
        time.sleep(1)
        load.stop()

        def is_delivered():
            (forward,) = json.loads(server.get("/stats"))["forwards"]
            return forward if forward["seconds_behind"] < 1 and forward["bytes_behind"] == 0 else None

        time.sleep(1)
        forward = until("everything to be delivered", is_delivered)
        server.end(signal.SIGTERM)
        passed = report(broker, load, data, hides, forward)
    finally:
        if server is not None and server.process.poll() is None:
            server.end(signal.SIGKILL)
        broker.stop()
    sys.exit(0 if passed else 1)


def report(broker, load, data, hides, forward):
    log = lines_of(data)
    committed, everything = broker.read(TOPIC, "read_committed"), broker.read(TOPIC, "read_uncommitted")
    lost, repeated, disordered = compare(log, committed)
    stored = {json.loads(line)["value"] for line in log}
    lost += len(load.acknowledged - stored)
    with open(os.path.join(data, "forward-kafka.kafka")) as file:
        offset, position = broker.cursor(f"metricstream-forward-kafka-{file.read().strip()}")
    if not hides:
        say("this broker shows what is aborted also to read_committed: repeated lines are counted by the cursor")
        repeated, disordered = offset - len(log), 0
    count = sum(len(records) for records in committed)
    aborted = sum(len(records) for records in everything) - count
    say(f"gaps {forward['gaps']}; cursor {offset}, {position}; records that only read_uncommitted sees: {aborted}")
    print(f"{'acknowledged':>12} {'log':>9} {'topic':>9} {'lost':>6} {'repeated':>9} {'disordered':>11}")
    print(f"{len(load.acknowledged):>12} {len(log):>9} {count:>9} {lost:>6} {repeated:>9} {disordered:>11}")
    return lost == 0 and repeated == 0 and disordered == 0 and offset == len(log) and forward["gaps"] == 0


main()
