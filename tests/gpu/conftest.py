"""The device of these tests: CUDA, or what TAG2MASK_TEST_DEVICE names, e.g. cpu to rehearse them."""

from __future__ import annotations

import os
from collections.abc import Iterator

import pytest
import torch

DEVICE = os.environ.get("TAG2MASK_TEST_DEVICE", "cuda")


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test of this folder, and skip it where the device is missing."""
    missing = DEVICE == "cuda" and not torch.cuda.is_available()
    for item in items:
        if "tests/gpu/" in item.nodeid:
            item.add_marker(pytest.mark.gpu)
            if missing:
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))


@pytest.fixture
def device() -> torch.device:
    """The device that is compared with the CPU."""
    return torch.device(DEVICE)


@pytest.fixture(autouse=True)
def full_float32() -> Iterator[None]:
    """No TF32: its ten bits of mantissa would hide what these tests look for."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    torch.set_float32_matmul_precision("highest")
    yield
    torch.backends.cudnn.allow_tf32 = before
