"""Networks from elsewhere: an ONNX file as the weights of a model folder.

The file is data for onnxruntime, not code for Python: nothing in it is executed but the operators of ONNX. It
lies in ``weights.safetensors`` as one tensor of bytes, so that the card's checksum, copies, calibrations and
ensembles are those of any other model.
"""

from typing import Any, Literal, get_args

import numpy as np
import torch
from torch import nn

from geoseg.errors import ModelError, one_line
from geoseg.models.card import ModelCard
from geoseg.models.hyperparameters import Option, options_of
from geoseg.models.zoo import register_family

FAMILY = "onnx"
Layout = Literal["nchw", "nhwc"]
Output = Literal["logits", "probabilities", "logit", "probability"]
"""What it gives: a value per class before or after softmax; or one layer, for the second of two classes,
before or after a sigmoid."""
OUTPUTS: tuple[Output, ...] = get_args(Output)
_DTYPES = {"tensor(float)": np.float32, "tensor(float16)": np.float16, "tensor(double)": np.float64,
           "tensor(uint8)": np.uint8, "tensor(uint16)": np.uint16}  # fmt: skip
PROVIDERS = {"cpu": "CPUExecutionProvider", "cuda": "CUDAExecutionProvider"}
"""What onnxruntime calls the devices."""
_DEFAULTS: dict[str, Option] = {"n_bytes": 0, "layout": "nchw", "output": "logits"}


class OnnxNetwork(nn.Module):
    """Runs an ONNX file in onnxruntime, on the processor that the pixels are on where it can."""

    file: torch.Tensor

    def __init__(self, n_bytes: int, *, layout: Layout, output: Output) -> None:
        super().__init__()
        self.register_buffer("file", torch.zeros(n_bytes, dtype=torch.uint8))
        self._layout, self._output = layout, output
        self._session: Any = None

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_session": None}  # a session cannot be copied

    def forward(self, pixels: torch.Tensor) -> torch.Tensor:
        """Normalised (n, band, y, x) to logits (n, class, y, x)."""
        found = self.raw(pixels).float()
        if self._output == "logits":
            return found
        tiny = torch.finfo(torch.float32).tiny
        if self._output == "probabilities":
            return found.clamp_min(tiny).log()
        if self._output == "logit":
            return torch.cat([torch.zeros_like(found), found], 1)
        return torch.cat([1 - found, found], 1).clamp_min(tiny).log()

    def raw(self, pixels: torch.Tensor) -> torch.Tensor:
        """What the file itself says, as (n, layer, y, x)."""
        if self._session is None:
            self._session = session_of(self.file.cpu().numpy().tobytes(), pixels.device)
        given = self._session.get_inputs()[0]
        layers = pixels.float().cpu().numpy()
        if self._layout == "nhwc":
            layers = layers.transpose(0, 2, 3, 1)
        layers = np.ascontiguousarray(layers.astype(_DTYPES[given.type], copy=False))
        at_a_time = given.shape[0] if isinstance(given.shape[0], int) else len(layers)
        name = self._session.get_outputs()[0].name
        try:
            parts = [
                self._session.run([name], {given.name: layers[n : n + at_a_time]})[0]
                for n in range(0, len(layers), at_a_time)
            ]
        except Exception as error:  # onnxruntime has a class for each kind, with no parent of its own
            raise ModelError(
                f"The ONNX file takes {given.shape}, got {list(layers.shape)}: {one_line(error)[:200]}."
            ) from None
        found = torch.from_numpy(np.concatenate(parts)).to(pixels.device)
        return found.permute(0, 3, 1, 2) if self._layout == "nhwc" else found


def session_of(contents: bytes, device: torch.device = torch.device("cpu")) -> Any:
    """A session of onnxruntime with as many threads as torch has.

    Raises:
        ModelError: onnxruntime is not installed, or cannot read the file.
    """
    try:
        import onnxruntime
    except ModuleNotFoundError:
        raise ModelError("Models from ONNX files need onnxruntime: pip install 'geoseg[onnx]'.") from None
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.log_severity_level = 3
    available = onnxruntime.get_available_providers()
    providers = [(name, own) for name, own in providers_for(device) if name in available]
    try:
        session = onnxruntime.InferenceSession(contents, options, providers=providers)
    except Exception as error:  # onnxruntime has a class for each kind, with no parent of its own
        raise ModelError(f"onnxruntime cannot read the ONNX file: {one_line(error)[:300]}.") from None
    if len(session.get_inputs()) != 1 or session.get_inputs()[0].type not in _DTYPES:
        given = ", ".join(f"{i.name} {i.type}" for i in session.get_inputs())
        raise ModelError(f"The ONNX file takes {given}; expected one input of numbers.")
    return session


def providers_for(device: torch.device) -> list[tuple[str, dict[str, str]]]:
    """What runs a session on that device, with its options: on a GPU float32 is not rounded to TF32."""
    on_cpu: tuple[str, dict[str, str]] = (PROVIDERS["cpu"], {})
    if device.type != "cuda":
        return [on_cpu]
    return [(PROVIDERS["cuda"], {"device_id": str(device.index or 0), "use_tf32": "0"}), on_cpu]


@register_family(FAMILY)
def onnx(card: ModelCard) -> nn.Module:
    """What ``geoseg models import`` makes. Hyperparameters: n_bytes, layout (nchw or nhwc), output."""
    options = options_of(card, _DEFAULTS)
    layout, output = str(options["layout"]), str(options["output"])
    if layout not in get_args(Layout) or output not in OUTPUTS:
        raise ModelError(f"{card.name}: layout {layout} or output {output} is unknown.")
    return OnnxNetwork(int(options["n_bytes"]), layout=layout, output=output)  # type: ignore[arg-type]
