"""Polygons of a class map as GeoParquet 1.1 (https://geoparquet.org/releases/v1.1.0): a set of files.

Any number of polygons can be written and read so: DuckDB, GeoPandas, GDAL and QGIS take the files of a set as
one table, and skip those whose boxes miss the place they look at.
"""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

import geopandas as gpd
import pandas as pd
import pyarrow as pa

from geoseg.errors import OutputError, one_line

MAX_ROWS = 100_000
"""Polygons of a file: 10 to 100 MB."""
_GROUP_ROWS = 10_000
"""Of a row group, which a reader takes or skips as a whole."""


def write_geoparquet(
    parts: Iterable[gpd.GeoDataFrame], folder: Path, *, name: str, max_rows: int = MAX_ROWS
) -> list[Path]:
    """The polygons of all tables in files ``NAME-0000.parquet``, ``NAME-0001.parquet`` and so on.

    How they are divided depends on their number and order, not on the tables. Memory holds one file and one
    table.

    Args:
        parts: one table at least, all with one CRS and the same columns, as ``stream_polygons`` gives them;
            each may be empty.
        folder: where the files are written; each appears when whole.
        name: what they begin with.
        max_rows: polygons of a file.

    Returns:
        The files, one at least.

    Raises:
        OutputError: a file cannot be written; errors of ``parts`` pass through.

    Example:
        >>> import tempfile
        >>> from shapely.geometry import box
        >>> table = gpd.GeoDataFrame({"class_id": [0]}, geometry=[box(0, 0, 9, 9)], crs="EPSG:32633")
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     files = write_geoparquet([table, table, table], Path(folder), name="classes", max_rows=2)
        ...     [(file.name, len(gpd.read_parquet(file))) for file in files]
        [('classes-0000.parquet', 2), ('classes-0001.parquet', 1)]
    """
    return [
        _write(table, folder / f"{name}-{number:04d}.parquet")
        for number, table in enumerate(_regrouped(parts, max_rows))
    ]


def _regrouped(parts: Iterable[gpd.GeoDataFrame], n_rows: int) -> Iterator[gpd.GeoDataFrame]:
    """The rows of all tables, ``n_rows`` at a time; the last has fewer, and is empty only if all are."""
    held: list[gpd.GeoDataFrame] = []
    n_held, is_first = 0, True
    for part in parts:
        held, n_held = [*held, part], n_held + len(part)
        while n_held > n_rows:
            whole = _joined(held)
            yield whole.iloc[:n_rows]
            held, n_held, is_first = [whole.iloc[n_rows:]], n_held - n_rows, False
    if n_held or is_first:
        yield _joined(held)


def _joined(tables: list[gpd.GeoDataFrame]) -> gpd.GeoDataFrame:
    filled = [table for table in tables if len(table)] or tables[:1]
    return filled[0] if len(filled) == 1 else pd.concat(filled, ignore_index=True)


def _write(table: gpd.GeoDataFrame, path: Path) -> Path:
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        table.to_parquet(
            temporary,
            index=False,
            compression="zstd",
            schema_version="1.1.0",
            write_covering_bbox=True,
            row_group_size=_GROUP_ROWS,
        )
        temporary.replace(path)
    except (OSError, pa.ArrowException) as error:
        raise OutputError(
            f"Cannot write {path}: {one_line(error)}. Check the folder, its rights and the space left, "
            "then run again."
        ) from error
    finally:
        temporary.unlink(missing_ok=True)
    return path
