"""Run `brs` in a fresh process, as a server's command does."""

import subprocess
import sys
import time
from pathlib import Path
from tempfile import TemporaryFile

BRS = (sys.executable, "-m", "plugin.cli")
POLL_S = 0.01


def brs(*arguments: object) -> float | None:
    """Run the program to its end and return its own peak memory in MiB.

    None off Linux. The operating system's account of an ended process would count what
    its parent held when it was started, too.

    Raises
    ------
    RuntimeError
        If it fails, with what it said.
    """
    with TemporaryFile() as said:
        process = subprocess.Popen(
            [*BRS, *map(str, arguments)], stdout=said, stderr=subprocess.STDOUT
        )
        peak = None
        while process.poll() is None:
            peak = peak_of(process.pid) or peak
            time.sleep(POLL_S)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(said.read().decode(errors="replace"))
    return peak


def peak_of(pid: int) -> float | None:
    """Return the most MiB that a living process held so far, None where unknown."""
    try:
        status = Path(f"/proc/{pid}/status").read_text()
    except OSError:
        return None
    found = [line.split()[1] for line in status.splitlines() if line[:5] == "VmHWM"]
    return int(found[0]) / 1024 if found else None
