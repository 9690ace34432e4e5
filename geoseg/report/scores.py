"""``scores.json`` and ``scores.html`` of an evaluation."""

import io
from pathlib import Path
from typing import Any

import numpy as np
from markupsafe import Markup
from numpy.typing import NDArray
from PIL import Image

from geoseg.evaluation.confidence.reliability import Reliability
from geoseg.evaluation.intervals import Range
from geoseg.evaluation.scores import BOUNDARY_ORDER, Evaluation, Scores
from geoseg.evaluation.tally import CELL, summed
from geoseg.files import write_texts
from geoseg.report.html import data_url, page_environment

JSON_NAME, HTML_NAME = "scores.json", "scores.html"
WORDS = {
    "pixel_accuracy": "Pixel accuracy", "mean_accuracy": "Mean accuracy", "miou": "Mean IoU",
    "fwiou": "Frequency-weighted IoU", "dice": "Mean F1 (Dice)", "kappa": "Cohen's kappa",
    "boundary_miou": "Mean boundary IoU", "trimap_miou": "Mean trimap IoU",
}  # fmt: skip
"""What people call the overall scores."""
_MAP_CELLS, _MAP_PX = 360, 720
_SHADE = (59, 111, 143)
_NONE = (190, 190, 190)
_TILE_GAP = 4


def write_scores(evaluation: Evaluation, out: Path) -> None:
    """Both files, each whole; the JSON comes last.

    Raises:
        OutputError: the folder cannot be written.
    """
    write_texts(out, {HTML_NAME: render_scores(evaluation), JSON_NAME: evaluation.scores.to_json()})


def render_scores(evaluation: Evaluation) -> str:
    """The page: overall and per-class scores, of pixels or of objects, and where the errors are."""
    scores = evaluation.scores
    environment = page_environment()
    environment.filters["percent"] = _percent
    has_map = evaluation.compared.size > 0
    colors = np.array([tuple(bytes.fromhex(c.color)) for c in scores.classes], np.uint8)
    return environment.get_template("scores.html.j2").render(
        scores=scores,
        unit=evaluation.unit,
        figures=_figures(scores),
        has_outlines=scores.overall.get(BOUNDARY_ORDER[0]) is not None,
        has_unpredicted=any(scores.unpredicted),
        matrix=_matrix(scores),
        scale=_scale(),
        diagram=Markup(_diagram(scores.reliability)) if scores.reliability else "",  # noqa: S704
        error_map=data_url(_png(_error_map(evaluation))) if has_map else "",
        cell_px=CELL * _cells_together(evaluation),
        tiles=[
            {
                "src": data_url(_png(_side_by_side(case.prediction, case.reference, colors))),
                "name": case.name,
                "share": case.share_wrong,
            }
            for case in evaluation.cases
        ],
    )


def _figures(scores: Scores) -> list[dict[str, Any]]:
    """The scores that stand on top, each with its name and, where there is one, its interval."""
    if (objects := scores.objects) is not None:
        shares = [(found, name) for found in objects.found for name in ("f1", "precision", "recall")]
        figures = [
            _figure(
                f"{name.capitalize()} from IoU {found.iou:g}", getattr(found, name), found.intervals.get(name)
            )
            for found, name in shares
        ]
        aps = (("AP", objects.ap), ("AP50", objects.ap50), ("AP75", objects.ap75))
        return figures + [_figure(name, value) for name, value in aps if value is not None]
    if (masks := scores.instances) is not None:
        means = (("AP", masks.ap), ("AP50", masks.ap50), ("AP75", masks.ap75), ("Average recall", masks.ar))
        return [_figure(name, value) for name, value in means]
    if (panoptic := scores.panoptic) is not None:
        mean = panoptic.overall
        figures = [_figure(n.upper(), getattr(mean, n), mean.intervals.get(n)) for n in ("pq", "sq", "rq")]
        return [
            *figures,
            _figure("PQ of things", panoptic.things.pq),
            _figure("PQ of stuff", panoptic.stuff.pq),
        ]
    return [
        _figure(WORDS.get(name, name), value, scores.intervals.get(name))
        for name, value in scores.overall.items()
        if value is not None or name not in BOUNDARY_ORDER
    ]


def _figure(name: str, value: float | None, interval: Range | None = None) -> dict[str, Any]:
    return {"name": name, "value": value, "interval": interval}


def _side_by_side(
    prediction: NDArray[np.integer], reference: NDArray[np.integer], colors: NDArray[np.uint8]
) -> NDArray[np.uint8]:
    """(y, x, 3) prediction, reference and errors side by side.

    Args:
        prediction: (y, x) class indices; others have no class.
        reference: (y, x) class indices; others are not compared.
        colors: (class, 3) RGB.
    """
    palette = np.vstack([colors, [[255, 255, 255]]]).astype(np.uint8)
    n = len(colors)
    left, middle = (palette[np.minimum(layer, n)] for layer in (prediction, reference))
    errors = np.full((*prediction.shape, 3), 235, np.uint8)
    errors[reference >= n] = 255
    errors[(reference < n) & (prediction != reference)] = (200, 20, 30)
    gap = np.full((prediction.shape[0], _TILE_GAP, 3), 255, np.uint8)
    return np.concatenate([left, gap, middle, gap, errors], axis=1)


def _matrix(scores: Scores) -> list[dict[str, Any]]:
    rows = []
    has_unpredicted = any(scores.unpredicted)
    for n, c in enumerate(scores.classes):
        counts = [*scores.confusion[n], *([scores.unpredicted[n]] if has_unpredicted else [])]
        total = sum(counts)
        cells = [
            {"count": v, "shade": _shade(v / total) if v and total else "", "is_right": k == n}
            for k, v in enumerate(counts)
        ]
        rows.append({"name": c.class_name, "cells": cells})
    return rows


def _shade(share: float) -> str:
    return ",".join(str(round(255 + (c - 255) * 0.75 * share)) for c in _SHADE)


def _diagram(reliability: Reliability) -> str:
    """SVG bars of accuracy over confidence, as wide as there are pixels, and the line of honesty."""
    side, margin = 260, 34
    most = max(b.n for b in reliability.diagram) or 1
    parts = [
        f'<svg viewBox="0 0 {side + 2 * margin} {side + 2 * margin}" role="img" '
        'aria-label="Accuracy over confidence">',
        f'<rect x="{margin}" y="{margin}" width="{side}" height="{side}" fill="none" stroke="var(--line)"/>',
    ]
    for b in reliability.diagram:
        if b.accuracy is None:
            continue
        full = (b.high - b.low) * side
        width = full * (0.15 + 0.75 * (b.n / most) ** 0.5)
        x = margin + b.low * side + (full - width) / 2
        height = b.accuracy * side
        parts.append(
            f'<rect x="{x:.1f}" y="{margin + side - height:.1f}" width="{width:.1f}" height="{height:.1f}" '
            f'fill="var(--bar)"><title>{b.n:,} pixels: {b.accuracy:.1%} right</title></rect>'
        )
    low, high = margin, margin + side
    parts.append(
        f'<line x1="{low}" y1="{high}" x2="{high}" y2="{low}" stroke="var(--ink)" stroke-dasharray="4"/>'
    )
    for share in (0, 0.5, 1):
        at = share * side
        parts.append(f'<text x="{low + at:.0f}" y="{high + 16}" text-anchor="middle">{share:.0%}</text>')
        parts.append(f'<text x="{low - 5}" y="{high - at + 4:.0f}" text-anchor="end">{share:.0%}</text>')
    parts.append(f'<text x="{low + side / 2}" y="{high + 31}" text-anchor="middle">confidence</text>')
    parts.append(f'<text x="{low}" y="{low - 10}">right</text></svg>')
    return "".join(parts)


def _cells_together(evaluation: Evaluation) -> int:
    return -(-int(max(evaluation.wrong.shape)) // _MAP_CELLS)


def _error_map(evaluation: Evaluation) -> NDArray[np.uint8]:
    n = _cells_together(evaluation)
    wrong, compared = summed(evaluation.wrong, n), summed(evaluation.compared, n)
    share = wrong / np.maximum(compared, 1)
    picture = np.where(compared[..., None] > 0, _reds(share), _NONE).astype(np.uint8)
    zoom = max(1, _MAP_PX // max(picture.shape[:2]))
    return picture.repeat(zoom, 0).repeat(zoom, 1)


def _reds(share: NDArray[np.float64]) -> NDArray[np.float64]:
    """White for 0, dark red for 1."""
    return np.stack([255 - 100 * share, 255 - 245 * share**0.7, 255 - 235 * share**0.7], axis=-1)


def _scale() -> str:
    """The colours of the error map as stops of a CSS gradient."""
    return ", ".join(f"rgb({r:.0f} {g:.0f} {b:.0f})" for r, g, b in _reds(np.linspace(0, 1, 9)))


def _png(picture: NDArray[np.uint8]) -> bytes:
    sink = io.BytesIO()
    Image.fromarray(picture).save(sink, format="PNG", optimize=True)
    return sink.getvalue()


def _percent(value: float | None) -> str:
    return "–" if value is None else f"{100 * value:.1f} %"
