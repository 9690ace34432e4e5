"""Networks as ONNX graphs, by the exporter that needs no package besides torch."""

import copy
import io
import warnings
from pathlib import Path

import torch
from torch import nn

from geoseg.errors import ModelError, one_line
from geoseg.models.ensemble import Ensemble
from geoseg.models.onnx_network import OnnxNetwork

OPSET = 17
INPUT, OUTPUT = "pixels", "logits"


def write_graph(
    module: nn.Module,
    target: Path | io.BytesIO,
    *,
    n_bands: int,
    size: int,
    batch_size: int | None = None,
    output: str = OUTPUT,
) -> None:
    """Write an ONNX graph from ``pixels`` (n, band, size, size) float32 to ``output`` (n, class, size, size).

    It is one file: weights lie in it, what is constant is computed, norms are folded into convolutions.

    Args:
        module: in evaluation mode, on the CPU; is not changed.
        target: a file to write or memory.
        n_bands: of its input.
        size: side of its input, which is fixed: constants of the size make graphs faster.
        batch_size: None for any.
        output: name of the output.

    Raises:
        ModelError: the network cannot be written as such a graph.
    """
    pixels = torch.zeros(batch_size or 1, n_bands, size, size)
    is_file = isinstance(target, Path)
    try:
        module = as_graph(module)  # from here on one copy is in memory, if the caller holds none
        with warnings.catch_warnings(), torch.no_grad():
            warnings.simplefilter("ignore")  # that this exporter is the older one
            torch.onnx.export(
                module,
                (pixels,),
                str(target) if is_file else target,  # type: ignore[arg-type]
                dynamo=False,
                opset_version=OPSET,
                input_names=[INPUT],
                output_names=[output],
                dynamic_axes=None if batch_size else {INPUT: {0: "n"}, output: {0: "n"}},
            )
    except (RuntimeError, torch.onnx.errors.OnnxExporterError) as error:
        raise ModelError(f"The network cannot be written as ONNX: {one_line(error)[:300]}.") from None


def graph_bytes(module: nn.Module, *, n_bands: int, size: int, batch_size: int | None = None) -> bytes:
    """What :func:`write_graph` writes.

    Raises:
        ModelError: see there.
    """
    memory = io.BytesIO()
    write_graph(module, memory, n_bands=n_bands, size=size, batch_size=batch_size)
    return memory.getvalue()


def as_graph(module: nn.Module) -> nn.Module:
    """A copy of the network whose graph every runtime reads alike.

    OpenVINO 2026.4 drops all axes at ReduceLogSumExp, so an ensemble spells it out; and the exporter asks for
    weights of norms that have none.
    """
    if any(isinstance(part, OnnxNetwork) for part in module.modules()):
        raise ModelError("An imported model is run by onnxruntime as it is, and is an ONNX file already.")
    module = copy.deepcopy(module)
    for norm in module.modules():
        if isinstance(norm, nn.BatchNorm2d) and not norm.affine:
            norm.weight = nn.Parameter(torch.ones(norm.num_features), requires_grad=False)
            norm.bias = nn.Parameter(torch.zeros(norm.num_features), requires_grad=False)
    for name, part in list(module.named_modules()):
        if isinstance(part, Ensemble):
            spelt = _SpeltEnsemble(list(part.members))
            if not name:
                return spelt.eval()
            module.set_submodule(name, spelt)
    return module.eval()


class _SpeltEnsemble(Ensemble):
    def combined(self, member_logits: torch.Tensor) -> torch.Tensor:
        logs = member_logits.log_softmax(2)
        largest = logs.amax(0)
        return (logs - largest).exp().sum(0).log() + largest
