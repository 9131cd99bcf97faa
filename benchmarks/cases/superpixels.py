"""Felzenszwalb's superpixels beside scikit-image."""

from __future__ import annotations

from typing import Any

import numpy as np

from benchmarks.harness import Agreement, Case, Inputs, channels_first
from tag2mask.ops import felzenszwalb

HEIGHT, WIDTH = 375, 500
SETTINGS = {"scale": 100, "sigma": 0.8, "min_size": 50}


def cases(inputs: Inputs) -> list[Case]:
    image = inputs.image(HEIGHT, WIDTH)
    turned = channels_first(image)

    def theirs() -> Any:
        # Only the measurement needs the package, not the list of what can be measured.
        from skimage.segmentation import felzenszwalb as reference

        return reference(image, **SETTINGS)

    return [
        Case(
            name="superpixels",
            piece=f"Felzenszwalb superpixels, {WIDTH} x {HEIGHT}",
            reference="scikit-image",
            run_reference=theirs,
            run_ours=lambda: felzenszwalb(turned, **SETTINGS),
            agreement=_agreement,
            bar=1.5,
        )
    ]


def _agreement(expected: Any, result: Any) -> Agreement:
    same = np.array_equal(expected, result)
    return Agreement("identical" if same else f"{(expected != result).mean():.1%} of pixels differ", same)
