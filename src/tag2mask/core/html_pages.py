"""HTML pages of one file each, which load nothing from elsewhere and look alike."""

from __future__ import annotations

from jinja2 import ChoiceLoader, Environment, PackageLoader, StrictUndefined


def page_templates(package: str) -> Environment:
    """The templates of a package's pages: they extend ``base.html``, and every text in them is escaped.

    Args:
        package: the package whose folder ``templates`` holds the pages. ``base.html`` (policy, style for
            light and dark, wide and narrow) and ``tables.html`` lie beside this module.

    Example:
        >>> page_templates("tag2mask.tune").get_template("tune.html").name
        'tune.html'
    """
    return Environment(
        loader=ChoiceLoader([PackageLoader(package), PackageLoader("tag2mask.core")]),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
