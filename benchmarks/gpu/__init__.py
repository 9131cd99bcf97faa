"""What a GPU does for tag2mask: `python -m benchmarks.gpu` checks, measures and trains within minutes."""
