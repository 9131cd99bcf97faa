# What type checkers see of the names that __init__.py imports on first use.

from tag2mask import losses as losses
from tag2mask import metrics as metrics
from tag2mask import ops as ops
from tag2mask.api.recipe import FinishedRun as FinishedRun
from tag2mask.api.recipe import run as run
from tag2mask.api.segmenter import Segmenter as Segmenter
from tag2mask.api.segmenter import load as load

__version__: str
