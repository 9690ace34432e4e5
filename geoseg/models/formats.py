"""Formats that models are written in for other programs: each writes files, and runs them again from disk."""

import io
import sys
import warnings
from collections.abc import Callable
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from geoseg.errors import ModelError, one_line
from geoseg.models.deepness import with_metadata
from geoseg.models.engines import engine_of, runner_of
from geoseg.models.graphs import INPUT, write_graph
from geoseg.models.int8_network import RUNTIME_OPTIONS
from geoseg.models.openvino_runtime import openvino
from geoseg.registry import Registry

OUTPUT = "probabilities"
Arrays = NDArray[np.float32]
Run = Callable[[Arrays], Arrays]
"""Reflectance (1, band, size, size) to probabilities (1, class, size, size)."""


@dataclass(frozen=True)
class Deployable:
    """What is written."""

    module: nn.Module
    """From reflectance to probabilities, on the CPU."""
    n_bands: int
    size: int
    metadata: dict[str, str]
    """For formats that can hold it."""

    @property
    def zeros(self) -> torch.Tensor:
        """A tile to trace with."""
        return torch.zeros(1, self.n_bands, self.size, self.size)


@dataclass(frozen=True)
class Format:
    """One way to write a network."""

    suffix: str
    framework: str
    """As ``mlm:framework`` of the item."""
    has_int8: bool
    why_not: Callable[[], str | None]
    """Why it cannot be written or checked here, as the end of a sentence; None where it can."""
    write: Callable[[Deployable, Path], None]
    load: Callable[[Path], Run]


FORMATS: Registry[Format] = Registry("format", ModelError)
"""By the name that ``--format`` takes."""


def _needs(package: str, extra: str) -> Callable[[], str | None]:
    return lambda: None if find_spec(package) else f"needs {package}: pip install 'geoseg[{extra}]'"


def _write_onnx(what: Deployable, path: Path) -> None:
    memory = io.BytesIO()
    write_graph(what.module, memory, n_bands=what.n_bands, size=what.size, output=OUTPUT)
    path.write_bytes(with_metadata(memory.getvalue(), what.metadata))


def _load_onnx(path: Path) -> Run:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.log_severity_level = 3
    for key, value in RUNTIME_OPTIONS.items():
        options.add_session_config_entry(key, value)
    session = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    return lambda pixels: session.run([OUTPUT], {INPUT: pixels})[0]


def _write_openvino(what: Deployable, path: Path) -> None:
    ov = openvino()
    memory = io.BytesIO()
    write_graph(what.module, memory, n_bands=what.n_bands, size=what.size, output=OUTPUT)
    network = ov.Core().read_model(memory.getvalue(), b"")
    for key, value in what.metadata.items():
        network.set_rt_info(value, ["model_info", key])
    ov.save_model(network, path, compress_to_fp16=False)


def _load_openvino(path: Path) -> Run:
    ov = openvino()
    compiled = ov.Core().compile_model(path, "CPU", {"INFERENCE_PRECISION_HINT": "f32"})
    return lambda pixels: np.array(compiled([pixels])[0])


def _write_exported(what: Deployable, path: Path) -> None:
    batch = torch.export.Dim.AUTO
    # Two tiles: a dimension of 1 counts as fixed.
    program = torch.export.export(what.module, (what.zeros.repeat(2, 1, 1, 1),), dynamic_shapes=({0: batch},))
    torch.export.save(program, path)


def _load_exported(path: Path) -> Run:
    module = torch.export.load(path).module()
    return lambda pixels: module(torch.from_numpy(pixels)).numpy()


def _write_script(what: Deployable, path: Path) -> None:
    traced: Any = torch.jit.trace(what.module, what.zeros, check_trace=False)  # type: ignore[no-untyped-call]
    torch.jit.freeze(traced).save(str(path))


def _load_script(path: Path) -> Run:
    module: Any = torch.jit.load(str(path), "cpu")  # type: ignore[no-untyped-call]
    return lambda pixels: module(torch.from_numpy(pixels)).numpy()


def _why_no_tensorrt() -> str | None:
    if not torch.cuda.is_available():
        return "is made and checked on the GPU that it is for: run this where there is one"
    return _needs("tensorrt", "tensorrt")()


def _write_tensorrt(what: Deployable, path: Path) -> None:
    memory = io.BytesIO()
    write_graph(what.module, memory, n_bands=what.n_bands, size=what.size, batch_size=1, output=OUTPUT)
    path.write_bytes(engine_of(memory.getvalue(), is_bf16=False))


def _load_tensorrt(path: Path) -> Run:
    run = runner_of(path.read_bytes(), OUTPUT)
    return lambda pixels: run(torch.from_numpy(pixels).cuda()).cpu().numpy()


def _why_no_coreml() -> str | None:
    if sys.platform != "darwin":
        return "can only be run, and so compared with torch, on macOS: run this there"
    return None if find_spec("coremltools") else "needs coremltools: pip install coremltools"


def _write_coreml(what: Deployable, path: Path) -> None:
    import coremltools as ct

    traced: Any = torch.jit.trace(what.module, what.zeros, check_trace=False)  # type: ignore[no-untyped-call]
    inputs = [ct.TensorType(name=INPUT, shape=tuple(what.zeros.shape))]
    outputs = [ct.TensorType(name=OUTPUT)]
    network = ct.convert(traced, inputs=inputs, outputs=outputs, compute_precision=ct.precision.FLOAT32)
    network.user_defined_metadata.update(what.metadata)
    network.save(str(path))


def _load_coreml(path: Path) -> Run:
    import coremltools as ct

    network = ct.models.MLModel(str(path))
    return lambda pixels: network.predict({INPUT: pixels})[OUTPUT]


def _here() -> None:
    return None


def written(form: Format, what: Deployable, path: Path) -> Run:
    """What runs the file that was just written.

    Raises:
        ModelError: it cannot be written or read again.
    """
    try:
        with torch.no_grad(), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # TorchScript is deprecated in torch, but wanted elsewhere
            form.write(what, path)
            return form.load(path)
    except ModelError:
        raise
    except Exception as error:  # each of these libraries has errors of its own
        raise ModelError(
            f"The network cannot be written as {path.suffix}: {one_line(error)[:300]}."
        ) from None


for _name, _form in {
    "onnx": Format(".onnx", "ONNX", True, _needs("onnxruntime", "onnx"), _write_onnx, _load_onnx),
    "openvino": Format(
        ".xml", "OpenVINO", True, _needs("openvino", "openvino"), _write_openvino, _load_openvino
    ),
    "torch-export": Format(".pt2", "pytorch", False, _here, _write_exported, _load_exported),
    "torchscript": Format(".pt", "pytorch", False, _here, _write_script, _load_script),
    "tensorrt": Format(".engine", "TensorRT", False, _why_no_tensorrt, _write_tensorrt, _load_tensorrt),
    "coreml": Format(".mlpackage", "CoreML", False, _why_no_coreml, _write_coreml, _load_coreml),
}.items():
    FORMATS.register(_name)(_form)
