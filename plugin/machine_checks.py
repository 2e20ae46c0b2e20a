"""Checks of this machine: disk, GPU, energy counter, clock; and of a folder archive."""

import ctypes
import shutil
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryFile
from typing import TYPE_CHECKING

from plugin.check import Check, Verdict, failed, ok, warning
from plugin.folder_archive import RESOURCE, FolderArchive

GIB = 1 << 30
NEEDED_GIB = 4
"""One session's pulled scans (2 GiB: two series of 512 frames of 1024 x 1024 px), and
as much again while one of them is unpacked. Sessions are released one by one."""

if TYPE_CHECKING:
    from model.power import Survey

UNSYNCHRONISED = 5
"""What adjtimex(2) returns for a clock that nothing keeps right (TIME_ERROR)."""
TIMEX_BYTES = 512
"""More than its structure takes."""

FreeBytes = Callable[[Path], int]


def free_bytes(folder: Path) -> int:
    """Return the bytes free where ``folder`` is, or will be made."""
    there = next(path for path in (folder, *folder.parents) if path.is_dir())
    return shutil.disk_usage(there).free


def gpu_meters() -> "Survey":
    """Return this machine's GPUs as energy meters; torch is imported only now."""
    from model.power import survey

    return survey(powercap=None)


def clock_state() -> int | None:
    """Return what the kernel says of its clock, None where it does not say.

    A zeroed structure asks adjtimex(2) and changes nothing.
    """
    asked = ctypes.create_string_buffer(TIMEX_BYTES)
    state = getattr(ctypes.CDLL(None), "adjtimex", lambda _: -1)(asked)
    return None if state < 0 else int(state)


def machine_checks(
    work: Path,
    *,
    free: FreeBytes = free_bytes,
    meters: "Callable[[], Survey]" = gpu_meters,
    clock: Callable[[], int | None] = clock_state,
) -> tuple[Check, ...]:
    """Return the checks that every archive's commands need."""
    return (
        Check("disk", lambda: _disk(work, free)),
        Check("gpu", lambda: _gpu(meters())),
        Check("time-sync", lambda: _time_sync(clock())),
    )


def folder_checks(root: Path) -> tuple[Check, ...]:
    """Return the checks of an archive that is a folder."""
    return (
        Check("folder", lambda: _folder(root)),
        Check("write", lambda: _writable(root), needs=("folder",)),
        Check("sessions", lambda: _sessions(root), needs=("folder",)),
    )


def _disk(work: Path, free: FreeBytes) -> Verdict:
    free_gib = free(work.resolve()) / GIB
    said = f"{free_gib:.1f} GiB free in {work}"
    if free_gib < NEEDED_GIB:
        return failed(
            f"{said}, {NEEDED_GIB} GiB needed", "free space, or give another --work"
        )
    return ok(f"{said}, {NEEDED_GIB} GiB needed: two copies of one session's scans")


def _gpu(found: "Survey") -> Verdict:
    unread = [m.device for m in found.meters if m.energy_j() is None]
    if not found.meters:
        return warning(
            f"none that can be measured ({'; '.join(found.missing)})",
            "run on the CPU, or give the container a GPU (docs/how-to/xnat.md, GPU)",
        )
    named = ", ".join(meter.device for meter in found.meters)
    if found.missing:
        mend = "give work to the others: on these its energy is unknown"
        return warning(f"{named}; not measured: {'; '.join(found.missing)}", mend)
    if unread:
        mend = "power is sampled instead: less exact; newer cards count energy"
        return warning(f"{named}, without an energy counter: {len(unread)}", mend)
    return ok(f"{named}, energy counter read")


def _time_sync(state: int | None) -> Verdict:
    mend = "run an NTP client: times of reviews and retries depend on the clock"
    if state is None:
        return warning("the kernel does not say whether its clock is kept right", mend)
    if state == UNSYNCHRONISED:
        return warning("the clock is not synchronised", mend)
    return ok("the clock is kept right by NTP or the like")


def _folder(root: Path) -> Verdict:
    FolderArchive(root)
    return ok(str(root))


def _writable(root: Path) -> Verdict:
    results = root / RESOURCE
    return writable(results if results.is_dir() else root)


def writable(place: Path) -> Verdict:
    """Write a nameless file where results go; it is gone when it is closed."""
    try:
        with TemporaryFile(dir=place) as file:
            file.write(b"brs")
    except OSError as error:
        found = f"{place}: {error.strerror or 'an I/O error'}"
        return failed(found, "give this user the right to write there")
    return ok(f"{place} takes files")


def _sessions(root: Path) -> Verdict:
    found = len(FolderArchive(root).sessions())
    if not found:
        return warning("none", "put one folder per session into the archive's folder")
    return ok(f"{found} sessions")
