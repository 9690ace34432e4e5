"""``geoseg train``: labelled images become a model."""

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from geoseg.training.callbacks import Epoch


def train(
    recipe: Annotated[
        str | None, typer.Argument(help="TOML file that says data, network, loss and how.")
    ] = None,
    auto: Annotated[
        Path | None,
        typer.Option(
            help="Look at the labelled images of this folder and write a recipe, with reasons; train nothing."
        ),
    ] = None,
    root: Annotated[
        Path | None, typer.Option(help="The folder of the images, instead of the recipe's.")
    ] = None,
    out: Annotated[Path | None, typer.Option(help="The new model folder; with --auto the recipe.")] = None,
    devices: Annotated[
        int | None,
        typer.Option(
            min=1, help="GPUs to train on, or processes where there are none; instead of the recipe's."
        ),
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with an interrupted training.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="Say warnings and errors only.")] = False,
) -> None:
    """Train a model on labelled images: a folder that predict, evaluate and calibrate take."""
    from geoseg.errors import TrainingError

    try:
        from geoseg.training.fitting import train as fit
    except ModuleNotFoundError as error:
        raise TrainingError(
            f"Training needs {error.name}, which is not installed: pip install 'geoseg[train]'."
        ) from None
    from geoseg.training.recipe import TrainRecipe

    if (recipe is None) == (auto is None):
        raise TrainingError("Give a recipe, or --auto FOLDER to have one written.")
    if auto is not None and (root is not None or devices is not None or resume):
        raise TrainingError("--auto writes a recipe: --root, --devices and --resume are for running one.")
    if auto is not None:
        _write_recipe(auto, out, is_quiet=quiet)
        return
    read = TrainRecipe.read(str(recipe))
    if root is not None:
        read = read.model_copy(update={"data": read.data.model_copy(update={"root": str(root)})})
    if devices is not None:
        read = read.model_copy(update={"fit": read.fit.model_copy(update={"devices": devices})})
    if out is not None:
        read = read.model_copy(update={"out": str(out)})

    table = _Table(is_quiet=quiet)
    folder = fit(read, resume=resume, on_epoch=table.add)
    if not quiet:
        typer.echo(f"{folder} holds the model; card.md says how good it is, curves.png how it went.")


def _write_recipe(folder: Path, out: Path | None, *, is_quiet: bool) -> None:
    from geoseg.errors import TrainingError
    from geoseg.training.auto import choose, memory_for_training, write_recipe
    from geoseg.training.fingerprint import fingerprint_of
    from geoseg.training.recipe import TrainRecipe

    if out is not None and out.exists():
        raise TrainingError(f"{out} exists already. Give another --out, or remove it.")
    found, benchmark, source = fingerprint_of(folder)
    memory_mb, has_gpu = memory_for_training()
    choices = choose(found, memory_mb=memory_mb, has_gpu=has_gpu)
    path = write_recipe(found, benchmark, source, choices, out or Path(f"train-{benchmark.name}.toml"))
    TrainRecipe.read(str(path))
    if not is_quiet:
        for c in choices:
            typer.echo(f"{c.table}.{c.key} = {c.value}: {c.why}", err=True)
        typer.echo(f"{path} is the recipe. Change what you know better, then: geoseg train {path}")


class _Table:
    """A row for each epoch as it ends: what it came to, how long the rest of this network will take, and
    whether it is the best so far.
    """

    def __init__(self, *, is_quiet: bool) -> None:
        self._is_quiet, self._model, self._since = is_quiet, "", time.monotonic()

    def add(self, epoch: "Epoch") -> None:
        """Print a row, the first one of a model below a heading."""
        if self._is_quiet:
            return
        if self._model != epoch.model:
            typer.echo(f"{epoch.model}\nepoch     loss  val mIoU  val accuracy      left", err=True)
            self._model = epoch.model
        now = time.monotonic()
        left_min = (now - self._since) * (epoch.n_epochs - epoch.number) / 60
        self._since = now
        at = f"{epoch.number}/{epoch.n_epochs}"
        scores = f"{epoch.loss:>6.3f}{epoch.val_miou:>10.1%}{epoch.val_accuracy:>14.1%}"
        typer.echo(f"{at:<8}{scores}{left_min:>6.0f} min{'  best' if epoch.is_best else ''}", err=True)
