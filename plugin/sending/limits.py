"""How long a peer may take for each step."""

from dataclasses import dataclass, fields

from plugin.errors import ConfigError


@dataclass(frozen=True, slots=True)
class Limits:
    """Seconds, unless named otherwise.

    Attributes
    ----------
    connect_s
        To the open connection, TLS included.
    stall_s
        Without one byte moving while a message is on its way.
    answer_s
        To the answer of a request, beyond the time that its bytes may take.
    slowest_bytes_per_s
        The line that is still waited for.
    confirm_s
        Until what was stored is found by a query: some archives index later.
    retrieve_s
        Between two answers while a peer sends a series.
    """

    connect_s: float = 10.0
    stall_s: float = 30.0
    answer_s: float = 60.0
    slowest_bytes_per_s: float = 100_000.0
    confirm_s: float = 20.0
    retrieve_s: float = 300.0

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if not 0 < value < float("inf"):
                raise ConfigError(
                    f"limit {field.name}",
                    found=str(value),
                    needed="a number above zero",
                    mend="correct the limit",
                )

    def store_s(self, size: int) -> float:
        """Return how long the answer to so many bytes may take."""
        return self.answer_s + size / self.slowest_bytes_per_s
