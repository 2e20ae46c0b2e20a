"""Failed logins make the next try of the same address wait."""

import ipaddress
import threading
import time
from collections import OrderedDict
from collections.abc import Callable
from typing import Final

from plugin.web.settings import parse_ip

FREE_TRIES: Final = 3
LONGEST_WAIT_S: Final = 60.0
FORGOTTEN_AFTER_S: Final = 900.0
MOST_ADDRESSES: Final = 1000
IPV6_SITE_BITS: Final = 64


class Slowdown:
    """Waits by address: none for three failures, then 1 s, doubling to a minute."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._lock = threading.Lock()
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait_s(self, address: str | None) -> float:
        """Return how long this address has to wait before it may try again."""
        with self._lock:
            count, last_s = self._failures.get(_site(address), (0, 0.0))
        if count <= FREE_TRIES:
            return 0.0
        wait_s = min(LONGEST_WAIT_S, 2.0 ** (count - FREE_TRIES - 1))
        return max(0.0, last_s + wait_s - self._clock())

    def failed(self, address: str | None) -> None:
        """Count a failure; the address that failed longest ago is forgotten first."""
        now_s, site = self._clock(), _site(address)
        with self._lock:
            count, last_s = self._failures.pop(site, (0, now_s))
            count = 0 if now_s - last_s > FORGOTTEN_AFTER_S else count
            self._failures[site] = (count + 1, now_s)
            while len(self._failures) > MOST_ADDRESSES:
                self._failures.popitem(last=False)

    def passed(self, address: str | None) -> None:
        """Forget the failures of an address."""
        with self._lock:
            self._failures.pop(_site(address), None)


def _site(address: str | None) -> str:
    """Return the address; of IPv6 the network that one site holds."""
    found = parse_ip(address)
    if isinstance(found, ipaddress.IPv6Address):
        return str(ipaddress.ip_network((found, IPV6_SITE_BITS), strict=False))
    return str(found)
