"""Labels only where two sources agree."""

from __future__ import annotations

from typing import Any

import cv2
import numpy as np
import numpy.typing as npt

from tag2mask.artifacts import load_labels, safe_join
from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import IGNORE, ClassList, ImageSample, LabelsResult
from tag2mask.modules import PseudoLabelGenerator


class AgreedLabelGenerator(PseudoLabelGenerator):
    """`PseudoLabelGenerator` whose labels become unknown where those of an earlier step name another class.

    Two sources with mistakes of their own are rarely wrong in the same way: what both say is more often
    right than what either says. Where the earlier step knows nothing, the new label stays.

    Args:
        labels_dir: folder of the step with the other labels; null keeps all labels.
        **refinement: arguments of `PseudoLabelGenerator`.
    """

    def __init__(self, labels_dir: StepFolder | None = None, **refinement: Any) -> None:
        super().__init__(**refinement)
        self.others = labels_dir
        if labels_dir is not None:
            self.classes = ClassList.from_dict(labels_dir.require(("labels",)).classes)

    def predict_image(self, sample: ImageSample) -> Any:
        """Labels of an image, 255 where the two sources differ."""
        result = super().predict_image(sample)
        if self.others is None or not isinstance(result, LabelsResult):
            return result
        labels = result.labels[""]
        other = self._other(self.others, sample["id"], labels.shape)
        agreed = np.where((other != IGNORE) & (other != labels), IGNORE, labels).astype(np.uint8)
        return result._replace(labels={"": agreed})

    def _other(self, folder: StepFolder, image_id: str, size: tuple[int, ...]) -> npt.NDArray[np.uint8]:
        found = self.classes.to_index(load_labels(safe_join(folder.out, f"{image_id}.png")))
        if found.shape == size:
            return found
        # A very large image is worked on at a smaller size, see `Predictor.largest_image`.
        small = cv2.resize(found, (size[1], size[0]), interpolation=cv2.INTER_NEAREST_EXACT)
        return np.asarray(small, np.uint8)
