"""How many images a data set has and how large they are: what the estimates of a run are made from."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from tag2mask.core.errors import UserError


class ImageSizes(BaseModel):
    """Counts of all images, and sizes of a sample of them.

    Attributes:
        counts: split -> number of images.
        sampled: images whose headers were read.
        pixels: mean number of pixels of an image.
        largest: most pixels of an image of the sample.
        long_side: mean of the longer sides, in pixels.
        tags: mean number of tags of a train image.
        classes: number of foreground classes.
    """

    model_config = ConfigDict(strict=True, extra="forbid", allow_inf_nan=False)

    counts: dict[str, int]
    sampled: int = Field(gt=0)
    pixels: float = Field(gt=0)
    largest: int = Field(gt=0)
    long_side: float = Field(gt=0)
    tags: float = Field(ge=0)
    classes: int = Field(gt=0)

    @classmethod
    def parse(cls, text: str | bytes) -> ImageSizes:
        """Read what `model_dump_json` wrote.

        Raises:
            UserError: it is something else.
        """
        try:
            return cls.model_validate_json(text)
        except ValidationError as error:
            raise UserError(f"not the sizes of images: {error.errors()[0]['msg']}") from error
