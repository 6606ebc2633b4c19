"""Runs the cases of agents.sh, which see."""

import argparse
import collections
import os
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import ledger
from processes import Collectd, Recorded
from scrapers import Exporter, Prometheus, Vmagent
from server import Failed, Server, open_accounts, wait_until

CASES = ("plain", "over-rate", "full-disk", "kill")
DRIVERS = ("io_uring", "epoll")
# Requests of one agent in any one second in the case over-rate; each agent makes more.
RATE = 2
DISK_BYTES = 64 << 20
FULL_S = 6
KILLS = 3
# Time for all agents to deliver what they have.
SETTLE_S = 180


def make_agents(seconds, exporter, case):
    """All agents of a case, and the protocol of each."""
    agents = [
        (Prometheus("prometheus", exporter, is_agent=False), "remote_write"),
        (Prometheus("prometheus-agent", exporter, is_agent=True), "remote_write"),
        (Vmagent("vmagent", exporter), "remote_write"),
        (Collectd(), "collectd"),
        (Recorded("telegraf-v1", ["telegraf.py", "v1"], seconds), "influx"),
        (Recorded("telegraf-v2", ["telegraf.py", "v2"], seconds), "influx"),
    ]
    clients = [
        ("influxdb-client", ["influxdb_client"], False, "influx"),
        ("influxdb", ["influxdb"], True, "influx"),
        ("otlp", ["opentelemetry.exporter.otlp.proto.http.metric_exporter"], True, "otlp"),
        ("pushgateway", ["prometheus_client"], True, "text"),
        ("curl", [], True, "text"),
        ("datadog", ["datadog"], True, "datadog"),
        ("hand-made", ["zstandard", "cramjam"], True, None),
    ]
    if case == "plain":
        clients.append(("influx-import", [], True, "influx"))
    for name, packages, may_drop, protocol in clients:
        agents.append((Recorded(name, ["clients.py", name], seconds, packages, may_drop), protocol))
    return agents


def missing(agent):
    """What an agent needs and is not there; None if nothing."""
    program = {"curl": "curl", "influx-import": "influx"}.get(agent.name, getattr(agent, "program", None))
    if program and not shutil.which(program):
        return f"the program {program}"
    return agent.missing() if hasattr(agent, "missing") else None


class Case:
    """One case on one driver."""

    def __init__(self, options, driver, name):
        self.options, self.name = options, name
        self.directory = tempfile.mkdtemp(prefix="agents.")
        self.exporter = Exporter()
        self.agents, self.protocols, self.left_out = [], {}, []
        for agent, protocol in make_agents(options.seconds, self.exporter, name):
            if options.only and agent.name not in options.only:
                continue
            if what := missing(agent):
                self.left_out.append(f"{agent.name}: needs {what}")
            else:
                self.agents.append(agent)
                self.protocols[agent.name] = protocol
        self.findings = []
        flags = []
        if name == "over-rate":
            keys = os.path.join(self.directory, "keys")
            with open(keys, "w", encoding="utf-8", opener=lambda path, flags: os.open(path, flags, 0o600)) as file:
                file.writelines(f"{self.key(agent)}\n" for agent in self.agents)
            flags = ["--rate-limit", f"{RATE}", "--api-keys", keys]
        self.server = Server(options.binary, driver, self.directory, flags)

    @staticmethod
    def key(agent):
        """The key of an agent."""
        return f"key-of-{agent.name}"

    def run(self):
        """Runs it. Returns the number of failures."""
        os.makedirs(self.server.data)
        if self.name == "full-disk":
            command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_BYTES}", "tmpfs", self.server.data]
            said = subprocess.run(command, capture_output=True, text=True)
            if said.returncode:
                print(f"  SKIPPED: a tmpfs cannot be mounted here: {said.stderr.strip()}")
                return 0
        self.server.start()
        for agent in self.agents:
            directory = os.path.join(self.directory, agent.name)
            os.mkdir(directory)
            agent.start(self.server, directory, self.key(agent), self.name == "over-rate")
        end = time.monotonic() + self.options.seconds
        getattr(self, self.name.replace("-", "_"))()
        time.sleep(max(0, end - time.monotonic()))
        accounts = self.accounts()
        for text in self.left_out:
            print(f"  LEFT OUT: {text}")
        failed = ledger.print_table(accounts, self.name == "plain")
        for finding in self.findings:
            print(f"  FAIL: {finding}")
        return failed + len(self.findings)

    def plain(self):
        """Nothing is in the way."""

    def over_rate(self):
        """The flags and the keys do it."""

    def full_disk(self):
        """Fills the disk, and makes space again."""
        time.sleep(self.options.seconds / 4)
        filler = os.path.join(self.server.data, "filler")
        begun, refused = time.monotonic(), 0
        with open(filler, "wb", buffering=0) as file:
            while time.monotonic() < begun + FULL_S:
                try:
                    file.write(bytes(1 << 16))
                except OSError:
                    time.sleep(0.05)
                refused += not self.server.ready()
        os.remove(filler)
        wait_until(self.server.ready, 60, "the server to go on after there is space")
        if not refused:
            self.findings.append("the server never noticed that the disk was full")

    def kill(self):
        """Kills the server, and starts it again at once."""
        for _ in range(KILLS):
            time.sleep(self.options.seconds / (KILLS + 2))
            self.server.kill()
            self.server.start()

    def accounts(self):
        """Has all agents deliver what they have, and compares."""
        for agent in self.agents:
            if hasattr(agent, "quiesce"):
                agent.quiesce()
        problems = collections.defaultdict(list)
        end = time.monotonic() + SETTLE_S
        for agent in self.agents:
            try:
                agent.settle(end)
            except Failed as error:
                problems[agent.name].append(f"{error}")
        wait_until(lambda: not self.pending(), 30, "the log to have everything")
        lines = collections.defaultdict(list)
        for line in self.server.lines():
            name = "collectd" if line.tags.get("host") == "agents-collectd" else line.tags.get("agent")
            lines[name].append(line)
        accounts = []
        for agent in self.agents:
            account = agent.account(lines.pop(agent.name, []))
            account.problems += problems[agent.name]
            accounts.append(account)
        for name, found in lines.items():
            self.findings.append(f"{len(found)} lines of no agent ({name}), as {found[0].name} {found[0].tags}")
        self.check_server(accounts)
        return accounts

    def pending(self):
        """Metrics that wait for the log."""
        return self.server.stats()["metrics_pending"]

    def check_server(self, accounts):
        """Its statistics close, it stops well, and its log is whole."""
        for agent in self.agents:
            agent.stop()
        stats = self.server.stats()
        self.findings += open_accounts(stats)
        stored = {name: counts["metrics_stored"] for name, counts in stats["protocols"].items()}
        if self.name == "plain":
            found = sum(account.row(True)[0][3] for account in accounts)
            if found != sum(stored.values()):
                self.findings.append(f"/stats has stored {stored}, the log has {found} lines")
        for name, counts in stats["protocols"].items():
            if name in self.protocols.values():
                text = ", ".join(f"{what} {counts[f'batches_{what}']}" for what in ("stored", "rejected", "shed"))
                print(f"  {name}: batches {text}; metrics stored {counts['metrics_stored']}, "
                      f"rejected {counts['metrics_rejected']}")
                if self.name == "over-rate" and name != "collectd" and counts["batches_rejected"] == 0:
                    self.findings.append(f"{name} was never over its rate")
        if code := self.server.stop():
            self.findings.append(f"the server has ended with exit code {code}")
        said = subprocess.run([self.options.binary, "verify", self.server.data], capture_output=True, text=True)
        if said.returncode:
            self.findings.append(f"verify: {(said.stdout + said.stderr)[-500:]}")

    def end(self):
        """Ends everything that was started."""
        for agent in self.agents:
            agent.stop()
        self.server.end()
        self.exporter.end()
        if self.name == "full-disk":
            subprocess.run(["umount", self.server.data], capture_output=True)
        if not self.options.keep:
            shutil.rmtree(self.directory, ignore_errors=True)
        else:
            print(f"  kept: {self.directory}")


def main():
    """Runs the chosen cases."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--binary", required=True)
    parser.add_argument("--driver", choices=DRIVERS)
    parser.add_argument("--seconds", type=float, default=12)
    parser.add_argument("--only", type=lambda text: text.split(","))
    parser.add_argument("--keep", action="store_true", help="keeps the directories of the agents")
    parser.add_argument("cases", nargs="*", metavar="CASE", help=f"one of {', '.join(CASES)}")
    options = parser.parse_args()
    options.binary = os.path.abspath(options.binary)
    if unknown := [name for name in options.cases if name not in CASES]:
        parser.error(f"no case is called {unknown[0]}; there are {', '.join(CASES)}")
    # What was started is ended.
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    failed = 0
    for driver in [options.driver] if options.driver else DRIVERS:
        for name in options.cases or CASES:
            print(f"\n{name}, {driver}", flush=True)
            case = Case(options, driver, name)
            try:
                failed += case.run()
            except (Failed, OSError) as error:
                failed += 1
                print(f"  FAIL: {error}", flush=True)
            finally:
                case.end()
    print(f"\n{failed} failed" if failed else "\nall passed")
    sys.exit(1 if failed else 0)


if __name__ == "__main__":
    main()
