"""Lightning callbacks: prediction writers, the record of a step, loggers, pictures."""

from tag2mask.callbacks.checkpoints import LastCheckpoint, WholeFiles, newest_checkpoint
from tag2mask.callbacks.cudnn import CudnnForCrops
from tag2mask.callbacks.finite import StopWhenNotFinite
from tag2mask.callbacks.log_steps import LogSteps
from tag2mask.callbacks.panels import CamPanels
from tag2mask.callbacks.progress import StepProgressBar
from tag2mask.callbacks.random_state import RandomState
from tag2mask.callbacks.recorder import StepIdentity, StepRecorder
from tag2mask.callbacks.running_mean import RunningMean
from tag2mask.callbacks.stop import StopOnSignal, StoppedBySignal, stopping_on_signals
from tag2mask.callbacks.throughput import Throughput
from tag2mask.callbacks.wandb_run import WandbRun
from tag2mask.callbacks.writer import PredictionWriter

__all__ = [
    "CamPanels",
    "CudnnForCrops",
    "LastCheckpoint",
    "LogSteps",
    "PredictionWriter",
    "RandomState",
    "RunningMean",
    "StepIdentity",
    "StepProgressBar",
    "StepRecorder",
    "StopOnSignal",
    "StopWhenNotFinite",
    "StoppedBySignal",
    "Throughput",
    "WandbRun",
    "WholeFiles",
    "newest_checkpoint",
    "stopping_on_signals",
]
