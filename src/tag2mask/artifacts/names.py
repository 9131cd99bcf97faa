"""Names that several packages write or read: of files and folders in a run, and of the scripts of steps."""

from __future__ import annotations

import re

RUN_NAME = "run.json"
"""In a run folder: what the run was started with."""

SCORECARD_NAME = "scorecard.json"
"""In a run folder: the scores of all finished steps."""

REPORT_NAME = "report.html"
"""In a run folder: the report on the run."""

SCORE_NAME = "score.json"
"""In a step's folder: its scores."""

IMAGE_SCORES_NAME = "image_scores.json"
"""In a step's folder: the mean IoU of each image, by id."""

SETTINGS_NAME = "settings.yaml"
"""In a step's folder: the resolved settings that its commands are started with."""

ORIGINS_NAME = "origins.json"
"""In a step's folder: the file and line, or option, that each setting comes from."""

SOURCES_NAME = "sources.json"
"""In a step's folder: the files of the data set that it read, with size, time and hash."""

SCORE_SOURCES_NAME = "score_sources.json"
"""In a step's folder: the same of the masks that it was scored with."""

METRICS_NAME = "metrics.json"
"""In a step's folder: what the network measured itself while it was trained."""

EXPORT_NAME = "model.safetensors"
"""The network in a folder of ``tag2mask export``."""

WANDB_ID_NAME = "wandb_id.txt"
"""In a step's folder: the id of its run in Weights & Biases."""

WANDB_NAMES = (WANDB_ID_NAME, "wandb")
"""In a step's folder: what belongs to that run, and not to a copy of the step."""

HEIC_SUFFIXES = (".heic", ".heif")
IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jfif", ".png", ".bmp", ".gif", ".webp", ".avif", ".tif", ".tiff", *HEIC_SUFFIXES
)  # fmt: skip
"""Endings of files that are taken for images."""

CAM_THRESHOLD = 0.3
"""The fixed threshold of maps whose step names none (``cam_threshold`` in its `METRICS_NAME`)."""

LAST_CHECKPOINT = "checkpoints/last.ckpt"
"""In a step's folder: the network after the last epoch."""

TRAINING_SCRIPTS = ("classifier", "affinity", "segmentation")
"""Scripts whose steps train a network."""

SCRIPTS = (*TRAINING_SCRIPTS, "pseudo_labels")
"""The scripts that a step may run: ``tag2mask step SCRIPT``."""

SINGLE_SCALE, MULTI_SCALE, MULTI_SCALE_CRF = "single_scale", "multi_scale", "multi_scale_crf"
VARIANTS = (SINGLE_SCALE, MULTI_SCALE, MULTI_SCALE_CRF)
"""Ways to predict with a segmentation network: one pass; all test scales and flips; the same with a CRF.

Each is a folder in ``out`` of a segmentation step; scores name the first that is there.
"""

PLAIN_NAME = re.compile(r"[a-z][a-z0-9_]*")
"""What steps and kinds may be called, whose names are those of folders: `PLAIN_NAME_WORDS`."""
PLAIN_NAME_WORDS = "lower-case letters, digits and underscores"


def config_name(command: str) -> str:
    """In a step's folder: the resolved configuration of its ``fit`` or ``predict``."""
    return f"{command}.yaml"
