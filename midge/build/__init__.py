"""Sources -> Image: the emitted network and a test harness become a firmware."""

from midge.build.firmware import build
from midge.build.image import FlashBytes, Image

__all__ = ["FlashBytes", "Image", "build"]
