"""Write the tiny networks that the tests run (needs TensorFlow; the files are kept, so tests do not).

    python tests/data/make_tiny_models.py tests/data

``tiny_audio.tflite``: int8 with a signature, a stream and a pedal output, shaped like a hearing network.
``tiny_video.tflite``: int8 without a signature, shaped like a seeing network.
``tiny_float.tflite``: float, which a runtime must refuse.
"""

import sys
from pathlib import Path

import numpy as np
import tensorflow as tf
from tensorflow.lite.tools import flatbuffer_utils

SEED = 7
CHANNELS = 6


def in_range(values):
    """Give ``values`` the one quantization that a stream needs at both of its ends."""
    return tf.quantization.fake_quant_with_min_max_args(values, -8, 8)


def audio(spectrum, past):
    """Convolve to one column per key, mix with the output of one and three steps ago."""
    rng = np.random.default_rng(SEED)
    columns = tf.nn.conv2d(spectrum, rng.normal(0, 0.01, (3, 3, 3, 8)).astype("f"), (1, 3, 3, 1), "VALID")
    joined = tf.concat([in_range(columns[:, :, :88]), in_range(past)], -1)
    keys = tf.nn.conv2d(joined, rng.normal(0, 0.5, (1, 1, 12, CHANNELS)).astype("f"), 1, "VALID")
    state = in_range(tf.nn.conv2d(joined, rng.normal(0, 0.5, (1, 1, 12, 2)).astype("f"), 1, "VALID"))
    pedal = tf.reshape(keys[:, :, :1, :1], (1, 1))
    return {"keys": keys, "state": state, "pedal": pedal}


def video(strip):
    """Convolve each block of 12 columns to one key."""
    rng = np.random.default_rng(SEED)
    blocks = tf.nn.conv2d(strip, rng.normal(0, 0.01, (48, 12, 6, 4)).astype("f"), (1, 48, 12, 1), "VALID")
    return tf.nn.conv2d(blocks, rng.normal(0, 0.5, (1, 1, 4, CHANNELS)).astype("f"), 1, "VALID")


def convert(function, shapes, *, signature=True, int8=True):
    """Return the flat buffer of ``function`` over inputs of ``shapes`` (name -> shape)."""
    specs = [tf.TensorSpec(shape, name=name) for name, shape in shapes.items()]
    concrete = tf.function(function, input_signature=specs).get_concrete_function()
    owner = [tf.Module()] if signature else []
    converter = tf.lite.TFLiteConverter.from_concrete_functions([concrete], *owner)
    if int8:
        rng = np.random.default_rng(SEED)

        def examples():
            for _ in range(8):
                example = {
                    name: rng.uniform(-128, 127, shape).astype("f") / (16 if name == "past" else 1)
                    for name, shape in shapes.items()
                }
                yield example if signature else list(example.values())

        converter.optimizations = [tf.lite.Optimize.DEFAULT]
        converter.representative_dataset = examples
        converter.inference_input_type = converter.inference_output_type = tf.int8
    return converter.convert()


def rename_outputs(buffer, names):
    """Return ``buffer`` with other names for its output tensors, in order."""
    model = flatbuffer_utils.convert_bytearray_to_object(bytearray(buffer))
    graph = model.subgraphs[0]
    for index, name in zip(graph.outputs, names, strict=True):
        graph.tensors[index].name = name.encode()
    return bytes(flatbuffer_utils.convert_object_to_bytearray(model))


def main(folder: Path) -> None:
    """Write the three files."""
    shapes = {"spectrum": (1, 3, 291, 3), "past": (1, 1, 88, 4)}
    (folder / "tiny_audio.tflite").write_bytes(convert(audio, shapes))
    (folder / "tiny_float.tflite").write_bytes(convert(audio, shapes, int8=False))
    strip = {"strip": (1, 48, 1056, 6)}
    (folder / "tiny_video.tflite").write_bytes(
        rename_outputs(convert(video, strip, signature=False), ["keys"])
    )


if __name__ == "__main__":
    main(Path(sys.argv[1]))
