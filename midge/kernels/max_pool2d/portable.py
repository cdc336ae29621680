"""Max pooling in plain C99."""

from __future__ import annotations

from typing import ClassVar

from midge.kernels.pooling import PoolRows
from midge.ops.max_pool2d import MaxPool2D


class MaxPool2DRows(PoolRows):
    """One output row from the rows of its window."""

    name: ClassVar[str] = "max_pool2d_rows__portable"
    op = MaxPool2D
    template = "max_pool2d/rows.c.j2"


KERNELS = (MaxPool2DRows(),)
