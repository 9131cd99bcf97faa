r"""Stage 2: train the network that tells which neighbouring pixels belong together.

The LightningCLI entry point of AffinityNet: every flag of Lightning works. The same from an
installed package: `tag2mask step affinity ...`. A recipe's whole chain: `tag2mask run`.

Usage:
    tag2mask recipes show psa --step affinity --budget small --data shapes --yaml > affinity.yaml
    python stages/affinity.py fit --config affinity.yaml --step-dir runs/psa/affinity \
        --data.init_args.labels_dir runs/psa/affinity_labels
    python stages/affinity.py fit --help
"""

from __future__ import annotations

from tag2mask.step import main

if __name__ == "__main__":
    raise SystemExit(main("affinity"))
