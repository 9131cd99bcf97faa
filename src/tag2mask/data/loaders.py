"""Loaders whose batches do not depend on how many processes share them."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable, Iterator, Sized
from dataclasses import dataclass
from typing import Any, TypeVar, cast

import torch
from torch.utils.data import DataLoader, Dataset, DistributedSampler

from tag2mask.core import UserError

T_co = TypeVar("T_co", covariant=True)
_SEED = "PL_GLOBAL_SEED"
"""Where Lightning's ``seed_everything`` leaves the seed for all processes of a training."""
LONGEST_TEMPORARY = 107 - len("/pymp-12345678/listener-12345678")
"""Bytes of the folder for temporary files where loader processes can still name their sockets in it."""


@dataclass(frozen=True)
class Processes:
    """The processes of a training or prediction, and which of them we are."""

    count: int = 1
    rank: int = 0


class TotalBatches(DistributedSampler[Any]):
    """Our share of each shuffled batch: pairs of an image's place and the seed of its random changes.

    The batches, and what happens to each image, follow from seed and epoch alone. So one process and
    several train on the same images and crops, and a training that was stopped goes on with those that
    were to come. The images that do not fill a last batch are left out (poly schedules count on it).

    Args:
        images: the training set.
        total: images of a step in all processes together; each takes the same number of them.
        processes: who shares them.
        epoch: the first one. Loader processes fetch images before Lightning calls ``set_epoch``.
    """

    def __init__(self, images: Dataset[Any], total: int, processes: Processes, epoch: int = 0) -> None:
        super().__init__(images, processes.count, processes.rank, seed=int(os.environ.get(_SEED, "0")))
        self.epoch = epoch
        self._used = len(cast(Sized, images)) // total * total

    def __len__(self) -> int:
        return self._used // self.num_replicas

    def __iter__(self) -> Iterator[tuple[int, int]]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        order = torch.randperm(len(cast(Sized, self.dataset)), generator=generator)
        seeds = torch.randint(2**62, (len(order),), generator=generator)
        self.epoch += 1  # for loops that do not call set_epoch, as Lightning does
        mine = slice(self.rank, self._used, self.num_replicas)
        return iter(list(zip(order[mine].tolist(), seeds[mine].tolist(), strict=True)))


class Seeded(Dataset[T_co]):
    """A training set whose random changes follow from a seed: an item is read at (place, seed).

    Args:
        images: draws its random numbers from torch's generator.
    """

    def __init__(self, images: Dataset[T_co]) -> None:
        self._images = images

    def __getitem__(self, index: tuple[int, int]) -> T_co:
        place, seed = index
        with torch.random.fork_rng(devices=[]):
            # torch.manual_seed would seed the GPU too, and dropout there would follow the last image.
            torch.default_generator.manual_seed(seed)
            return self._images[place]


class Shares(DistributedSampler[Any]):
    """Our share of the places of a list, in order: each place in one process only.

    All processes get the same number, so that none waits for another: what is missing is None.

    Args:
        images: the list.
        processes: who shares it.
    """

    def __init__(self, images: Dataset[Any], processes: Processes) -> None:
        super().__init__(images, processes.count, processes.rank, shuffle=False)

    def __iter__(self) -> Iterator[int | None]:
        places = list(range(self.rank, len(cast(Sized, self.dataset)), self.num_replicas))
        return iter([*places, *[None] * (len(self) - len(places))])


class _OrNothing(Dataset[T_co | None]):
    """A data set that has nothing at the place None."""

    def __init__(self, images: Dataset[T_co]) -> None:
        self._images = images

    def __getitem__(self, index: int | None) -> T_co | None:
        return None if index is None else self._images[index]

    def __len__(self) -> int:
        return len(cast(Sized, self._images))


def require_sockets(num_workers: int) -> None:
    """Refuse a folder for temporary files with a name too long for the sockets of loader processes.

    They would fail to hand over their first batch, and the step would wait for it without end.

    Raises:
        UserError: with the way out.
    """
    folder = tempfile.gettempdir()
    length = len(os.fsencode(folder))
    if num_workers > 0 and length > LONGEST_TEMPORARY:
        raise UserError(
            f"TMPDIR={folder} has {length} bytes, and loader processes need one of at most "
            f"{LONGEST_TEMPORARY}: set a shorter TMPDIR, or --data.init_args.num_workers 0"
        )


def train_loader(
    images: Dataset[T_co],
    batches: TotalBatches,
    at_once: int,
    num_workers: int,
    collate: Callable[[list[Any]], Any] | None = None,
    pin_memory: bool = False,
) -> DataLoader[T_co]:
    """Shuffled full batches; it draws from a generator of its own, as `ordered_loader` does.

    Args:
        images: the training set.
        batches: our share of them.
        at_once: images of a batch of this process.
        num_workers: loader processes.
        collate: what makes a batch of samples; None stacks them.
        pin_memory: as in torch.

    Raises:
        UserError: see `require_sockets`.
    """
    require_sockets(num_workers)
    return DataLoader(
        Seeded(images),
        batch_size=at_once,
        sampler=batches,
        num_workers=num_workers,
        pin_memory=pin_memory,
        collate_fn=collate,
        persistent_workers=num_workers > 0,
        generator=torch.Generator(),
    )


def ordered_loader(
    images: Dataset[Any], num_workers: int, batch_size: int = 1, processes: Processes = Processes()
) -> DataLoader[Any]:
    """A loader of our share in the order of a data set, whose batches are lists.

    It draws from a generator of its own: how often it is started then changes no random number of the
    training.

    Raises:
        UserError: see `require_sockets`.
    """
    require_sockets(num_workers)
    return DataLoader(
        _OrNothing(images),
        batch_size=batch_size,
        sampler=Shares(images, processes),
        num_workers=num_workers,
        collate_fn=_without_none,
        persistent_workers=num_workers > 0,
        generator=torch.Generator(),
    )


def _without_none(samples: list[T_co | None]) -> list[T_co]:
    return [sample for sample in samples if sample is not None]
