"""Counts of callgrind, as valgrind --tool=callgrind --separate-threads=yes writes them."""
import re


def counts(path):
    """Instructions of each function itself, by its name, in one thread."""
    names, of, current, is_call = {}, {}, None, False
    with open(path, encoding="utf-8", errors="replace") as file:
        for line in file:
            if match := re.match(r"(c?)fn=\((\d+)\)(?: (.*))?$", line):
                is_callee, number, name = match.groups()
                if name:
                    names[number] = name
                if not is_callee:
                    current = names.get(number, number)
            elif line.startswith("calls="):
                is_call = True
            elif line[0] in "0123456789+-*":
                # The line behind a call has the cost of what was called.
                if not is_call:
                    of[current] = of.get(current, 0) + int(line.split()[1])
                is_call = False
    return of
