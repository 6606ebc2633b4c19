"""Prints the table of goals from what goals.sh has measured: goals.py DIRECTORY GOALS."""

import collections, json, pathlib, re, statistics, sys

work = pathlib.Path(sys.argv[1])
# Goals to show, by name; all without.
only = {name for name in sys.argv[2].split(",") if name}


def lines(name):
    path = work / name
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def document(name):
    path = work / name
    return json.loads(path.read_text()) if path.exists() and path.stat().st_size else None


# By scenario and subject: the measurement of each round.
cells = collections.defaultdict(dict)
for measured in lines("compare.jsonl"):
    cells[measured["scenario"], measured["subject"]][measured["round"]] = measured

CPU = "server_cpu_us_per_request"
OURS = "metricstream-io_uring"


def median(figures):
    figures = [figure for figure in figures if figure is not None]
    return statistics.median(figures) if figures else None


def figure(scenario, subject, name, scale=1.0):
    return median([measured[name] * scale for measured in cells[scenario, subject].values()])


def ratio(scenario, subject, other, name=CPU):
    """Median of the ratios within each round."""
    these, those = cells[scenario, subject], cells[scenario, other]
    return median([these[round_][name] / those[round_][name] for round_ in these.keys() & those.keys()])


# A virtual core that its host does not run is away for 26 ms and more; nothing here takes a third of that.
STALL_US = 10_000


def undisturbed_ratio(scenario, subject, other, name):
    """Ratio of the medians of those rounds in which 99.9 % of the requests met no stall of the host. A stall hits half
    of all rounds, of whichever subject, so that a median of ratios within rounds says whom it hit."""
    rounds = [[measured for measured in cells[scenario, which].values() if measured["p999_us"] < STALL_US]
              for which in (subject, other)]
    these, those = (median([measured[name] for measured in of_one]) for of_one in rounds)
    return these / those if these and those else None


rows = []


def goal(name, what, limit, found, at_least=False, digits=2):
    if found is None:
        verdict = "skipped"
    else:
        verdict = "met" if (found >= limit if at_least else found <= limit) else "MISSED"
    if only and name not in only:
        return
    bound = ("at least " if at_least else "at most ") + f"{limit:g}"
    rows.append((name, what, bound, "-" if found is None else f"{found:.{digits}f}", verdict))


over_floor = ratio("c64", "metricstream-memory", "floor-io_uring")
goal("P1", "64 connections, ack memory: CPU over the floor", 1.20, over_floor)
for scenario in ("c64", "c500"):
    goal("P2", f"{scenario}, ack write: CPU over the floor", 1.30, ratio(scenario, OURS, "floor-io_uring"))
for scenario in ("c64", "c500", "c1000"):
    goal("P3", f"{scenario}, ack write: CPU over nginx with a constant", 0.85, ratio(scenario, OURS, "nginx"))
for scenario in ("c64", "c500"):
    goal("P4", f"{scenario}, ack write: CPU over VictoriaMetrics", 0.12, ratio(scenario, OURS, "victoriametrics"))
for scenario, batch in (("b100", 100), ("b1000", 1000)):
    goal("P5", f"batches of {batch}: CPU us a metric", 0.08, figure(scenario, OURS, CPU, 1 / batch), digits=3)
goal("P6", "pipelined 16 deep: CPU over the floor", 2.2, ratio("pipelined", OURS, "floor-io_uring"))
per_core = figure("pipelined", OURS, CPU)
goal("P6", "pipelined: million requests a second and core", 1.6, 1 / per_core if per_core else None, at_least=True)
for scenario, limit in (("c500", 0.85), ("c64", 0.55)):
    found = ratio(scenario, "metricstream-fsync", OURS, "requests_per_second")
    goal("P7", f"{scenario}: requests/s with ack fsync over write", limit, found, at_least=True)

parsers = document("parsers.json")


def parser_ratio(input_name, ours, other):
    if parsers is None:
        return None
    of_input = next(table for table in parsers["inputs"] if table["input"] == input_name)
    ns = {row["parser"]: row["timing"]["ns_per_metric"] for row in of_input["parsers"] if row["timing"]}
    return ns[ours] / ns[other] if ours in ns and other in ns else None


# The path of the service speculates, and parses and encodes in one pass: encoding is in its figure.
for name in ("3 metrics", "node_exporter"):
    found = parser_ratio(name, "ours + encode", "simdjson On-Demand")
    goal("P8", f"parse, validate and encode over simdjson On-Demand, {name}", 0.6, found)
for name in ("3 metrics", "node_exporter"):
    goal("P9", f"parse + encode over sonic-rs typed, {name}", 0.3, parser_ratio(name, "ours + encode", "sonic-rs"))
for driver in ("io_uring", "epoll"):
    for percentile in ("p99_us", "p999_us"):
        found = ratio("paced", f"metricstream-{driver}", "nginx", percentile)
        goal("P10", f"500 connections, 20,000/s, {driver}: {percentile[:-3]} over nginx", 1.0, found)
        found = undisturbed_ratio("paced", f"metricstream-{driver}", "nginx", percentile)
        goal("P10", f"the same where the host stalled neither, {driver}: {percentile[:-3]}", 1.0, found)
goal("P11", "one connection: p50 over the floor", 1.05, ratio("c1", OURS, "floor-io_uring", "p50_us"))
goal("P11", "one connection: CPU over nginx", 1.0, ratio("c1", OURS, "nginx"))
goal("P12", "a connection per request: CPU over nginx", 0.75, ratio("fresh", OURS, "nginx"))

memory = document("memory.json")
if memory:
    goal("P13", f"RSS in MB with {memory['idle']} idle connections", 20, memory["idle_kib"] / 1000, digits=1)
    goal("P13", "RSS after a flood of 1,000 connections over before", 1.2, memory["after_kib"] / memory["before_kib"])
else:
    goal("P13", "RSS", 20, None)

instructions = work / "instructions.txt"
text = instructions.read_text() if instructions.exists() else ""
for name, limit in (("one by one", 4500), ("16 in flight", 3500)):
    match = re.search(name + r"\n(?:  .*\n)*?  reactor +([0-9.]+)", text)
    counted = float(match[1]) if match else None
    goal("P14", f"instructions of the reactor for a request of 3 metrics, {name}", limit, counted, digits=0)

speeds = collections.defaultdict(list)
for measured in lines("query.jsonl"):
    if measured["cpu_s"] > 0:
        speeds[measured["case"]].append(measured["scanned_bytes"] / measured["cpu_s"] / 1e9)
for case, limit in (("plain: one name, avg", 8), ("plain: all names, count", 3)):
    goal("P15", f"query in GB/s of one core, {case}", limit, median(speeds[case]), at_least=True)

widths = [max(len(row[column]) for row in rows) for column in range(5)]
for row in rows:
    print("  ".join(cell.ljust(width) for cell, width in zip(row, widths)).rstrip())
met = sum(row[4] == "met" for row in rows)
measured = sum(row[4] != "skipped" for row in rows)
print(f"\n{met} of {measured} figures meet their goals, {len(rows) - measured} skipped")
