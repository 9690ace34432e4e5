"""ONNX, TorchScript and ``.pt2`` files from elsewhere, made into models of geoseg."""

import io
import warnings
from pathlib import Path
from typing import Any

import torch
from torch import nn

from geoseg.errors import ModelError, one_line
from geoseg.models.card import ModelCard
from geoseg.models.graphs import write_graph
from geoseg.models.import_card import ImportCard, card_of, completed, own_item, refuse_said
from geoseg.models.onnx_network import OnnxNetwork, Output, session_of
from geoseg.models.sample_tiles import sample_tiles
from geoseg.models.zoo import Model, prepare_model, ready

_SUM_TOLERANCE = 1e-2
_CONVERTED_TOLERANCE = 1e-3
_BINARY = 2


def import_model(path: Path, given: ImportCard, *, name: str, is_trusted: bool = False) -> Model:
    """A model of a file from elsewhere; :func:`geoseg.models.zoo.save_model` writes its folder.

    What the file says itself is taken first: the size of its graph, the metadata that Deepness reads, the
    card of a file that geoseg exported. Whether it gives logits or probabilities is found by running it on
    real pixels.

    Args:
        path: ``.onnx``, TorchScript (``.pt``, ``.pth``, ``.ts``) or ``.pt2``. The latter two are programs:
            they are run here once, to be converted to ONNX, which is what a model folder holds.
        given: what it does not say, or says wrongly.
        name: of the model.
        is_trusted: that a program may be run.

    Raises:
        ModelError: it cannot be read or is not trusted; or something is not known of it, and the message
            names the flag that tells it.
    """
    if not path.is_file():
        raise ModelError(f"There is no file {path}. Check the path.")
    if path.suffix == ".onnx":
        contents = path.read_bytes()
        session = session_of(contents)
        metadata = session.get_modelmeta().custom_metadata_map
        own = own_item(metadata)
        if own is not None:
            refuse_said(given)
        given = completed(given, metadata, session.get_inputs()[0].shape)
        card = card_of(given, own, name)
    else:
        given = completed(given, {}, [])
        card = card_of(given, None, name)
        contents = _converted(path, card, is_trusted=is_trusted)
    return _probed(card, given, contents)


def _probed(card: ModelCard, given: ImportCard, contents: bytes) -> Model:
    """The model, once its answer on real pixels has the form that the card promises."""
    network = _network(contents, given.layout or "nchw", given.output or "logits")
    tile = torch.from_numpy(sample_tiles(card, card.tile_size)[0])[None]
    raw = network.raw(ready(tile, card))
    n_classes, shape = len(card.legend.classes), tuple(raw.shape)
    if raw.ndim != 4 or shape[2:] != (card.tile_size, card.tile_size):
        raise ModelError(
            f"The file gives {list(shape)} for a tile of {card.tile_size}; expected a value of each class "
            "for each pixel. Export it before the argmax, and with the size of its input."
        )
    if shape[1] != n_classes and (shape[1], n_classes) != (1, _BINARY):
        raise ModelError(f"The file gives {shape[1]} classes, --classes names {n_classes}.")
    output = given.output or _output_of(raw)
    options = {"n_bytes": len(contents), "layout": given.layout or "nchw", "output": output}
    card = card.model_copy(update={"hyperparameters": options})
    return prepare_model(_network(contents, str(options["layout"]), output), card)


def _network(contents: bytes, layout: str, output: str) -> OnnxNetwork:
    network = OnnxNetwork(len(contents), layout=layout, output=output)  # type: ignore[arg-type]
    network.file = torch.frombuffer(bytearray(contents), dtype=torch.uint8)
    return network


def _output_of(raw: torch.Tensor) -> Output:
    """What the answers on real pixels look like."""
    is_share = bool(raw.min() >= 0) and bool(raw.max() <= 1)
    if raw.shape[1] == 1:
        return "probability" if is_share else "logit"
    if not is_share:
        return "logits"
    if float((raw.sum(1) - 1).abs().max()) < _SUM_TOLERANCE:
        return "probabilities"
    raise ModelError(
        "Its answers lie between 0 and 1 but do not add up to 1: say what they are, "
        "--output probabilities or --output logits."
    )


def _converted(path: Path, card: ModelCard, *, is_trusted: bool) -> bytes:
    """The ONNX file of a program, which says the same as it on a real tile."""
    if not is_trusted:
        raise ModelError(
            f"{path.name} holds a program, which runs here once to be converted to ONNX. Give --trust if you "
            "trust where it is from, or import an ONNX file, which is only data."
        )
    tile = ready(torch.from_numpy(sample_tiles(card, card.tile_size)[0])[None], card).contiguous()
    with warnings.catch_warnings(), torch.no_grad():
        warnings.simplefilter("ignore")  # TorchScript is deprecated
        try:
            module: Any = torch.export.load(path).module() if path.suffix == ".pt2" else _script(path)
            expected = module(tile)
        except Exception as error:  # whatever the program raises
            raise ModelError(f"{path} cannot be read or run: {one_line(error)[:300]}.") from None
        memory = io.BytesIO()
        write_graph(module, memory, n_bands=len(card.bands), size=card.tile_size, batch_size=1)
        found = _network(memory.getvalue(), "nchw", "logits").raw(tile)
    if not isinstance(expected, torch.Tensor) or expected.shape != found.shape:
        raise ModelError(f"{path} gives something else than one tensor: export it so that it gives one.")
    difference = float((found - expected).abs().max() / expected.abs().max().clamp_min(1))
    if not difference <= _CONVERTED_TOLERANCE:
        raise ModelError(
            f"{path} as ONNX says something else than before: off by {difference:.1e} of the largest."
        )
    return memory.getvalue()


def _script(path: Path) -> nn.Module:
    module: nn.Module = torch.jit.load(str(path), "cpu")  # type: ignore[no-untyped-call]
    return module.eval()
