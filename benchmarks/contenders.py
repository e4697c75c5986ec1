"""Who takes part: our ways to call, and the peers that are installed.

A contender is a function from a problem to a call without arguments, with all that can be prepared once
prepared. It raises `UnableError` with the reason where it cannot do the problem. What the call returns goes
through the function beside it, which makes it channels last.
"""

import functools
import importlib.metadata
import importlib.util
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
from problems import Problem

import triconv
from triconv.methods import METHODS

THREADS = triconv.get_num_threads()


class UnableError(Exception):
    """Why a contender cannot do a problem."""


@dataclass(frozen=True)
class Contender:
    """A way to compute a convolution."""

    name: str
    module: str
    package: str
    make: Callable[[Problem, np.ndarray, np.ndarray], tuple[Callable[[], Any], Callable[[Any], np.ndarray]]]
    task: str = "convolution"

    @property
    def installed(self):
        return importlib.util.find_spec(self.module) is not None

    @property
    def version(self):
        return importlib.metadata.version(self.package)

    def prepare(self, problem, x, weight):
        """A call, and its checked first result, channels last; `UnableError` where there is none."""
        if not self.installed:
            raise UnableError(f"{self.package} is not installed")
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # of packages that use each other's outdated names
            call, channels_last = self.make(problem, x, weight)
            return call, channels_last(call())


OURS: dict[str, Contender] = {}
PEERS: dict[str, Contender] = {}


def contender(registry, name, module="triconv", package=None, task="convolution"):
    """Enter a function into a registry."""

    def enter(make):
        registry[name] = Contender(name, module, package or module, make, task)
        return make

    return enter


def as_is(y):
    return y


def channels_first(a):
    return np.ascontiguousarray(np.moveaxis(a, -1, 1))


def check(problem, y, expected):
    """Refuse a wrong result: no figure of speed may come of one."""
    assert y.shape == expected.shape, f"{problem}: shape {y.shape}, not {expected.shape}"
    allowed = {"float32": 1e-4, "float64": 1e-11}[problem.dtype] * np.abs(expected).max()
    worst = np.abs(y - expected).max()
    assert worst <= allowed, f"{problem}: off by {worst:.2g}, {allowed:.2g} allowed"


# --- ours -------------------------------------------------------------------------------------------


def planned(problem, x, weight, method):
    made = triconv.plan(weight, x.shape, method=method, **problem.keywords)
    return lambda: made(x), as_is


for method in METHODS:
    contender(OURS, method)(functools.partial(planned, method=method))
contender(OURS, "triconv plan")(functools.partial(planned, method="auto"))


@contender(OURS, "triconv conv2d")
def unplanned(problem, x, weight):
    keywords = problem.keywords
    return lambda: triconv.conv2d(x, weight, **keywords), as_is


def gradient_of(problem, weight):
    """What comes back from the output: the same for all."""
    shape = (problem.batch, *problem.geometry.output_shape)
    return np.random.default_rng(1).standard_normal(shape).astype(weight.dtype)


@contender(OURS, "triconv conv2d_input_grad", task="inputs")
def input_grad(problem, x, weight):
    grad, keywords = gradient_of(problem, weight), problem.keywords
    return lambda: triconv.conv2d_input_grad(grad, weight, x.shape, **keywords), as_is


@contender(OURS, "triconv conv2d_weight_grad", task="weights")
def weight_grad(problem, x, weight):
    grad, keywords = gradient_of(problem, weight), problem.keywords
    return lambda: triconv.conv2d_weight_grad(grad, x, problem.kernel, **keywords), as_is


# --- frameworks -------------------------------------------------------------------------------------


def torch_call(problem, x, weight, memory_format):
    import torch

    torch.set_num_threads(THREADS)
    pads = problem.geometry.pads
    if any(before != after for before, after in pads):
        raise UnableError("pads both sides alike")
    x, weight = (
        torch.from_numpy(channels_first(a)).contiguous(memory_format=getattr(torch, memory_format))
        for a in (x, weight)
    )
    padding = tuple(before for before, _ in pads)

    def call():
        with torch.inference_mode():
            return torch.nn.functional.conv2d(
                x, weight, None, problem.stride, padding, problem.dilation, problem.groups
            )

    return call, lambda y: np.moveaxis(y.numpy(), 1, -1)


contender(PEERS, "PyTorch", "torch")(functools.partial(torch_call, memory_format="contiguous_format"))
contender(PEERS, "PyTorch channels last", "torch")(
    functools.partial(torch_call, memory_format="channels_last")
)


def torch_gradient(problem, x, weight, memory_format, task):
    import torch

    torch.set_num_threads(THREADS)
    pads = problem.geometry.pads
    grad, x, weight = (
        torch.from_numpy(channels_first(a)).contiguous(memory_format=getattr(torch, memory_format))
        for a in (gradient_of(problem, weight), x, weight)
    )
    settings = list(problem.stride), [before for before, _ in pads], list(problem.dilation)
    wanted = [task == "inputs", task == "weights", False]

    def call():
        return torch.ops.aten.convolution_backward(
            grad, x, weight, None, *settings, False, [0, 0], problem.groups, wanted
        )[wanted.index(True)]

    return call, lambda y: np.moveaxis(y.numpy(), 1, -1)


for task in ("inputs", "weights"):
    for title, memory_format in (("", "contiguous_format"), (" channels last", "channels_last")):
        make = functools.partial(torch_gradient, memory_format=memory_format, task=task)
        contender(PEERS, f"PyTorch{title}, gradient of {task}", "torch", task=task)(make)


def only_float32(problem):
    if problem.dtype != "float32":
        raise UnableError("computes in float32 only")


@contender(PEERS, "ONNX Runtime", "onnxruntime")
def onnx_runtime(problem, x, weight):
    only_float32(problem)
    if importlib.util.find_spec("onnx") is None:
        raise UnableError("onnx, which writes its model, is not installed")
    import onnxruntime
    from onnx import TensorProto, helper, numpy_helper

    x = channels_first(x)
    (top, bottom), (left, right) = problem.geometry.pads
    node = helper.make_node(
        "Conv",
        ["x", "weight"],
        ["y"],
        strides=problem.stride,
        pads=(top, left, bottom, right),
        dilations=problem.dilation,
        group=problem.groups,
    )
    graph = helper.make_graph(
        [node],
        "convolution",
        [helper.make_tensor_value_info("x", TensorProto.FLOAT, x.shape)],
        [helper.make_tensor_value_info("y", TensorProto.FLOAT, None)],
        [numpy_helper.from_array(channels_first(weight), "weight")],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = THREADS
    options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(
        model.SerializeToString(), options, providers=["CPUExecutionProvider"]
    )
    return lambda: session.run(None, {"x": x}), lambda y: np.moveaxis(y[0], 1, -1)


@contender(PEERS, "OpenVINO", "openvino")
def openvino(problem, x, weight):
    only_float32(problem)
    import openvino
    from openvino import opset13 as opset

    x, weight = channels_first(x), channels_first(weight)
    begin, end = zip(*problem.geometry.pads, strict=True)
    image = opset.parameter(x.shape, np.float32, name="x")
    settings = (list(problem.stride), list(begin), list(end), list(problem.dilation))
    if problem.groups == 1:
        node = opset.convolution(image, weight, *settings)
    else:
        grouped = weight.reshape(problem.groups, -1, *weight.shape[1:])
        node = opset.group_convolution(image, grouped, *settings)
    model = openvino.Model([node], [image], "convolution")
    config = {
        "INFERENCE_PRECISION_HINT": "f32",  # else a CPU with bfloat16 rounds to that
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": THREADS,
    }
    request = openvino.Core().compile_model(model, "CPU", config).create_infer_request()
    return (
        lambda: request.infer([x], share_inputs=True, share_outputs=True),
        lambda y: np.moveaxis(y[0].copy(), 1, -1),
    )


# --- image libraries: one channel in, one out, the output as large as the input -----------------------


def plane_by_plane(problem, x, weight, apply):
    """Filter each plane with a zero border, then keep the outputs that padding and stride ask for."""
    g = problem.geometry
    if g.group_channels != 1 or problem.batch != 1:
        raise UnableError("filters single channels")
    if g.dilation != (1, 1):
        raise UnableError("has no dilation")
    offsets = [k // 2 - before for k, (before, _) in zip(g.kernel_size, g.pads, strict=True)]
    ends = [k // 2 - after for k, (_, after) in zip(g.kernel_size, g.pads, strict=True)]
    if any(k % 2 == 0 for k in g.kernel_size) or min(offsets + ends) < 0:
        raise UnableError("takes odd kernels, and pads to the size of the input")
    planes = np.ascontiguousarray(np.moveaxis(x[0], -1, 0))
    shared = problem.filters // problem.groups
    pairs = [(planes[m // shared], np.ascontiguousarray(weight[m, :, :, 0])) for m in range(problem.filters)]
    keep = tuple(
        slice(first, size - last, step)
        for first, last, size, step in zip(offsets, ends, problem.size, g.stride, strict=True)
    )
    return (
        lambda: [apply(plane, kernel)[keep] for plane, kernel in pairs],
        lambda y: np.stack(y, axis=-1)[np.newaxis],
    )


@contender(PEERS, "OpenCV", "cv2", "opencv-python-headless")
def opencv(problem, x, weight):
    import cv2

    cv2.setNumThreads(THREADS)
    return plane_by_plane(
        problem,
        x,
        weight,
        lambda plane, kernel: cv2.filter2D(plane, -1, kernel, borderType=cv2.BORDER_CONSTANT),
    )


@contender(PEERS, "SciPy ndimage", "scipy")
def scipy_ndimage(problem, x, weight):
    from scipy import ndimage

    return plane_by_plane(
        problem, x, weight, lambda plane, kernel: ndimage.correlate(plane, kernel, mode="constant")
    )


@contender(PEERS, "SciPy signal", "scipy")
def scipy_signal(problem, x, weight):
    from scipy import signal

    return plane_by_plane(
        problem, x, weight, lambda plane, kernel: signal.correlate(plane, kernel, mode="same")
    )
