"""A picture within seconds: a rough map of a generated image, drawn to its edges by the dense CRF.

python docs/first_picture.py [FILE]
"""

from __future__ import annotations

import sys
import tempfile

import cv2
import numpy as np
from PIL import Image

from tag2mask import ops
from tag2mask.data import Shapes
from tag2mask.report.pictures import heat_picture, label_picture

with tempfile.TemporaryDirectory() as folder:
    images = Shapes(folder, train=3, val=1, size=(160, 200))
    image = images.read_image(images.ids("train")[2])
    truth = images.read_mask(images.ids("train")[2])
assert truth is not None
rough = cv2.GaussianBlur((truth > 0).astype(np.float32), (0, 0), 12)  # stands in for a classifier's map
scores = np.stack([1 - rough, rough])
sharp = ops.dense_crf(image.transpose(2, 0, 1), scores)
shown = [
    image,
    heat_picture(image, rough),
    label_picture(image, np.asarray(sharp).argmax(0).astype(np.uint8)),
    label_picture(image, (truth > 0).astype(np.uint8)),
]
file = sys.argv[1] if len(sys.argv) > 1 else "first_picture.png"
Image.fromarray(np.concatenate(shown, axis=1)).save(file, quality=75)
print(file)
