"""Protobuf by hand, for the messages that no client at hand sends."""

import json
import struct


def varint(number):
    """A base 128 varint."""
    number &= (1 << 64) - 1
    out = bytearray()
    while number > 0x7F:
        out.append(number & 0x7F | 0x80)
        number >>= 7
    out.append(number)
    return bytes(out)


def field(number, content):
    """A field: bytes and str are length-delimited, float is 64 bits, int is a varint."""
    if isinstance(content, float):
        return varint(number << 3 | 1) + struct.pack("<d", content)
    if isinstance(content, int):
        return varint(number << 3) + varint(content)
    content = content.encode() if isinstance(content, str) else content
    return varint(number << 3 | 2) + varint(len(content)) + content


def snappy(body):
    """A snappy block."""
    import cramjam

    return bytes(cramjam.snappy.compress_raw(body))


def write_request(metrics):
    """prometheus.WriteRequest, one series for each metric."""
    out = b""
    for name, tags, at, value in metrics:
        labels = sorted({"__name__": name, **tags}.items())
        series = b"".join(field(1, field(1, k) + field(2, v)) for k, v in labels)
        out += field(1, series + field(2, field(1, float(value)) + field(2, at)))
    return out


def write_request_2(metrics):
    """io.prometheus.write.v2.Request, one series for each metric."""
    symbols = {"": 0}
    out = b""
    for name, tags, at, value in metrics:
        labels = sorted({"__name__": name, **tags}.items())
        references = b"".join(varint(symbols.setdefault(text, len(symbols))) for label in labels for text in label)
        sample = field(1, float(value)) + field(2, at)
        out += field(5, field(1, references) + field(2, sample) + field(5, field(1, 2)))
    return b"".join(field(4, symbol) for symbol in symbols) + out


def datadog_payload(metrics):
    """datadog.agentpayload.MetricPayload: what the agent sends to /api/v2/series."""
    out = b""
    for name, tags, at, value in metrics:
        tags = dict(tags)
        host = tags.pop("host")
        series = field(1, field(1, "host") + field(2, host)) + field(2, name)
        series += b"".join(field(3, f"{k}:{v}") for k, v in tags.items())
        series += field(4, field(1, float(value)) + field(2, at // 1000)) + field(5, 3)
        out += field(1, series)
    return out


def datadog_json(metrics):
    """The same in JSON."""
    series = []
    for name, tags, at, value in metrics:
        tags = dict(tags)
        resources = [{"type": "host", "name": tags.pop("host")}]
        points = [{"timestamp": at // 1000, "value": value}]
        tags = [f"{k}:{v}" for k, v in tags.items()]
        series.append({"metric": name, "type": 3, "points": points, "resources": resources, "tags": tags})
    return json.dumps({"series": series}).encode()
