"""Lightning callbacks: prediction writers, the record of a step, loggers, pictures."""

from tag2mask.callbacks.panels import CamPanels
from tag2mask.callbacks.progress import StepProgressBar
from tag2mask.callbacks.recorder import StepIdentity, StepRecorder
from tag2mask.callbacks.running_mean import RunningMean
from tag2mask.callbacks.wandb_run import WandbRun
from tag2mask.callbacks.writer import PredictionWriter

__all__ = [
    "CamPanels",
    "PredictionWriter",
    "RunningMean",
    "StepIdentity",
    "StepProgressBar",
    "StepRecorder",
    "WandbRun",
]
