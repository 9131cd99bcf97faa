r"""Stage 2: refine class activation maps into pseudo-labels.

The LightningCLI entry point of the pseudo-label generator: every flag of Lightning works. The same from an
installed package: `tag2mask stage pseudo_labels ...`. A recipe's whole chain: `tag2mask run`.

Usage:
    python stages/pseudo_labels.py predict --config conf/recipes/psa/pseudo_label.yaml \
        --config conf/data/shapes.yaml --step-dir runs/psa/pseudo_label
    python stages/pseudo_labels.py predict --help
"""

from __future__ import annotations

from tag2mask.stage import main

if __name__ == "__main__":
    raise SystemExit(main("pseudo_labels"))
