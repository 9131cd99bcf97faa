"""The picture of docs/architecture.md: the packages on their floors, and what each one imports.

    python docs/make_architecture.py            writes docs/architecture.svg

Floors are the layers of the import rules in pyproject.toml, imports are those in the source, and the texts
are the first sentences of the packages' docstrings.
"""

from __future__ import annotations

import ast
import tomllib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from html import escape
from pathlib import Path
from textwrap import wrap

import grimp

ROOT = Path(__file__).resolve().parents[1]
OUT = ROOT / "docs" / "architecture.svg"
WIDTH, MARGIN, GAP, FLOOR_GAP = 1080, 20, 16, 34
BOX, LINE, PAD, LETTER = 336, 15, 10, 6.7
"""Pixels: width of a box, height of a line of text, space around the text, mean width of a letter."""


@dataclass(frozen=True)
class Box:
    """A package of the library.

    Attributes:
        name: the package.
        purpose: lines that say what it is for.
        imports: lines that name the packages that it imports.
        x: left edge in pixels.
        y: top edge in pixels.
    """

    name: str
    purpose: Sequence[str]
    imports: Sequence[str]
    x: float = 0
    y: float = 0

    @property
    def height(self) -> float:
        """Height in pixels."""
        return 2 * PAD + LINE * (1 + len(self.purpose) + len(self.imports))


def floors() -> list[list[str]]:
    """Packages on each floor, from the command line down to core."""
    contracts = tomllib.loads((ROOT / "pyproject.toml").read_text())["tool"]["importlinter"]["contracts"]
    layers = next(contract["layers"] for contract in contracts if contract["type"] == "layers")
    names = [[name.strip() for name in layer.split("|")] for layer in layers]
    return [floor for floor in names if floor != ["__main__"]]


def purpose(name: str) -> str:
    """The first sentence of a package's docstring."""
    folder = ROOT / "src" / "tag2mask" / name
    path = folder / "__init__.py" if folder.is_dir() else folder.with_suffix(".py")
    doc = ast.get_docstring(ast.parse(path.read_text(encoding="utf-8"))) or ""
    return " ".join(doc.partition("\n\n")[0].replace("`", "").split()).rstrip(".")


def imports(names: Sequence[str]) -> dict[str, set[str]]:
    """Package -> the packages that its modules import directly."""
    graph = grimp.build_graph("tag2mask")
    found: dict[str, set[str]] = {name: set() for name in names}
    for module in graph.modules:
        package = module.split(".")[1] if "." in module else ""
        for target in graph.find_modules_directly_imported_by(module) if package in found else ():
            other = target.split(".")[1] if "." in target else ""
            if other in found and other != package:
                found[package].add(other)
    return found


def placed(rows: Sequence[Sequence[str]]) -> list[Box]:
    """A box for each package, each floor centred."""
    found = imports([name for row in rows for name in row])
    letters = int((BOX - 2 * PAD) / LETTER)
    boxes, top = [], float(MARGIN)
    for row in rows:
        floor = []
        for name in row:
            used = [other for below in rows for other in below if other in found[name]]
            text = wrap(f"imports {', '.join(used)}", letters) if used else []
            floor.append(Box(name, wrap(purpose(name), letters), text))
        left = (WIDTH - len(floor) * BOX - (len(floor) - 1) * GAP) / 2
        boxes += [replace(b, x=left + i * (BOX + GAP), y=top) for i, b in enumerate(floor)]
        top += max(box.height for box in floor) + FLOOR_GAP
    return boxes


def picture() -> str:
    """The picture as SVG text."""
    boxes = placed(floors())
    height = max(box.y + box.height for box in boxes) + MARGIN
    tops = sorted({box.y for box in boxes})[1:]
    return "\n".join(
        [
            f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {height:g}" '
            'font-family="system-ui, sans-serif">',
            "<title>The packages of tag2mask: each imports only from floors below its own</title>",
            f'<rect width="{WIDTH}" height="{height:g}" fill="#ffffff"/>',
            *(_arrow(top) for top in tops),
            *(_box(box) for box in boxes),
            "</svg>\n",
        ]
    )


def _arrow(top: float) -> str:
    """An arrow down to the floor that begins at `top`."""
    x, start, end = WIDTH / 2, top - FLOOR_GAP + 8, top - 6
    path = f"M{x:g} {start:g} V{end:g} m-5 -6 l5 6 l5 -6"
    return f'<path d="{path}" fill="none" stroke="#8a9aa3" stroke-width="1.5"/>'


def _box(box: Box) -> str:
    x, y = box.x + PAD, box.y + PAD + LINE - 3
    texts = [_text(x, y, box.name, 'font-size="14" font-weight="700" fill="#0b6e64"')]
    lines = [(line, "#1d2023") for line in box.purpose] + [(line, "#61686f") for line in box.imports]
    for i, (line, colour) in enumerate(lines, 1):
        texts.append(_text(x, y + i * LINE, line, f'font-size="12" fill="{colour}"'))
    frame = (
        f'<rect x="{box.x:g}" y="{box.y:g}" width="{BOX}" height="{box.height:g}" rx="8" '
        'fill="#f7f7f5" stroke="#8a9aa3"/>'
    )
    return "\n".join([frame, *texts])


def _text(x: float, y: float, text: str, style: str) -> str:
    return f'<text x="{x:g}" y="{y:g}" {style}>{escape(text)}</text>'


if __name__ == "__main__":
    OUT.write_text(picture(), encoding="utf-8")
    print(OUT)
