"""Networks of a cross-fitting, and which of them is asked about an image."""

from __future__ import annotations

from typing import cast

from torch import nn

from tag2mask.artifacts.step_folder import StepFolder
from tag2mask.core import UserError
from tag2mask.core.folds import fold_of
from tag2mask.modules.loading import load_network
from tag2mask.modules.segmentation import SegmentationModel


class FoldNetworks(nn.ModuleDict):
    """Segmentation networks that each trained on all images but those of one fold.

    Args:
        folders: fold ("0", "1", ...) -> folder of the step that trained a network on all other folds.

    Raises:
        UserError: the folds are not 0, 1, ... up to one or more.
    """

    def __init__(self, folders: dict[str, StepFolder]) -> None:
        if len(folders) < 2 or set(folders) != {str(fold) for fold in range(len(folders))}:
            raise UserError(
                f"networks of folds must be those of folds 0, 1, ... (two or more), got {sorted(folders)}"
            )
        super().__init__({fold: load_network(folder, SegmentationModel) for fold, folder in folders.items()})

    def of(self, image_id: str, seen: bool = False) -> SegmentationModel:
        """The network that did not train on an image; with `seen`, another one, which did."""
        fold = (fold_of(image_id, len(self)) + seen) % len(self)
        return cast(SegmentationModel, self[str(fold)])
