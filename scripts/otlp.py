"""Checks what a server sends by OTLP, with receivers built on OpenTelemetry's own messages. Run by otlp.sh.

usage: otlp.py BINARY DIRECTORY
"""

import concurrent.futures
import contextlib
import http.client
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time

import grpc
from opentelemetry.proto.collector.metrics.v1 import metrics_service_pb2, metrics_service_pb2_grpc
from opentelemetry.proto.collector.trace.v1 import trace_service_pb2, trace_service_pb2_grpc
from opentelemetry.proto.trace.v1 import trace_pb2

BINARY, WORK = sys.argv[1], pathlib.Path(sys.argv[2])
DEADLINE_S = 30
CALLER = "00f067aa0ba902b7"
BATCH = b'{"metrics":[{"name":"a","value":1},{"name":"b","value":2}]}'


def until(what, ask):
    """Calls `ask` again and again until it returns something true."""
    end = time.monotonic() + DEADLINE_S
    while True:
        result = ask()
        if result:
            return result
        if time.monotonic() > end:
            raise AssertionError(f"waited in vain for {what}")
        time.sleep(0.02)


def equal(what, found, expected):
    if found != expected:
        raise AssertionError(f"{what}: {found!r}, not {expected!r}")


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


class Received:
    """What a receiver was sent."""

    def __init__(self):
        self.spans, self.metrics, self.resource, self.key = [], {}, {}, None
        self.hang = None

    def traces(self, request):
        if self.hang:
            self.hang.wait()
        for resource in request.resource_spans:
            self.resource = values(resource.resource.attributes)
            for scope in resource.scope_spans:
                self.spans.extend(scope.spans)
        return trace_service_pb2.ExportTraceServiceResponse()

    def figures(self, request):
        for resource in request.resource_metrics:
            for scope in resource.scope_metrics:
                self.metrics = {metric.name: metric for metric in scope.metrics}
        return metrics_service_pb2.ExportMetricsServiceResponse()

    def trace(self, trace_id):
        """Waits for a trace: the request, and its parts in the order of time."""

        def ask():
            spans = [span for span in list(self.spans) if span.trace_id.hex() == trace_id]
            request = [span for span in spans if span.kind == trace_pb2.Span.SPAN_KIND_SERVER]
            return (request[0], [span for span in spans if span is not request[0]]) if request else None

        request, parts = until(f"trace {trace_id}", ask)
        return request, sorted(parts, key=lambda span: (span.start_time_unix_nano, span.end_time_unix_nano))


def values(attributes):
    return {one.key: getattr(one.value, one.value.WhichOneof("value")) for one in attributes}


def stages(parts):
    """The names of the parts but receive: head and body may come in one piece or in two."""
    return [part.name for part in parts if part.name != "receive"]


class Grpc:
    """A receiver over gRPC."""

    protocol = "grpc"

    def __init__(self, received, port, tls):
        class Traces(trace_service_pb2_grpc.TraceServiceServicer):
            def Export(self, request, context):
                received.key = dict(context.invocation_metadata()).get("x-key")
                return received.traces(request)

        class Figures(metrics_service_pb2_grpc.MetricsServiceServicer):
            def Export(self, request, context):
                return received.figures(request)

        self.server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
        trace_service_pb2_grpc.add_TraceServiceServicer_to_server(Traces(), self.server)
        metrics_service_pb2_grpc.add_MetricsServiceServicer_to_server(Figures(), self.server)
        if tls:
            pair = (tls.key.read_bytes(), tls.certificate.read_bytes())
            self.server.add_secure_port(f"localhost:{port}", grpc.ssl_server_credentials([pair]))
        else:
            self.server.add_insecure_port(f"127.0.0.1:{port}")
        self.server.start()

    def stop(self):
        self.server.stop(None).wait()


class Http:
    """A receiver over HTTP."""

    protocol = "http/protobuf"

    def __init__(self, received, port, tls):
        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                received.key = self.headers["x-key"]
                if self.path == "/v1/traces":
                    response = received.traces(trace_service_pb2.ExportTraceServiceRequest.FromString(body))
                else:
                    response = received.figures(metrics_service_pb2.ExportMetricsServiceRequest.FromString(body))
                payload = response.SerializeToString()
                with contextlib.suppress(OSError):
                    self.send_response(200)
                    self.send_header("content-type", "application/x-protobuf")
                    self.send_header("content-length", str(len(payload)))
                    self.end_headers()
                    self.wfile.write(payload)

            def log_message(self, *_):
                pass

        class Server(http.server.ThreadingHTTPServer):
            daemon_threads, block_on_close = True, False

            def get_request(self):
                connection, peer = super().get_request()
                connections.append(connection)
                return connection, peer

        self.connections = connections = []
        self.server = Server(("127.0.0.1", port), Handler)
        if tls:
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain(tls.certificate, tls.key)
            self.server.socket = context.wrap_socket(self.server.socket, server_side=True)
        threading.Thread(target=self.server.serve_forever, args=[0.02], daemon=True).start()

    def stop(self):
        self.server.shutdown()
        self.server.server_close()
        for connection in self.connections:
            with contextlib.suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)


class Tls:
    """A certificate for localhost that signs itself."""

    def __init__(self):
        self.key, self.certificate = WORK / "key.pem", WORK / "certificate.pem"
        subprocess.run(
            ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-days", "2",
             "-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1",
             "-addext", "basicConstraints=critical,CA:FALSE", "-addext", "extendedKeyUsage=serverAuth",
             "-keyout", self.key, "-out", self.certificate],
            check=True, capture_output=True)


class Server:
    """The server under test."""

    def __init__(self, protocol, port, *flags, tls=None, **variables):
        self.log = WORK / "server.log"
        environment = {name: value for name, value in os.environ.items() if not name.startswith(("OTEL_", "METRICSTREAM_"))}
        scheme = "https://localhost" if tls else "http://127.0.0.1"
        environment |= {"OTEL_EXPORTER_OTLP_ENDPOINT": f"{scheme}:{port}", "OTEL_EXPORTER_OTLP_PROTOCOL": protocol} | variables
        if tls:
            environment["SSL_CERT_FILE"] = str(tls.certificate)
        shutil.rmtree(WORK / "data", ignore_errors=True)
        with open(self.log, "w") as log:
            self.process = subprocess.Popen(
                [BINARY, "--listen", "127.0.0.1:0", "--data-dir", WORK / "data", "--stats-interval", "0s", *flags],
                env=environment, stdout=log, stderr=log)
        self.port = int(until("the address it listens on", self.listening))
        self.connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE_S)

    def listening(self):
        if self.process.poll() is not None:
            raise AssertionError(f"the server did not start: {self.log.read_text()}")
        found = re.search(r"listening on [^ ]*:(\d+)", self.log.read_text())
        return found and found[1]

    def post(self, target="/metrics", **fields):
        self.connection.request("POST", target, BATCH, {name.replace("_", "-"): value for name, value in fields.items()})
        response = self.connection.getresponse()
        response.read()
        return response.status

    def traces(self):
        self.connection.request("GET", "/stats")
        return json.load(self.connection.getresponse())["traces"]

    def stop(self):
        """Stops it, and returns how long that took."""
        began = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(timeout=DEADLINE_S)
        equal("exit code", code, 0)
        return time.monotonic() - began

    def __enter__(self):
        return self

    def __exit__(self, *_):
        if self.process.poll() is None:
            self.process.kill()
            self.process.wait()


def parent(number, sampled=True):
    trace_id = f"{number:02x}" * 16
    return trace_id, f"00-{trace_id}-{CALLER}-0{int(sampled)}"


def goes_on(kind, tls):
    """Whose trace, how it nests, what it says, who sends; the server's figures; the flag that is not set."""
    received, port = Received(), free_port()
    receiver = kind(received, port, tls)
    own = {"OTEL_SERVICE_NAME": "the-door", "OTEL_EXPORTER_OTLP_HEADERS": "x-key=a%20secret", "OTEL_METRIC_EXPORT_INTERVAL": "100",
           "OTEL_TRACES_SAMPLER": "parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG": "0"}
    with Server(kind.protocol, port, tls=tls, **own) as server:
        began_ns = time.time_ns()
        equal("status", server.post(traceparent=parent(9, False)[1]), 200)
        equal("status", server.post(), 200)
        for number, ack, names in [(1, "memory", ["limit", "parse", "enqueue", "send"]),
                                   (2, "write", ["limit", "parse", "enqueue", "write", "send"]),
                                   (3, "fsync", ["limit", "parse", "enqueue", "sync", "send"])]:
            trace_id, traceparent = parent(number)
            equal("status", server.post(f"/metrics?ack={ack}", traceparent=traceparent, tracestate="a=1,b=2"), 200)
            request, parts = received.trace(trace_id)
            equal("parts", stages(parts), names)
            equal("parent", request.parent_span_id.hex(), CALLER)
            equal("tracestate", request.trace_state, "a=1,b=2")
            at_ns = request.start_time_unix_nano
            assert began_ns <= at_ns and request.end_time_unix_nano <= time.time_ns(), "the times are those of the request"
            for part in parts:
                equal("the part's parent", part.parent_span_id, request.span_id)
                assert at_ns <= part.start_time_unix_nano <= part.end_time_unix_nano <= request.end_time_unix_nano, "it nests"
                at_ns = part.end_time_unix_nano
            said = values(request.attributes)
            for key, value in {"http.request.method": "POST", "url.path": "/metrics", "http.response.status_code": 200,
                               "http.request.body.size": len(BATCH), "network.protocol.version": "1.1", "server.port": server.port,
                               "metricstream.ack": ack, "metricstream.batch.metrics": 2,
                               "metricstream.sampled_by": "parent"}.items():
                equal(key, said.get(key), value)
        equal("the key", received.key, "a secret")
        equal("the name", received.resource["service.name"], "the-door")
        equal("traces that came", {span.trace_id.hex() for span in received.spans}, {parent(number)[0] for number in (1, 2, 3)})
        stored = lambda: received.metrics.get("metricstream_batches_stored")
        until("the figures", lambda: stored() and stored().sum.data_points[0].as_int == 5)
        point = received.metrics["metricstream_request_duration_seconds"].histogram.data_points[0]
        equal("the buckets", (sum(point.bucket_counts), len(point.bucket_counts)), (point.count, len(point.explicit_bounds) + 1))
        server.stop()
    receiver.stop()


def failed_and_slow(kind, tls):
    """What fails by the server's doing, and what is slow, comes although its caller said no."""
    received, port = Received(), free_port()
    receiver = kind(received, port, tls)
    with Server(kind.protocol, port, "--rate-limit", "1", "--max-clients", "4", "--trace-ratio", "0", tls=tls) as server:
        trace_id, traceparent = parent(4, False)
        shed = any(server.post(traceparent=traceparent, authorization=f"client-{number}") == 503 for number in range(100))
        assert shed, "the table of clients is full at some time"
        request, _ = received.trace(trace_id)
        equal("status", request.status.code, trace_pb2.Status.STATUS_CODE_ERROR)
        equal("why", values(request.attributes)["metricstream.sampled_by"], "failed")
        server.stop()
    with Server(kind.protocol, port, "--trace-ratio", "0", "--trace-slow", "1us", tls=tls) as server:
        trace_id, traceparent = parent(5, False)
        equal("status", server.post(traceparent=traceparent), 200)
        request, parts = received.trace(trace_id)
        equal("why", values(request.attributes)["metricstream.sampled_by"], "slow")
        equal("parts", stages(parts), ["decide", "write", "send"])
        server.stop()
    receiver.stop()


def down_and_back(kind, tls):
    """While nobody listens the loss is counted; once somebody does, traces arrive."""
    received, port = Received(), free_port()
    receiver = kind(received, port, tls)
    with Server(kind.protocol, port, OTEL_EXPORTER_OTLP_TIMEOUT="500", tls=tls) as server:
        server.post(traceparent=parent(1)[1])
        received.trace(parent(1)[0])
        receiver.stop()
        server.post(traceparent=parent(2)[1])
        until("the loss is counted", lambda: server.traces()["failed"] == 1)
        assert "could not be exported" in server.log.read_text(), "it warns"
        receiver = kind(received, port, tls)

        def arrives():
            server.post(traceparent=parent(3)[1])
            return [span for span in received.spans if span.trace_id.hex() == parent(3)[0]]

        until("a trace after that", arrives)
        server.stop()
    receiver.stop()


def hangs(kind, tls):
    """The queue fills, what does not fit is dropped and counted, batches get responses, and a stop does not wait."""
    received, port = Received(), free_port()
    received.hang = threading.Event()
    receiver = kind(received, port, tls)
    own = {"OTEL_METRICS_EXPORTER": "none", "OTEL_EXPORTER_OTLP_TIMEOUT": "3600000", "OTEL_TRACES_SAMPLER": "always_on"}
    with Server(kind.protocol, port, "--rate-limit", "0", tls=tls, **own) as server:
        burst = (b"POST /metrics HTTP/1.1\r\nHost: a\r\nContent-Length: %d\r\n\r\n" % len(BATCH) + BATCH) * 50
        sent = 0
        with socket.create_connection(("127.0.0.1", server.port), DEADLINE_S) as pipeline:
            responses = pipeline.makefile("rb")

            def overflows():
                nonlocal sent
                pipeline.sendall(burst)
                for _ in range(50):
                    equal("status", responses.readline(), b"HTTP/1.1 200 OK\r\n")
                    while (line := responses.readline()) != b"\r\n":
                        if line.lower().startswith(b"content-length:"):
                            length = int(line.split(b":")[1])
                    responses.read(length)
                sent += 50
                return server.traces()["dropped_by"]["queue_full"] > 0

            until("the queue is full", overflows)
            traces = server.traces()
        equal("recorded and dropped", traces["recorded"] + traces["dropped_by"]["queue_full"], sent)
        took_s = server.stop()
        assert took_s < 10, f"the stop took {took_s:.1f} s"
        print(f"      {traces['recorded']} queued, {traces['dropped_by']['queue_full']} dropped; the stop took {took_s:.1f} s")
    received.hang.set()
    receiver.stop()


failures = 0
certificates = [None, Tls()] if shutil.which("openssl") else [None]
if len(certificates) == 1:
    print("   TLS is left out: there is no openssl here")
for kind in (Grpc, Http):
    for tls in certificates:
        print(f"-- {kind.protocol}{' over TLS' if tls else ''}")
        for check in (goes_on, failed_and_slow, down_and_back, hangs):
            try:
                check(kind, tls)
                print(f"   ok      {check.__name__}: {check.__doc__}")
            except Exception as error:  # noqa: BLE001: whatever it is, it is reported, and the next is checked.
                failures += 1
                print(f"   FAILED  {check.__name__}: {type(error).__name__}: {error}")
                print((WORK / "server.log").read_text(), file=sys.stderr)
sys.exit(failures > 0)
