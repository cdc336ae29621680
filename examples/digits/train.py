"""Trains the bundled digit model: real handwritten digits to a fully int8 .tflite file.

Run `python examples/digits/train.py`; README.md beside this file has the details.
"""

# Keras declares narrower types than it takes.
# pyright: reportArgumentType=false

from __future__ import annotations

import argparse
import os
from pathlib import Path
from typing import Any

# Both must be set before TensorFlow is imported: kernels whose sums do not depend on the machine's threads.
os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "0")
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "2")

import keras  # pyright: ignore[reportMissingImports]
import numpy as np
import tensorflow as tf  # pyright: ignore[reportMissingImports, reportMissingModuleSource]
import tflite
from ai_edge_litert.interpreter import Interpreter, OpResolverType
from keras import layers  # pyright: ignore[reportMissingImports]
from sklearn.datasets import load_digits  # pyright: ignore[reportMissingImports]
from sklearn.model_selection import train_test_split  # pyright: ignore[reportMissingImports]

SEED = 7
EPOCHS = 60
BATCH = 32
TEST_IMAGES = 360
PIXEL_MAX = 16.0
ALLOWED_OPERATORS = {
    "CONV_2D", "DEPTHWISE_CONV_2D", "AVERAGE_POOL_2D", "MAX_POOL_2D", "RESHAPE", "FULLY_CONNECTED", "SOFTMAX",
    "ADD", "MEAN",
}  # fmt: skip
DEMO = Path(__file__).resolve().parents[2] / "midge" / "demo"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("-o", "--output", type=Path, default=DEMO, help="folder to write to")
    parser.add_argument("--epochs", type=int, default=EPOCHS)
    args = parser.parse_args()

    tf.config.experimental.enable_op_determinism()
    keras.utils.set_random_seed(SEED)

    train_x, test_x, train_y, test_y = digits()
    model = build()
    fit(model, train_x, train_y, args.epochs)
    content = quantise(model, train_x)
    check_operators(content)

    quantised_x = to_int8(test_x, content)
    print(f"parameters            {model.count_params()}")
    print(f"float accuracy        {accuracy(model.predict(test_x, verbose=0), test_y):.4f}")
    print(f"int8 accuracy         {accuracy(infer(content, quantised_x), test_y):.4f} on {len(test_y)} test images")
    print(f"size of digits.tflite {len(content)} bytes")
    args.output.mkdir(parents=True, exist_ok=True)
    (args.output / "digits.tflite").write_bytes(content)
    np.savez_compressed(args.output / "digits_test.npz", images=quantised_x, labels=test_y.astype(np.int32))


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    """scikit-learn's 1797 digits of 8x8 pixels, scaled to 0…1: training and test images, then their labels."""
    pixels, labels = load_digits(return_X_y=True)
    images = (pixels / PIXEL_MAX).astype(np.float32).reshape(-1, 8, 8, 1)
    parts = train_test_split(images, labels, test_size=TEST_IMAGES, random_state=SEED, stratify=labels)
    train_x, test_x, train_y, test_y = (np.asarray(part) for part in parts)
    return train_x, test_x, train_y, test_y


def build() -> keras.Model:
    """A small network of the kind that microcontrollers run: convolution, two separable blocks, pooling, dense."""
    image = keras.Input((8, 8, 1), batch_size=None, name="image")
    x = convolution(image, 16, layers.Conv2D(16, 3, padding="same", use_bias=False))
    x = separable(x, 24)
    x = layers.MaxPooling2D(2)(x)
    x = separable(x, 48)
    x = layers.AveragePooling2D(4)(x)
    x = layers.Flatten()(x)
    x = layers.Dropout(0.2, seed=SEED)(x)
    return keras.Model(image, layers.Dense(10, activation="softmax", name="digit")(x), name="digits")


def separable(x: keras.KerasTensor, filters: int) -> keras.KerasTensor:
    x = convolution(x, filters, layers.DepthwiseConv2D(3, padding="same", use_bias=False))
    return convolution(x, filters, layers.Conv2D(filters, 1, use_bias=False))


def convolution(x: keras.KerasTensor, filters: int, layer: keras.Layer) -> keras.KerasTensor:
    """A convolution with its normalisation, which the converter folds into weights and bias."""
    return layers.ReLU()(layers.BatchNormalization()(layer(x)))


def fit(model: keras.Model, images: np.ndarray, labels: np.ndarray, epochs: int) -> None:
    """Trains on images shifted by up to a pixel, another shift in every epoch; the learning rate falls as a cosine."""
    steps = epochs * -(-len(images) // BATCH)
    rate = keras.optimizers.schedules.CosineDecay(3e-3, steps)
    model.compile(optimizer=keras.optimizers.Adam(rate), loss="sparse_categorical_crossentropy", metrics=["accuracy"])
    random = np.random.default_rng(SEED)
    for epoch in range(epochs):
        order = random.permutation(len(images))
        history = model.fit(shifted(images[order], random), labels[order], batch_size=BATCH, shuffle=False, verbose=0)
        if (epoch + 1) % 10 == 0:
            print(f"epoch {epoch + 1:3d}  training accuracy {history.history['accuracy'][0]:.4f}")


def shifted(images: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """Each image moved by -1, 0 or 1 pixels in both directions; the border is background."""
    padded = np.pad(images, ((0, 0), (1, 1), (1, 1), (0, 0)))
    moves = random.integers(0, 3, (len(images), 2))
    return np.stack([padded[i, y : y + 8, x : x + 8] for i, (y, x) in enumerate(moves)])


def quantise(model: keras.Model, images: np.ndarray) -> bytes:
    """The model as a .tflite file with int8 weights, activations, input and output, for a batch of exactly one."""

    image = keras.Input(batch_shape=(1, 8, 8, 1), name="image")
    converter = tf.lite.TFLiteConverter.from_keras_model(keras.Model(image, model(image, training=False)))
    converter.optimizations = [tf.lite.Optimize.DEFAULT]
    converter.representative_dataset = lambda: ([image[np.newaxis]] for image in images)
    converter.target_spec.supported_ops = [tf.lite.OpsSet.TFLITE_BUILTINS_INT8]
    converter.inference_input_type = tf.int8
    converter.inference_output_type = tf.int8
    # One scale for the dense layer's weights, as the LiteRT quantisation specification has it.
    converter._experimental_disable_per_channel_quantization_for_dense_layers = True
    return converter.convert()


def check_operators(content: bytes) -> None:
    """Stops where the file has an operator that a fixed batch should have made needless, such as SHAPE or PACK."""
    names = {value: name for name, value in vars(tflite.BuiltinOperator).items() if isinstance(value, int)}
    model: Any = tflite.Model.GetRootAs(content)
    graph = model.Subgraphs(0)
    operators = [graph.Operators(index) for index in range(graph.OperatorsLength())]
    used = [names[model.OperatorCodes(operator.OpcodeIndex()).BuiltinCode()] for operator in operators]
    print("operators            ", " ".join(used))
    if unexpected := set(used) - ALLOWED_OPERATORS:
        raise SystemExit(f"unexpected operators in the converted model: {', '.join(sorted(unexpected))}")


def to_int8(images: np.ndarray, content: bytes) -> np.ndarray:
    """Images in the integers of the model's input."""
    scale, zero_point = Interpreter(model_content=content).get_input_details()[0]["quantization"]
    return np.clip(np.round(images / scale) + zero_point, -128, 127).astype(np.int8)


def infer(content: bytes, images: np.ndarray) -> np.ndarray:
    """The model's int8 outputs, computed by LiteRT's reference kernels."""
    interpreter = Interpreter(model_content=content, experimental_op_resolver_type=OpResolverType.BUILTIN_REF)
    interpreter.allocate_tensors()
    source, result = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    outputs = []
    for image in images:
        interpreter.set_tensor(source, image[np.newaxis])
        interpreter.invoke()
        outputs.append(interpreter.get_tensor(result)[0])
    return np.stack(outputs)


def accuracy(scores: np.ndarray, labels: np.ndarray) -> float:
    return float(np.mean(np.argmax(scores, axis=1) == labels))


if __name__ == "__main__":
    main()
