"""Labels only where two sources agree."""

from __future__ import annotations

from typing import Literal

import cv2
import numpy as np
import numpy.typing as npt

from tag2mask.artifacts import load_labels, safe_join
from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import IGNORE, ClassList, ImageSample, LabelsResult
from tag2mask.modules import Predictor, PseudoLabelGenerator
from tag2mask.modules.refinements import Refinement


class AgreedLabelGenerator(Predictor):
    """Labels of refined maps that become unknown where those of an earlier step name another class.

    Two sources with mistakes of their own are rarely wrong in the same way: what both say is more often
    right than what either says. Where the earlier step knows nothing, the new label stays.

    Args:
        labels_dir: folder of the step with the other labels; null keeps all labels.
        refinements: see `PseudoLabelGenerator`.
        absent: see `PseudoLabelGenerator`.
        threads: images at once; null takes one for each usable CPU.
    """

    kind = "labels"

    def __init__(
        self,
        labels_dir: StepFolder | None = None,
        refinements: list[Refinement] | None = None,
        absent: Literal["background", "unknown"] = "background",
        threads: int | None = None,
    ) -> None:
        super().__init__()
        self.labels = PseudoLabelGenerator(refinements, absent=absent)
        self.threads = threads
        self.others = labels_dir
        if labels_dir is not None:
            self.classes = ClassList.from_dict(labels_dir.require(("labels",)).classes)

    def predict_image(self, sample: ImageSample) -> LabelsResult:
        """Labels of an image, 255 where the two sources differ."""
        result = self.labels.predict_image(sample)
        assert isinstance(result, LabelsResult)
        if self.others is None:
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
