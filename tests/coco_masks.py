"""COCO's run lengths the other way round: masks of runs, and runs as COCO writes them."""

from typing import Any

import numpy as np

from geoseg.evaluation.objects.rle import Rle


def decode_mask(rle: Rle) -> np.ndarray:
    """The mask (y, x) that the runs describe."""
    flat = np.repeat(np.arange(len(rle.counts)) % 2 == 1, rle.counts)
    return flat.reshape((rle.height, rle.width), order="F")


def write_coco(rle: Rle, *, compressed: bool = True) -> dict[str, Any]:
    """A mask for COCO's JSON, its counts as a string or, uncompressed, as a list."""
    counts = _text_of_counts(rle.counts) if compressed else rle.counts.tolist()
    return {"size": [rle.height, rle.width], "counts": counts}


def _text_of_counts(counts: np.ndarray) -> str:
    rest = counts.copy()
    rest[3:] -= counts[1:-2]
    codes = np.full((len(rest), 13), -1, np.int64)
    is_open = np.ones(len(rest), bool)
    for place in range(codes.shape[1]):
        code = rest & 31
        rest = rest >> 5
        goes_on = is_open & (rest != np.where(code & 16, -1, 0))
        codes[is_open, place] = (code + np.where(goes_on, 32, 0))[is_open]
        is_open = goes_on
    return bytes((codes[codes >= 0] + 48).astype(np.uint8)).decode()
