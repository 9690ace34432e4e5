"""Opens FOLDER's outputs in real QGIS, compares their styles with report.json, renders them to PNG.

Run by the system's Python, which has PyQGIS:
    QT_QPA_PLATFORM=offscreen /usr/bin/python3 qgis_check.py FOLDER PNG
"""

import gc
import json
import sys
from pathlib import Path

from qgis.core import (
    QgsApplication,
    QgsMapRendererSequentialJob,
    QgsMapSettings,
    QgsRasterLayer,
    QgsVectorLayer,
)
from qgis.PyQt.QtCore import QSize
from qgis.PyQt.QtGui import QColor, QImage, QPainter

SIZE = 700


def main(folder: Path, png: Path) -> None:
    expected = {
        c["class_id"]: (c["class_name"], f"#{c['color'].lower()}")
        for c in json.loads((folder / "report.json").read_text("utf-8"))["classes"]
    }
    map_name = "class.vrt" if (folder / "class.vrt").exists() else "class.tif"
    raster = QgsRasterLayer(str(folder / map_name), "class")
    check(f"{map_name} is valid", raster.isValid(), True)
    check(f"{map_name} renderer", raster.renderer().type(), "paletted")
    entries = raster.renderer().classes()
    check(f"{map_name} legend", {e.value: (e.label, e.color.name()) for e in entries}, expected)
    check(f"{map_name} alpha", {e.color.alpha() for e in entries}, {255})

    vector = QgsVectorLayer(f"{folder / 'classes.gpkg'}|layername=classes", "classes", "ogr")
    check("classes.gpkg is valid", vector.isValid(), True)
    check("classes.gpkg renderer", vector.renderer().type(), "categorizedSymbol")
    categories = vector.renderer().categories()
    found = {int(c.value()): (c.label(), c.symbol().color().name()) for c in categories}
    check("classes.gpkg legend", found, expected)

    images = [render(layer) for layer in (raster, vector)]
    sheet = QImage(2 * SIZE + 20, SIZE, QImage.Format_RGB32)
    sheet.fill(QColor("white"))
    painter = QPainter(sheet)
    for i, image in enumerate(images):
        painter.drawImage(i * (SIZE + 20), 0, image)
    painter.end()
    check("PNG saved", sheet.save(str(png)), True)
    colours = [colours_of(image) for image in images]
    for name, shown in zip((map_name, "classes.gpkg"), colours, strict=True):
        drawn = {c: n for c, n in shown.items() if c != "#ffffff"}
        ours = sum(n for c, n in drawn.items() if c in {c for _, c in expected.values()})
        # Borders of polygons mix two colours of the legend; ground does not.
        check(f"{name} is drawn in the legend's colours", ours > 0.9 * sum(drawn.values()), True)
        check(
            f"{name} shows the legend's colours", bool(set(shown) & {c for _, c in expected.values()}), True
        )


def render(layer) -> QImage:
    """The layer alone on white, whole."""
    settings = QgsMapSettings()
    settings.setLayers([layer])
    settings.setDestinationCrs(layer.crs())
    settings.setExtent(layer.extent())
    settings.setOutputSize(QSize(SIZE, SIZE))
    settings.setBackgroundColor(QColor("white"))
    settings.setFlag(QgsMapSettings.Antialiasing, False)
    job = QgsMapRendererSequentialJob(settings)
    job.start()
    job.waitForFinished()
    return job.renderedImage()


def colours_of(image: QImage) -> dict:
    counts: dict = {}
    for y in range(0, image.height(), 2):
        for x in range(0, image.width(), 2):
            name = image.pixelColor(x, y).name()
            counts[name] = counts.get(name, 0) + 1
    return counts


class Mismatch(Exception):
    """QGIS shows something else than the report says."""


def check(what: str, got, expected) -> None:
    if got != expected:
        raise Mismatch(f"{what}: got {got}, expected {expected}")
    print(f"{what}: ok")


def run(folder: Path, png: Path) -> str:
    """What is wrong, or nothing. Returns text so that no traceback keeps a layer alive."""
    try:
        main(folder, png)
    except Mismatch as mismatch:
        return str(mismatch)
    return ""


if __name__ == "__main__":
    application = QgsApplication([], False)
    application.initQgis()
    failure = run(Path(sys.argv[1]), Path(sys.argv[2]))
    gc.collect()  # layers that outlive exitQgis() crash PyQGIS
    application.exitQgis()
    sys.exit(failure or 0)
