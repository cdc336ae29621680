"""The bundled digits: shapes, and the accuracy that examples/digits/README.md states."""

from __future__ import annotations

import numpy as np
import pytest

from midge.demo import digits_model, digits_samples


def test_samples_fit_the_model() -> None:
    images, labels = digits_samples()
    assert images.dtype == np.int8
    assert images.shape == (360, 8, 8, 1)
    assert labels.shape == (360,)
    assert sorted(set(labels.tolist())) == list(range(10))


def test_model_is_a_small_tflite_file() -> None:
    content = digits_model().read_bytes()
    assert content[4:8] == b"TFL3"
    assert len(content) < 20_000


def test_accuracy_is_the_stated_one() -> None:
    litert = pytest.importorskip("ai_edge_litert.interpreter")
    interpreter = litert.Interpreter(
        str(digits_model()), experimental_op_resolver_type=litert.OpResolverType.BUILTIN_REF
    )
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    images, labels = digits_samples()
    correct = 0
    for image, label in zip(images, labels, strict=True):
        interpreter.set_tensor(source, image[np.newaxis])
        interpreter.invoke()
        correct += int(np.argmax(interpreter.get_tensor(result)[0]) == label)
    assert correct == 356
