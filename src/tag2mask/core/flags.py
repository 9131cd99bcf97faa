"""Options of a training that change its time and memory, and its results in their last digits only."""

from __future__ import annotations

TRAINING_FLAGS = {
    "compile": "compile the backbone with torch.compile while it trains",
    "channels-last": "lay out the weights of convolutions with their channels last while they train",
    "gradient-checkpointing": "keep less for the backward pass: less memory, more time",
}
"""Flag of ``tag2mask run`` and of a step that trains -> what it does."""
PRECISIONS = ("32-true", "bf16-mixed", "16-mixed")
"""What ``--precision`` takes; other precisions of Lightning were never tried."""
