"""Words of the command line in a form that jsonargparse takes."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from itertools import pairwise

_FIELD = re.compile(r"(--(?:model|data)\.init_args\.(?!\S*init_args)[\w.]+)\.(\w+)")


def nulls_of_objects(words: Sequence[str]) -> list[str]:
    """``--data.init_args.augment.scale null`` as ``--data.init_args.augment {"scale": null}``.

    jsonargparse (4.53) hands null on to a field of an object as the text ``None``, which it refuses then.

    Args:
        words: options and their values.

    Example:
        >>> nulls_of_objects(["--data.init_args.augment.scale", "null", "--data.init_args.crop", "3"])
        ['--data.init_args.augment', '{"scale": null}', '--data.init_args.crop', '3']
    """
    changed = list(words)
    for place, (option, value) in enumerate(pairwise(words)):
        field = _FIELD.fullmatch(option)
        if field and value == "null":
            changed[place : place + 2] = [field[1], json.dumps({field[2]: None})]
    return changed
