"""Agents that scrape: Prometheus with and without its own storage, and vmagent; and the exporter that they scrape."""

import collections
import json
import math
import os
import re
import signal
import socket
import subprocess
import threading
import time
import urllib.parse
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import document
import ledger
from server import fetch, stop_process, wait_until

SERIES = 30
# Bounds of the exporter's histogram.
BOUNDS = ("0.1", "1", "10", "+Inf")


def free_port():
    """A port that nobody has at the moment."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def samples(sequence):
    """The samples of one scrape: each tells by its value which scrape it is of."""
    for index in range(SERIES):
        yield "agents_sample", {"index": f"{index}", "text": 'a "quoted" \\ é'}, sequence
    yield "agents_scrapes_total", {}, sequence
    yield "agents_ratio", {}, sequence + 1 / 3
    for bound in BOUNDS:
        yield "agents_size_bucket", {"le": bound}, sequence
    yield "agents_size_sum", {}, sequence / 2
    yield "agents_size_count", {}, sequence
    yield "agents_special", {"of": "nan", "scrape": f"{sequence}"}, math.nan
    yield "agents_special", {"of": "inf", "scrape": f"{sequence}"}, math.inf


def exposition(sequence):
    """The text of one scrape."""
    types = {"agents_sample": "gauge", "agents_scrapes_total": "counter", "agents_ratio": "gauge"}
    types |= {"agents_size": "histogram", "agents_special": "gauge"}
    lines, seen = [], set()
    for name, labels, value in samples(sequence):
        family = re.sub("_(bucket|sum|count)$", "", name)
        if family not in seen:
            seen.add(family)
            lines.append(f"# TYPE {family} {types[family]}")
        escaped = {k: v.replace("\\", "\\\\").replace('"', '\\"') for k, v in labels.items()}
        text = ",".join(f'{k}="{v}"' for k, v in escaped.items())
        lines.append(f"{name}{{{text}}} {value!r}".replace(" nan", " NaN").replace(" inf", " +Inf"))
    return "\n".join(lines).encode() + b"\n"


class Exporter:
    """Serves a path for each agent, and knows which scrapes were taken whole."""

    def __init__(self):
        self.scrapes = collections.defaultdict(list)
        exporter = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_GET(self):
                taken = exporter.scrapes[self.path]
                sequence = taken[-1] + 1 if taken else 1
                body = exposition(sequence)
                taken.append(sequence)
                self.send_response(200)
                self.send_header("Content-Type", "text/plain; version=0.0.4; charset=utf-8")
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, *_):
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.port = self.server.server_address[1]
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def end(self):
        """Stops serving."""
        self.server.shutdown()
        self.server.server_close()


def scrape_config(exporter_port, agent, server):
    """The part of the configuration that says what is scraped."""
    return f"""
global: {{scrape_interval: 1s, scrape_timeout: 1s, external_labels: {{agent: {agent}}}}}
scrape_configs:
  - job_name: exporter
    metrics_path: /{agent}
    static_configs: [{{targets: ["127.0.0.1:{exporter_port}"]}}]
  - job_name: metricstream
    static_configs: [{{targets: ["{server.address}"]}}]
"""


def without_scrapes(text):
    """The same with nothing to scrape."""
    return re.sub(r"scrape_configs:\n(?:  .*\n)+", "scrape_configs: []\n", text)


class Scraper:
    """What the agents of this file have in common."""

    may_drop = False

    def __init__(self, name, exporter):
        self.name, self.exporter = name, exporter
        self.process = self.port = self.directory = self.configuration = self.quiet_since = None

    def run(self, command, directory):
        """Starts it."""
        log_path = os.path.join(directory, "log")
        with open(log_path, "wb") as log:
            self.process = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log)

    def counters(self):
        """Its own counters, added up over their labels but for the status."""
        found = collections.Counter()
        for line in fetch(f"http://127.0.0.1:{self.port}/metrics").decode().splitlines():
            match = re.match(r"([a-zA-Z_:][\w:]*)(\{.*\})? (\S+)", line)
            if match and match[1].startswith(("prometheus_remote", "vmagent_remotewrite", "vm_promscrape_scrape")):
                status = re.search(r'status_code="(\w+)"', match[2] or "")
                found[match[1] + (f"_{status[1]}" if status else "")] += float(match[3])
        return found

    def write_configuration(self, text):
        """Replaces its configuration file."""
        with open(os.path.join(self.directory, "config.yml"), "w", encoding="utf-8") as file:
            file.write(text)

    def quiesce(self):
        """Has it scrape nothing more."""
        self.write_configuration(without_scrapes(self.configuration))
        self.process.send_signal(signal.SIGHUP)
        self.quiet_since = time.monotonic()

    def settle(self, end):
        """Waits until all that it has is delivered, up to `end`."""
        # Prometheus marks the series of targets that are gone as stale after two intervals.
        time.sleep(max(0, self.quiet_since + 3 - time.monotonic()))
        state = {"of": None, "since": time.monotonic()}

        def is_quiet():
            counters = self.counters()
            if (counts := (self.pending(counters), self.outcome(counters))) != state["of"]:
                state.update(of=counts, since=time.monotonic())
            return counts[0] == 0 and time.monotonic() - state["since"] > 2.5

        wait_until(is_quiet, end - time.monotonic(), f"{self.name} to deliver what it has")

    def exporter_samples(self, account, lines):
        """The keys of the exporter's samples: sent and logged."""
        names = {name for name, *_ in samples(1)}
        for sequence in self.exporter.scrapes[f"/{self.name}"]:
            for name, labels, value in samples(sequence):
                tags = {**labels, "agent": self.name, "job": "exporter", "instance": f"127.0.0.1:{self.exporter.port}"}
                account.sent[ledger.key(name, tags, None, value)] += 1
        for line in lines:
            if line.name in names and not line.is_stale:
                account.logged[ledger.key(line.name, line.tags, None, line.value)] += 1
        failures = sum(line.name == "up" and line.tags.get("job") == "exporter" and line.value == 0 for line in lines)
        gaps = {found[3] for found in account.sent - account.logged if found[0] == "agents_scrapes_total"}
        if 0 < len(gaps) <= failures:
            # The agent itself says that these scrapes failed.
            account.notes.append(f"{len(gaps)} scrapes took longer than the agent waits")
            for found in [found for found in account.sent if self.scrape_of(found) in gaps]:
                del account.sent[found]
        account.acknowledged = account.sent.copy()

    @staticmethod
    def scrape_of(found):
        """The number of the scrape that a key is of, as its values spell it."""
        name, tags, _, value = found
        if name == "agents_special":
            return dict(tags)["scrape"]
        value = float(value)
        value = {"agents_ratio": value - 1 / 3, "agents_size_sum": value * 2}.get(name, value)
        return f"{round(value)}"

    @staticmethod
    def count_lines(account, lines):
        """Counts all lines, and those that come twice."""
        distinct = {(line.name, tuple(sorted(line.tags.items())), line.timestamp_ms) for line in lines}
        account.lines, account.lines_twice = len(lines), len(lines) - len(distinct)
        stale = sum(line.is_stale for line in lines)
        if stale:
            account.notes.append(f"{stale} lines are stale markers")

    def stop(self):
        """Ends it."""
        if self.process:
            stop_process(self.process)


class Prometheus(Scraper):
    """Prometheus, as an agent or with its own storage, of which every sample is compared."""

    program = "prometheus"

    def __init__(self, name, exporter, is_agent):
        super().__init__(name, exporter)
        self.is_agent = is_agent

    def start(self, server, directory, key, is_hasty):
        """Starts it."""
        self.directory, self.port = directory, free_port()
        text = scrape_config(self.exporter.port, self.name, server)
        text += document.configuration("Prometheus", server.address, key)
        if is_hasty:
            # Many small requests, that is, more than its rate.
            text += "    queue_config: {max_samples_per_send: 100, max_shards: 4, batch_send_deadline: 1s}\n"
        self.configuration = text
        self.write_configuration(text)
        command = ["prometheus", "--config.file=config.yml", f"--web.listen-address=127.0.0.1:{self.port}"]
        if self.is_agent:
            command += ["--enable-feature=agent", "--storage.agent.path=data"]
        else:
            command += ["--storage.tsdb.path=data"]
        self.run(command, directory)

    @staticmethod
    def pending(counters):
        """Samples that are not delivered yet."""
        waiting = counters["prometheus_remote_storage_samples_pending"]
        highest = counters["prometheus_remote_storage_highest_timestamp_in_seconds"]
        return waiting + max(0, highest - counters["prometheus_remote_storage_queue_highest_sent_timestamp_seconds"])

    @staticmethod
    def outcome(counters):
        """What changes while it sends."""
        return counters["prometheus_remote_storage_samples_total"]

    def account(self, lines):
        """What it says, against the lines with its label."""
        account = ledger.Account(self.name)
        counters = self.counters()
        count = {name: int(counters[f"prometheus_remote_storage_samples_{name}_total"])
                 for name in ("retried", "failed", "dropped")}
        # Its counter of samples counts each attempt.
        account.says_sent = int(counters["prometheus_remote_storage_samples_total"]) - count["retried"]
        account.dropped = count["failed"] + count["dropped"]
        account.says_acknowledged = account.says_sent - count["failed"]
        account.notes.append(", ".join(f"samples_{name}_total {number}" for name, number in count.items()))
        self.count_lines(account, lines)
        if self.is_agent:
            self.exporter_samples(account, lines)
        else:
            self.stored_samples(account, lines)
        return account

    def stored_samples(self, account, lines):
        """Every sample of its own storage, by its own API, is in the log with its time."""
        query = urllib.parse.urlencode({"query": '{__name__=~".+"}[1h]', "time": time.time()})
        found = json.loads(fetch(f"http://127.0.0.1:{self.port}/api/v1/query?{query}"))["data"]["result"]
        for series in found:
            tags = {**series["metric"], "agent": self.name}
            name = tags.pop("__name__")
            for at, value in series["values"]:
                account.sent[ledger.key(name, tags, round(at * 1000), value)] += 1
        for line in lines:
            if not line.is_stale:
                account.logged[ledger.key(line.name, line.tags, line.timestamp_ms, line.value)] += 1
        account.acknowledged = account.sent.copy()


class Vmagent(Scraper):
    """vmagent."""

    program = "vmagent"

    def start(self, server, directory, key, is_hasty):
        """Starts it."""
        self.directory, self.port = directory, free_port()
        self.configuration = scrape_config(self.exporter.port, self.name, server)
        self.write_configuration(self.configuration)
        flags = document.configuration("vmagent", server.address, key).split()[1:]
        if is_hasty:
            flags += ["-remoteWrite.maxRowsPerBlock=150"]
        flags += ["-promscrape.config=config.yml", f"-httpListenAddr=127.0.0.1:{self.port}"]
        flags += ["-remoteWrite.tmpDataPath=data"]
        self.run(["vmagent", *[flag for flag in flags if flag != "\\"]], directory)

    @staticmethod
    def pending(counters):
        """Blocks that are neither delivered nor dropped, and bytes in its queue."""
        blocks = counters["vmagent_remotewrite_block_size_rows_count"]
        blocks -= counters["vmagent_remotewrite_requests_total_2XX"]
        blocks -= counters["vmagent_remotewrite_packets_dropped_total"]
        return counters["vmagent_remotewrite_pending_data_bytes"] + max(0, blocks)

    @staticmethod
    def outcome(counters):
        """What changes while it sends."""
        return sum(count for name, count in counters.items() if name.startswith("vmagent_remotewrite_requests_total"))

    def account(self, lines):
        """What it says, against the lines with its label."""
        account = ledger.Account(self.name)
        counters = self.counters()
        account.says_sent = int(counters["vmagent_remotewrite_global_rows_pushed_before_relabel_total"])
        account.dropped = int(counters["vmagent_remotewrite_packets_dropped_total"])
        account.says_acknowledged = account.says_sent
        requests = {name[-3:]: int(count) for name, count in counters.items()
                    if name.startswith("vmagent_remotewrite_requests_total") and count}
        retries = int(counters["vmagent_remotewrite_retries_count_total"])
        account.notes.append(f"packets_dropped_total {account.dropped}, retries {retries}, requests {requests}")
        self.count_lines(account, lines)
        self.exporter_samples(account, lines)
        return account
