"""For the reference of the docs site: our docstrings say ``Example:``, griffe reads ``Examples:`` as code."""

from __future__ import annotations

import re
from typing import Any

import griffe


class ReadExamples(griffe.Extension):
    """Renames the section before docstrings are parsed."""

    def on_instance(self, *, obj: griffe.Object, **kwargs: Any) -> None:
        """Take each object as it is found."""
        if obj.docstring:
            obj.docstring.value = re.sub(r"^Example:$", "Examples:", obj.docstring.value, flags=re.MULTILINE)
