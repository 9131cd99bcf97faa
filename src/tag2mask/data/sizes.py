"""The number of images of a data set, and the sizes of some of them, from their headers."""

from __future__ import annotations

from collections.abc import Sequence

from tag2mask.artifacts.image_sizes import ImageSizes
from tag2mask.core import UserError, map_threads, spread
from tag2mask.data.image_set import ImageSet
from tag2mask.data.images import read_size

SAMPLE = 64
"""Headers that are read: spread evenly over the lists, so that it takes the same time for any data set."""


def image_sizes(
    images: ImageSet, splits: Sequence[str] = ("train", "val"), sample: int = SAMPLE
) -> ImageSizes:
    """Count the images of some splits and measure a sample of them.

    Args:
        images: the data set.
        splits: the splits to count; tags are those of the first one.
        sample: most headers to read.

    Raises:
        UserError: a split does not exist or all are empty, or an image of the sample cannot be read.
    """
    ids = {split: images.ids(split) for split in splits}
    every = [image_id for some in ids.values() for image_id in some]
    if not every:
        raise UserError(f"no image in the splits {', '.join(splits)}")
    sizes = map_threads(
        lambda image_id: read_size(images.image_path(image_id)), spread(every, sample), threads=8
    )
    tagged = spread(ids[splits[0]], sample)
    tags = sum(len(images.tag_names(image_id)) for image_id in tagged) / max(1, len(tagged))
    return ImageSizes(
        counts={split: len(some) for split, some in ids.items()},
        sampled=len(sizes),
        pixels=sum(height * width for height, width in sizes) / len(sizes),
        largest=max(height * width for height, width in sizes),
        long_side=sum(map(max, sizes)) / len(sizes),
        tags=tags,
        classes=len(images.classes),
    )
