"""A benchmark case, its inputs, and the measurement: reference and ours by turns in one process."""

from __future__ import annotations

import os
import statistics
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

from benchmarks.memory import peak_growth_mb

RGB = npt.NDArray[np.uint8]
ROOT = Path(__file__).resolve().parents[1]


@dataclass(frozen=True)
class Agreement:
    """How well two results agree: what was compared, in words, and whether that is enough."""

    text: str
    ok: bool


@dataclass(frozen=True)
class Case:
    """One piece beside its reference.

    Attributes:
        name: what `tag2mask bench NAME` takes; several cases may share it.
        piece: the first column of the table.
        reference: what the reference is, in words.
        run_reference: the reference; None where it cannot run at all.
        run_ours: ours.
        agreement: compares the reference's result (None without one) with ours.
        bar: least ratio of the reference's seconds to ours.
        reference_times: the reference's whole time is this many times the measured one.
        memory_bar_mb: most memory that ours may take on top of its input.
    """

    name: str
    piece: str
    reference: str
    run_reference: Callable[[], Any] | None
    run_ours: Callable[[], Any]
    agreement: Callable[[Any, Any], Agreement]
    bar: float
    reference_times: float = 1.0
    memory_bar_mb: float | None = None


def channels_first(image: RGB) -> RGB:
    """An image (H, W, 3) as (3, H, W), the layout of the operators."""
    return np.ascontiguousarray(image.transpose(2, 0, 1))


@dataclass(frozen=True)
class Inputs:
    """Images for the cases: real ones where there are any, otherwise generated.

    Attributes:
        folder: JPEG images; None generates smooth colour fields with noise.
    """

    folder: Path | None = None

    @classmethod
    def find(cls) -> Inputs:
        """Real images beside the project (or under $TAG2MASK_SHARED) if they are there."""
        shared = Path(os.environ.get("TAG2MASK_SHARED", ROOT.parent / "shared"))
        folder = shared / "voc-animals" / "JPEGImages"
        return cls(folder if folder.is_dir() else None)

    @property
    def source(self) -> str:
        """What the images are, in words."""
        return "images of voc-animals" if self.folder else "generated images"

    def image(self, height: int, width: int, index: int = 0) -> RGB:
        """The image with this number, (height, width, 3) RGB."""
        if self.folder is None:
            return _generated(height, width, index)
        path = sorted(self.folder.glob("*.jpg"))[index]
        with Image.open(path) as opened:
            resized = opened.convert("RGB").resize((width, height), Image.Resampling.BICUBIC)
        return np.ascontiguousarray(resized, dtype=np.uint8)

    def images(self, count: int, height: int, width: int) -> list[RGB]:
        """The first images, all of one size."""
        return [self.image(height, width, index) for index in range(count)]


@dataclass(frozen=True)
class Result:
    """What was measured of one case; seconds are whole times, one per repeat."""

    case: Case
    reference_seconds: list[float]
    seconds: list[float]
    reference_mb: float | None
    mb: float | None
    agreement: Agreement

    @property
    def ratio(self) -> float | None:
        """Median seconds of the reference over ours; None without a reference."""
        if not self.reference_seconds:
            return None
        return statistics.median(self.reference_seconds) / statistics.median(self.seconds)

    @property
    def reached(self) -> bool:
        """Whether speed, memory and agreement are all what the case asks for."""
        fast = self.ratio is None or self.ratio >= self.case.bar
        limit = self.case.memory_bar_mb
        return fast and self.agreement.ok and (limit is None or self.mb is None or self.mb <= limit)


def measure(case: Case, repeats: int = 5) -> Result:
    """Run a case.

    The first run of each side is for compilers and caches and shows the memory; then both sides run
    by turns, so that whatever else the machine does meets both.
    """
    reference_seconds, seconds = [], []
    expected, reference_mb = None, None
    if case.run_reference is not None:
        case.run_reference()
        expected, reference_mb = peak_growth_mb(case.run_reference)
    case.run_ours()
    result, mb = peak_growth_mb(case.run_ours)
    agreement = case.agreement(expected, result)
    for _ in range(repeats):
        if case.run_reference is not None:
            reference_seconds.append(case.reference_times * _seconds(case.run_reference))
        seconds.append(_seconds(case.run_ours))
    return Result(case, reference_seconds, seconds, reference_mb, mb, agreement)


def _seconds(run: Callable[[], Any]) -> float:
    start = time.perf_counter()
    run()
    return time.perf_counter() - start


def _generated(height: int, width: int, index: int) -> RGB:
    """Blobs of colour with noise: smooth regions, edges and texture, as images have."""
    rng = np.random.default_rng(index)
    coarse = rng.integers(0, 256, (6, 8, 3), dtype=np.uint8)
    smooth = np.asarray(Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC), np.float32)
    blocks = Image.fromarray(coarse[::-1].copy()).resize((width, height), Image.Resampling.NEAREST)
    mixed = 0.6 * smooth + 0.4 * np.asarray(blocks, np.float32) + rng.normal(0, 6, smooth.shape)
    return np.clip(mixed, 0, 255).astype(np.uint8)
