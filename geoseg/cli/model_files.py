"""``geoseg models export`` and ``import``: files for and from other programs."""

import re
from pathlib import Path
from typing import Annotated

import typer

_LIST = re.compile(r"\s*,\s*")


def export_model(
    model: Annotated[str, typer.Argument(help="Name of a built-in model, or a folder.")],
    format: Annotated[
        str, typer.Option(help="onnx, openvino, torch-export, torchscript, tensorrt or coreml.")
    ],
    out: Annotated[Path, typer.Option(help="The new file.")],
    precision: Annotated[str, typer.Option(help="float32 or int8.")] = "float32",
    tile_size: Annotated[int | None, typer.Option(help="Side of its input; default: the card's.")] = None,
    scale: Annotated[
        float, typer.Option(help="For Deepness: number in the QGIS layer * scale + offset = reflectance.")
    ] = 1e-4,
    offset: Annotated[float, typer.Option(help="See --scale.")] = 0.0,
) -> None:
    """Write a model as one file that takes reflectance and gives probabilities, for other programs.

    The file is run again and compared with torch on the sample scenes before it gets its name. ONNX files
    hold the metadata that the QGIS plugin Deepness reads. Beside the file lies its STAC MLM item.
    """
    from geoseg.errors import RecipeError
    from geoseg.models.exporting import LEAST_ALIKE, export, int8_of_folder
    from geoseg.models.zoo import create_model

    if precision not in LEAST_ALIKE:
        raise RecipeError(f"--precision {precision} is unknown. Give float32 or int8.")
    if scale <= 0:
        raise RecipeError(f"--scale {scale:g} must be above 0.")
    loaded = create_model(model)
    ranges = int8_of_folder(model, loaded.card) if precision == "int8" else None
    found = export(
        loaded,
        out,
        format=format,
        precision=precision,
        tile_size=tile_size,
        scale=scale,
        offset=offset,
        int8=ranges,
    )
    typer.echo(found.text())


def import_file(
    file: Annotated[Path, typer.Argument(help="ONNX (.onnx), TorchScript (.pt) or torch.export (.pt2).")],
    out: Annotated[Path, typer.Option(help="The new model folder.")],
    card: Annotated[
        Path | None, typer.Option(help="TOML file with these options as keys, - being _, and gsd_m.")
    ] = None,
    bands: Annotated[
        str | None, typer.Option(help="Common names in the order of the input: blue,green.")
    ] = None,
    classes: Annotated[
        str | None, typer.Option(help="Names in the order of the output: land,water or land=B2DF8A,...")
    ] = None,
    mean: Annotated[str | None, typer.Option(help="Per band, or one for all.")] = None,
    std: Annotated[str | None, typer.Option(help="Per band, or one for all.")] = None,
    scale: Annotated[
        float | None, typer.Option(help="Reflectance = number it learned from * scale: 0.0001, 1 ...")
    ] = None,
    gsd: Annotated[float | None, typer.Option(help="The pixel size it is best at, metres.")] = None,
    tile_size: Annotated[
        int | None, typer.Option(help="Side of its input, where the file takes any.")
    ] = None,
    halo: Annotated[
        int | None, typer.Option(help="Margin that it predicts poorly; default: an eighth.")
    ] = None,
    layout: Annotated[str | None, typer.Option(help="nchw or nhwc, where the file does not show it.")] = None,
    output: Annotated[
        str | None, typer.Option(help="logits, probabilities, logit or probability, if not to be found out.")
    ] = None,
    license: Annotated[str | None, typer.Option(help="SPDX identifier of the weights' licence.")] = None,
    trust: Annotated[
        bool, typer.Option("--trust", help="Run TorchScript or .pt2, which are programs.")
    ] = False,
) -> None:
    """Make a model folder of a network from elsewhere, for [bold]--model[/bold]."""
    from geoseg.models.folders import make_folder, refuse_existing
    from geoseg.models.import_card import read_import_card
    from geoseg.models.importing import import_model
    from geoseg.models.zoo import save_model

    refuse_existing(out)
    flags = {
        "bands": _split(bands), "classes": _classes(classes), "mean": _split(mean), "std": _split(std),
        "scale": scale, "gsd_m": gsd, "tile_size": tile_size, "halo": halo, "layout": layout,
        "output": output, "license": license,
    }  # fmt: skip
    name = re.sub("[^a-z0-9._-]+", "-", out.name.lower()).strip("-._") or "imported"
    model = import_model(file, read_import_card(card, flags), name=name, is_trusted=trust)
    make_folder(out, lambda folder: save_model(model, folder))
    made, how = model.card, model.card.hyperparameters
    typer.echo(
        f"{out} takes {', '.join(made.bands)} in tiles of {made.tile_size} and gives {how['output']} of "
        f"{', '.join(c.name for c in made.legend.classes)}. Try it: geoseg predict --model {out}"
    )


def _split(text: str | None) -> list[str] | None:
    return None if text is None else _LIST.split(text.strip())


def _classes(text: str | None) -> list[str] | dict[str, str] | None:
    parts = _split(text)
    if parts is None or not all("=" in part for part in parts):
        return parts
    return {name.strip(): color.strip() for name, _, color in (part.partition("=") for part in parts)}
