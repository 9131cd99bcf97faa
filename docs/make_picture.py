"""The README's picture: what each step of a run makes of a few images.

    python docs/make_picture.py runs/demo --out docs/demo.png --images 2

Only for data that may be published: the README's is made of the generated images of `make demo`.
"""

from __future__ import annotations

import argparse
import base64
import io
from collections.abc import Sequence
from pathlib import Path

from PIL import Image, ImageDraw, ImageFont

from tag2mask.report.choice import choose_images
from tag2mask.report.gallery import Picture, image_rows
from tag2mask.report.runs import read_runs

WIDTH, GAP, TITLE = 190, 6, 16


def main(argv: Sequence[str] | None = None) -> int:
    """Draw the rows of pictures of a run's train images into one PNG."""
    parser = argparse.ArgumentParser(description="A picture of what each step of a run makes of some images.")
    parser.add_argument("run", type=Path)
    parser.add_argument("--out", type=Path, default=Path("docs/demo.png"))
    parser.add_argument("--images", type=int, default=2, help="number of rows")
    args = parser.parse_args(argv)
    runs = read_runs([args.run])
    images = [p for p in choose_images(runs, 40) if p[0] == "train"]
    rows = [row.pictures for found in image_rows(runs, images) for row in found]
    # Images with two tags show more of what the steps do.
    rows.sort(key=lambda pictures: -len(pictures))
    _sheet(rows[: args.images]).save(args.out, optimize=True)
    print(args.out)
    return 0


def _sheet(rows: Sequence[Sequence[Picture]]) -> Image.Image:
    tiles = [[(p.caption, _decode(p)) for p in row if p.uri] for row in rows]
    height = max(tile.height for row in tiles for _, tile in row) + TITLE + GAP
    columns = max(len(row) for row in tiles)
    sheet = Image.new("RGB", (columns * (WIDTH + GAP), len(tiles) * height), "white")
    pen, font = ImageDraw.Draw(sheet), ImageFont.load_default(12)
    for y, row in enumerate(tiles):
        for x, (caption, tile) in enumerate(row):
            pen.text((x * (WIDTH + GAP), y * height), caption, fill="black", font=font)
            sheet.paste(tile, (x * (WIDTH + GAP), y * height + TITLE))
    return sheet


def _decode(picture: Picture) -> Image.Image:
    data = base64.b64decode(picture.uri.partition(",")[2])
    image = Image.open(io.BytesIO(data)).convert("RGB")
    return image.resize((WIDTH, round(WIDTH * image.height / image.width)), Image.Resampling.LANCZOS)


if __name__ == "__main__":
    raise SystemExit(main())
