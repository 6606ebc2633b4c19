"""An imitation of Telegraf's outputs influxdb and influxdb_v2: what they send, and what they do with each status.

usage: telegraf.py v1|v2 ADDRESS KEY SECONDS RECORD

From plugins/outputs/influxdb{,_v2}/http.go of Telegraf. A batch is the oldest 1,000 metrics of the buffer; it is taken
from the buffer when it is delivered or dropped, and is sent again at the next flush otherwise, for ever.

version 1: 204 is delivered. Any other status, 2xx too, is kept, except that 4xx is dropped, and so is what gets a body
           whose error says "retention policy not found", "hinted handoff queue not empty", "points beyond retention
           policy", "partial write" or "unable to parse". A body that is not JSON is an error, and kept.
version 2: 200, 201, 202, 204, 206, 207, 208 are delivered. 400, 406, 422 and other 4xx are dropped; 401 and 403 are
           kept; 413 splits the batch; 429, 502, 503, 504 are kept, and nothing is sent until Retry-After or its own
           back-off (n² / 40 s) is over, whichever is longer.
"""

import gzip
import http.client
import json
import sys
import time
import tomllib
import urllib.parse

import clients
import document

BATCH_METRICS = 1_000
FLUSH_S = 0.2
# It sends what it has left for this long after the last metric, and says what it could not deliver.
DRAIN_S = 120
DROPPED_WORDS = (
    "retention policy not found",
    "hinted handoff queue not empty",
    "points beyond retention policy",
    "partial write",
    "unable to parse",
)


class Throttled(Exception):
    """Nothing is to be sent for some time."""


class TooLarge(Exception):
    """The batch is to be split."""


class Kept(Exception):
    """The batch is kept for the next flush."""


class Dropped(Exception):
    """The batch is dropped."""


class Output:
    """An output plugin with its buffer."""

    def __init__(self, version, address, key, record):
        text = document.configuration(f"Telegraf, {'influxdb' if version == 'v1' else 'influxdb_v2'}", address, key)
        [name] = (outputs := tomllib.loads(text)["outputs"])
        [self.options] = outputs[name]
        self.version, self.address, self.record = version, address, record
        self.buffer, self.wait_until, self.throttles, self.wrong = [], 0, 0, []

    def request(self, path, body, headers):
        """The response to a POST, on a connection of its own: that one is kept makes no difference here."""
        connection = http.client.HTTPConnection(self.address, timeout=5)
        try:
            connection.request("POST", path, body, {"User-Agent": "Telegraf/1.0", **headers})
            response = connection.getresponse()
            return response.status, response.headers, response.read()
        except (OSError, http.client.HTTPException) as error:
            raise Kept(repr(error)) from error
        finally:
            connection.close()

    def authorization(self):
        """Its credentials."""
        if self.version == "v2":
            return {"Authorization": f"Token {self.options['token']}"}
        import base64

        text = f"{self.options['username']}:{self.options['password']}"
        return {"Authorization": "Basic " + base64.b64encode(text.encode()).decode()}

    def connect(self):
        """Version 1 makes its database; a failure is a warning, and never fatal."""
        if self.version == "v1":
            form = urllib.parse.urlencode({"q": f'CREATE DATABASE "{self.options["database"]}"'})
            headers = {"Content-Type": "application/x-www-form-urlencoded", **self.authorization()}
            try:
                status, _, body = self.request("/query", form, headers)
                if status != 200 or "error" in json.loads(body)["results"][0]:
                    self.wrong.append(f"CREATE DATABASE: {status} {body[:200]}")
            except (Kept, ValueError, LookupError) as error:
                self.wrong.append(f"CREATE DATABASE: {error!r}")

    def write(self, batch):
        """Sends a batch; returns if it is delivered."""
        body = gzip.compress("".join(line for line, _ in batch).encode())
        headers = {"Content-Type": "text/plain; charset=utf-8", "Content-Encoding": "gzip", **self.authorization()}
        if self.version == "v1":
            path = "/write?" + urllib.parse.urlencode({"db": self.options["database"]})
            status, _, response = self.request(path, body, headers)
            return self.judge_v1(status, response)
        query = {"bucket": self.options["bucket"], "org": self.options["organization"]}
        status, fields, response = self.request("/api/v2/write?" + urllib.parse.urlencode(query), body, headers)
        return self.judge_v2(status, fields, response)

    def judge_v1(self, status, body):
        """What version 1 does with a response."""
        if status == 204:
            return
        try:
            error = json.loads(body).get("error", "") if body else ""
        except ValueError as error:
            raise Kept(f"{status} with a body that is not JSON: {body[:100]}") from error
        if 400 <= status <= 499 or any(words in error for words in DROPPED_WORDS):
            raise Dropped(f"{status} {error}")
        raise Kept(f"{status} {error}")

    def judge_v2(self, status, fields, body):
        """What version 2 does with a response."""
        if status in (200, 201, 202, 204, 206, 207, 208):
            self.throttles = 0
            return
        if status == 413:
            raise TooLarge(body[:200])
        if status in (429, 502, 503, 504):
            self.throttles += 1
            wait_s = max(float(fields.get("Retry-After", 0)), min(60, self.throttles**2 / 40))
            self.wait_until = time.monotonic() + wait_s
            raise Throttled(f"{status}")
        if 400 <= status <= 499 and status not in (401, 403):
            raise Dropped(f"{status} {body[:200]}")
        raise Kept(f"{status} {body[:200]}")

    def send(self, batch):
        """Sends a batch, in halves if it is too large. Returns what is to be kept."""
        metrics = [metric for _, metrics in batch for metric in metrics]
        try:
            self.write(batch)
        except Dropped as error:
            self.record.add(metrics, "dropped", f"{error}")
        except TooLarge as error:
            if len(batch) == 1:
                return batch
            half = len(batch) // 2
            return self.send(batch[:half]) + self.send(batch[half:])
        except (Kept, Throttled) as error:
            self.last_error = f"{error}"
            return batch
        else:
            self.record.add(metrics, "acknowledged")
        return []

    def flush(self):
        """Sends all batches, up to one that is kept."""
        while self.buffer and time.monotonic() >= self.wait_until:
            batch = self.buffer[:BATCH_METRICS]
            kept = self.send(batch)
            self.buffer[: len(batch)] = kept
            if kept:
                return


def points(agent, number):
    """Lines as Telegraf's inputs cpu and system make them, with the metrics they are to become."""
    stamp = time.time_ns() // 1_000_000_000 * 1_000_000_000 + number
    at = stamp // 1_000_000
    for core in range(20):
        tags = {"agent": agent, "cpu": f"cpu{core}", "number": f"{number}"}
        text = ",".join(f"{k}={v}" for k, v in tags.items())
        usage = {"usage_idle": 100 / (number + core), "usage_user": number / 3}
        line = f"cpu,{text} usage_idle={usage['usage_idle']!r},usage_user={usage['usage_user']!r} {stamp}\n"
        yield line, [[f"cpu_{name}", tags, at, value] for name, value in usage.items()]
    tags = {"agent": agent, "number": f"{number}"}
    text = ",".join(f"{k}={v}" for k, v in tags.items())
    line = f'system,{text} load1=0.5,n_cpus=2i,uptime={number}u,uptime_format="1 day, {number}:00",up=true {stamp}\n'
    values = [("load1", 0.5), ("n_cpus", 2), ("uptime", number), ("up", 1)]
    yield line, [[f"system_{name}", tags, at, value] for name, value in values]


def main():
    """Runs one output."""
    version, address, key, seconds, path = sys.argv[1:]
    record = clients.Record(path)
    output = Output(version, address, key, record)
    output.connect()
    for number in clients.until(float(seconds), 0.1):
        output.buffer.extend(points(f"telegraf-{version}", number))
        if number % round(FLUSH_S / 0.1) == 0:
            output.flush()
    end = time.monotonic() + DRAIN_S
    while output.buffer and time.monotonic() < end:
        output.flush()
        time.sleep(FLUSH_S)
    kept = [metric for _, metrics in output.buffer for metric in metrics]
    if kept:
        record.add(kept, "dropped", f"sent again and again: {output.last_error}")
    if output.wrong:
        record.add([], "dropped", "; ".join(output.wrong))


if __name__ == "__main__":
    main()
