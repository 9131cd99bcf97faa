"""Sub-categories: k-means over the features of each class's images."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt
from sklearn.cluster import KMeans
from threadpoolctl import threadpool_limits

Table = npt.NDArray[np.float32]


def cluster_classes(
    features: Table, tags: Table, sub_categories: int = 10, restarts: int = 10, seed: int = 0
) -> npt.NDArray[np.int64]:
    """Sub-category of every tag: k-means over the images of one class at a time.

    Chang et al., CVPR 2020, section 3.2, with the settings of their code: squared Euclidean distance,
    features as they are, the best of `restarts` starts. An image with several classes takes part in
    the clustering of each. The numbers have no meaning beyond one call.

    Args:
        features: (N, C) features of N images.
        tags: (N, K), above 0 where an image shows the class.
        sub_categories: clusters per class; a class with fewer different images gets fewer.
        restarts: starts of k-means, of which the tightest result is kept.
        seed: for the starts; the same input gives the same result.

    Returns:
        (N, K) number 0..sub_categories-1 of the sub-category, -1 where the image lacks the class.

    Raises:
        ValueError: shapes do not fit, or a number is below 1.

    Example:
        >>> features = np.array([[0.0], [0.1], [5.0], [9.0]], np.float32)
        >>> tags = np.array([[1.0], [1.0], [1.0], [0.0]], np.float32)
        >>> numbers = cluster_classes(features, tags, sub_categories=2)[:, 0]
        >>> bool(numbers[0] == numbers[1] != numbers[2]), int(numbers[3])
        (True, -1)
    """
    if features.ndim != 2 or tags.ndim != 2 or len(features) != len(tags):
        raise ValueError(f"features (N, C) and tags (N, K) do not fit: {features.shape}, {tags.shape}")
    if sub_categories < 1 or restarts < 1:
        raise ValueError(
            f"sub_categories and restarts must be at least 1, got {sub_categories} and {restarts}"
        )
    numbers = np.full(tags.shape, -1, np.int64)
    for index in range(tags.shape[1]):
        members = np.flatnonzero(tags[:, index] > 0)
        if len(members):
            numbers[members, index] = _cluster(features[members], sub_categories, restarts, seed)
    return numbers


def _cluster(features: Table, count: int, restarts: int, seed: int) -> npt.NDArray[np.int64]:
    # more clusters than different images would leave some empty
    count = min(count, len(np.unique(features, axis=0)))
    means = KMeans(count, n_init=restarts, random_state=seed, max_iter=300)
    # Threads add up their shares in the order in which they finish: with one of them, every process of
    # a run on several devices finds the same sub-categories to the last bit.
    with threadpool_limits(1):
        labels: npt.NDArray[np.int64] = means.fit_predict(features).astype(np.int64)
    return labels
