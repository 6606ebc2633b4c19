"""Prometheus and VictoriaMetrics as receivers of remote write, for cluster.py."""

import json
import os
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request

START_S = 60
STOP_S = 60


def free_port():
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return found.getsockname()[1]


class Store:
    """A store with a directory of its own, which is stopped and started again on the same port."""

    name, program = "", ""

    def __init__(self, directory):
        self.directory = os.path.join(directory, self.name)
        os.makedirs(self.directory)
        self.port = free_port()
        self.process = None

    def forward(self):
        """What a node's table of this forward has."""
        return f'url = "http://127.0.0.1:{self.port}/api/v1/write"\n'

    @classmethod
    def is_installed(cls):
        return shutil.which(cls.program) is not None

    def url(self, path, **parameters):
        return f"http://127.0.0.1:{self.port}{path}?{urllib.parse.urlencode(parameters)}"

    def fetch(self, path, **parameters):
        with urllib.request.urlopen(self.url(path, **parameters), timeout=60) as response:
            return response.read()

    def start(self):
        with open(os.path.join(self.directory, "log"), "ab") as log:
            self.process = subprocess.Popen(self.command(), stdout=log, stderr=log, cwd=self.directory)
        ends = time.monotonic() + START_S
        while time.monotonic() < ends:
            try:
                self.fetch(self.ready)
                return
            except (OSError, urllib.error.HTTPError):
                time.sleep(0.1)
        raise SystemExit(f"cluster: {self.name} does not start: {self.directory}/log")

    def stop(self):
        """Ends it in good order: VictoriaMetrics says of itself that a kill loses the last seconds."""
        self.process.terminate()
        try:
            self.process.wait(timeout=STOP_S)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Prometheus(Store):
    """Takes samples out of order for half an hour: those of a client come over more than one node."""

    name, program, ready = "prometheus", "prometheus", "/-/ready"

    def command(self):
        with open(os.path.join(self.directory, "prometheus.yml"), "w", encoding="ascii") as file:
            file.write("storage: {tsdb: {out_of_order_time_window: 30m}}\n")
        return [
            self.program, "--config.file=prometheus.yml", "--storage.tsdb.path=tsdb",
            "--web.enable-remote-write-receiver", f"--web.listen-address=127.0.0.1:{self.port}",
        ]

    def samples(self):
        """Labels and value of each sample of `m`."""
        found = json.loads(self.fetch("/api/v1/query", query="m[1h]", time=f"{time.time():.3f}"))
        for series in found["data"]["result"]:
            for _, value in series["values"]:
                yield series["metric"], float(value)


class VictoriaMetrics(Store):
    """Keeps every sample: it removes duplicates only if an option says so."""

    name, program, ready = "victoria-metrics", "victoria-metrics", "/health"

    def command(self):
        return [self.program, "-storageDataPath=data", f"-httpListenAddr=127.0.0.1:{self.port}", "-retentionPeriod=1d",
                "-loggerLevel=WARN", "-memory.allowedBytes=256MiB"]

    def samples(self):
        self.fetch("/internal/force_flush")
        for line in self.fetch("/api/v1/export", **{"match[]": "m", "reduce_mem_usage": "1"}).splitlines():
            series = json.loads(line)
            for value in series["values"]:
                yield series["metric"], float(value)


STORES = [Prometheus, VictoriaMetrics]
