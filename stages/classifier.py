r"""Stage 1: train the tag classifier, and write its class activation maps.

The LightningCLI entry point of the classifier: every flag of Lightning works. The same from an
installed package: `tag2mask step classifier ...`. A recipe's whole chain: `tag2mask run`.

Usage:
    tag2mask recipes show psa --step cam --budget small --data shapes --yaml > cam.yaml
    python stages/classifier.py fit --config cam.yaml --step-dir runs/psa/cam
    python stages/classifier.py predict --config cam.yaml --step-dir runs/psa/cam
    python stages/classifier.py fit --help
"""

from __future__ import annotations

from tag2mask.step import main

if __name__ == "__main__":
    raise SystemExit(main("classifier"))
