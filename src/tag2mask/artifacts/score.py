"""The numbers of a step, checked when they are read: scores, scores of each image, metrics."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import (
    BaseModel,
    ConfigDict,
    Field,
    TypeAdapter,
    ValidationError,
    field_validator,
    model_validator,
)

from tag2mask.artifacts.files import read_json
from tag2mask.artifacts.names import IMAGE_SCORES_NAME, METRICS_NAME, SCORE_NAME, SCORECARD_NAME
from tag2mask.artifacts.trouble import first_fault
from tag2mask.core.errors import UserError

_FORM = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)


_Share = Annotated[float, Field(ge=0, le=1)]


class _Curve(BaseModel):
    """Mean IoU over the background threshold."""

    model_config = _FORM

    threshold: list[_Share] = []
    miou: list[_Share] = []

    @model_validator(mode="after")
    def _pairs(self) -> _Curve:
        if len(self.threshold) != len(self.miou):
            raise ValueError(f"{len(self.threshold)} thresholds but {len(self.miou)} values of miou")
        return self


class _Numbers(BaseModel):
    """What tables read of a score; there may be more."""

    model_config = _FORM

    miou: float | None = None
    best_miou: float | None = None
    threshold: float | None = None
    best_threshold: float | None = None
    precision: float | None = None
    coverage: float | None = None
    curve: _Curve = _Curve()
    per_class: dict[str, float | None] = {}
    confusion: list[list[int]] | None = None

    @field_validator("confusion")
    @classmethod
    def _whole(cls, rows: list[list[int]] | None) -> list[list[int]] | None:
        # a row for each class, and two columns more: other classes, unknown
        if rows and any(len(row) != len(rows) + 2 or min(row) < 0 for row in rows):
            raise ValueError("not a table of counts with a row for each class")
        return rows


class _Score(_Numbers):
    scored: bool = True
    why: str = ""
    kind: str = ""
    split: str | None = None
    images: int = 0
    metrics: dict[str, Any] | None = None
    variant: str | None = None
    variants: dict[str, _Numbers] | None = None


class _Metrics(BaseModel):
    """Numbers by name."""

    model_config = _FORM
    __pydantic_extra__: dict[str, float]


class _Paper(BaseModel):
    model_config = _FORM

    citation: str | None = None
    targets: dict[str, Any] | None = None


class _Card(BaseModel):
    """What pages read of a scorecard; there is more."""

    model_config = _FORM

    title: str | None = None
    paper: _Paper | None = None


def read_scorecard(run_dir: str | Path) -> dict[str, Any]:
    """The scorecard of a run, {} if there is none.

    Raises:
        UserError: the file is broken.
    """
    return _read(Path(run_dir) / SCORECARD_NAME, TypeAdapter(_Card)) or {}


def read_score(step_dir: str | Path) -> dict[str, Any] | None:
    """The score of a step, or None if it has not been scored yet.

    Raises:
        UserError: the file is broken; names the first field that is wrong.
    """
    return _read(Path(step_dir) / SCORE_NAME, TypeAdapter(_Score))


def read_metrics(step_dir: str | Path) -> dict[str, float]:
    """What a network measured itself while it was trained, {} if nothing.

    Raises:
        UserError: the file is broken.
    """
    return _read(Path(step_dir) / METRICS_NAME, TypeAdapter(_Metrics)) or {}


def read_image_scores(step_dir: str | Path) -> dict[str, float]:
    """The mean IoU of each image in [0, 1], by id; {} where images were not scored one by one.

    Raises:
        UserError: the file is broken.
    """
    return _read(Path(step_dir) / IMAGE_SCORES_NAME, TypeAdapter(_Metrics)) or {}


def _read(path: Path, form: TypeAdapter[Any]) -> dict[str, Any] | None:
    plain = read_json(path)
    if plain is not None:
        try:
            form.validate_python(plain)
        except ValidationError as error:
            raise UserError(f"{path}: {first_fault(error)}; delete it and run the step again") from error
    return plain
