"""The running mean of the weights, against the mean worked out by hand."""

import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

from tag2mask.callbacks import RunningMean

DECAY = 0.8


class _Line(pl.LightningModule):
    """One weight that plain SGD moves; every value it takes is written down."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = nn.Parameter(torch.tensor([1.0]))
        self.taken: list[float] = []

    def training_step(self, batch: list[Tensor], _: int) -> Tensor:
        return ((self.weight * batch[0] - 3.0) ** 2).mean()

    def on_train_batch_end(self, *_: object) -> None:
        self.taken.append(float(self.weight.detach()))

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def _fit(folder: object) -> tuple[_Line, pl.Trainer]:
    module = _Line()
    trainer = pl.Trainer(
        max_epochs=2,
        accelerator="cpu",
        logger=False,
        callbacks=[RunningMean(decay=DECAY)],
        default_root_dir=str(folder),
        enable_progress_bar=False,
        enable_model_summary=False,
    )
    loader = DataLoader(TensorDataset(torch.tensor([[1.0], [2.0], [0.5]])), batch_size=1)
    trainer.fit(module, loader)
    return module, trainer


def test_the_trained_weights_and_the_checkpoint_are_the_running_mean(tmp_path) -> None:
    module, trainer = _fit(tmp_path)
    expected = module.taken[0]  # torch's averaged model takes the first values as they are
    for value in module.taken[1:]:
        expected = DECAY * expected + (1 - DECAY) * value
    trainer.save_checkpoint(tmp_path / "last.ckpt", weights_only=True)
    saved = torch.load(tmp_path / "last.ckpt", weights_only=True)["state_dict"]["weight"]
    # Six float32 additions of numbers near 2: an error of a few 1e-7.
    assert abs(float(module.weight.detach()) - expected) < 1e-6
    assert abs(float(saved) - expected) < 1e-6
    # The last value itself is far from the mean, so the test could fail.
    assert abs(module.taken[-1] - expected) > 1e-2


def test_the_trainer_can_be_copied_as_before_once_the_copy_is_made(tmp_path) -> None:
    _, trainer = _fit(tmp_path)
    assert "__deepcopy__" not in vars(trainer)
    assert "__deepcopy__" not in vars(trainer.strategy)
