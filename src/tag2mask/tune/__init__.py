"""Chooses settings of pseudo-labels without masks: classifier, edges and other views judge the labels.

Names are imported on first use: ``tag2mask tune --help`` has to answer at once.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from tag2mask.core.lazy import lazy_names

if TYPE_CHECKING:
    from tag2mask.tune.chain import Chain, Trial, read_chain
    from tag2mask.tune.compare import Comparison, tune

_HOME = {
    "Chain": "chain",
    "Comparison": "compare",
    "Trial": "chain",
    "read_chain": "chain",
    "tune": "compare",
}

__all__ = ["Chain", "Comparison", "Trial", "read_chain", "tune"]

__getattr__ = lazy_names(__name__, _HOME)
