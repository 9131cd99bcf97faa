"""A loop over images that reads a few files ahead and shows a progress bar."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from typing import TypeVar

from tqdm import tqdm

from tag2mask.core import thread_pool, usable_cpus

Loaded = TypeVar("Loaded")


def load_ahead(load: Callable[[str], Loaded], ids: Sequence[str], what: str) -> Iterator[tuple[str, Loaded]]:
    """Yield ``(id, load(id))`` in the order of `ids`, with a few loads running ahead in threads.

    Memory stays bounded: only a handful of images are held at any time.

    Args:
        load: reads what belongs to an image id; its errors are raised here, at that id.
        ids: image ids.
        what: name of the progress bar (on stderr, only in a terminal).
    """
    workers = min(8, usable_cpus())
    waiting: deque[tuple[str, Future[Loaded]]] = deque()
    with thread_pool(workers) as pool, tqdm(total=len(ids), desc=what, disable=None) as bar:
        try:
            for image_id in ids:
                waiting.append((image_id, pool.submit(load, image_id)))
                if len(waiting) > 2 * workers:
                    yield _next(waiting)
                    bar.update()
            while waiting:
                yield _next(waiting)
                bar.update()
        finally:
            pool.shutdown(wait=False, cancel_futures=True)


def _next(waiting: deque[tuple[str, Future[Loaded]]]) -> tuple[str, Loaded]:
    image_id, future = waiting.popleft()
    return image_id, future.result()
