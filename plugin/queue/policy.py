"""How often, how long, how much: the numbers of a queue."""

from dataclasses import dataclass, fields
from random import Random

from plugin.errors import ConfigError

DAY_S = 86400.0


@dataclass(frozen=True, slots=True)
class Policy:
    """Limits of retries and of the history.

    Attributes
    ----------
    attempts
        Runs of one cycle before a passing cause parks the job.
    crashes
        Workers that may die with the job before it is parked.
    first_wait_s, longest_wait_s
        Back-off doubles from the one to the other.
    revive_after_s
        Rest of a job that gave up, before its next cycle.
    keep_images_s, keep_done_s, keep_done
        Age at which a done job loses its images; age and number of done jobs kept.
    keep_parked_s
        Age at which a job goes that is parked for one of the ``unsuitable`` causes:
        studies that no job can be made of. Parked work of any other cause stays.
    images
        Subfolder of a job that holds its images.
    """

    attempts: int = 8
    crashes: int = 5
    first_wait_s: float = 30.0
    longest_wait_s: float = 3600.0
    revive_after_s: float = 3600.0
    keep_images_s: float = 2 * DAY_S
    keep_done_s: float = 30 * DAY_S
    keep_done: int = 2000
    keep_parked_s: float = 14 * DAY_S
    unsuitable: tuple[str, ...] = ()
    images: str = "images"

    def __post_init__(self) -> None:
        for field in fields(self):
            value = getattr(self, field.name)
            if isinstance(value, int | float) and not 0 < value < float("inf"):
                raise ConfigError(
                    f"queue setting {field.name}",
                    found=str(value),
                    needed="a number above zero",
                    mend="correct the setting",
                )

    def wait_s(self, attempt: int, rng: Random) -> float:
        """Return the wait after the n-th attempt, jittered so that peers spread."""
        doubled = self.first_wait_s * 2.0 ** min(attempt - 1, 60)
        return rng.uniform(0.5, 1.0) * min(self.longest_wait_s, doubled)
