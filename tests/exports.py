# Copyright 2026 The polyaudio authors. All rights reserved.
# Licensed under the MIT License; see LICENSE.
"""Exports with small graphs made by hand, of which one can say what they answer."""

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest


RATE = 16000
HOP, FRAME = 160, 400
WINDOW = 16000 + FRAME - HOP  # a second of frames
ANSWER = 1600

DESCRIPTION: dict[str, Any] = {
    "format_version": 1,
    "format": "onnx",
    "precision": "float32",
    "input": "samples",
    "task": "clips",
    "model_type": "sslam",
    "sampling_rate": RATE,
    "labels": ["loud", "padded"],
    "problem_type": "multi_label_classification",
    "window": {"samples": WINDOW, "step": RATE, "margin": 0},
    "shortest": FRAME,
    "timeline": {"length": RATE, "size": WINDOW, "step": RATE // 2, "answer": RATE // 2, "cell": RATE // 2}
    | {"join": "fade"},
    "frame_hop": HOP,
    "event_rules": None,
    "embedding": None,
    "check": {},
}


def write_export(folder: Path, task: str = "clips", **changes: Any) -> str:
    """
    An export whose answer for the label `loud` is 10 times the mean of the absolute values of the samples, minus 1,
    and for `padded` 1 if there is masked padding. It answers for windows or for each `ANSWER` samples. An encoder
    gives these two as features.
    """
    onnx = pytest.importorskip("onnx", reason="onnx is not installed: pip install polyaudio[export]")
    folder.mkdir(parents=True, exist_ok=True)
    description = DESCRIPTION | {"task": task}
    if task == "frames":
        description["timeline"] = description["timeline"] | {"answer": ANSWER, "cell": ANSWER}
    if task == "encoder":
        description |= {"labels": [], "problem_type": None, "timeline": None}
        description["embedding"] = {"size": 2, "seconds_per_frame": ANSWER / RATE}
    (folder / "polyaudio_export.json").write_text(json.dumps(description | changes))
    onnx.save(_graph(task), folder / "model.onnx")
    return str(folder)


def _graph(task: str) -> Any:
    from onnx import TensorProto, helper, numpy_helper

    def constant(name: str, value: Any, dtype: type = np.float32) -> Any:
        return numpy_helper.from_array(np.array(value, dtype=dtype), name)

    node = helper.make_node
    whole = [
        node("Cast", ["attention_mask"], ["mask"], to=TensorProto.FLOAT),
        node("Abs", ["input_values"], ["size"]),
        node("ReduceSum", ["mask", "time"], ["own"], keepdims=1),
        node("ReduceSum", ["size", "time"], ["sum"], keepdims=1),
        node("Div", ["sum", "own"], ["mean"]),
        node("Mul", ["mean", "ten"], ["scaled"]),
        node("Sub", ["scaled", "one"], ["loud"]),
        node("ReduceMin", ["mask", "time"], ["all_own"], keepdims=1),
        node("Sub", ["one", "all_own"], ["padded"]),
        node("Concat", ["loud", "padded"], ["clip"], axis=1),
    ]
    along = [
        node("Unsqueeze", ["size", "channel"], ["channels"]),
        # A last answer for a part of the samples
        node("Conv", ["channels", "kernel"], ["means"], kernel_shape=[ANSWER], strides=[ANSWER], pads=[0, ANSWER - 1]),
        node("Sub", ["means", "one"], ["loud_frames"]),
        node("Mul", ["means", "zero"], ["nothing"]),
        node("Unsqueeze", ["padded", "channel"], ["padded_row"]),
        node("Add", ["nothing", "padded_row"], ["padded_frames"]),
        node("Concat", ["loud_frames", "padded_frames"], ["rows"], axis=1),
        node("Transpose", ["rows"], ["frames_of_clip"], perm=[0, 2, 1]),
    ]
    names = {"clips": {"clip": "logits"}, "frames": {"frames_of_clip": "logits"}}
    names["encoder"] = {"clip": "utterance", "frames_of_clip": "frames"}
    outputs = [node("Identity", [inner], [outer]) for inner, outer in names[task].items()]
    graph = helper.make_graph(
        [*whole, *along, *outputs],
        task,
        [
            helper.make_tensor_value_info("input_values", TensorProto.FLOAT, ["batch", "samples"]),
            helper.make_tensor_value_info("attention_mask", TensorProto.INT64, ["batch", "samples"]),
        ],
        [helper.make_tensor_value_info(name, TensorProto.FLOAT, None) for name in names[task].values()],
        [
            *(constant(name, [1], np.int64) for name in ("time", "channel")),
            *(constant(name, [number]) for name, number in {"zero": 0, "one": 1, "ten": 10}.items()),
            constant("kernel", np.full((1, 1, ANSWER), 10 / ANSWER)),
        ],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 18)], ir_version=10)
