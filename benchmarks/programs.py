"""Run `brs` in a fresh process, as a server's command does."""

import os
import subprocess
import sys
from tempfile import TemporaryFile

BRS = (sys.executable, "-m", "plugin.cli")


def brs(*arguments: object) -> float:
    """Run the program to its end and return its own peak memory in MiB.

    Raises
    ------
    RuntimeError
        If it fails, with what it said.
    """
    with TemporaryFile() as said:
        process = subprocess.Popen(
            [*BRS, *map(str, arguments)], stdout=said, stderr=subprocess.STDOUT
        )
        _, status, usage = os.wait4(process.pid, 0)
        process.returncode = os.waitstatus_to_exitcode(status)
        if process.returncode:
            said.seek(0)
            raise RuntimeError(said.read().decode(errors="replace"))
    return usage.ru_maxrss / 1024
