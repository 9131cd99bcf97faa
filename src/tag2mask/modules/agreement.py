"""Labels only where two sources agree."""

from __future__ import annotations

import cv2
import numpy as np
import numpy.typing as npt

from tag2mask.artifacts import load_labels, safe_join
from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import IGNORE, ClassList


class Agreement:
    """Labels become unknown where those of an earlier step name another class.

    Two sources with mistakes of their own are rarely wrong in the same way: what both say is more often
    right than what either says. Where the earlier step knows nothing, the new label stays.

    Args:
        earlier: folder of the step with the other labels.

    Raises:
        UserError: the step is not complete, or left no labels.
    """

    def __init__(self, earlier: StepFolder) -> None:
        self.out = earlier.out
        self.classes = ClassList.from_dict(earlier.require(("labels",)).classes)

    def __call__(self, labels: npt.NDArray[np.uint8], image_id: str) -> npt.NDArray[np.uint8]:
        """The labels (H, W) of an image, indices 0..K or 255, with 255 where the two sources differ.

        Raises:
            UserError: the earlier step has no readable labels of the image.
        """
        other = self.classes.to_index(load_labels(safe_join(self.out, f"{image_id}.png")))
        if other.shape != labels.shape:
            # A very large image is worked on at a smaller size, see `Predictor.largest_image`.
            size = labels.shape[1], labels.shape[0]
            other = np.asarray(cv2.resize(other, size, interpolation=cv2.INTER_NEAREST_EXACT), np.uint8)
        return np.where((other != IGNORE) & (other != labels), np.uint8(IGNORE), labels)
