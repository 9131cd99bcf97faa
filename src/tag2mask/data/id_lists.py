"""Text files that list images, one in each line."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable
from pathlib import Path

from tag2mask.artifacts.files import safe_join
from tag2mask.core import UserError


def read_ids(path: str | Path, id_of: Callable[[str], str] = str) -> list[str]:
    """The image ids of a list: the first word of every line that is not empty.

    Args:
        path: the file.
        id_of: makes an id of the word.

    Raises:
        UserError: the file cannot be read, or names no image, one image twice, or a path that leads out.
    """
    try:
        lines = Path(path).read_text("utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise UserError(f"{path} cannot be read as a list of images ({error}): save it in UTF-8") from None
    ids = [id_of(line.split()[0]) for line in lines if line.strip()]
    try:
        for image_id in ids:
            safe_join(".", image_id)
    except UserError as error:
        raise UserError(f"{path}: {error}") from None
    if not ids:
        raise UserError(f"{path} lists no images")
    twice, times = Counter(ids).most_common(1)[0]
    if times > 1:
        raise UserError(f"{path} lists {twice} twice; keep one line")
    return ids
