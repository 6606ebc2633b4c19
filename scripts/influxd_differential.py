"""Compares what influxd and the decoder of line protocol make of the same lines. Run by influxd_differential.sh.

usage: influxd_differential.py DECODE PORT LINES SEED
"""

import collections
import http.client
import json
import random
import re
import subprocess
import sys
import time
import urllib.parse

DECODE, PORT, LINES, SEED = sys.argv[1], int(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
DEADLINE_S = 30
# The time of arrival in the example `decode`, and the seconds that influxd's may be from the present. Both are compared
# as 0.5 milliseconds.
ARRIVAL, ARRIVAL_S = "2026-01-02T03:04:05.678Z", 600
GOOD = [
    "1", "1.0", "-1.5e10", "1E5", "1e+5", ".5", "-.5", "1.", "00", "-01.50", "1.e5", "1e-400", "0." + "1" * 40,
    "9" * 30,
    "1i", "-1i", "007i", "-0i", "9223372036854775807i", "-9223372036854775808i",
    "t", "T", "true", "True", "TRUE", "f", "F", "false", "False", "FALSE",
    '"text"', '""', '"a,b=c d"', r'"\"\\"', '"two\nlines"',
]  # fmt: skip
BAD = [
    "+1", ".", "-", "-.", "1e", "1e400", "9" * 400, "0x1", "1_0", "1.1.1", "1e5.0", "1ee5", "-+1", "1+1",
    "i", "-i", "1.0i", "1e2i", "1ii", "9i1", "9223372036854775808i", "-9223372036854775809i",
    "1u", "-1u", "18446744073709551616u", "tRUE", "tr", "NaN", "nan", "Inf", "-inf", "null", '"', "",
]  # fmt: skip
TIMESTAMPS = ["0", "-1", "1767323046678999999", "-999999", "-9223372036854775806", "9223372036854775806", "1 ", " 1"]
BAD_TIMESTAMPS = ["9223372036854775807", "9223372036854775808", "1.5", "now", "-", "1 1", "1\t"]
SPECIAL = "mf1tiu,= \\\"\n#.-+eN"


class Influxd:
    """A connection to influxd."""

    def __init__(self):
        self.connection = http.client.HTTPConnection("127.0.0.1", PORT, timeout=DEADLINE_S)
        self.is_fresh = False
        self.databases = 0

    @property
    def database(self):
        return f"d{self.databases}"

    def request(self, method, path, body=None):
        self.connection.request(method, path, body)
        response = self.connection.getresponse()
        return response.status, response.read()

    def query(self, text):
        method = "GET" if text.startswith("SELECT") else "POST"
        parameters = urllib.parse.urlencode({"q": text, "db": self.database, "epoch": "ns"})
        status, body = self.request(method, f"/query?{parameters}")
        result = json.loads(body)
        if status != 200 or "error" in result["results"][0]:
            raise AssertionError(f"{text}: {body!r}")
        return result["results"][0].get("series", [])

    def await_start(self):
        end = time.monotonic() + DEADLINE_S
        while True:
            try:
                return self.request("GET", "/ping")
            except OSError:
                self.connection.close()
                if time.monotonic() > end:
                    raise
                time.sleep(0.05)

    def write(self, body):
        """What becomes of a body in an empty database: all, some or none of it is accepted, the error, the metrics."""
        if not self.is_fresh:
            self.query(f"DROP DATABASE {self.database}")
            self.databases += 1
            self.query(f"CREATE DATABASE {self.database}")
        status, response = self.request("POST", f"/write?db={self.database}", body)
        error = "" if status == 204 else json.loads(response)["error"]
        self.is_fresh = status != 204 and not error.startswith("partial write")
        if self.is_fresh:
            return "none", error, [], 0
        series = self.query("SELECT * FROM /.*/ GROUP BY *")
        return "some" if error else "all", error, *self.metrics(series)

    @staticmethod
    def metrics(series):
        metrics, texts = [], 0
        for one in series:
            tags = tuple(sorted((key, value) for key, value in one.get("tags", {}).items() if value))
            for timestamp, *values in one["values"]:
                for field, value in zip(one["columns"][1:], values):
                    if isinstance(value, str):
                        texts += 1
                    elif value is not None:
                        name = one["name"] if field == "value" else f"{one['name']}_{field}"
                        is_arrival = abs(timestamp / 1e9 - time.time()) < ARRIVAL_S
                        metrics.append((name, tags, float(value), 0.5 if is_arrival else timestamp // 1_000_000))
        return sorted(metrics), texts


def decoded(bodies):
    """What becomes of each body in the decoder, as `Influxd.write` has it."""
    framed = b"".join(b"%d\n%s" % (len(body), body) for body in bodies)
    output = subprocess.run([DECODE, "influx", "--framed"], input=framed, stdout=subprocess.PIPE, check=True).stdout
    metrics = []
    for line in output.decode().splitlines():
        line = json.loads(line)
        if "name" in line:
            at = 0.5 if line["timestamp"] == ARRIVAL else time_ms(line["timestamp"])
            metrics.append((line["name"], tuple(sorted(line["tags"].items())), float(line["value"]), at))
            continue
        rejected, texts = line["rejected"], line["skipped"].get("text", 0)
        accepted = "all" if not rejected else "some" if metrics or texts else "none"
        yield accepted, line["first_rejected"], sorted(metrics), texts
        metrics = []


def time_ms(text):
    """Epoch milliseconds of a timestamp of the log: Python's datetime has no years before 1 and rounds."""
    year, month, day, hour, minute, second, ms = (int(part) for part in re.split(r"[-T:.Z]", text)[:7])
    years = year - 1 if month <= 2 else year
    era_day = (153 * (month + (9 if month <= 2 else -3)) + 2) // 5 + day - 1
    days = years * 365 + years // 4 - years // 100 + years // 400 + era_day - 719468
    return (((days * 24 + hour) * 60 + minute) * 60 + second) * 1000 + ms


# The differences that the decoder's documentation names: whether a body may differ, by its text and influxd's error.
DELIBERATE = {
    "unsigned integers": lambda body, error: re.search(rb"=[0-9]+u(?=[, \n]|$)", body),
    "a repeated tag key": lambda body, error: "duplicate tags" in error,
    "the range of timestamps": lambda body, error: "time outside range" in error or "value out of range" in error,
    "a repeated field key": lambda body, error: repeats_a_field(body),
    "two backslashes before a separator": lambda body, error: re.search(rb"\\\\[,= ]", body),
    "an escape of another position": lambda body, error: re.search(rb'(^|\n)[ \t]*(\\.|[^, \\])*\\[="]', body),
    "a line feed behind a backslash": lambda body, error: b"\\\n" in body,
    "a quotation mark out of place": lambda body, error: re.search(rb'[^=,\\]"|"[^, ]|\\"', body),
    "types of a field in two lines": lambda body, error: "field type conflict" in error,
}


def repeats_a_field(body):
    for line in body.split(b"\n"):
        keys = re.findall(rb"(?:(?<=[ ,]))((?:[^,= \\]|\\.)+)=", line)
        if len(set(keys)) < len(keys):
            return True
    return False


def body_of(chance):
    """One line, and by half of the chances with some bytes changed. The keys of tags and fields have no letter in
    common: influxd's query mixes those that are equal."""

    def text(letters, special):
        chosen = chance.choices([*letters, ",", "=", " ", "\\" + letters[0]], k=chance.randint(1, 5))
        return "".join("\\" + part if part in special else part for part in chosen)

    line = text("mnoé", ", ")
    for _ in range(chance.randint(0, 3)):
        line += f",{text('abc', ', =')}={text('abcxyzé', ', =')}"
    fields = []
    for _ in range(chance.randint(1, 3)):
        value = chance.choice(BAD if chance.random() < 0.1 else [*GOOD, repr(chance.uniform(-1e6, 1e6))])
        key = "value" if chance.random() < 0.2 else text("fgh", ", =")
        fields.append(f"{key}={value}")
    line += " " + ",".join(fields)
    if chance.random() < 0.5:
        line += " " + chance.choice(BAD_TIMESTAMPS if chance.random() < 0.1 else TIMESTAMPS)
    if chance.random() < 0.5:
        for _ in range(chance.randint(1, 3)):
            at, change = chance.randrange(len(line) + 1), chance.choice(SPECIAL)
            line = line[:at] + chance.choice([change, ""]) + line[at + chance.randint(0, 1) :]
    return line.encode()


def main():
    chance = random.Random(SEED)
    bodies = [body_of(chance) for _ in range(LINES)]
    influxd = Influxd()
    influxd.await_start()
    accepted, deliberate, failed = collections.Counter(), collections.Counter(), 0
    repeated = 0
    for body, (ours, rejected, our_metrics, our_texts) in zip(bodies, decoded(bodies), strict=True):
        theirs, error, metrics, texts = influxd.write(body)
        accepted[theirs] += 1
        if (theirs, metrics, texts) == (ours, our_metrics, our_texts):
            continue
        # Of some thousand bodies influxd's query misses a field of one, and finds it when the body is written again.
        theirs, error, metrics, texts = influxd.write(body)
        if (theirs, metrics, texts) == (ours, our_metrics, our_texts):
            repeated += 1
            continue
        named = next((name for name, may in DELIBERATE.items() if may(body, error)), None)
        if named:
            deliberate[named] += 1
            continue
        failed += 1
        if failed <= 20:
            print(f"{body!r}\n  influxd: {theirs} {error} {metrics} {texts}")
            print(f"  decoder: {ours} {rejected} {our_metrics} {our_texts}")
    print(f"{LINES} bodies, of which influxd accepted: {dict(accepted)}; deliberate differences: {dict(deliberate)}")
    print(f"the same at the second attempt only: {repeated}")
    if failed:
        sys.exit(f"{failed} bodies differ")


main()
