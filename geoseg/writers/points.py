"""GeoPackage of points to label, with a QGIS style in which labelling is a choice from a list.

QML elements as QGIS 3.22 writes them (QgsVectorLayer::writeStyle, QgsEditorWidgetSetup); the table
``layer_styles`` is described in :mod:`geoseg.writers.gpkg`.
"""

import os
import sqlite3
from collections.abc import Mapping
from contextlib import closing
from datetime import UTC, datetime
from pathlib import Path
from xml.sax.saxutils import quoteattr

import geopandas as gpd
import pandas as pd
import pyogrio
from pyogrio.errors import DataSourceError, FeatureError

from geoseg.errors import OutputError, one_line
from geoseg.legend import Legend
from geoseg.writers.gpkg import add_style

LAYER = "sample"
"""Name of the layer of points."""

_HIDDEN = ("stratum", "stratum_name", "map_class", "map_class_name", "weight_ha")
"""What the labeller should not see."""
_FIELDS = ("fid", "point_id", *_HIDDEN, "reference_class", "note")
_NULL = "{2839923C-8B7D-419E-B84B-CA2FE9B80EC7}"  # QgsValueMapFieldFormatter::NULL_VALUE
_UNLABELLED_RGB = (255, 0, 255)
_DOT_MM = 1.6


def write_points(
    points: gpd.GeoDataFrame,
    path: Path,
    *,
    legend: Legend,
    tables: Mapping[str, pd.DataFrame],
    pixel_m: float,
    title: str,
    created: datetime | None = None,
) -> Path:
    """A GeoPackage with layer ``sample``, styled for labelling; the same input gives the same bytes.

    In QGIS each point is a dot and the outline of its pixel, magenta until ``reference_class`` is chosen from
    the classes of the legend, then in the colour of the class. The strata and the map's classes are in the
    table, but neither in the form nor in the list, so that they do not sway the labeller.

    Args:
        points: as in :class:`geoseg.evaluation.areas.sampling.Sample`, with a CRS.
        path: the file to write; appears when whole. One that exists is left alone: it may hold labels.
        legend: the classes to choose from.
        tables: further tables without geometry, by name.
        pixel_m: side of the outline, metres on the ground.
        title: what ``gpkg_contents`` tells people about the layer.
        created: time stamp of the contents, with time zone; by default now (UTC).

    Raises:
        OutputError: the file exists, or cannot be written.
    """
    check_new(path)
    stamp = (created or datetime.now(UTC)).astimezone(UTC).strftime("%Y-%m-%dT%H:%M:%S.000Z")
    temporary = path.with_name(f".{path.stem}.{os.getpid()}.gpkg")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary.unlink(missing_ok=True)
        options = {"GEOMETRY_NAME": "geom", "IDENTIFIER": LAYER, "DESCRIPTION": title}
        pyogrio.write_dataframe(
            points,
            temporary,
            layer=LAYER,
            driver="GPKG",
            geometry_type="Point",
            dataset_options={"VERSION": "1.3"},
            layer_options=options,
        )
        for name, table in tables.items():
            pyogrio.write_dataframe(table, temporary, layer=name, driver="GPKG", append=True)
        with closing(sqlite3.connect(temporary, isolation_level=None)) as connection:
            add_style(
                connection,
                layer=LAYER,
                qml=qml_for_points(legend, pixel_m=pixel_m),
                sld=None,
                title="Labelling by a choice from the classes",
                stamp=stamp,
            )
            connection.execute("UPDATE gpkg_contents SET last_change = ?", (stamp,))
            connection.execute("VACUUM")  # leaves no bytes of the rows replaced above
        temporary.replace(path)
    except (OSError, sqlite3.Error, DataSourceError, FeatureError) as error:
        reason = one_line(error)
        raise OutputError(
            f"Cannot write {path}: {reason}. Check the folder, its rights and the space left, then run again."
        ) from error
    finally:
        if path.parent.is_dir():
            for suffix in ("", "-journal", "-wal", "-shm"):
                temporary.with_name(temporary.name + suffix).unlink(missing_ok=True)
    return path


def check_new(path: Path) -> None:
    """Refuse to overwrite a sample.

    Raises:
        OutputError: the file exists.
    """
    if path.exists():
        raise OutputError(
            f"{path} exists and may hold labels; it was left as it is. Give another --out, or move it away."
        )


def qml_for_points(legend: Legend, *, pixel_m: float) -> str:
    """The text of a QML style: colours by ``reference_class``, a list to choose it from, a blind form."""
    kinds = [("", "string", "to be labelled", _UNLABELLED_RGB)]
    kinds += [(str(c.value), "long", c.name, c.rgb) for c in legend.classes]
    categories = [
        f'<category value="{value}" type="{kind}" symbol="{i}" label={quoteattr(label)} render="true"/>'
        for i, (value, kind, label, _) in enumerate(kinds)
    ]
    symbols = [_symbol(i, rgb, pixel_m) for i, (*_, rgb) in enumerate(kinds)]
    hidden = {"fid", *_HIDDEN}
    columns = [
        f'<column type="field" name="{name}" hidden="{int(name in hidden)}" width="-1"/>' for name in _FIELDS
    ]
    return "\n".join(
        [
            '<qgis version="3.22" styleCategories="Symbology|Fields|Forms|AttributeTable">',
            '<renderer-v2 type="categorizedSymbol" attr="reference_class" symbollevels="0">',
            "<categories>",
            *categories,
            "</categories>",
            "<symbols>",
            *symbols,
            "</symbols>",
            "</renderer-v2>",
            "<fieldConfiguration>",
            *(_field(name, legend) for name in _FIELDS),
            "</fieldConfiguration>",
            "<aliases>",
            '<alias index="7" field="reference_class" name="reference class"/>',
            "</aliases>",
            "<attributetableconfig>",
            "<columns>",
            *columns,
            "</columns>",
            "</attributetableconfig>",
            "<editable>",
            '<field name="point_id" editable="0"/>',
            '<field name="reference_class" editable="1"/>',
            '<field name="note" editable="1"/>',
            "</editable>",
            "<layerGeometryType>0</layerGeometryType>",
            "</qgis>\n",
        ]
    )


def _field(name: str, legend: Legend) -> str:
    """How the form edits a field: https://docs.qgis.org/3.22/en/docs/user_manual/working_with_vector/."""
    if name == "reference_class":
        choices = [("to be labelled", _NULL), *((c.name, str(c.value)) for c in legend.classes)]
        items = "".join(
            f'<Option type="Map"><Option type="QString" name={quoteattr(text)} value="{value}"/></Option>'
            for text, value in choices
        )
        kind, config = (
            "ValueMap",
            f'<Option type="Map"><Option type="List" name="map">{items}</Option></Option>',
        )
    elif name == "note":
        kind = "TextEdit"
        config = '<Option type="Map"><Option type="bool" name="IsMultiline" value="true"/></Option>'
    else:
        kind, config = ("TextEdit" if name == "point_id" else "Hidden"), "<Option/>"
    return f'<field name="{name}"><editWidget type="{kind}"><config>{config}</config></editWidget></field>'


def _symbol(index: int, rgb: tuple[int, int, int], pixel_m: float) -> str:
    """A dot of a fixed size on the outline of the pixel."""
    color = ",".join(map(str, rgb))
    outline = {"outline_color": f"{color},255", "outline_style": "solid", "outline_width_unit": "MM"}
    pixel = outline | {
        "name": "square",
        "color": f"{color},0",
        "outline_width": "0.5",
        "size": f"{pixel_m:.6g}",
        "size_unit": "RenderMetersInMapUnits",
    }
    dot = outline | {
        "name": "circle",
        "color": f"{color},255",
        "outline_color": "255,255,255,255",
        "outline_width": "0.3",
        "size": str(_DOT_MM),
        "size_unit": "MM",
    }
    layers = "".join(_marker(options) for options in (pixel, dot))
    return (
        f'<symbol type="marker" name="{index}" alpha="1" clip_to_extent="1" force_rhr="0">{layers}</symbol>'
    )


def _marker(options: Mapping[str, str]) -> str:
    values = "".join(
        f'<Option name={quoteattr(k)} type="QString" value={quoteattr(v)}/>' for k, v in options.items()
    )
    return (
        '<layer class="SimpleMarker" enabled="1" locked="0" pass="0">'
        f'<Option type="Map">{values}</Option></layer>'
    )
