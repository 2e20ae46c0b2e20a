"""Why no job can be made of a study, as a cause that a person can act on."""

from typing import Final

from plugin.errors import InputError
from plugin.jobs import Cause
from plugin.reading.headers import Scan

NO_IMAGES: Final = "no-mr-images"
ONE_SERIES: Final = "one-series"
NO_PAIR: Final = "no-pair"
UNSUITABLE: Final = (NO_IMAGES, ONE_SERIES, NO_PAIR)


def unsuitable(headers: Scan, refusal: InputError) -> Cause:
    """Return the cause of a refusal by ``choose_among``; more images may mend it."""
    series = {frame.series.series_uid for frame in headers.frames}
    codes = {0: NO_IMAGES, 1: ONE_SERIES}
    code = codes.get(len(series), NO_PAIR)
    return Cause(code, f"missing: {refusal.found}", passing=False)
