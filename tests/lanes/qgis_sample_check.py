"""Labels FOLDER's sample in real QGIS by the form's own widgets and renders it to PNG before and after.

Run by the system's Python, which has PyQGIS:
    QT_QPA_PLATFORM=offscreen /usr/bin/python3 qgis_sample_check.py FOLDER PNG
FOLDER holds sample.gpkg and expected.json: {"classes": [[value, name, colour], ...], "pixel_m": side}. The
points are labelled in turn as each class; the first is set back to unlabelled.
"""

import gc
import json
import sys
from pathlib import Path

from qgis.core import QgsApplication, QgsVectorLayer
from qgis.gui import QgsAttributeForm, QgsGui
from qgis.PyQt.QtGui import QColor, QImage, QPainter
from qgis.PyQt.QtWidgets import QComboBox, QPlainTextEdit
from qgis_check import SIZE, Mismatch, check, colours_of, render

UNLABELLED = "#ff00ff"
HIDDEN = ("stratum", "stratum_name", "map_class", "map_class_name", "weight_ha")


def main(folder: Path, png: Path) -> None:
    expected = json.loads((folder / "expected.json").read_text("utf-8"))
    classes = [(value, name, f"#{color.lower()}") for value, name, color in expected["classes"]]
    layer = QgsVectorLayer(f"{folder / 'sample.gpkg'}|layername=sample", "sample", "ogr")
    check("sample.gpkg is valid", layer.isValid(), True)
    check_style(layer, classes, expected["pixel_m"])
    check_form(layer, classes)

    before = render(layer)
    label(layer, classes)
    after = render(layer)
    save(png, before, after)
    colors = {color for _, _, color in classes}
    check("unlabelled points are magenta", UNLABELLED in colours_of(before), True)
    check("unlabelled points have no class colour", colors & set(colours_of(before)), set())
    check("labelled points have the colour of their class", colors - set(colours_of(after)), set())


def check_style(layer, classes, pixel_m) -> None:
    renderer = layer.renderer()
    check("renderer", renderer.type(), "categorizedSymbol")
    check("renderer's field", renderer.classAttribute(), "reference_class")
    shown = {c.label(): c.symbol().color().name() for c in renderer.categories()}
    check("legend", shown, {"to be labelled": UNLABELLED} | {name: color for _, name, color in classes})
    for category in renderer.categories():
        outline, dot = category.symbol().symbolLayers()
        check(f"outline of {category.label()}", round(outline.size(), 3), round(pixel_m, 3))
        check(f"dot of {category.label()}", dot.size() < 3, True)


def check_form(layer, classes) -> None:
    fields = layer.fields()
    for name in HIDDEN:
        index = fields.indexOf(name)
        check(f"{name} is in the table", index >= 0, True)
        check(f"{name} is not in the form", layer.editorWidgetSetup(index).type(), "Hidden")
    hidden = {c.name for c in layer.attributeTableConfig().columns() if c.hidden}
    check("the list of features hides them too", set(HIDDEN) <= hidden, True)
    setup = layer.editorWidgetSetup(fields.indexOf("reference_class"))
    check("widget of reference_class", setup.type(), "ValueMap")
    choices = {name: value for entry in setup.config()["map"] for name, value in entry.items()}
    found = {name: value for name, value in choices.items() if name != "to be labelled"}
    check("choices", found, {name: str(value) for value, name, _ in classes})
    config = layer.editFormConfig()
    check("point_id cannot be edited", config.readOnly(fields.indexOf("point_id")), True)


def label(layer, classes) -> None:
    """Fills the form of each point as a person would, then saves."""
    check("editing starts", layer.startEditing(), True)
    points = [f.id() for f in sorted(layer.getFeatures(), key=lambda f: f["point_id"])]
    offered, chosen = choose(layer, points[0], classes[0][1])
    check("the list offers", offered, ["to be labelled", *(name for _, name, _ in classes)])
    check("at first nothing is chosen", chosen, "to be labelled")
    was = [choose(layer, fid, classes[i % len(classes)][1])[1] for i, fid in enumerate(points)]
    check("nothing is chosen but where it was", was, [classes[0][1]] + ["to be labelled"] * (len(points) - 1))
    check("a label is taken back", choose(layer, points[0], "to be labelled")[1], classes[0][1])
    check("changes are saved", layer.commitChanges(), True)


def choose(layer, fid, name) -> tuple:
    """Chooses a class in the form of a point and says what the list offers and what was chosen before."""
    form = QgsAttributeForm(layer, layer.getFeature(fid))
    (combo,) = (c for c in form.findChildren(QComboBox) if c.findText("to be labelled") >= 0)
    offered, chosen = [combo.itemText(i) for i in range(combo.count())], combo.currentText()
    combo.setCurrentIndex(combo.findText(name))
    (note,) = form.findChildren(QPlainTextEdit)
    note.setPlainText("seen")
    if not form.save():
        raise Mismatch(f"the form of feature {fid} is not saved")
    return offered, chosen


def save(png: Path, *images: QImage) -> None:
    sheet = QImage(len(images) * (SIZE + 20) - 20, SIZE, QImage.Format_RGB32)
    sheet.fill(QColor("grey"))
    painter = QPainter(sheet)
    for i, image in enumerate(images):
        painter.drawImage(i * (SIZE + 20), 0, image)
    painter.end()
    check("PNG saved", sheet.save(str(png)), True)


def run(folder: Path, png: Path) -> str:
    """What is wrong, or nothing. Returns text so that no traceback keeps a layer alive."""
    try:
        main(folder, png)
    except Mismatch as mismatch:
        return str(mismatch)
    return ""


if __name__ == "__main__":
    application = QgsApplication([], True)
    application.initQgis()
    QgsGui.editorWidgetRegistry().initEditors()
    failure = run(Path(sys.argv[1]), Path(sys.argv[2]))
    gc.collect()  # layers that outlive exitQgis() crash PyQGIS
    application.exitQgis()
    sys.exit(failure or 0)
