"""The dense CRF beside pydensecrf2, on two threads beside one, and on present labels beside all 21."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from functools import partial
from importlib.util import find_spec

import numpy as np
from PIL import Image

from benchmarks.harness import RGB, Agreement, Case, Inputs, channels_first
from tag2mask.ops import CRF_CAM, dense_crf

HEIGHT, WIDTH = 375, 500
BATCH = 4

Scores = np.ndarray
Job = tuple[RGB, Scores]


def cases(inputs: Inputs) -> list[Case]:
    images = (channels_first(image) for image in inputs.images(BATCH, HEIGHT, WIDTH))
    jobs = [(image, _scores(3, index)) for index, image in enumerate(images)]
    return [_library(jobs[0]), _threads(jobs), _present(jobs[0][0])]


def _library(job: Job) -> Case:
    def reference() -> Scores:
        from benchmarks.reference.dense_crf import dense_crf as published

        return published(np.ascontiguousarray(job[0].transpose(1, 2, 0)), job[1])

    installed = find_spec("pydensecrf") is not None
    return Case(
        name="dense_crf",
        piece=f"dense CRF, 3 labels, 10 iterations, {WIDTH}x{HEIGHT}, one core",
        reference="pydensecrf2" + ("" if installed else " (not installed)"),
        run_reference=reference if installed else None,
        run_ours=partial(dense_crf, *job, CRF_CAM),
        agreement=_same_labels,
        bar=1.6,
    )


def _threads(jobs: list[Job]) -> Case:
    def run(threads: int) -> Scores:
        with ThreadPoolExecutor(threads) as pool:
            return np.stack(list(pool.map(lambda job: dense_crf(*job, CRF_CAM), jobs)))

    return Case(
        name="dense_crf_threads",
        piece=f"dense CRF, {BATCH} images on two threads",
        reference="the same on one thread",
        run_reference=partial(run, 1),
        run_ours=partial(run, 2),
        agreement=_same_labels,
        bar=1.7,
    )


def _present(image: RGB) -> Case:
    scores = _scores(21, seed=0)
    scores[3:] = 0  # classes that the image's tags exclude

    def all_labels() -> Scores:
        return dense_crf(image, scores, CRF_CAM)

    def present_labels() -> Scores:
        refined = np.zeros_like(scores)
        refined[:3] = dense_crf(image, scores[:3], CRF_CAM)
        return refined

    return Case(
        name="dense_crf_present",
        piece=f"dense CRF on 3 present labels, {WIDTH}x{HEIGHT}",
        reference="the same on all 21 labels",
        run_reference=all_labels,
        run_ours=present_labels,
        agreement=_same_labels,
        bar=3.0,
    )


def _scores(labels: int, seed: int) -> Scores:
    """Maps as smooth as class activation maps: a number for every 16 pixels, enlarged; no sums of 1."""
    coarse = np.random.default_rng(seed).random((labels, HEIGHT // 16, WIDTH // 16)).astype(np.float32)
    resized = [Image.fromarray(m).resize((WIDTH, HEIGHT), Image.Resampling.BICUBIC) for m in coarse]
    return np.clip(np.stack([np.asarray(m) for m in resized]), 0, 1)


def _same_labels(expected: Scores | None, result: Scores) -> Agreement:
    if expected is None:
        return Agreement("not compared", True)
    axis = result.ndim - 3
    share = float((expected.argmax(axis) == result.argmax(axis)).mean())
    return Agreement(f"labels equal on {100 * share:.3f} %", share >= 0.9999)
