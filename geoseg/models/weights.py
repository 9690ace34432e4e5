"""Weights that others publish: fetched once, checked, and kept as safetensors. Models reach the network here.

What is fetched stays in memory until its size and sha256 are those of the card's module; then it is converted
and written under a temporary name, so that the cache holds whole files only. The environment is read here:
``GEOSEG_<MODEL>_URL``, such as ``GEOSEG_DYNAMIC_WORLD_URL``, is another address for the files, as of a
mirror.
"""

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np
import requests
from numpy.typing import NDArray

from geoseg.errors import ModelError
from geoseg.files import cache_folder, sha256_of
from geoseg.models.card import WEIGHTS_NAME, ModelCard
from geoseg.redaction import redact

_TIMEOUT_S = 30
_PIECE_BYTES = 1 << 16
_SAFETENSORS_DTYPES = {"float32": "F32", "int64": "I64"}

Tensors = Mapping[str, NDArray[np.float32] | NDArray[np.int64]]


@dataclass(frozen=True)
class PublishedFile:
    """One file as its publisher put it up."""

    path: str
    """Below the address."""
    n_bytes: int
    sha256: str

    @property
    def name(self) -> str:
        """What it is called without its folders."""
        return PurePosixPath(self.path).name


@dataclass(frozen=True)
class PublishedWeights:
    """Where the weights of a built-in model are, and how to read them."""

    url: str
    """The address that the files' paths continue."""
    files: tuple[PublishedFile, ...]
    convert: Callable[[Mapping[str, bytes]], Tensors]
    """From the contents of the files by name to the ``state_dict`` of the network."""


def cached_weights(card: ModelCard, published: PublishedWeights) -> Path:
    """The folder of the cache that holds the card's ``weights.safetensors``; fetches them where it does not.

    Files of the publisher that lie in that folder already, put there by hand, are taken instead of the
    network.

    Raises:
        ModelError: the files cannot be fetched, or are not those that were published.
    """
    folder = cache_folder() / "models" / card.name
    path = folder / WEIGHTS_NAME
    if path.is_file() and sha256_of(path) == card.sha256:
        return folder
    contents = {file.name: _contents(file, card.name, published, folder) for file in published.files}
    weights = safetensors_bytes(published.convert(contents))
    found = hashlib.sha256(weights).hexdigest()
    if found != card.sha256:
        raise ModelError(
            f"The weights of {card.name} have sha256 {found[:12]}… as safetensors, its card says "
            f"{str(card.sha256)[:12]}…: they were converted wrongly. Please report this."
        )
    _write(path, weights)
    return folder


def safetensors_bytes(tensors: Tensors) -> bytes:
    """A safetensors file (github.com/huggingface/safetensors, README "Format") of tensors by name.

    The same tensors give the same bytes whatever version of the library is installed: a card holds their
    sha256.
    """
    header, parts, start = {}, [], 0
    for name, tensor in sorted(tensors.items()):
        part = tensor.astype(tensor.dtype.newbyteorder("<")).tobytes()
        header[name] = {
            "dtype": _SAFETENSORS_DTYPES[tensor.dtype.name],
            "shape": list(tensor.shape),
            "data_offsets": [start, start + len(part)],
        }
        parts.append(part)
        start += len(part)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return b"".join([len(text).to_bytes(8, "little"), text, *parts])


def _contents(file: PublishedFile, model: str, published: PublishedWeights, folder: Path) -> bytes:
    by_hand = folder / file.name
    if by_hand.is_file():
        contents, origin = by_hand.read_bytes(), str(by_hand)
    else:
        variable = f"GEOSEG_{model.upper().replace('-', '_').replace('.', '_')}_URL"
        origin = f"{(os.environ.get(variable) or published.url).rstrip('/')}/{file.path}"
        names = " and ".join(f.name for f in published.files)
        contents = _fetch(origin, file, f"put {names} into {folder}, or set {variable} to a mirror")
    found = hashlib.sha256(contents).hexdigest()
    if found != file.sha256:
        raise ModelError(
            f"{redact(origin)} has sha256 {found[:12]}…, expected {file.sha256[:12]}…: it is not the file "
            f"published for {model} at {published.url}/{file.path} and was not used."
        )
    return contents


def _fetch(url: str, file: PublishedFile, remedy: str) -> bytes:
    """At most one byte more than the file has, so that a wrong answer cannot fill the memory."""
    contents = bytearray()
    try:
        with requests.get(url, timeout=_TIMEOUT_S, stream=True) as response:
            response.raise_for_status()
            for piece in response.iter_content(_PIECE_BYTES):
                contents += piece
                if len(contents) > file.n_bytes:
                    break
    except requests.RequestException as error:
        raise ModelError(f"Cannot fetch {redact(url)}: {_reason(error)}. Offline, {remedy}.") from None
    if len(contents) < file.n_bytes:
        raise ModelError(
            f"{redact(url)} ended after {len(contents)} of {file.n_bytes} bytes. Try again, or {remedy}."
        )
    return bytes(contents[: file.n_bytes + 1])


def _reason(error: requests.RequestException) -> str:
    if error.response is not None:
        return f"the server answers {error.response.status_code} {error.response.reason}"
    if isinstance(error, requests.Timeout):
        return f"no answer within {_TIMEOUT_S} s"
    if isinstance(error, requests.exceptions.ChunkedEncodingError):
        return "the connection broke off"
    return f"no connection ({type(error).__name__})"


def _write(path: Path, contents: bytes) -> None:
    """All of the file or nothing, also when several processes write it at once."""
    temporary = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}-", delete=False) as file:
            temporary = Path(file.name)
            file.write(contents)
        temporary.replace(path)
    except OSError as error:
        raise ModelError(
            f"Cannot write {path}: {error.strerror or error}. Set XDG_CACHE_HOME to a writable folder."
        ) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)
