#!/usr/bin/env python3
"""Holds every expression of the dashboard and of the alert rules against a Prometheus that has scraped a live server.

usage: check_expressions.py PROMETHEUS_URL DASHBOARD.json

Each expression must be understood by Prometheus; each metric in it must exist; each label that it selects, groups or shows by must be on
its metrics, and each value that it selects must be there; and the unit of a panel must be that of its metrics. The rules are those that
Prometheus has loaded. Exit code: 0 all hold, 1 not.
"""
import json
import re
import sys
import urllib.error
import urllib.parse
import urllib.request

api, dashboard_file = sys.argv[1:]
faults = []
cache = {}


def query(text):
    if text not in cache:
        url = f"{api}/api/v1/query?" + urllib.parse.urlencode({"query": text})
        try:
            cache[text] = json.load(urllib.request.urlopen(url, timeout=10))["data"]["result"]
        except urllib.error.HTTPError as error:
            cache[text] = ValueError(json.load(error).get("error", str(error)))
    if isinstance(cache[text], ValueError):
        raise cache[text]
    return cache[text]


def plain(expression):
    """The expression as Prometheus is sent it, with everything that can be chosen chosen."""
    for variable, value in [("$__rate_interval", "30s"), ("$job", ".*"), ("$instance", ".*")]:
        expression = expression.replace(variable, value)
    return expression


SELECTOR = re.compile(r"\b((?:metricstream|process)_\w+|up)\b(?!\s*\()(?:\{([^}]*)\})?")
MATCHER = re.compile(r'(\w+)\s*(=~|!~|!=|=)\s*"([^"]*)"')
GROUPING = re.compile(r"\b(?:by|without|on|ignoring|group_left|group_right)\s*\(([^)]*)\)")


def labels_of(metric):
    return set().union(*(sample["metric"] for sample in query(metric))) - {"__name__"}


def check(where, expression, legend=None):
    """Returns the metrics of the expression."""
    expression = plain(expression)
    found = set()
    try:
        result = query(expression)
        for metric, matchers in SELECTOR.findall(expression):
            found.add(metric)
            if not query(metric):
                faults.append(f"{where}: there is no metric {metric}")
                continue
            for label, operator, value in MATCHER.findall(matchers):
                if label not in labels_of(metric):
                    faults.append(f"{where}: {metric} has no label {label}")
                elif operator in ("=", "=~"):
                    for part in value.split("|") if operator == "=~" else [value]:
                        if not query(f'{metric}{{{label}{operator}"{part}"}}'):
                            faults.append(f"{where}: no {metric} has {label}{operator}{part!r}")
        known = set().union(*(labels_of(metric) for metric in found), {"le"})
        for group in GROUPING.findall(expression):
            for label in filter(None, re.split(r"[,\s]+", group)):
                if label not in known:
                    faults.append(f"{where}: none of its metrics has the label {label} that it groups by")
        if not found:
            faults.append(f"{where}: no metric in {expression!r}")
        shown = set().union(*(sample["metric"] for sample in result)) if result else known
        for label in re.findall(r"\{\{\s*(?:\$labels\.)?(\w+)\s*\}\}", legend or ""):
            if label not in shown:
                faults.append(f"{where}: it shows the label {label}, which the result has not: {sorted(shown)}")
    except ValueError as error:
        faults.append(f"{where}: {error}: {expression}")
    return found


COUNTS_A_SECOND = {"cps", "reqps", "ops"}


def units_of(expression):
    """The units that a panel of the expression may have, by its metrics' names and what is done with them; None where any may be."""
    if "/" in re.sub(r'"[^"]*"', "", expression):
        return {"percentunit", "short", "s", "bytes"}
    names = [re.sub(r"_(bucket|sum|count|total)$", "", name) for name, _ in SELECTOR.findall(expression)]
    names = [name for name in names if name != "metricstream_build_info"]
    if not names:
        return {"none"}
    base = {"s" if n.endswith("_seconds") else "bytes" if n.endswith("_bytes") else "count" for n in names}
    if len(base) != 1:
        return set()
    base = base.pop()
    if re.search(r"\brate\(", expression) and "histogram_quantile" not in expression:
        return {"s": {"short"}, "bytes": {"Bps"}, "count": COUNTS_A_SECOND}[base]
    return {"s": {"s"}, "bytes": {"bytes"}, "count": {"short", "none"}}[base]


def check_unit(where, panel, target):
    if panel["type"] == "heatmap":
        # Its cells are counts; its axis has the unit of the buckets.
        unit, allowed = panel["options"]["yAxis"]["unit"], units_of(re.sub(r"\brate\(", "(", target["expr"]))
    else:
        unit = panel["fieldConfig"]["defaults"]["unit"]
        for override in panel["fieldConfig"]["overrides"]:
            by, pattern = override["matcher"]["id"], override["matcher"]["options"]
            hit = pattern == target["legendFormat"] if by == "byName" else re.fullmatch(pattern, target["legendFormat"])
            unit = next((p["value"] for p in override["properties"] if hit and p["id"] == "unit"), unit)
        allowed = units_of(target["expr"])
    if unit not in allowed:
        faults.append(f"{where}: the unit is {unit}, and may be {' or '.join(sorted(allowed)) or 'nothing: metrics of several units'}")


dashboard = json.load(open(dashboard_file))
used = set()
expressions = 0
ids = [panel["id"] for panel in dashboard["panels"]]
if len(ids) != len(set(ids)):
    faults.append("two panels have the same id")
taken = {}
for panel in dashboard["panels"]:
    title, place = panel["title"], panel["gridPos"]
    for cell in ((x, y) for x in range(place["x"], place["x"] + place["w"]) for y in range(place["y"], place["y"] + place["h"])):
        if taken.setdefault(cell, title) != title or cell[0] > 23:
            faults.append(f"{title}: it lies upon {taken[cell]}, or outside")
            break
    for target in panel.get("targets", []):
        where = f"{title} ({target['refId']})"
        used |= check(where, target["expr"], target["legendFormat"])
        check_unit(where, panel, target)
        expressions += 1
        if target["datasource"]["uid"] != "${datasource}" or "$instance" not in target["expr"]:
            faults.append(f"{where}: it does not follow the data source and the instance that are chosen")
for variable in dashboard["templating"]["list"]:
    if variable["type"] == "query":
        series, label = re.fullmatch(r"label_values\((.*), (\w+)\)", variable["query"]["query"]).groups()
        used |= check(f"variable {variable['name']}", series, "{{" + label + "}}")
for annotation in dashboard["annotations"]["list"]:
    if "expr" in annotation:
        used |= check(f"annotation {annotation['name']}", annotation["expr"])
print(f"dashboard: {len(ids)} panels, {expressions} expressions")

rules = [rule for group in json.load(urllib.request.urlopen(f"{api}/api/v1/rules", timeout=10))["data"]["groups"]
         for rule in group["rules"]]
for rule in rules:
    texts = " ".join(rule["annotations"].values())
    used |= check(rule["name"], rule["query"], texts)
    if rule["health"] == "err":
        faults.append(f"{rule['name']}: {rule['lastError']}")
    if rule["alerts"]:
        faults.append(f"{rule['name']}: it is {rule['alerts'][0]['state']} on a healthy server: {rule['alerts'][0]}")
print(f"alerts: {len(rules)} rules, none of them pending or firing" if rules else "alerts: none")
if not rules:
    faults.append("Prometheus has loaded no rule")

families = {re.sub(r"_(bucket|sum|count)$", "", sample["metric"]["__name__"])
            for sample in query('{__name__=~"metricstream_.*|process_.*",job="metricstream"}')}
used = {re.sub(r"_(bucket|sum|count)$", "", metric) for metric in used}
print(f"families: {len(families & used)} of {len(families)} are used; not: {' '.join(sorted(families - used)) or 'none'}")
for fault in faults:
    print(f"FAULT    {fault}")
sys.exit(bool(faults))
