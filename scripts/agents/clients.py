"""Clients that are Python packages, each a process of its own that says in a file what it sent and what became of it.

usage: clients.py NAME ADDRESS KEY SECONDS RECORD

RECORD has a JSON document for each batch: its metrics as [name, tags, milliseconds or null, value], and its outcome:
acknowledged, or dropped (by the client's rules, or returned to its caller as an error).
"""

import gzip
import json
import logging
import math
import os
import shlex
import subprocess
import sys
import threading
import time
import urllib.error
import urllib.request
import zlib

import document
import wire

BATCH = 40


class Record:
    """The file of batches."""

    def __init__(self, path):
        self.file = open(path, "w", encoding="utf-8")
        self.lock = threading.Lock()

    def add(self, metrics, outcome, note=""):
        """Notes a batch."""
        with self.lock:
            self.file.write(json.dumps({"metrics": metrics, "outcome": outcome, "note": note}) + "\n")
            self.file.flush()

    def attempt(self, metrics, send):
        """Sends a batch by a client that raises an exception if it fails."""
        try:
            send()
        except Exception as error:  # Each client has classes of its own.
            self.add(metrics, "dropped", repr(error)[:300])
        else:
            self.add(metrics, "acknowledged")


def until(seconds, pause):
    """Counts from 1, one number each `pause`, until the time is over."""
    end, number = time.monotonic() + seconds, 0
    while time.monotonic() < end:
        number += 1
        yield number
        time.sleep(pause)


def snippet(heading, address, key, name):
    """Runs a Python block of PROTOCOLS.md, and returns what it defines under a name."""
    scope = {}
    exec(document.configuration(heading, address, key), scope)  # The document is of this tree.
    return scope[name]


def influxdb_client(address, key, seconds, record):
    """influxdb-client: version 2 of the API, batches and tries again by itself."""
    from influxdb_client import Point, WriteOptions

    client = snippet("influxdb-client (Python)", address, key, "client")
    metrics_of = {}

    def ended(data, outcome, note=""):
        text = data if isinstance(data, str) else data.decode()
        record.add([metrics_of[line] for line in text.splitlines()], outcome, note)

    options = WriteOptions(batch_size=BATCH, flush_interval=300)
    callbacks = {
        "success_callback": lambda _, data: ended(data, "acknowledged"),
        "error_callback": lambda _, data, error: ended(data, "dropped", repr(error)[:300]),
    }
    writer = client.write_api(write_options=options, **callbacks)
    stamp_ns = time.time_ns()
    for number in until(seconds, 0.02):
        stamp_ns += 2_000_000
        tags = {"agent": "influxdb-client", "host": "a b,c=d"}
        point = Point("weather").time(stamp_ns).field("value", number + 0.25)
        for tag, value in tags.items():
            point.tag(tag, value)
        metrics_of[point.to_line_protocol()] = ["weather", tags, stamp_ns // 1_000_000, number + 0.25]
        writer.write(bucket="agents", record=point)
    writer.close()
    client.close()


def ping(client):
    """Returns the version that a ping has, also from a server that was killed and is just being started again."""
    ends = time.monotonic() + 30
    while True:
        try:
            return client.ping()
        except OSError:
            if time.monotonic() >= ends:
                raise
            time.sleep(0.1)


def influxdb(address, key, seconds, record):
    """influxdb: version 1 of the API; makes its database first."""
    client = snippet("influxdb (Python)", address, key, "client")
    try:
        client.create_database("agents")
    except Exception as error:
        record.add([], "dropped", f"create_database: {error!r}"[:300])
    if "1.8" not in ping(client):
        raise SystemExit("ping has no version of InfluxDB")
    for number in until(seconds, 0.15):
        stamp_ms = time.time_ns() // 1_000_000
        points, metrics = [], []
        for core in range(BATCH // 4):
            tags = {"agent": "influxdb", "core": f"{core}"}
            fields = {"idle": number + 0.5, "count": number << 40, "on": number % 2 == 0, "text": f'a "text" {number}'}
            points.append({"measurement": "cpu", "tags": tags, "time": stamp_ms, "fields": fields})
            metrics += [[f"cpu_{name}", tags, stamp_ms, float(fields[name])] for name in ("idle", "count", "on")]
        record.attempt(metrics, lambda points=points: client.write_points(points, time_precision="ms"))


def pushgateway(address, key, seconds, record):
    """prometheus_client: push, pushadd and delete."""
    import prometheus_client as prom

    gateway = snippet("Push gateway clients", address, key, "gateway")
    handler = snippet("Push gateway clients", address, key, "handler")
    registry = prom.CollectorRegistry()
    jobs = prom.Counter("jobs", "Jobs.", ["kind"], registry=registry)
    size = prom.Histogram("job_size", "Bytes.", buckets=(1, 10, 100), registry=registry)
    last = prom.Gauge("job_last", "Of which push it is.", registry=registry)
    for number in until(seconds, 0.3):
        jobs.labels("x").inc()
        jobs.labels('a "b"\n').inc(0.5)
        size.observe(number)
        last.set(number)
        grouping = {"agent": "pushgateway", "push": f"{number}", "path": "a/b" if number % 2 else "ab"}
        labels = {"job": "agents/job", **grouping}
        metrics = [[s.name, {**s.labels, **labels}, None, s.value] for f in registry.collect() for s in f.samples]
        push = prom.push_to_gateway if number % 3 else prom.pushadd_to_gateway
        arguments = {"job": "agents/job", "grouping_key": grouping, "handler": handler}
        record.attempt(metrics, lambda: push(gateway, registry=registry, **arguments))
        if number % 4 == 0:
            record.attempt([], lambda: prom.delete_from_gateway(gateway, **arguments))


def datadog(address, key, seconds, record):
    """datadog: version 1 of the series API."""
    api = snippet("Datadog", address, key, "api")
    for number in until(seconds, 0.2):
        stamp = int(time.time())
        tags = {"agent": "datadog", "number": f"{number}"}
        batch = [
            {"metric": f"page.views.{kind}", "points": [(stamp - 1, number), (stamp, number + 0.5)], "type": kind,
             "host": "web1", "tags": [f"{k}:{v}" for k, v in tags.items()]}
            for kind in ("gauge", "count", "rate")
        ]
        delta = {"count": {"__temporality__": "delta"}}
        metrics = [[s["metric"], {**tags, "host": "web1", **delta.get(s["type"], {})}, at * 1000, v]
                   for s in batch for at, v in s["points"]]

        def send(batch=batch):
            response = api.Metric.send(batch)
            if response.get("status") != "ok":
                raise ValueError(f"response {response}")

        record.attempt(metrics, send)


def metrics_of_otlp(data):
    """The lines that a collection of OpenTelemetry's SDK becomes."""
    for resource in data.resource_metrics:
        shared = {k: v if isinstance(v, str) else json.dumps(v) for k, v in resource.resource.attributes.items()}
        for metric in (metric for scope in resource.scope_metrics for metric in scope.metrics):
            for point in metric.data.data_points:
                tags = {**shared, **{k: str(v) for k, v in point.attributes.items()}}
                at = point.time_unix_nano // 1_000_000
                if hasattr(point, "value"):
                    yield [metric.name, tags, at, point.value]
                    continue
                for bound, count in buckets(point):
                    yield [f"{metric.name}_bucket", {**tags, "le": repr(bound)}, at, count]
                yield [f"{metric.name}_bucket", {**tags, "le": "inf"}, at, point.count]
                yield [f"{metric.name}_sum", tags, at, point.sum]
                yield [f"{metric.name}_count", tags, at, point.count]


def buckets(point):
    """Finite upper bounds of a histogram and the counts up to them."""
    cumulative, found = 0, {}
    if hasattr(point, "explicit_bounds"):
        for bound, count in zip(point.explicit_bounds, point.bucket_counts):
            cumulative += count
            found[bound] = cumulative
        return found.items()
    base = 2 ** (2 ** -point.scale)
    ends = []
    for index, count in enumerate(point.negative.bucket_counts):
        at = point.negative.offset + index
        ends.append((-(base ** (at + 1)), -(base**at), count))
    ends.reverse()
    threshold = getattr(point, "zero_threshold", 0.0)
    ends.append((-threshold, threshold, point.zero_count))
    for index, count in enumerate(point.positive.bucket_counts):
        at = point.positive.offset + index
        ends.append((base**at, base ** (at + 1), count))
    for low, high, count in ends:
        if count:
            found.setdefault(f"{low:.10g}", cumulative)
            cumulative += count
            found[f"{high:.10g}"] = cumulative
    return [(float(end), count) for end, count in found.items()]


def otlp(address, key, seconds, record):
    """OpenTelemetry's SDK over HTTP: all its instruments, one collection a request."""
    from opentelemetry.exporter.otlp.proto.http.metric_exporter import OTLPMetricExporter
    from opentelemetry.metrics import Observation
    from opentelemetry.sdk.metrics import MeterProvider
    from opentelemetry.sdk.metrics.export import MetricExportResult, PeriodicExportingMetricReader
    from opentelemetry.sdk.metrics.view import ExponentialBucketHistogramAggregation, View
    from opentelemetry.sdk.resources import Resource

    for line in document.configuration("OpenTelemetry SDKs", address, key).splitlines():
        name, _, value = line.removeprefix("export ").partition("=")
        os.environ[name] = value

    class Exporter(OTLPMetricExporter):
        """Notes what it exports, and what became of it."""

        def export(self, metrics_data, timeout_millis=10_000, **arguments):
            result = super().export(metrics_data, timeout_millis, **arguments)
            outcome = "acknowledged" if result is MetricExportResult.SUCCESS else "dropped"
            record.add(list(metrics_of_otlp(metrics_data)), outcome)
            return result

    exporter = Exporter()
    reader = PeriodicExportingMetricReader(exporter, export_interval_millis=250, export_timeout_millis=30_000)
    exponential = View(instrument_name="latency", aggregation=ExponentialBucketHistogramAggregation())
    resource = Resource.create({"service.name": "shop", "service.instance.id": "7", "agent": "otlp"})
    provider = MeterProvider([reader], resource=resource, views=[exponential])
    meter = provider.get_meter("agents")
    orders = meter.create_counter("orders", unit="1")
    queue = meter.create_up_down_counter("queue.length")
    sizes = meter.create_histogram("order.size", unit="By", explicit_bucket_boundaries_advisory=[1.0, 10.0, 100.0])
    latency = meter.create_histogram("latency", unit="s")
    meter.create_observable_gauge("temperature", [lambda _: [Observation(21.5, {"shelf": "a"}), Observation(math.pi)]])
    for number in until(seconds, 0.05):
        orders.add(1, {"kind": "a \"b\" é"})
        queue.add(3 if number % 2 else -2)
        sizes.record(number % 150)
        latency.record(0.001 * number, {"route": "/"})
    provider.shutdown()


def curl(address, key, seconds, record):
    """curl: text to the import path."""
    command = shlex.split(document.configuration("Text by curl", address, key))
    command += ["-sS", "-o", "/dev/null", "-w", "%{http_code}", "--max-time", "20"]
    command[command.index("@metrics.txt")] = "@-"
    for number in until(seconds, 0.4):
        stamp = time.time_ns() // 1_000_000
        text = "".join(f'imported{{agent="curl",row="{row}"}} {number}.5 {stamp}\n' for row in range(BATCH))
        metrics = [["imported", {"agent": "curl", "row": f"{row}"}, stamp, number + 0.5] for row in range(BATCH)]

        def send(text=text):
            said = subprocess.run(command, input=text, capture_output=True, text=True, check=True)
            if said.stdout != "204":
                raise ValueError(said.stdout)

        record.attempt(metrics, send)


def influx_import(address, key, seconds, record):
    """influx -import: InfluxDB's own command line."""
    host, _, port = address.partition(":")
    stamp = time.time_ns() // 1_000_000_000
    tags = {"agent": "influx-import"}
    rows = [["census", {**tags, "row": f"{row}"}, (stamp + row % 7) * 1000, row + 0.5] for row in range(3000)]
    path = os.path.join(os.path.dirname(record.file.name), "import.txt")
    with open(path, "w", encoding="utf-8") as file:
        file.write("# DDL\nCREATE DATABASE agents\n# DML\n# CONTEXT-DATABASE: agents\n")
        for name, tags, at, value in rows:
            file.write(f"{name},agent={tags['agent']},row={tags['row']} value={value} {at // 1000}\n")
    command = ["influx", "-host", host, "-port", port, "-username", "agent", "-password", key]
    command += ["-import", "-path", path, "-precision", "s"]
    said = subprocess.run(command, capture_output=True, text=True, timeout=seconds + 60)
    text = said.stdout + said.stderr
    whole = said.returncode == 0 and "Failed 0 inserts" in text and "Processed 3000 inserts" in text
    record.add(rows, "acknowledged" if whole else "dropped", text[-600:])


def post(url, body, headers):
    """The status and the headers of a POST."""
    request = urllib.request.Request(url, body, headers, method="POST")
    try:
        with urllib.request.urlopen(request, timeout=20) as response:
            return response.status, response.headers
    except urllib.error.HTTPError as error:
        error.read()
        return error.code, error.headers


def wire_requests(number, tags, stamp):
    """Requests that no client at hand sends: path, headers, body, expected status, metrics."""
    import zstandard

    def zstd(body):
        return zstandard.ZstdCompressor().compress(body)

    rows = range(BATCH)
    series = [["wire_write", {**tags, "row": f"{row:02}"}, stamp, number + row / 4] for row in rows]
    protobuf = {"Content-Type": "application/x-protobuf"}
    version = {**protobuf, "X-Prometheus-Remote-Write-Version": "0.1.0"}
    yield "/api/v1/write", {**version, "Content-Encoding": "zstd"}, zstd(wire.write_request(series)), 204, series
    series = [["wire_write_2", {**tags, "row": f"{row:02}"}, stamp, number + row / 4] for row in rows]
    version = {
        "Content-Type": "application/x-protobuf;proto=io.prometheus.write.v2.Request",
        "X-Prometheus-Remote-Write-Version": "2.0.0",
        "Content-Encoding": "snappy",
    }
    yield "/api/v1/write", version, wire.snappy(wire.write_request_2(series)), 204, series
    for coding, encode in [("deflate", zlib.compress), ("zstd", zstd), ("gzip", gzip.compress)]:
        name = f"wire.{coding}"
        at = stamp // 1000 * 1000
        series = [[name, {**tags, "row": f"{row}", "host": "web1"}, at, number + row / 4] for row in rows]
        headers = {"Content-Encoding": coding}
        yield "/api/v2/series", {**protobuf, **headers}, encode(wire.datadog_payload(series)), 202, series
        series = [[f"{name}.json", *rest] for _, *rest in series]
        headers = {**headers, "Content-Type": "application/json"}
        yield "/api/v2/series", headers, encode(wire.datadog_json(series)), 202, series


def hand_made(address, key, seconds, record):
    """Requests in encodings that no client at hand sends."""
    for number in until(seconds, 0.5):
        tags, stamp = {"agent": "hand-made", "number": f"{number}"}, time.time_ns() // 1_000_000
        for path, headers, body, expected, metrics in wire_requests(number, tags, stamp):
            headers["DD-API-KEY" if "series" in path else "Authorization"] = key

            def send(path=path, headers=headers, body=body, expected=expected, metrics=metrics):
                status, fields = post(f"http://{address}{path}", body, headers)
                if status != expected:
                    raise ValueError(f"{path} {headers.get('Content-Encoding')}: {status}")
                written = fields.get("X-Prometheus-Remote-Write-Samples-Written")
                if path == "/api/v1/write" and written != f"{len(metrics)}":
                    raise ValueError(f"Samples-Written {written}, {len(metrics)} sent")

            record.attempt(metrics, send)


CLIENTS = {
    "influxdb-client": influxdb_client,
    "influxdb": influxdb,
    "pushgateway": pushgateway,
    "datadog": datadog,
    "otlp": otlp,
    "curl": curl,
    "influx-import": influx_import,
    "hand-made": hand_made,
}


def main():
    """Runs one client."""
    name, address, key, seconds, path = sys.argv[1:]
    logging.basicConfig(level=logging.ERROR)
    CLIENTS[name](address, key, float(seconds), Record(path))


if __name__ == "__main__":
    main()
