"""Scores any folder of label maps, score maps or a whole step, blind to what produced it."""

from tag2mask.evaluate.labels import classes_in_masks, read_split_file, score_folder
from tag2mask.evaluate.maps import MapScores, score_maps
from tag2mask.evaluate.scores import LabelTally, Scores
from tag2mask.evaluate.step import score_step

__all__ = [
    "LabelTally",
    "MapScores",
    "Scores",
    "classes_in_masks",
    "read_split_file",
    "score_folder",
    "score_maps",
    "score_step",
]
