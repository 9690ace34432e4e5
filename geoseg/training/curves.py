"""Pictures of how a training went."""

from pathlib import Path

import pandas as pd


def write_curves(metrics: Path, path: Path) -> Path:
    """``curves.png`` of a ``metrics.csv``: loss, and mIoU and accuracy on the validation images, by epoch."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    table = pd.read_csv(metrics)
    figure = Figure(figsize=(9, 3.6), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2)
    epochs = table["epoch"]
    left.plot(epochs, table["loss"], color="#3b6f8f")
    left.set(xlabel="epoch", ylabel="loss", title="learned from")
    for name, label, color in (
        ("val_miou", "mean IoU", "#1f78b4"),
        ("val_accuracy", "pixel accuracy", "#8a8a8a"),
    ):
        right.plot(epochs, table[name], label=label, color=color)
    best = int(epochs[table["val_miou"].idxmax()])
    right.axvline(best, color="#d7191c", linewidth=0.8, linestyle="--")
    right.set(xlabel="epoch", title=f"validation; kept: epoch {best}", ylim=(0, 1))
    right.legend(loc="best", frameon=False)
    for axes in (left, right):
        axes.grid(alpha=0.25)
        axes.locator_params(axis="x", integer=True)
    figure.savefig(path, dpi=120)
    return path
