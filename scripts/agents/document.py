"""The configurations in PROTOCOLS.md: agents run with exactly what users are to write."""

import os
import re

PATH = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "..", "PROTOCOLS.md")
ADDRESS, KEY = "127.0.0.1:8080", "API-KEY"


def configuration(heading, address, key):
    """The code block below a heading, with the address of the server and the key of the client."""
    with open(PATH, encoding="utf-8") as file:
        text = file.read()
    section = re.search(rf"^#+ {re.escape(heading)}\n(.*?)(?=^#+ |\Z)", text, re.DOTALL | re.MULTILINE)
    block = re.search(r"^```\w+\n(.*?)^```$", section[1], re.DOTALL | re.MULTILINE) if section else None
    if not block or ADDRESS not in block[1] or KEY not in block[1]:
        raise ValueError(f"PROTOCOLS.md has no block with {ADDRESS} and {KEY} below {heading!r}")
    return block[1].replace(ADDRESS, address).replace(KEY, key)
