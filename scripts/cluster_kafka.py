"""A broker of Kafka as a receiver of the nodes of cluster.py, which is away at random, and what is in its topic."""

import collections
import json
import os
import signal
import socket
import struct
import threading

from kafka_broker import TOPIC, Broker, free_port

BLOCK_BYTES = 1 << 16


class Relay:
    """Copies connections to a port on to another one. While it is stopped, connections are reset and refused."""

    def __init__(self, to):
        self.port, self.to = free_port(), to
        self.listener, self.lock, self.sockets = None, threading.Lock(), []

    def start(self):
        self.listener = socket.create_server(("127.0.0.1", self.port))
        threading.Thread(target=self.accept, args=(self.listener,), daemon=True).start()

    def accept(self, listener):
        while True:
            try:
                client, _ = listener.accept()
            except OSError:
                return
            try:
                server = socket.create_connection(("127.0.0.1", self.to), timeout=10)
            except OSError:
                # The broker does not listen, as it has started just now: the client connects again.
                client.close()
                continue
            server.settimeout(None)
            with self.lock:
                if listener is not self.listener:
                    client.close()
                    server.close()
                    return
                self.sockets += [client, server]
            for source, sink in [(client, server), (server, client)]:
                threading.Thread(target=self.copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def copy(source, sink):
        try:
            while block := source.recv(BLOCK_BYTES):
                sink.sendall(block)
        except OSError:
            pass
        for one in (source, sink):
            try:
                one.shutdown(socket.SHUT_RDWR)
            except OSError:
                pass

    def stop(self):
        with self.lock:
            listener, self.listener = self.listener, None
            sockets, self.sockets = self.sockets, []
        if listener is not None:
            # Wakes the thread that accepts.
            listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        for one in sockets:
            try:
                # What is on its way is lost, as by the end of a host.
                one.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                one.shutdown(socket.SHUT_RDWR)
                one.close()
            except OSError:
                pass


class Kafka:
    """Its topics are in memory, so it is not killed: in turns it cannot be reached, its connections being reset, and
    it hangs."""

    name = "kafka"

    def __init__(self, directory):
        self.directory = os.path.join(directory, self.name)
        os.makedirs(self.directory)
        self.broker, self.relay, self.process, self.hides = None, None, None, False
        self.port = free_port()
        self.stops = 0

    def forward(self):
        return f'url = "kafka://127.0.0.1:{self.port}/{TOPIC}"\n'

    def start(self):
        if self.broker is None:
            self.broker = Broker(self.directory, f"127.0.0.1:{self.port}")
            self.process = self.broker.process
            self.relay = Relay(self.broker.port)
            self.relay.port = self.port
            self.relay.start()
            self.broker.create_topics()
            self.hides = self.broker.hides_what_is_aborted()
        elif self.stops % 2:
            self.relay.start()
        else:
            self.process.send_signal(signal.SIGCONT)

    def stop(self):
        self.stops += 1
        if self.stops % 2:
            self.relay.stop()
        else:
            self.process.send_signal(signal.SIGSTOP)

    def judge(self, nodes, logged, mark_of):
        """Rows of the table: name, batches, lost, foreign, repeated, and whether that counts; and faults."""
        lines = offsets = lost = repeated = 0
        for node in nodes:
            with open(os.path.join(node.directory, "data", "forward-kafka.kafka"), encoding="ascii") as file:
                offset, _ = self.broker.cursor(f"metricstream-forward-kafka-{file.read().strip()}")
            own = sum(1 for _ in node.lines())
            lines, offsets = lines + own, offsets + offset
            lost, repeated = lost + max(0, own - offset), repeated + max(0, offset - own)
        rows = [("Kafka, by the cursors", offsets, lost, 0, repeated)]
        faults = []
        if lost or repeated:
            faults.append(f"Kafka: by the cursors {lost} lines lost, {repeated} repeated, of {lines}")
        found = collections.Counter()
        for records in self.broker.read(TOPIC, "read_committed"):
            for _, value in records:
                line = json.loads(value)
                found[mark_of(line["tags"], line["value"])] += 1
        lost, foreign = len(logged - set(found)), len(set(found) - logged)
        repeated = sum(count - 1 for count in found.values())
        rows.append(("Kafka, read_committed", len(found), lost, foreign, repeated))
        if lost or foreign or (repeated and self.hides):
            faults.append(f"Kafka: {lost} batches lost, {foreign} of no log, {repeated} repeated")
        older = sum(len(node.said(r"(Kafka has \d+ lines, but keeps no position)")) for node in nodes)
        note = "" if self.hides else (
            "This broker shows records of aborted transactions to read_committed too: what is repeated there was sent "
            "again\nafter an abort, or after the broker returned a cursor older than the last one, which it did at "
            f"{older} starts at least.\nIt counts by the cursors only, each of which has the number of lines in its "
            "node's log.")
        return rows, faults, note
