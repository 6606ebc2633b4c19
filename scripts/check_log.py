#!/usr/bin/env python3
"""Compares what was posted with what is in the log: every metric, in order, digit for digit.

usage: check_log.py POSTED.ndjson METRICS.jsonl

POSTED has one batch a line, METRICS one metric a line. Names, digits of values, types, tags and timestamps (where one was
posted) must be equal; prints the number of lines. Exit code: 0 equal, 1 different, 2 it could not be tried.
"""

import itertools
import json
import re
import sys
from datetime import datetime, timedelta, timezone

EPOCH = datetime(1970, 1, 1, tzinfo=timezone.utc)
LINE_FIELDS = ["timestamp", "name", "value", "type", "tags"]
LOG_TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Number(str):
    """The digits of a number, so that it equals no string."""

    def __eq__(self, other):
        return isinstance(other, Number) and str.__eq__(self, other)

    __hash__ = str.__hash__


def load(text):
    return json.loads(text, parse_float=Number, parse_int=Number)


def log_time(timestamp):
    """A posted timestamp (epoch milliseconds, or RFC 3339 text) as the log writes it."""
    if isinstance(timestamp, Number):
        moment = EPOCH + timedelta(milliseconds=int(timestamp))
    else:
        moment = datetime.fromisoformat(timestamp.replace("Z", "+00:00")).astimezone(timezone.utc)
    return moment.strftime("%Y-%m-%dT%H:%M:%S.") + f"{moment.microsecond // 1000:03d}Z"


def posted_metrics(path):
    with open(path, encoding="utf-8") as file:
        for number, text in enumerate(file, 1):
            for index, metric in enumerate(load(text)["metrics"]):
                yield f"line {number}, metric {index}", {
                    "timestamp": log_time(metric["timestamp"]) if "timestamp" in metric else None,
                    "name": metric["name"],
                    "value": metric["value"],
                    "type": metric.get("type", "gauge"),
                    "tags": metric.get("tags", {}),
                }


def logged_metrics(path):
    with open(path, encoding="utf-8", newline="\n") as file:
        for number, text in enumerate(file, 1):
            if not text.endswith("\n"):
                raise ValueError(f"line {number} is torn: {text[:200]}")
            try:
                metric = load(text)
            except ValueError as error:
                raise ValueError(f"line {number} is not JSON: {error}: {text[:200]}") from error
            if list(metric) != LINE_FIELDS or not LOG_TIME.fullmatch(metric["timestamp"]):
                raise ValueError(f"line {number} is not a line of this log: {text[:200]}")
            yield number, metric


def compare(posted_path, logged_path):
    """The number of equal lines.

    Raises ValueError with the first difference.
    """
    count = 0
    for posted, logged in itertools.zip_longest(posted_metrics(posted_path), logged_metrics(logged_path)):
        if logged is None:
            raise ValueError(f"the log ends after {count} lines; missing: {posted[0]}: {posted[1]}")
        if posted is None:
            raise ValueError(f"line {logged[0]} of the log was not posted: {logged[1]}")
        (place, sent), (number, stored) = posted, logged
        if sent["timestamp"] is None:
            sent["timestamp"] = stored["timestamp"]
        # Tags are compared with their order.
        if sent != stored or list(sent["tags"]) != list(stored["tags"]):
            raise ValueError(f"posted {place}: {sent}\nbut line {number} of the log: {stored}")
        count += 1
    return count


def main(arguments):
    if arguments in (["--help"], ["-h"]):
        print(__doc__.strip())
        return 0
    if len(arguments) != 2:
        print(__doc__.strip(), file=sys.stderr)
        return 2
    try:
        count = compare(*arguments)
    except OSError as error:
        print(f"check_log.py: {error}", file=sys.stderr)
        return 2
    except (ValueError, KeyError, TypeError) as error:
        print(f"check_log.py: {error}", file=sys.stderr)
        return 1
    print(f"{count} lines, each as it was posted")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
