"""Agents that are processes with a record of their own: the Python clients, Telegraf's imitation, and collectd."""

import ctypes.util
import glob
import json
import os
import re
import subprocess
import sys
import time

import document
import ledger
from server import Failed, stop_process, wait_until

HERE = os.path.dirname(os.path.abspath(__file__))
COLLECTD = "/usr/sbin/collectd"


class Recorded:
    """A process that writes what it sent into a file; see clients.py."""

    def __init__(self, name, command, seconds, packages=(), may_drop=False):
        self.name, self.command, self.seconds, self.packages = name, command, seconds, packages
        self.may_drop = may_drop
        self.process = self.record = self.log = None

    def missing(self):
        """What it needs and is not there."""
        for package in self.packages:
            if subprocess.run([sys.executable, "-c", f"import {package}"], capture_output=True).returncode:
                return f"PyPI's {package}"
        return None

    def start(self, server, directory, key, is_hasty):
        """Starts it."""
        self.record, self.log = os.path.join(directory, "record"), os.path.join(directory, "log")
        arguments = [server.address, key, f"{self.seconds}", self.record]
        script, *rest = self.command
        with open(self.log, "wb") as log:
            command = [sys.executable, os.path.join(HERE, script), *rest, *arguments]
            self.process = subprocess.Popen(command, cwd=directory, stdout=log, stderr=log)

    def settle(self, end):
        """Waits for its end, up to `end`."""
        wait_until(lambda: self.process.poll() is not None, end - time.monotonic(), f"{self.name} to end")

    def account(self, lines):
        """Its record against the lines with its tag."""
        account = ledger.Account(self.name, self.may_drop)
        errors = {}
        with open(self.record, encoding="utf-8") as file:
            for text in file:
                batch = json.loads(text)
                keys = [ledger.key(name, tags, at, value) for name, tags, at, value in batch["metrics"]]
                account.sent.update(keys)
                if batch["outcome"] == "acknowledged":
                    account.acknowledged.update(keys)
                else:
                    account.dropped += len(keys)
                    errors[batch["note"]] = errors.get(batch["note"], 0) + 1
        account.errors = sum(errors.values())
        times = {found[2] is not None for found in account.sent}
        for line in lines:
            at = None if times == {False} else line.timestamp_ms
            account.logged[ledger.key(line.name, line.tags, at, line.value)] += 1
        for note, count in list(errors.items())[:3]:
            account.notes.append(f"dropped, {count} times: {note[:160]}")
        if self.process.returncode != 0:
            with open(self.log, encoding="utf-8", errors="replace") as log:
                account.problems.append(f"exit code {self.process.returncode}: {log.read()[-600:]}")
        return account

    def stop(self):
        """Ends it."""
        if self.process:
            stop_process(self.process)


class Collectd:
    """collectd, which also writes into files what it sends."""

    name, may_drop = "collectd", True

    def __init__(self):
        self.process = self.directory = None

    def missing(self):
        """What it needs and is not there."""
        if not os.path.exists(COLLECTD):
            return "Debian's collectd-core"
        return None if ctypes.util.find_library("yajl") else "Debian's libyajl2, which its write_http needs"

    def start(self, server, directory, key, is_hasty):
        """Starts it."""
        self.directory = directory
        block = document.configuration("collectd", server.address, key)
        if is_hasty:
            # One value list a request, that is, more than its rate.
            block = block.replace("BufferSize 65536", "BufferSize 2048")
        block = block.replace("LoadPlugin write_http\n", "<LoadPlugin write_http>\n  FlushInterval 1\n</LoadPlugin>\n")
        read = "".join(f"LoadPlugin {plugin}\n" for plugin in ("load", "memory", "cpu", "uptime", "interface", "csv"))
        config = os.path.join(directory, "collectd.conf")
        with open(config, "w", encoding="utf-8") as file:
            file.write(
                f'Hostname "agents-collectd"\nFQDNLookup false\nInterval 1\nBaseDir "{directory}"\n'
                f'PIDFile "{directory}/pid"\nTypesDB "/usr/share/collectd/types.db"\n'
                f'LoadPlugin logfile\n<Plugin logfile>\n  File "{directory}/collectd.log"\n</Plugin>\n'
                f'{read}<Plugin csv>\n  DataDir "{directory}/csv"\n  StoreRates false\n</Plugin>\n{block}'
            )
        with open(os.path.join(directory, "log"), "wb") as log:
            self.process = subprocess.Popen([COLLECTD, "-f", "-C", config], stdout=log, stderr=log)
        time.sleep(0.5)
        if self.process.poll() is not None:
            raise Failed(f"collectd has ended with {self.process.returncode}")

    def settle(self, _):
        """Ends it: it sends what it has."""
        stop_process(self.process, 60)

    def account(self, lines):
        """Its own files against the lines with its host."""
        account = ledger.Account(self.name, self.may_drop)
        kinds = types()
        for path in glob.glob(f"{self.directory}/csv/*/*/*"):
            plugin, kind = path.split("/")[-2:]
            plugin, _, plugin_instance = plugin.partition("-")
            kind = re.sub(r"-\d{4}-\d\d-\d\d$", "", kind)
            kind, _, kind_instance = kind.partition("-")
            tags = {"host": "agents-collectd", "plugin_instance": plugin_instance, "type_instance": kind_instance}
            tags = {name: value for name, value in tags.items() if value}
            with open(path, encoding="utf-8") as file:
                for row in list(file)[1:]:
                    at, *values = row.strip().split(",")
                    for name, value in zip(kinds[kind], values):
                        if value != "nan":
                            name = f"collectd_{plugin}_{kind}_{name}"
                            # Its files have six decimals, its requests all.
                            account.sent[ledger.key(name, tags, round(float(at) * 1000), value)] += 1
        for line in lines:
            account.logged[ledger.key(line.name, line.tags, line.timestamp_ms, round(line.value, 6))] += 1
        with open(f"{self.directory}/collectd.log", encoding="utf-8") as file:
            errors = [line for line in file if "write_http" in line and ("error" in line.lower() or "fail" in line)]
        account.errors = len(errors)
        if errors:
            # It never tries again, and does not say what was in the request.
            account.dropped = sum((account.sent - account.logged).values())
            account.notes.append(f"{len(errors)} errors, as {errors[0].strip()[:140]}")
        account.acknowledged = account.sent & account.logged if errors else account.sent.copy()
        return account

    def stop(self):
        """Ends it."""
        if self.process:
            stop_process(self.process)


def types():
    """The names of the data sources of each type."""
    found = {}
    with open("/usr/share/collectd/types.db", encoding="utf-8") as file:
        for line in file:
            words = line.split(None, 1)
            if len(words) == 2 and not line.startswith("#"):
                found[words[0]] = [source.strip().split(":")[0] for source in words[1].split(",")]
    return found
