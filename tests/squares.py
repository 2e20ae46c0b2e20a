"""A task for the workers of a cluster: squares, and what becomes of a bad number."""

import os
import signal

from plugin.errors import InputError

REFUSED, DEADLY = -1, -2


def square(number: int) -> int:
    """Return the square; refuse one number, and die of another."""
    if number == DEADLY:
        os.kill(os.getpid(), signal.SIGKILL)
    if number == REFUSED:
        raise InputError("a number", found="-1", needed="another", mend="count again")
    return number * number
