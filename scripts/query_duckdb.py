"""Runs the same queries with `metricstream query` and DuckDB: compares results, or times. See query_duckdb.sh."""

import argparse
import glob
import json
import math
import os
import random
import resource
import statistics
import subprocess
import sys
import time
from urllib.parse import quote

import duckdb

# DuckDB takes no "+Inf" for a DOUBLE: values are read as text, and cast without the plus sign.
COLUMNS = "{timestamp: 'VARCHAR', name: 'VARCHAR', value: 'VARCHAR', type: 'VARCHAR', tags: 'MAP(VARCHAR, VARCHAR)'}"
SINGLE = {
    "count": "count(*)",
    "sum": "sum(value)",
    "avg": "avg(value)",
    "min": "min(value)",
    "max": "max(value)",
    "stddev": "stddev_pop(value)",
    "p0": "quantile_disc(value, 0)",
    "p50": "quantile_disc(value, 0.5)",
    "p90": "quantile_disc(value, 0.9)",
    "p99": "quantile_disc(value, 0.99)",
    "p100": "quantile_disc(value, 1)",
    "first": "arg_min(value, ms)",
    "last": "arg_max(value, ms)",
}
# What both compute in floats, each in its own order.
ROUNDED = {"sum", "avg", "stddev", "rate", "increase"}


def files(directory):
    """The files of a log that hold its lines; a segment that is there plain and compressed counts once."""
    plain = glob.glob(f"{directory}/metrics-*.jsonl") + glob.glob(f"{directory}/metrics.jsonl")
    packed = [path for path in glob.glob(f"{directory}/metrics-*.jsonl.zst") if path[:-4] not in plain]
    return sorted(path for path in plain + packed if os.path.getsize(path) > 0)


def text(value):
    return "'" + value.replace("'", "''") + "'"


def ask(binary, directory, parameters, *flags):
    process = subprocess.run(
        [binary, "query", "--format", "json", *flags, parameters, directory], capture_output=True, text=True
    )
    if process.returncode != 0:
        sys.exit(f"query_duckdb: {parameters}: {process.stderr.strip()}")
    return json.loads(process.stdout)


class Question:
    """One that is made at random, for both."""

    def __init__(self, chance, known):
        self.agg = chance.choice([*SINGLE, *SINGLE, "rate", "increase", "raw"])
        name = chance.choice(known["mixed"] if known["mixed"] and chance.random() < 0.15 else known["names"])
        if chance.random() < 0.7:
            self.parameters, where = [f"name={quote(name)}"], [f"name = {text(name)}"]
        else:
            prefix = name[: chance.randrange(6, max(7, len(name)))]
            self.parameters, where = [f"name=~{quote(prefix)}.*"], [f"starts_with(name, {text(prefix)})"]
        first, last = known["first_ms"], known["last_ms"] + 1
        start, end = (first, last) if chance.random() < 0.3 else sorted(chance.sample(range(first - 1000, last + 1000), 2))
        self.parameters += [f"from={start}", f"to={end}", f"agg={self.agg}"]
        where += [f"ms >= {start}", f"ms < {end}"]
        for _ in range(chance.choice([0, 0, 0, 1, 1, 2])):
            key, value = chance.choice(known["tags"].get(name) or known["all_tags"])
            found = f"coalesce(tags[{text(key)}], '')"
            operator, condition = chance.choice(
                [
                    ("=", f"{found} = {text(value)}"),
                    ("!=", f"{found} <> {text(value)}"),
                    ("=~", f"starts_with({found}, {text(value[:2])})"),
                    ("!~", f"not starts_with({found}, {text(value[:2])})"),
                ]
            )
            pattern = quote(escape(value[:2])) + ".*" if "~" in operator else quote(value)
            self.parameters.append(f"tag.{quote(key)}{operator}{pattern}")
            where.append(condition)
        self.step = None
        if self.agg != "raw" and chance.random() < 0.6:
            self.step = chance.choice([1_000, 7_500, 15_000, 60_000, 600_000])
            self.parameters.append(f"step={self.step}ms")
        bucket = f"{start} + (ms - {start}) // {self.step} * {self.step}" if self.step else f"{start}"
        ordered = self.agg in ("first", "last")
        by = "*" if self.agg == "raw" or ordered or chance.random() < 0.2 else None
        self.keys = [] if by else sorted({key for key, _ in chance.sample(known["all_tags"], chance.choice([0, 0, 1, 2]))})
        self.is_all = by == "*"
        if self.agg != "raw" and (by or self.keys):
            self.parameters.append("by=" + (by or ",".join(quote(key) for key in self.keys)))
        tags = "any_value(tags)" if self.is_all else "NULL"
        group = ["series"] if self.is_all else [f"tags[{text(key)}]" for key in self.keys]
        columns = ", ".join(["name", *group])
        self.skipped = f"SELECT count(*) FROM log WHERE {' AND '.join([*where, 'NOT isfinite(value)'])}"
        where = " AND ".join([*where, "isfinite(value)"])
        if self.agg == "raw":
            self.sql = f"SELECT name, series, tags, ms, value FROM log WHERE {where}"
        elif self.agg in SINGLE:
            self.sql = f"SELECT {columns}, {tags}, {bucket}, {SINGLE[self.agg]} FROM log WHERE {where} GROUP BY ALL"
        else:
            grown = (
                f"SELECT *, {bucket} AS bucket, lag(value) OVER w AS before, ms - lag(ms) OVER w AS span"
                f" FROM log WHERE {where} WINDOW w AS (PARTITION BY name, series ORDER BY ms)"
            )
            increase = "sum(CASE WHEN value < before THEN value ELSE value - before END)"
            of_series = increase if self.agg == "increase" else f"1000 * {increase} / nullif(sum(span), 0)"
            self.sql = (
                f"SELECT {columns}, {tags}, bucket, sum(grown) FROM (SELECT name, series, any_value(tags) AS tags,"
                f" bucket, {of_series} AS grown FROM ({grown}) WHERE before IS NOT NULL GROUP BY name, series, bucket)"
                " WHERE grown IS NOT NULL GROUP BY ALL"
            )

    def of_duckdb(self, connection):
        found = {}
        for row in connection.execute(self.sql).fetchall():
            if self.is_all:
                tags = dict(row[2])
            else:
                tags = {key: value for key, value in zip(self.keys, row[1:]) if value is not None}
            series = (row[0], tuple(sorted(tags.items())))
            found.setdefault(series, []).append((row[-2], row[-1]))
        return {series: sorted(points) for series, points in found.items()}

    def of_metricstream(self, binary, directory):
        result = ask(binary, directory, "&".join(self.parameters))
        self.skipped_by_metricstream = result["stats"]["non_finite_metrics"]
        found = {}
        for series in result["series"]:
            points = sorted((ms, float(value)) for ms, value in series["points"])
            found[(series["name"], tuple(sorted(series["tags"].items())))] = points
        return found

    def difference(self, ours, theirs, largest):
        if ours.keys() != theirs.keys():
            return f"series: {len(ours)} and {len(theirs)}: {sorted(ours.keys() ^ theirs.keys())[:3]}"
        for series, points in ours.items():
            others = theirs[series]
            if [ms for ms, _ in points] != [ms for ms, _ in others]:
                return f"{series}: {len(points)} points and {len(others)}, or other times"
            for (ms, value), (_, other) in zip(points, others):
                is_same = value == other
                if self.agg in ROUNDED:
                    # Their deviation loses what the mean is larger than it.
                    slack = 1e-9 * largest if self.agg == "stddev" else 1e-300
                    is_same = math.isclose(value, other, rel_tol=1e-9, abs_tol=slack)
                if not is_same:
                    return f"{series} at {ms}: {value!r} and {other!r}"
        return None


def escape(value):
    return "".join("\\" + character if character in r"\.+*?()|[]{}^$" else character for character in value)


def compare(arguments):
    connection = duckdb.connect()
    read = files(arguments.directory)
    connection.execute(
        "CREATE TABLE log AS SELECT epoch_ms(CAST(timestamp AS TIMESTAMP)) AS ms, name,"
        " CAST(ltrim(value, '+') AS DOUBLE) AS value, tags,"
        " list_sort(map_entries(tags))::VARCHAR AS series"
        f" FROM read_json({read}, format = 'newline_delimited', columns = {COLUMNS})"
    )
    rows, first, last = connection.execute("SELECT count(*), min(ms), max(ms) FROM log").fetchone()
    known = {
        "names": [row[0] for row in connection.execute("SELECT DISTINCT name FROM log ORDER BY 1").fetchall()],
        "mixed": [
            name
            for (name,) in connection.execute(
                "SELECT DISTINCT name FROM log WHERE NOT isfinite(value) ORDER BY 1"
            ).fetchall()
        ],
        "tags": {},
        "first_ms": first,
        "last_ms": last,
    }
    spelled = "SELECT DISTINCT name, e.key, e.value FROM (SELECT name, unnest(map_entries(tags)) AS e FROM log) ORDER BY ALL"
    for name, key, value in connection.execute(spelled).fetchall():
        known["tags"].setdefault(name, []).append((key, value))
    known["all_tags"] = sorted({tag for tags in known["tags"].values() for tag in tags})
    largest = connection.execute("SELECT max(abs(value)) FROM log WHERE isfinite(value)").fetchone()[0]
    chance = random.Random(arguments.seed)
    kinds, points, compared, skipped, failures = {}, 0, 0, 0, 0
    for number in range(arguments.queries):
        question = Question(chance, known)
        ours = question.of_metricstream(arguments.binary, arguments.directory)
        theirs = question.of_duckdb(connection)
        difference = question.difference(ours, theirs, largest)
        (non_finite,) = connection.execute(question.skipped).fetchone()
        skipped += non_finite
        if not difference and question.skipped_by_metricstream != non_finite:
            difference = f"skipped values: {question.skipped_by_metricstream} and {non_finite}"
        kinds[question.agg] = kinds.get(question.agg, 0) + 1
        points += sum(map(len, theirs.values()))
        compared += bool(theirs)
        if difference:
            failures += 1
            print(f"query {number}: {'&'.join(question.parameters)}\n  {question.sql}\n  {difference}", file=sys.stderr)
    of_kinds = ", ".join(f"{kind} {count}" for kind, count in sorted(kinds.items()))
    print(
        f"{arguments.queries} queries (seed {arguments.seed}) over {rows} lines in {len(read)} files, DuckDB {duckdb.__version__}:"
        f" {points} points of {compared} results that are not empty compared,"
        f" {skipped} values that are NaN or infinite skipped, {failures} queries differ\n{of_kinds}"
    )
    return 1 if failures or not points or (known["mixed"] and not skipped) else 0


def cpu_s(who):
    usage = resource.getrusage(who)
    return usage.ru_utime + usage.ru_stime


def measure(who, work):
    wall, cpu = time.perf_counter(), cpu_s(who)
    result = work()
    return {"wall_s": time.perf_counter() - wall, "cpu_s": cpu_s(who) - cpu}, result


def times(arguments):
    (path,) = files(arguments.directory)
    size = os.path.getsize(path)
    connection = duckdb.connect()
    connection.execute(f"SET threads = {arguments.threads}")
    sql = (
        f"SELECT avg(value), count(*) FROM read_json({text(path)}, format = 'newline_delimited',"
        f" columns = {{name: 'VARCHAR', value: 'DOUBLE'}}) WHERE name = {text(arguments.name)}"
    )
    parameters = f"name={quote(arguments.name)}&agg=avg&from=0000-01-01T00:00:00Z&to=9999-12-31T23:59:59Z"
    flags = ("--threads", str(arguments.threads), "--unbounded")
    measured = []
    for round_number in range(-1, arguments.rounds):
        ours, result = measure(
            resource.RUSAGE_CHILDREN, lambda: ask(arguments.binary, arguments.directory, parameters, *flags)
        )
        theirs, (mean, count) = measure(resource.RUSAGE_SELF, lambda: connection.execute(sql).fetchone())
        (point,) = result["series"][0]["points"]
        if not math.isclose(point[1], mean, rel_tol=1e-9) or result["stats"]["matched_metrics"] != count:
            sys.exit(f"query_duckdb: the results differ: {point[1]} of {result['stats']['matched_metrics']}, {mean} of {count}")
        if round_number < 0:
            # It has warmed the page cache.
            continue
        for who, figures in (("metricstream", ours), ("duckdb", theirs)):
            measured.append({"round": round_number, "subject": who, "threads": arguments.threads, "bytes": size, **figures})
    if arguments.raw:
        with open(arguments.raw, "w") as raw:
            raw.writelines(json.dumps(line) + "\n" for line in measured)
    print(
        f"{parameters}\n{size / 1e6:.1f} MB in one plain file, {arguments.threads} threads, {arguments.rounds} rounds in turns;"
        f" DuckDB {duckdb.__version__} with read_json of two columns; ours is a new process each time"
    )
    of = {}
    for who in ("metricstream", "duckdb"):
        for kind in ("wall_s", "cpu_s"):
            of[who, kind] = [line[kind] for line in measured if line["subject"] == who]
            values = of[who, kind]
            median = statistics.median(values)
            print(
                f"{who:14} {kind[:-2]:4} {1e3 * median:9.1f} ms ({1e3 * min(values):.1f} - {1e3 * max(values):.1f})"
                f"  {size / 1e9 / median:6.2f} GB/s"
            )
    for kind in ("wall_s", "cpu_s"):
        ratios = [theirs / ours for ours, theirs in zip(of["metricstream", kind], of["duckdb", kind])]
        print(
            f"DuckDB takes {statistics.median(ratios):.1f} times as much {kind[:-2]} time"
            f" (least {min(ratios):.1f}, most {max(ratios):.1f}; median of the rounds' ratios)"
        )
    return 0


def main():
    parser = argparse.ArgumentParser()
    parser.add_argument("binary")
    parser.add_argument("directory")
    parser.add_argument("--queries", type=int, default=300)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--time", dest="name", help="time a query for this name in place of comparing")
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--rounds", type=int, default=7)
    parser.add_argument("--raw")
    arguments = parser.parse_args()
    return times(arguments) if arguments.name else compare(arguments)


if __name__ == "__main__":
    sys.exit(main())
