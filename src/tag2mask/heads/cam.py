"""The classification head whose weights give class activation maps."""

from __future__ import annotations

from torch import Tensor, nn
from torch.nn import functional as F


class CAMHead(nn.Module):
    """Dropout, global average pooling and a 1x1 convolution without bias.

    The convolution is linear, so applied before the pooling it gives one map per class (Zhou et
    al., CVPR 2016; Ahn and Kwak, CVPR 2018, equation 1).

    Args:
        in_channels: channels of the features.
        num_classes: number of foreground classes K.
        dropout: probability of dropping a feature channel in training.
    """

    def __init__(self, in_channels: int, num_classes: int, dropout: float = 0.5) -> None:
        super().__init__()
        self.dropout = nn.Dropout2d(dropout)
        self.classifier = nn.Conv2d(in_channels, num_classes, 1, bias=False)
        nn.init.xavier_uniform_(self.classifier.weight)

    def forward(self, features: Tensor) -> Tensor:
        """Class logits (B, K) of features (B, C, h, w)."""
        logits: Tensor = self.classifier(self.pool(features))
        return logits.flatten(1)

    def pool(self, features: Tensor) -> Tensor:
        """Mean features (B, C, 1, 1) after dropout, for a second classifier beside this one."""
        return F.adaptive_avg_pool2d(self.dropout(features), 1)

    def cam(self, features: Tensor) -> Tensor:
        """Class maps (B, K, h, w) of features (B, C, h, w): no ReLU, no scaling."""
        maps: Tensor = self.classifier(features)
        return maps
