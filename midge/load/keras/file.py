"""Reads .keras and .h5 files: their sizes are believed before anything is allocated for them."""

from __future__ import annotations

import json
import math
import warnings
import zipfile
from pathlib import Path
from typing import Any

from midge.errors import MidgeError, ModelError
from midge.load.keras.hdf5 import require_readable

_MOST_TIMES = 16
"""Bytes of weights, in float32, over the file's own: nobody compresses weights by more."""
_SLACK_BYTES = 1 << 20


def read(path: Path) -> Any:
    """The model of a file. Code in it (lambdas) is not run."""
    import keras
    from keras.src.saving.serialization_lib import SafeModeScope

    try:
        with warnings.catch_warnings(), SafeModeScope(True):
            warnings.simplefilter("ignore")
            require_readable(path)
            _check_weights(path)
            return keras.saving.load_model(str(path), _custom_objects(), compile=False, safe_mode=True)
    except MidgeError:
        raise
    except Exception as error:  # zip, HDF5, JSON, and whatever layers raise
        reason = " ".join(str(error).split())[:160]
        raise ModelError(path.name, f"no model that Keras {keras.__version__} reads ({reason})",
                         "a file of keras.Model.save", "Save the model again with Keras 3") from error  # fmt: skip


def _check_weights(path: Path) -> None:
    """Guard: a damaged number in the file must not make a layer of gigabytes."""
    import keras

    with keras.StatelessScope(initialize_variables=False):  # layers know their shapes, and have no numbers
        model = _unfilled(path)
    weights = sum(math.prod(variable.shape) for variable in model.variables)
    if 4 * weights > _MOST_TIMES * path.stat().st_size + _SLACK_BYTES:
        raise ModelError(path.name, f"layers with {weights:,} weights", f"as many as a file of {path.stat().st_size:,} "
                         "bytes holds", "The file is damaged: save the model again")  # fmt: skip


def _unfilled(path: Path) -> Any:
    import keras

    if zipfile.is_zipfile(path):
        with zipfile.ZipFile(path) as archive:
            config = json.loads(archive.read("config.json"))
        return keras.saving.deserialize_keras_object(config, _custom_objects(), safe_mode=True)
    import h5py
    from keras.src.legacy.saving.saving_utils import model_from_config

    with h5py.File(path) as file:
        config = json.loads(str(file.attrs["model_config"]))
    return model_from_config(config, _custom_objects())


def _custom_objects() -> dict[str, Any]:
    """Layers whose settings Keras 2 wrote otherwise."""
    import keras

    class DepthwiseConv2D(keras.layers.DepthwiseConv2D):
        """Keras 2 says that there is one group, which is not what the number of groups is."""

        def __init__(self, *arguments: Any, groups: int = 1, **settings: Any) -> None:
            if groups != 1:
                raise ValueError(f"a depthwise layer of {groups} groups")
            super().__init__(*arguments, **settings)

    return {"DepthwiseConv2D": DepthwiseConv2D}
