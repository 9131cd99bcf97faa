r"""Stage 2: refine class activation maps into pseudo-labels.

The LightningCLI entry point of the pseudo-label generator: every flag of Lightning works. The same from an
installed package: `tag2mask step pseudo_labels ...`. A recipe's whole chain: `tag2mask run`.

Usage:
    tag2mask recipes show psa --step pseudo_label --budget small --data shapes --yaml > pseudo_label.yaml
    python stages/pseudo_labels.py predict --config pseudo_label.yaml --step-dir runs/psa/pseudo_label \
        --data.init_args.maps_dir runs/psa/walk
    python stages/pseudo_labels.py predict --help
"""

from __future__ import annotations

from tag2mask.step import main

if __name__ == "__main__":
    raise SystemExit(main("pseudo_labels"))
