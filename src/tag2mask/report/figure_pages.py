"""What all figures have in common: matplotlib and its settings, widths, and how they are saved and shown."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any

from PIL import Image

from tag2mask.core import UserError

try:
    import matplotlib as mpl
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure
except ImportError as error:
    raise UserError(f"figures need matplotlib ({error}): pip install 'tag2mask[figures]'") from error

# matplotlib's names too: whoever takes them from here needs no answer of their own where it is missing
__all__ = ["COLUMN", "PAGE", "STYLE", "Figure", "as_picture", "mpl", "one_plot", "save_figure"]

COLUMN, PAGE = 3.3, 6.9
"""Width in inches of a column, and of the whole page."""
STYLE: dict[Any, Any] = {
    "font.family": "STIXGeneral", "mathtext.fontset": "stix", "font.size": 8, "axes.titlesize": 8,
    "legend.fontsize": 7, "axes.linewidth": 0.6, "axes.spines.top": False, "axes.spines.right": False,
    "lines.linewidth": 1.2, "legend.frameon": False, "pdf.fonttype": 42, "ps.fonttype": 42,
}  # fmt: skip
"""The settings of matplotlib that every figure is drawn with; the fonts come with matplotlib."""


def save_figure(figure: Figure, path: str | Path) -> list[Path]:
    """Write a figure as PDF (lines and letters stay sharp) and as PNG with 300 dots per inch.

    Args:
        figure: a figure.
        path: without an ending; its folder is made.

    Returns:
        the two files.
    """
    target = Path(path)
    target.parent.mkdir(parents=True, exist_ok=True)
    files = [target.with_name(f"{target.name}.{ending}") for ending in ("pdf", "png")]
    with mpl.rc_context(STYLE):
        for file in files:
            # without the date in it, the same figure is the same file
            metadata = {"CreationDate": None} if file.suffix == ".pdf" else None
            figure.savefig(file, dpi=300, metadata=metadata)
    return files


def as_picture(figure: Figure, dots: int = 110) -> Image.Image:
    """The figure for a notebook, with so many dots per inch."""
    buffer = io.BytesIO()
    with mpl.rc_context(STYLE):
        figure.savefig(buffer, format="png", dpi=dots)
    return Image.open(buffer)


def one_plot(width: float, height: float) -> tuple[Figure, Axes]:
    """A figure of a size in inches, with one plot in it."""
    figure = Figure(figsize=(width, height), layout="constrained")
    return figure, figure.subplots()
