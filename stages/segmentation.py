r"""Stage 3: train the segmentation model on pseudo-labels, and predict with it.

The LightningCLI entry point of the segmentation model: every flag of Lightning works. The same from an
installed package: `tag2mask step segmentation ...`. A recipe's whole chain: `tag2mask run`.

Usage:
    tag2mask recipes show psa --step segmentation --budget small --data shapes --yaml > segmentation.yaml
    python stages/segmentation.py fit --config segmentation.yaml --step-dir runs/psa/segmentation \
        --data.init_args.labels_dir runs/psa/pseudo_label --model.init_args.classifier_from runs/psa/cam
    python stages/segmentation.py predict --config segmentation.yaml --step-dir runs/psa/segmentation \
        --data.init_args.labels_dir runs/psa/pseudo_label --model.init_args.classifier_from runs/psa/cam
    python stages/segmentation.py fit --help
"""

from __future__ import annotations

from tag2mask.step import main

if __name__ == "__main__":
    raise SystemExit(main("segmentation"))
