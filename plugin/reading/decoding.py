"""Compressed frames decoded by several processes, a bounded number at a time.

Decoding JPEG 2000 takes as long as segmenting. Its decoders hold Python's lock, so
threads would wait for each other. Processes take a second or more to start, so they
are used only where much is left to decode, and with processors enough.
"""

import logging
import multiprocessing
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool

from model.processors import available
from plugin.reading.layout import SlicePixels
from plugin.reading.pixels import read_slices
from plugin.series import FrameRef

logger = logging.getLogger(__name__)

PAYS_FROM_S = 5.0
"""Less work for one process is done before others have started and sent pixels back."""
CHUNK = 16
LEAST_PROCESSORS = 4
"""On two, two processes took longer than one (ADR 0033)."""
MOST_PROCESSES = 4
AHEAD = 2
"""Chunks in work or waiting per process: bounds memory."""

Chunk = list[tuple[int, FrameRef]]
Decoded = list[tuple[int, SlicePixels]]


def read_all(
    frames: Sequence[FrameRef], *, processes: int | None = None
) -> Iterator[tuple[int, SlicePixels]]:
    """Yield index and pixels of every frame, in any order; see ``read_slices``."""
    count = _processes() if processes is None else processes
    packed = [(i, frame) for i, frame in enumerate(frames) if frame.is_packed]
    if len(packed) <= CHUNK or count < 2:
        yield from read_slices(frames)
        return
    yield from _decode([(i, f) for i, f in enumerate(frames) if not f.is_packed])
    first, *chunks = [packed[i : i + CHUNK] for i in range(0, len(packed), CHUNK)]
    begun = time.perf_counter()
    decoded = _decode(first)
    alone_s = (time.perf_counter() - begun) * len(chunks)
    yield from decoded
    yield from _decoded(chunks, count if alone_s >= PAYS_FROM_S else 1)


def _decoded(chunks: Sequence[Chunk], count: int) -> Iterator[tuple[int, SlicePixels]]:
    """Yield the chunks' frames, decoded by so many processes; one is this one."""
    done = 0
    try:
        for decoded in _in_processes(chunks, count) if count > 1 else ():
            done += 1
            yield from decoded
    except (BrokenProcessPool, OSError) as error:
        logger.warning("decoding in one process: %s", type(error).__name__)
    for chunk in chunks[done:]:
        yield from _decode(chunk)


def _processes() -> int:
    """Return how many processes may decode here; a daemon may not start any."""
    if multiprocessing.current_process().daemon:
        return 1
    processors = available()
    return min(MOST_PROCESSES, processors) if processors >= LEAST_PROCESSORS else 1


def _in_processes(chunks: Sequence[Chunk], count: int) -> Iterator[Decoded]:
    """Yield chunks in their order, decoded by fresh processes that share nothing."""
    context = multiprocessing.get_context("spawn")
    waiting = deque(chunks)
    working: deque[Future[Decoded]] = deque()
    with ProcessPoolExecutor(count, mp_context=context) as pool:
        while waiting or working:
            while waiting and len(working) < AHEAD * count:
                working.append(pool.submit(_decode, waiting.popleft()))
            yield working.popleft().result()


def _decode(chunk: Chunk) -> Decoded:
    """Return the frames of a chunk with their indices among all frames."""
    indices = [index for index, _ in chunk]
    read = read_slices([frame for _, frame in chunk])
    return [(indices[place], pixels) for place, pixels in read]
