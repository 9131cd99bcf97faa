"""Scores label maps, score maps or a whole step, without knowing what produced them.

Names are imported on first use: ``tag2mask score --help`` has to answer before torchmetrics is loaded.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tag2mask.core.lazy import lazy_names

if TYPE_CHECKING:
    from tag2mask.evaluate.labels import classes_in_masks, score_folder
    from tag2mask.evaluate.maps import MapScores, score_maps
    from tag2mask.evaluate.scores import LabelTally, Scores
    from tag2mask.evaluate.step import score_step

_HOME = {
    "LabelTally": "scores",
    "MapScores": "maps",
    "Scores": "scores",
    "classes_in_masks": "labels",
    "score_folder": "labels",
    "score_maps": "maps",
    "score_step": "step",
}

__all__ = [
    "LabelTally",
    "MapScores",
    "Scores",
    "classes_in_masks",
    "score_folder",
    "score_maps",
    "score_step",
]

__getattr__ = lazy_names(__name__, _HOME)
