r"""Stage 1: train the tag classifier, and write its class activation maps.

The LightningCLI entry point of the classifier: every flag of Lightning works. The same from an
installed package: `tag2mask stage classifier ...`. A recipe's whole chain: `tag2mask run`.

Usage:
    python stages/classifier.py fit --config conf/recipes/psa/cam.yaml \
        --config conf/data/shapes.yaml --step-dir runs/psa/cam
    python stages/classifier.py predict --config conf/recipes/psa/cam.yaml \
        --config conf/data/shapes.yaml --step-dir runs/psa/cam
    python stages/classifier.py fit --help
"""

from __future__ import annotations

from tag2mask.stage import main

if __name__ == "__main__":
    raise SystemExit(main("classifier"))
