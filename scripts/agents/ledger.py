"""What an agent says it has sent, held against the log."""

from collections import Counter
from dataclasses import dataclass, field

# Tags whose values are numbers: every protocol's spelling of them is brought to one.
NUMERIC_TAGS = ("le", "quantile")


def key(name, tags, timestamp_ms, value):
    """A metric as both sides are compared by. The time is None where the agent does not know it."""
    tags = {k: f"{float(v):.10g}" if k in NUMERIC_TAGS else str(v) for k, v in tags.items()}
    return name, tuple(sorted(tags.items())), timestamp_ms, f"{float(value):.15g}"


@dataclass
class Account:
    """The metrics of one agent."""

    agent: str
    # The agent may drop metrics by its own rules, or tells its caller that it failed: it would do so to any server.
    may_drop: bool = False
    # Keys that were sent at least once, and those that were acknowledged.
    sent: Counter = field(default_factory=Counter)
    acknowledged: Counter = field(default_factory=Counter)
    # Keys of the lines of the log.
    logged: Counter = field(default_factory=Counter)
    # Metrics that the agent dropped.
    dropped: int = 0
    # By the agent's own counters, where it has some that go beyond the keys.
    says_sent: int | None = None
    says_acknowledged: int | None = None
    lines: int | None = None
    lines_twice: int | None = None
    # Errors that the agent has seen.
    errors: int = 0
    # What is wrong, beside the numbers; and what else there is to say.
    problems: list = field(default_factory=list)
    notes: list = field(default_factory=list)

    def row(self, is_plain):
        """The row of the table: the numbers, and what is wrong."""
        missing = self.acknowledged - self.logged
        foreign = [found for found in self.logged if found not in self.sent]
        lines = sum(self.logged.values()) if self.lines is None else self.lines
        twice = sum((self.logged - self.sent).values()) if self.lines_twice is None else self.lines_twice
        sent = sum(self.sent.values()) if self.says_sent is None else self.says_sent
        acknowledged = sum(self.acknowledged.values()) if self.says_acknowledged is None else self.says_acknowledged
        lost = max(sum(missing.values()), acknowledged - (lines - twice))
        problems = list(self.problems)
        if sent == 0:
            problems.append("it has sent nothing")
        elif acknowledged == 0:
            problems.append("nothing was acknowledged to it")
        if lost:
            problems.append(f"lost, as {list(missing)[:3]}")
        if foreign:
            problems.append(f"{len(foreign)} in the log were not sent so, as {foreign[:3]}")
        if self.dropped and (is_plain or not self.may_drop):
            problems.append(f"{self.dropped} dropped")
        if is_plain and self.errors:
            problems.append(f"{self.errors} errors")
        if is_plain and twice:
            problems.append("duplicates")
        if is_plain and not sent == acknowledged == lines:
            problems.append("sent, acknowledged and log differ")
        numbers = [sent, acknowledged, self.dropped, lines, lost, twice]
        return numbers, problems


def print_table(accounts, is_plain):
    """Prints the table of a case. Returns the number of agents with which something is wrong."""
    heads = ("sent", "acknowledged", "dropped", "in the log", "lost", "twice")
    widths = (9, 14, 10, 12, 7, 7)
    print(f"  {'agent':22}{''.join(f'{head:>{width}}' for head, width in zip(heads, widths))}  verdict")
    failed = 0
    for account in accounts:
        numbers, problems = account.row(is_plain)
        failed += bool(problems)
        cells = "".join(f"{number:>{width}}" for number, width in zip(numbers, widths))
        verdict = "FAIL" if problems else "ok, as elsewhere" if account.dropped else "ok"
        print(f"  {account.agent:22}{cells}  {verdict}")
        for note in account.notes:
            print(f"  {'':22}  {note}")
        for problem in problems:
            print(f"  {'':22}  FAIL: {problem}")
    return failed
