r"""Stage 3: train the segmentation model on pseudo-labels, and predict with it.

The LightningCLI entry point of the segmentation model: every flag of Lightning works. The same from an
installed package: `tag2mask stage segmentation ...`. A recipe's whole chain: `tag2mask run`.

Usage:
    python stages/segmentation.py fit --config conf/recipes/psa/segmentation.yaml \
        --config conf/data/shapes.yaml --step-dir runs/psa/segmentation
    python stages/segmentation.py predict --config conf/recipes/psa/segmentation.yaml \
        --config conf/data/shapes.yaml --step-dir runs/psa/segmentation
    python stages/segmentation.py fit --help
"""

from __future__ import annotations

from tag2mask.stage import main

if __name__ == "__main__":
    raise SystemExit(main("segmentation"))
