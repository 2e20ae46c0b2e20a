"""Tell Docker whether a serving container answers; any other container is healthy.

A batch command (`brs segment` and all that XNAT launches) has no port to ask. Swarm
kills what is unhealthy and the Container Service would start it again: so the check
asks only where process 1 is `brs serve`. Standard library only, no package import.
"""

import sys
from http.client import HTTPException
from pathlib import Path
from urllib.error import URLError
from urllib.request import ProxyHandler, build_opener

URL = "http://127.0.0.1:8080/healthz"
TIMEOUT_S = 5.0
ARGUMENTS = Path("/proc/1/cmdline")


def serves(arguments: bytes) -> bool:
    """Tell whether a command line (ends in NUL, as in /proc) is `brs ... serve`.

    The subcommand is the first word after ``brs`` that is no option; an init process
    or an interpreter may stand in front.
    """
    words = [word.decode(errors="replace") for word in arguments.split(b"\0") if word]
    for place, word in enumerate(words):
        if Path(word).name == "brs":
            rest = (w for w in words[place + 1 :] if not w.startswith("-"))
            return next(rest, "") == "serve"
    return False


def answers(url: str) -> bool:
    """Tell whether ``url`` answers with a status below 400, never through a proxy."""
    try:
        with build_opener(ProxyHandler({})).open(url, timeout=TIMEOUT_S):
            return True
    except (URLError, HTTPException, OSError):
        return False


def main(arguments: Path, url: str) -> int:
    """Return 0 when healthy, else 1."""
    return 0 if not serves(arguments.read_bytes()) or answers(url) else 1


if __name__ == "__main__":
    sys.exit(main(ARGUMENTS, URL))
