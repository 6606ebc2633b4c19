"""A server under test: started, killed and stopped by its pid; its statistics and its log."""

import glob
import json
import os
import random
import re
import signal
import socket
import subprocess
import time
import urllib.request
from datetime import datetime, timezone

START_S = 60
STOP_S = 60


class Failed(Exception):
    """The run cannot go on."""


def wait_until(condition, seconds, what):
    """Calls `condition` until it is true, and returns what it returned."""
    end = time.monotonic() + seconds
    while True:
        if found := condition():
            return found
        if time.monotonic() > end:
            raise Failed(f"waited {seconds:.0f} s for {what}")
        time.sleep(0.1)


def fetch(url, timeout=20):
    """The body of a GET."""
    with urllib.request.urlopen(url, timeout=timeout) as response:
        return response.read()


def stop_process(process, seconds=30):
    """Ends a process that was started here, by its pid."""
    if process.poll() is None:
        process.terminate()
        try:
            process.wait(seconds)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
    return process.returncode


class Line:
    """A line of the log."""

    __slots__ = ("name", "tags", "timestamp_ms", "value", "kind", "is_stale")

    def __init__(self, text):
        fields = json.loads(text)
        self.name, self.tags, self.kind = fields["name"], fields["tags"], fields["type"]
        moment = datetime.strptime(fields["timestamp"], "%Y-%m-%dT%H:%M:%S.%fZ").replace(tzinfo=timezone.utc)
        self.timestamp_ms = round(moment.timestamp() * 1000)
        self.value = float(fields["value"])
        self.is_stale = fields.get("stale", False)


def free_port():
    """A port that no client's end of a connection can take while the server is down: below the range of those."""
    with open("/proc/sys/net/ipv4/ip_local_port_range", encoding="ascii") as file:
        first = int(file.read().split()[0])
    ports = list(range(max(1024, first - 10_000), first))
    random.shuffle(ports)
    for port in ports:
        with socket.socket() as found:
            try:
                found.bind(("127.0.0.1", port))
                return port
            except OSError:
                continue
    raise Failed("no port is free")


class Server:
    """A server on a port that it keeps when it is started again."""

    def __init__(self, binary, driver, directory, flags=()):
        self.binary, self.driver, self.directory, self.flags = binary, driver, directory, list(flags)
        self.data = os.path.join(directory, "data")
        self.port, self.process, self.starts = free_port(), None, 0

    @property
    def address(self):
        """What takes the place of 127.0.0.1:8080 in the configurations."""
        return f"127.0.0.1:{self.port}"

    @property
    def url(self):
        """Without a path."""
        return f"http://{self.address}"

    def start(self):
        """Starts it, and returns when it listens."""
        path = os.path.join(self.directory, f"server-{self.starts}.log")
        self.starts += 1
        command = [self.binary, "--listen", f"127.0.0.1:{self.port}", "--driver", self.driver, "--data-dir", self.data]
        with open(path, "wb") as log:
            self.process = subprocess.Popen([*command, *self.flags], stdout=subprocess.DEVNULL, stderr=log)

        def port():
            with open(path, encoding="utf-8", errors="replace") as log:
                text = log.read()
            if self.process.poll() is not None:
                raise Failed(f"the server did not start:\n{text[-2000:]}")
            found = re.search(r"listening on [^ ]*:(\d+)", text)
            return found and int(found[1])

        self.port = wait_until(port, START_S, "the server to listen")

    def kill(self):
        """kill -9."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self):
        """Ends it with SIGTERM. Returns the exit code."""
        return stop_process(self.process, STOP_S)

    def end(self):
        """Ends it in any state."""
        if self.process and self.process.poll() is None:
            self.kill()

    def stats(self):
        """GET /stats."""
        return json.loads(fetch(self.url + "/stats"))

    def ready(self):
        """True if it takes traffic."""
        try:
            fetch(self.url + "/ready")
        except OSError:
            return False
        return True

    def lines(self):
        """All lines of the log, sealed files and the active one."""
        found = []
        for path in sorted(glob.glob(os.path.join(self.data, "*.jsonl"))):
            with open(path, encoding="utf-8", newline="\n") as file:
                for number, text in enumerate(file, 1):
                    if not text.endswith("\n"):
                        raise Failed(f"{path}: line {number} is torn")
                    found.append(Line(text))
        return found


def open_accounts(stats):
    """What does not close in the accounting of each protocol: nothing, if all is well."""
    findings = []
    for protocol, counts in stats["protocols"].items():
        for what, outcomes in [
            ("batches", ("stored", "rejected", "shed", "pending")),
            ("metrics", ("stored", "rejected", "pending")),
        ]:
            total = sum(counts[f"{what}_{outcome}"] for outcome in outcomes)
            if counts[f"{what}_received"] != total or counts[f"{what}_pending"] != 0:
                findings.append(f"{protocol}: {what} do not close: {counts}")
    return findings
