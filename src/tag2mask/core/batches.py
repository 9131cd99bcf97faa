"""How images are shared out among the steps of a training, and those of a step among devices."""

from __future__ import annotations

from tag2mask.core.errors import UserError


def divisors(number: int) -> list[int]:
    """The numbers that divide a number of 1 or more, in order.

    Example:
        >>> divisors(10)
        [1, 2, 5, 10]
    """
    return [n for n in range(1, number + 1) if number % n == 0]


def images_at_once(total: int, devices: int, passes: int = 1, images: int | None = None) -> int:
    """Images that each device works on at once, when all devices together make one step of `total` images.

    Args:
        total: images of a step, as the recipe names them.
        devices: devices on all machines together.
        passes: passes over which each device collects its gradient.
        images: all training images, of which a batch has no more; None where that is unknown.

    Raises:
        UserError: the images cannot be shared out evenly.

    Example:
        >>> images_at_once(16, devices=4, passes=2)
        2
    """
    what = "a batch"
    if images is not None and images < total:
        what, total = f"a batch of all {images} training images: one", images
    if total % (devices * passes) == 0:
        return total // (devices * passes)
    below = total - total % (devices * passes)
    others = [n for n in (below, below + devices * passes) if 0 < n <= (images or n)]
    among = f"{devices} devices" + (f" with {passes} passes each" if passes > 1 else "")
    works = ", ".join(str(n) for n in divisors(total) if passes == 1 or total % (n * passes) == 0)
    other_devices = f"{works} devices" if works else "fewer trainer.accumulate_grad_batches"
    sizes = f", or with a data.init_args.batch_size of {' or '.join(map(str, others))}" if others else ""
    raise UserError(
        f"{what} of {total} images cannot be shared out evenly among {among}: "
        f"it can with {other_devices}{sizes}"
    )


def passes_for(images: int, batch: int, epochs: int, min_steps: int) -> int:
    """The smallest number of passes over the images in an epoch with which a training has enough steps.

    Args:
        images: training images.
        batch: images for each step of the optimiser, at most as many as there are; an epoch's last, smaller
            batch is dropped.
        epochs: length of the training.
        min_steps: steps of the optimiser that it has to have.

    Example:
        >>> passes_for(600, 16, 6, 120), passes_for(29, 16, 6, 120)
        (1, 12)
    """
    needed = -(-min_steps // epochs) * batch
    return max(1, -(-needed // images))
