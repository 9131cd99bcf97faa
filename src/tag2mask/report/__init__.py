"""Reports on runs: tables of scores, and one self-contained HTML page with pictures."""

from tag2mask.report.bars import class_bars
from tag2mask.report.page import build_page
from tag2mask.report.runs import Run, Step, read_runs
from tag2mask.report.scores import alarm_table, metric_table, score_table
from tag2mask.report.settings import settings_table
from tag2mask.report.summary import summarise

__all__ = [
    "Run",
    "Step",
    "alarm_table",
    "build_page",
    "class_bars",
    "metric_table",
    "read_runs",
    "score_table",
    "settings_table",
    "summarise",
]
