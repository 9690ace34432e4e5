"""The variables of a TensorFlow SavedModel, without TensorFlow.

A tensor bundle is two files: ``variables.index``, a table from keys to where each tensor lies, and
``variables.data-00000-of-00001``, the tensors' bytes. Formats, as their own documents give them:

- table: LevelDB, doc/table_format.md; blocks may be compressed (snappy, format_description.txt)
- entries: tensorflow/core/protobuf/tensor_bundle.proto, in the protobuf wire format
- checksums: crc32c (RFC 3720, appendix B.4), masked as LevelDB does

Nothing in the files is executed, and no length is trusted before it was compared with what is there.
"""

import math
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from geoseg.errors import ModelError

_MAGIC = 0xDB4775248B80FB57
_FOOTER_BYTES = 48
_TRAILER_BYTES = 5
"""Behind each block: one byte for its compression, four for its checksum."""
_PLAIN, _SNAPPY = 0, 1
_FLOAT = 1
"""DT_FLOAT of tensorflow/core/framework/types.proto."""
_CRC_MASK = 0xA282EAD8


class _Bytes:
    """Bytes that are read from the front; reading beyond the end is a ModelError."""

    def __init__(self, data: bytes) -> None:
        self._data, self._at = data, 0

    def __len__(self) -> int:
        return len(self._data) - self._at

    def take(self, n: int) -> bytes:
        if not 0 <= n <= len(self):
            raise _broken(f"{n} bytes are announced where {len(self)} are left")
        self._at += n
        return self._data[self._at - n : self._at]

    def uint(self, n: int) -> int:
        return int.from_bytes(self.take(n), "little")

    def varint(self) -> int:
        value = 0
        for shift in range(0, 64, 7):
            byte = self.uint(1)
            value |= (byte & 0x7F) << shift
            if byte < 0x80:
                return value
        raise _broken("a number has more than 64 bits")


@dataclass(frozen=True)
class _Entry:
    """Where a tensor lies; BundleEntryProto."""

    dtype: int
    shape: tuple[int, ...]
    offset: int
    size: int
    crc32c: int


def read_variables(index: bytes, data: bytes) -> dict[str, NDArray[np.float32]]:
    """The float variables of a SavedModel by their keys, such as ``variables/0/.ATTRIBUTES/VARIABLE_VALUE``.

    Args:
        index: the contents of ``variables.index``.
        data: the contents of ``variables.data-00000-of-00001``, the only shard.

    Raises:
        ModelError: the files are damaged, do not belong together, or use what is not read here (several
            shards, big-endian numbers).
    """
    table = dict(_table(index))
    _check_header(table.pop(b"", b""))
    entries = {key.decode("utf-8", "replace"): _entry(value) for key, value in table.items()}
    return {key: _floats(entry, data, key) for key, entry in entries.items() if entry.dtype == _FLOAT}


# --- the table -----------------------------------------------------------------------------------


def _table(file: bytes) -> Iterator[tuple[bytes, bytes]]:
    if len(file) < _FOOTER_BYTES or int.from_bytes(file[-8:], "little") != _MAGIC:
        raise _broken("variables.index does not end as a table of LevelDB does")
    footer = _Bytes(file[-_FOOTER_BYTES:])
    _handle(footer)  # of the meta blocks, which a bundle has no use for
    for _, handle in _block(file, *_handle(footer)):
        yield from _block(file, *_handle(_Bytes(handle)))


def _handle(source: _Bytes) -> tuple[int, int]:
    """Offset and size of a block."""
    return source.varint(), source.varint()


def _block(file: bytes, offset: int, size: int) -> Iterator[tuple[bytes, bytes]]:
    """Keys and values of one block; of a key only what differs from the one before is stored."""
    content = _content(file, offset, size)
    n_restarts = int.from_bytes(content[-4:], "little")
    rest = _Bytes(_Bytes(content).take(len(content) - 4 * (n_restarts + 1)))
    key = b""
    while len(rest):
        n_shared, n_own, n_value = rest.varint(), rest.varint(), rest.varint()
        if n_shared > len(key):
            raise _broken("a key repeats more than the one before it has")
        key = key[:n_shared] + rest.take(n_own)
        yield key, rest.take(n_value)


def _content(file: bytes, offset: int, size: int) -> bytes:
    stored = _Bytes(file[offset : offset + size + _TRAILER_BYTES])
    block = stored.take(size + 1)
    _check_crc32c(block, stored.uint(4), "a block of variables.index")
    if block[-1] not in (_PLAIN, _SNAPPY):
        raise _broken(f"a block is compressed in a way (type {block[-1]}) that is not read here")
    return _uncompressed(block[:-1]) if block[-1] == _SNAPPY else block[:-1]


def _uncompressed(packed: bytes) -> bytes:
    """Snappy: literals, and copies of what came out already."""
    rest, out = _Bytes(packed), bytearray()
    n_bytes = rest.varint()
    while len(rest):
        tag = rest.uint(1)
        kind, length = tag & 3, tag >> 2
        if kind == 0:
            out += rest.take(1 + (length if length < 60 else rest.uint(length - 59)))
            continue
        if kind == 1:
            length, back = 4 + (length & 7), (tag >> 5) << 8 | rest.uint(1)
        else:
            length, back = 1 + length, rest.uint(2 if kind == 2 else 4)
        if not 0 < back <= len(out):
            raise _broken("a compressed block copies from before its start")
        for _ in range(length):  # byte by byte: a copy may run into what it writes
            out.append(out[-back])
    if len(out) != n_bytes:
        raise _broken(f"a block has {len(out)} bytes where {n_bytes} are announced")
    return bytes(out)


# --- the entries ---------------------------------------------------------------------------------


def _fields(message: bytes) -> tuple[dict[int, int], dict[int, list[bytes]]]:
    """Numbers and byte strings of a protobuf message by field; of a repeated number the last."""
    rest = _Bytes(message)
    numbers: dict[int, int] = {}
    parts: dict[int, list[bytes]] = {}
    while len(rest):
        field, wire_type = divmod(rest.varint(), 8)
        if wire_type == 2:
            parts.setdefault(field, []).append(rest.take(rest.varint()))
        elif wire_type in (0, 1, 5):
            numbers[field] = rest.varint() if wire_type == 0 else rest.uint(8 if wire_type == 1 else 4)
        else:
            raise _broken(f"a message has a field of wire type {wire_type}")
    return numbers, parts


def _check_header(message: bytes) -> None:
    """BundleHeaderProto: one shard (field 1), little-endian (field 2, 0)."""
    numbers, _ = _fields(message)
    if numbers.get(1) != 1 or numbers.get(2, 0) != 0:
        raise _broken("only bundles of one shard with little-endian numbers are read here")


def _entry(message: bytes) -> _Entry:
    numbers, parts = _fields(message)
    dims = [dim for shape in parts.get(2, []) for dim in _fields(shape)[1].get(2, [])]
    return _Entry(
        dtype=numbers.get(1, 0),
        shape=tuple(_fields(dim)[0].get(1, 0) for dim in dims),
        offset=numbers.get(4, 0),
        size=numbers.get(5, 0),
        crc32c=numbers.get(6, 0),
    )


# --- the tensors ---------------------------------------------------------------------------------


def _floats(entry: _Entry, data: bytes, name: str) -> NDArray[np.float32]:
    if entry.size != 4 * math.prod(entry.shape):
        raise _broken(f"{name} has {entry.size} bytes for the shape {entry.shape}")
    stored = _Bytes(data[entry.offset : entry.offset + entry.size]).take(entry.size)
    _check_crc32c(stored, entry.crc32c, name)
    return np.frombuffer(stored, "<f4").astype(np.float32).reshape(entry.shape)


# --- checksums -----------------------------------------------------------------------------------


def _crc32c_of_byte(byte: int) -> int:
    for _ in range(8):
        byte = byte >> 1 ^ (0x82F63B78 if byte & 1 else 0)
    return byte


_CRC32C_TABLE = tuple(_crc32c_of_byte(byte) for byte in range(256))


def masked_crc32c(data: bytes) -> int:
    """The checksum of ``data`` as LevelDB and TensorFlow store it; about 0.1 s per megabyte.

    Example:
        >>> hex(masked_crc32c(b""))
        '0xa282ead8'
    """
    crc = 0xFFFFFFFF
    for byte in data:
        crc = _CRC32C_TABLE[(crc ^ byte) & 0xFF] ^ crc >> 8
    crc ^= 0xFFFFFFFF
    return ((crc >> 15 | crc << 17) + _CRC_MASK) & 0xFFFFFFFF


def _check_crc32c(data: bytes, expected: int, what: str) -> None:
    if masked_crc32c(data) != expected:
        raise _broken(f"the checksum of {what} is wrong")


def _broken(why: str) -> ModelError:
    return ModelError(f"The variables of the SavedModel cannot be read: {why}. Fetch its files again.")
