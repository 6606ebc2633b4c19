#!/usr/bin/env python3
"""Makes the seed corpora and dictionaries of the fuzz targets: from the texts of the repository's own tests, and of
bodies made here in the protocols that are not text.

usage: fuzz/seeds.py DIRECTORY    writes DIRECTORY/seeds/TARGET/* and DIRECTORY/dictionaries/TARGET
"""

import glob
import gzip
import hashlib
import os
import random
import re
import struct
import sys
import zlib

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
SEED_BYTES_MAX = 4_096
ESCAPES = {"n": b"\n", "r": b"\r", "t": b"\t", "0": b"\0", "\\": b"\\", '"': b'"', "'": b"'"}
RAW = r'\bb?r(#*)"(.*?)"\1'
USUAL = r'"((?:[^"\\]|\\.)*)"'
LITERAL = re.compile(f"{RAW}|{USUAL}", re.DOTALL)
ESCAPE = re.compile(r"\\(?:x([0-9a-fA-F]{2})|u\{([0-9a-fA-F]+)\}|\n\s*|(.))", re.DOTALL)


def unescaped(text):
    """The bytes that a literal of Rust stands for."""
    parts, end = [], 0
    for escape in ESCAPE.finditer(text):
        parts.append(text[end : escape.start()].encode())
        end = escape.end()
        if escape[1]:
            parts.append(bytes([int(escape[1], 16)]))
        elif escape[2]:
            parts.append(chr(int(escape[2], 16)).encode("utf-8", "replace"))
        elif escape[3]:
            parts.append(ESCAPES.get(escape[3], escape[3].encode()))
    return b"".join(parts) + text[end:].encode()


def literals(*patterns):
    """The literals of source files, longest first."""
    found = set()
    for pattern in patterns:
        for path in glob.glob(os.path.join(ROOT, pattern), recursive=True):
            with open(path, encoding="utf-8") as source:
                for literal in LITERAL.finditer(source.read()):
                    found.add(literal[2].encode() if literal[2] is not None else unescaped(literal[3]))
    return sorted((text for text in found if 0 < len(text) <= SEED_BYTES_MAX), key=lambda text: (-len(text), text))


def line(second, name, value, kind="gauge", tags="{}"):
    """A line of the log."""
    stamp = f"2026-01-02T03:{second // 60 % 60:02}:{second % 60:02}.678Z"
    return (f'{{"timestamp":"{stamp}","name":"{name}","value":{value},"type":"{kind}","tags":{tags}}}\n').encode()


LINES = [
    line(5, "cpu", "1"),
    line(6, "cpu", "-2.5e-3", "counter", '{"host":"web1"}'),
    line(6, "disk", '"NaN","stale":true', "histogram", '{"le":"+Inf","a":"\\\\\\"\\n\\u0001"}'),
    line(7, "\u00e9", '"+Inf"', "summary", '{"quantile":"0.5","":""}'),
    line(67, "m", "0", "untyped"),
]
LOGS = [
    b"",
    b"".join(LINES),
    b"".join(LINES * 3),
    b"".join(LINES) + LINES[0][:40],
    LINES[0] + b"\0" * 50 + LINES[1],
    LINES[0] + b"not ours\n" + LINES[1],
    LINES[0][:30] + LINES[1],
    b"\xff\x80\n" + LINES[2],
    *LINES,
]


# ---- protobuf ------------------------------------------------------------------------------------------------------


def varint(number):
    """A varint."""
    number &= (1 << 64) - 1
    parts = []
    while number > 0x7F:
        parts.append(number & 0x7F | 0x80)
        number >>= 7
    return bytes(parts + [number])


def field(number, content):
    """A field: of bytes, an integer, or a float."""
    if isinstance(content, bytes):
        return varint(number << 3 | 2) + varint(len(content)) + content
    if isinstance(content, float):
        return varint(number << 3 | 1) + struct.pack("<d", content)
    return varint(number << 3) + varint(content)


def fixed64(number, value):
    """A field of 64 bits."""
    return varint(number << 3 | 1) + struct.pack("<Q", value)


def attribute(key, value, number=1):
    """A key and a value of OTLP."""
    return field(number, field(1, key) + field(2, value))


def otlp():
    """Requests of OTLP, of every kind of metric."""
    nanos = 1_767_323_045_678_000_000
    point = fixed64(3, nanos)
    texts = (
        attribute(b"host", field(1, b"web1"), 7) + attribute(b"n", field(3, 5), 7) + attribute(b"f", field(4, 1.5), 7)
    )
    nested = attribute(b"a", field(5, field(1, field(1, b"x")) + field(1, field(2, 1))), 7)
    mapped = attribute(b"m", field(6, attribute(b"k", field(7, b"\0\xff"))), 7)
    number = point + field(4, 2.5) + texts
    integer = point + fixed64(6, 7) + nested + mapped
    stale = point + field(8, 1)
    counts = b"".join(struct.pack("<Q", count) for count in (1, 2, 3))
    histogram = (
        fixed64(3, nanos) + fixed64(4, 6) + field(5, 9.5) + field(6, counts) + field(7, struct.pack("<2d", 1, 5))
    )
    buckets = field(1, 2) + field(2, b"\x01\x02\x03")
    exponential = fixed64(3, nanos) + fixed64(4, 7) + field(5, 1.0) + field(6, 1) + fixed64(7, 1) + field(8, buckets)
    quantile = field(6, field(1, 0.5) + field(2, 3.0))
    summary = fixed64(3, nanos) + fixed64(4, 2) + field(5, 4.0) + quantile
    data = [
        field(5, field(1, number) + field(1, integer) + field(1, stale)),
        field(7, field(1, number) + field(2, 2) + field(3, 1)),
        field(7, field(1, integer) + field(2, 1)),
        field(9, field(1, histogram + field(9, field(1, b"q") + field(2, field(1, b"v")))) + field(2, 2)),
        field(10, field(1, exponential) + field(2, 2)),
        field(11, field(1, summary)),
    ]
    resource = field(
        1, attribute(b"service.name", field(1, b"shop")) + attribute(b"service.instance.id", field(1, b"1"))
    )
    requests = [
        field(1, resource + field(2, field(2, field(1, b"m.n") + field(3, b"s") + metric))) for metric in data
    ]
    return [b"", *requests, b"".join(requests[:3])]


def remote_write():
    """Requests of remote write 1.0 and 2.0."""

    def label(name, value):
        return field(1, field(1, name) + field(2, value))

    sample = field(2, field(1, 1.5) + field(2, 1_767_323_045_678))
    stale = field(2, fixed64(1, 0x7FF0000000000002) + field(2, 1_767_323_045_678))
    spans = field(11, field(1, 0) + field(2, 2)) + field(12, varint(2) + varint(2))
    native = field(
        4,
        field(1, 4)
        + field(3, 9.0)
        + field(4, 0)
        + field(5, 0.001)
        + field(6, 1)
        + spans
        + field(15, 1_767_323_045_678),
    )
    names = label(b"__name__", b"up") + label(b"job", b"a")
    v1 = [
        field(1, names + sample),
        field(1, names + sample + stale),
        field(1, names + native),
        field(3, b"\x08\x01"),
        field(1, label(b"__name__", b"x_bucket") + label(b"le", b"0.5") + sample),
        field(1, label(b"a", b"b") + sample),
    ]
    symbols = b"".join(field(4, text) for text in (b"", b"__name__", b"up_total", b"job", b"a", b"le", b"1"))
    series = field(1, bytes([1, 2, 3, 4])) + sample + field(5, field(1, 1))
    v2 = [
        symbols + field(5, series),
        symbols + field(5, field(1, bytes([1, 2, 5, 6])) + sample),
        symbols + field(5, series) * 2,
        symbols + field(5, field(1, bytes([1, 2, 3])) + sample),
        symbols,
    ]
    return [b"", *v1, b"".join(v1), *v2]


def datadog():
    """Payloads of Datadog's version 2 in protobuf."""
    resource = field(1, field(1, b"host") + field(2, b"web1"))
    point = field(4, field(1, 2.5) + field(2, 1_767_323_045))
    series = resource + field(2, b"a.b") + field(3, b"env:prod") + field(3, b"bare") + point
    return [
        b"",
        field(1, series + field(5, 1)),
        field(1, series + point + field(5, 3) + field(7, b"s") + field(8, 10)),
        field(1, series + field(5, 2)) * 2,
        field(1, field(2, b"x")),
    ]


# ---- the other targets -----------------------------------------------------------------------------------------------


def coded():
    """Bodies for each content coding; the first byte says which, and whether the rest is to be compressed."""
    text = b"".join(LINES)
    member = gzip.compress(text, mtime=0)
    # A frame of zstd with one raw block, and a block of snappy with one literal.
    frame = (
        b"\x28\xb5\x2f\xfd\x20" + bytes([len(LINES[0])]) + struct.pack("<I", len(LINES[0]) << 3 | 1)[:3] + LINES[0]
    )
    snappy = varint(60) + bytes([59 << 2]) + LINES[0][:60]
    bodies = [bytes([coding]) + text for coding in range(8)] + [
        b"\x04" + member,
        b"\x04" + member * 2,
        b"\x05" + zlib.compress(text),
    ]
    return bodies + [
        b"\x06" + snappy,
        b"\x06\x08\x04ab\x1e\x02",
        b"\x07" + frame,
        b"\x07" + frame * 2,
        b"\x07\x50\x2a\x4d\x18\x01\0\0\0a",
    ]


def noise(count, length):
    """Bytes, the same each time."""
    source = random.Random(7)
    return [bytes(source.randrange(256) for _ in range(length)) for _ in range(count)]


def joined(*parts):
    """The parts of a directory."""
    return b"\xfe".join(parts)


def batches():
    """Batches of JSON: those of the tests, and ones made of real metrics."""
    with open(os.path.join(ROOT, "bench/data/node_exporter.ndjson"), "rb") as file:
        real = file.read().split(b"\n")[:40]
    made = [b'{"metrics":[%s]}' % b",".join(text.strip() for text in LINES[:2])]
    return (
        made
        + [b'{"metrics":[%s]}' % metric for metric in real if metric]
        + literals(
            "crates/metric/tests/metric_differential.rs", "crates/metric/src/parser.rs", "crates/testkit/src/json.rs"
        )
    )


def repairs():
    """Directories to repair."""
    text = b"".join(LINES)
    return [
        joined(text),
        joined(text[:-5]),
        joined(b"", b"", text),
        joined(text, b"x", text, b"=", b""),
        joined(b"", b"", text, b"=\0\x05x", b""),
        joined(b"", b"", text * 2, b"=", b"="),
        joined(b"", b"", text, b"=", b"=\0\x40x"),
        joined(b"", b"", text, b"", b"=="),
        joined(b"", b"", b"", b"{}", b"junk"),
        joined(text, b"", text[:-3]),
    ]


SEEDS = {
    "agent_json": lambda: literals(
        "crates/metric/src/protocol/collectd/tests.rs",
        "crates/metric/src/protocol/datadog/tests.rs",
        "tests/server/protocols.rs",
    ),
    "batch": batches,
    "chunked": lambda: literals("crates/http1/tests/http/chunked.rs")
    + [b"3\r\nabc\r\n0\r\n\r\n", b"1;a=b\r\nx\r\n0\r\nA: b\r\n\r\n"],
    "config": lambda: literals(
        "src/config/tests.rs",
        "src/config/parse.rs",
        "src/config/telemetry.rs",
        "src/config/listen.rs",
        "tests/server/refuses_to_start.rs",
    )
    + [b"--rate-limit\n0\n--cores\n0", b"--listen=[::1]:0\n--max-body=1MiB", b"--forward\nhttp://a/w", b"-h", b"-"],
    "content": coded,
    "datadog_protobuf": datadog,
    "driver": lambda: [b"\0\x01\x01\x09\x04\x09\x02\0\x08\0", b"\0\0\x05\0\x01\xff\x06\0\x03\0", *noise(8, 40)],
    "head": lambda: literals("crates/http1/tests/http/*.rs", "crates/http1/src/head.rs"),
    "http": lambda: literals("crates/http1/tests/http/*.rs", "crates/http1/src/head.rs"),
    "influx": lambda: [
        b"\x03" + text for text in literals("crates/metric/src/protocol/influx/tests.rs", "tests/server/protocols.rs")
    ],
    "line": lambda: LOGS + literals("crates/metric/src/line/tests.rs"),
    "numbers": lambda: [
        b"1\n2\n3",
        b"0.1\n0.2\n-0.3",
        b"1e308\n1e308\n-1e308",
        b"5e-324\n-0\n9223372036854775807\n1.5",
        b"9007199254740993\n0.5",
        b"-9223372036854775808\n-1\n2.2250738585072014e-308",
    ],
    "otlp_json": lambda: literals("crates/metric/src/protocol/otlp/*.rs", "tests/server/otlp.rs"),
    "otlp_protobuf": otlp,
    "pattern": lambda: [
        text + b"\0" + name
        for text in literals("crates/query/src/plan/pattern.rs")
        for name in (b"cpu", "a\u00e9b".encode())
    ],
    "proxy": lambda: literals(
        "src/proxy/**/*.rs", "src/proxy/*.rs", "tests/server/proxies.rs", "src/trace/context.rs"
    ),
    "query": lambda: literals("crates/query/src/plan/*.rs", "crates/query/src/tests/*.rs", "tests/server/query/*.rs"),
    "recovery": lambda: [
        joined(text, state) for text in LOGS for state in (b"", b"=", b"=\x90\x01\x02", b"metricstream state 2\n")
    ]
    + [joined(b"", b"", LOGS[3])],
    "remote_write": remote_write,
    "repair": repairs,
    "scan": lambda: LOGS,
    "sidecar": lambda: [joined(text, LOGS[1]) for text in (b"{}", SIDECAR, SIDECAR[:-2])],
    "text": lambda: literals(
        "crates/metric/src/protocol/text/tests.rs",
        "crates/metric/src/protocol/text/group.rs",
        "tests/server/protocols.rs",
    ),
    "timer_wheel": lambda: noise(8, 80),
}
SIDECAR = (
    b'{"format":1,"bytes":%d,"lines":1,"foreign_lines":0,"first_ms":1767323045678,"last_ms":1767323045678,"crc32":%d,'
    b'"names":["cpu"],"blocks":[{"offset":0,"bytes":%d,"lines":1,"foreign_lines":0,"first_ms":1767323045678,'
    b'"last_ms":1767323045678,"crc32":%d,"names":[0]}]}\n' % ((len(LINES[0]), zlib.crc32(LINES[0])) * 2)
)

JSON_WORDS = '{ } [ ] : , " null true false 0 -1 1.5 1e999 1e-400 \\u0000 \\ud800 \\udc00 \\" \\\\ \\/ -0'
DICTIONARIES = {
    "agent_json": JSON_WORDS
    + ' "values" "dstypes" "dsnames" "time" "interval" "host" "plugin" "type" "series" "points" "metric"'
    + ' "tags" "gauge" "rate" "resources" "derive"',
    "batch": JSON_WORDS
    + ' "metrics" "name" "value" "type" "timestamp" "tags" "gauge" "counter"'
    + ' "2026-01-02T03:04:05.678Z" "1767323045678"',
    "chunked": "\r\n 0\r\n\r\n ; =",
    "config": (
        'listen rate_limit max_body data_dir = " [[forward]] url name headers 1MiB 10s 0 --listen '
        '--rate-limit --config --forward --cores --max-batch --ring-size --otlp-endpoint --retain-age '
        '--api-keys unix:'
    ),
    "head": (
        'GET POST HTTP/1.1\r\n HTTP/1.0\r\n Host: Content-Length: Transfer-Encoding: chunked Connection: '
        'close keep-alive Expect: 100-continue \r\n \r\n\r\n http:// ? # % Authorization: Accept: '
        'Content-Encoding: gzip'
    ),
    "influx": '\\, \\= \\  \\" = , i u t T true false " # 1e3 - + ns \n',
    "line": (
        '{"timestamp":" ","name":" ","value": ,"type":" gauge counter histogram summary untyped '
        '","tags":{ }} "NaN","stale":true "+Inf" "-Inf" "NaN" \\u001f \\n \\" \\\\'
    ),
    "numbers": (
        '1e308 -1e308 5e-324 2.2250738585072014e-308 9007199254740993 9223372036854775807 '
        '-9223372036854775808 0.1 e - . 1e22 \n'
    ),
    "otlp_json": JSON_WORDS
    + ' "resourceMetrics" "scopeMetrics" "metrics" "gauge" "sum" "histogram" "exponentialHistogram" "summary"'
    + ' "dataPoints" "timeUnixNano" "asDouble" "asInt" "attributes" "key" "value" "stringValue" "intValue"'
    + ' "arrayValue" "kvlistValue" "bytesValue" "bucketCounts" "explicitBounds" "count" "NaN" "Infinity" "name"'
    + ' "unit" "aggregationTemporality" "isMonotonic" "quantileValues"',
    "pattern": "( ) [ ] * + ? | . ^ $ \\b \\w \\d \\pL (?i) (?x) (?s) (?-u: {2,3} {1000} \\B \\A \\z",
    "proxy": 'PROXY TCP4 TCP6 UNKNOWN \r\n for= by= proto= host= ; , " [ ] : 10.0.0.1 [::1] unknown _a',
    "query": (
        'name= name=~ from= to= step= agg= by= limit= points= order= tag. != !~ =~ & % now -1h p99 avg '
        'sum rate raw count stddev increase first last min max *'
    ),
    "sidecar": JSON_WORDS
    + ' "format" "bytes" "lines" "foreign_lines" "first_ms" "last_ms" "crc32" "names" "blocks" "offset"'
    + ' "frame" ,"self_crc32":',
    "text": (
        '# TYPE HELP UNIT EOF _total _bucket _sum _count _created le= quantile= { } = " , +Inf -Inf NaN '
        '\\n \\" \\\\ /metrics/job/ @base64 % counter gauge histogram summary info stateset unknown \n'
    ),
}
DICTIONARIES["http"] = DICTIONARIES["head"] + " /held /deferred /streamed /poor /limited 0\r\n\r\n"
DICTIONARIES["scan"] = DICTIONARIES["recovery"] = DICTIONARIES["repair"] = DICTIONARIES["line"]


def main():
    """Writes them."""
    if len(sys.argv) != 2 or sys.argv[1].startswith("-"):
        sys.exit(__doc__)
    os.makedirs(os.path.join(sys.argv[1], "dictionaries"), exist_ok=True)
    for target, make in SEEDS.items():
        directory = os.path.join(sys.argv[1], "seeds", target)
        os.makedirs(directory, exist_ok=True)
        for seed in make()[:2_000]:
            with open(os.path.join(directory, hashlib.sha1(seed).hexdigest()), "wb") as file:
                file.write(seed[:SEED_BYTES_MAX])
        with open(os.path.join(sys.argv[1], "dictionaries", target), "w", encoding="ascii") as file:
            for word in re.split(" (?! )", DICTIONARIES.get(target, "")):
                if word:
                    escaped = "".join(c if c.isalnum() else f"\\x{ord(c):02x}" for c in word)
                    file.write(f'"{escaped}"\n')


if __name__ == "__main__":
    main()
