"""Pictures of how a training went."""

from pathlib import Path

import pandas as pd

_MEMBER = "member"


def write_curves(metrics: Path, path: Path) -> Path:
    """``curves.png`` of a ``metrics.csv``: loss, and mIoU and accuracy on the validation images, by epoch.

    Members of an ensemble are drawn one over the other.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    table = pd.read_csv(metrics)
    if _MEMBER not in table:
        table[_MEMBER] = ""
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    kept = []
    for n, (member, rows) in enumerate(table.groupby(_MEMBER)):
        epochs, color, of = rows["epoch"], f"C{n}", f" {member}" if member else ""
        left.plot(epochs, rows["loss"], color=color)
        right.plot(epochs, rows["val_miou"], color=color, label=f"mean IoU{of}")
        right.plot(epochs, rows["val_accuracy"], color=color, alpha=0.4, label=f"pixel accuracy{of}")
        kept.append(int(epochs[rows["val_miou"].idxmax()]))
        right.axvline(kept[-1], color=color, linewidth=0.8, linestyle="--")
    left.set(xlabel="epoch", ylabel="loss", title="learned from")
    numbers = ", ".join(map(str, kept))
    right.set(xlabel="epoch", title=f"validation; kept: epoch{'s' * (len(kept) > 1)} {numbers}", ylim=(0, 1))
    right.legend(loc="best", frameon=False, fontsize="small")
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.locator_params(axis="x", integer=True)
    figure.savefig(path, dpi=120)
    return path
