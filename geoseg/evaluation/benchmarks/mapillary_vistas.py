"""Mapillary Vistas: street scenes from all over the world, labelled as v1.2 (66 labels) and v2.0 (124).

Labels, names, colours and which are scored were taken from the data set's ``config_v1.2.json`` and
``config_v2.0.json`` as quoted in public code, and compared with Datumaro 1.13.12 (names, colours) and
MMSegmentation 1.2.2 (order, readable names, colours); rules from the makers' ``mapillary/mapillary_vistas``
(``README.md``, ``evaluation/confusion_matrix.py``). Pixels are indices of the config's list of labels. Labels
with ``"evaluate": false`` are not scored: unlabeled in v1.2; that, three groups and four ambiguous labels in
v2.0, which leaves 65 and 116 classes. Where the config lies in the root, its order of labels is used.
Archives from before v2.0 have ``labels`` of v1.2 without a folder ``v1.2`` around it.
"""

import json
from functools import partial
from pathlib import Path

from geoseg.errors import EvaluationError
from geoseg.evaluation.benchmark import Benchmark, Sample, register_benchmark
from geoseg.evaluation.label_files import RGB, Origin, Table, legend_of, lookup, pair, read_labels

_HOME = "https://www.mapillary.com/dataset/vistas"

_V12 = """
    A52A2A animal--bird: Bird
    00C000 animal--ground-animal: Ground Animal
    C4C4C4 construction--barrier--curb: Curb
    BE9999 construction--barrier--fence: Fence
    B4A5B4 construction--barrier--guard-rail: Guard Rail
    5A7896 construction--barrier--other-barrier: Barrier
    66669C construction--barrier--wall: Wall
    8040FF construction--flat--bike-lane: Bike Lane
    8C8CC8 construction--flat--crosswalk-plain: Crosswalk - Plain
    AAAAAA construction--flat--curb-cut: Curb Cut
    FAAAA0 construction--flat--parking: Parking
    606060 construction--flat--pedestrian-area: Pedestrian Area
    E6968C construction--flat--rail-track: Rail Track
    804080 construction--flat--road: Road
    6E6E6E construction--flat--service-lane: Service Lane
    F423E8 construction--flat--sidewalk: Sidewalk
    966464 construction--structure--bridge: Bridge
    464646 construction--structure--building: Building
    96785A construction--structure--tunnel: Tunnel
    DC143C human--person: Person
    FF0000 human--rider--bicyclist: Bicyclist
    FF0064 human--rider--motorcyclist: Motorcyclist
    FF00C8 human--rider--other-rider: Other Rider
    C88080 marking--crosswalk-zebra: Lane Marking - Crosswalk
    FFFFFF marking--general: Lane Marking - General
    40AA40 nature--mountain: Mountain
    E6A032 nature--sand: Sand
    4682B4 nature--sky: Sky
    BEFFFF nature--snow: Snow
    98FB98 nature--terrain: Terrain
    6B8E23 nature--vegetation: Vegetation
    00AA1E nature--water: Water
    FFFF80 object--banner: Banner
    FA001E object--bench: Bench
    648CB4 object--bike-rack: Bike Rack
    DCDCDC object--billboard: Billboard
    DC8080 object--catch-basin: Catch Basin
    DE2828 object--cctv-camera: CCTV Camera
    64AA1E object--fire-hydrant: Fire Hydrant
    282828 object--junction-box: Junction Box
    212121 object--mailbox: Mailbox
    6480A0 object--manhole: Manhole
    8E0000 object--phone-booth: Phone Booth
    466496 object--pothole: Pothole
    D2AA64 object--street-light: Street Light
    999999 object--support--pole: Pole
    808080 object--support--traffic-sign-frame: Traffic Sign Frame
    000050 object--support--utility-pole: Utility Pole
    FAAA1E object--traffic-light: Traffic Light
    C0C0C0 object--traffic-sign--back: Traffic Sign (Back)
    DCDC00 object--traffic-sign--front: Traffic Sign (Front)
    8C8C14 object--trash-can: Trash Can
    770B20 object--vehicle--bicycle: Bicycle
    9600FF object--vehicle--boat: Boat
    003C64 object--vehicle--bus: Bus
    00008E object--vehicle--car: Car
    00005A object--vehicle--caravan: Caravan
    0000E6 object--vehicle--motorcycle: Motorcycle
    005064 object--vehicle--on-rails: On Rails
    804040 object--vehicle--other-vehicle: Other Vehicle
    00006E object--vehicle--trailer: Trailer
    000046 object--vehicle--truck: Truck
    0000C0 object--vehicle--wheeled-slow: Wheeled Slow
    202020 void--car-mount: Car Mount
    780A0A void--ego-vehicle: Ego Vehicle
    -000000 void--unlabeled: Unlabeled
"""

_V20 = """
    A52A2A animal--bird: Bird
    00C000 animal--ground-animal: Ground Animal
    -FAAA1F construction--barrier--ambiguous: Ambiguous Barrier
    FAAA20 construction--barrier--concrete-block: Concrete Block
    C4C4C4 construction--barrier--curb: Curb
    BE9999 construction--barrier--fence: Fence
    B4A5B4 construction--barrier--guard-rail: Guard Rail
    5A7896 construction--barrier--other-barrier: Barrier
    FAAA21 construction--barrier--road-median: Road Median
    FAAA22 construction--barrier--road-side: Road Side
    808080 construction--barrier--separator: Lane Separator
    FAAA23 construction--barrier--temporary: Temporary Barrier
    66669C construction--barrier--wall: Wall
    8040FF construction--flat--bike-lane: Bike Lane
    8C8CC8 construction--flat--crosswalk-plain: Crosswalk - Plain
    AAAAAA construction--flat--curb-cut: Curb Cut
    FAAA24 construction--flat--driveway: Driveway
    FAAAA0 construction--flat--parking: Parking
    FAAA25 construction--flat--parking-aisle: Parking Aisle
    606060 construction--flat--pedestrian-area: Pedestrian Area
    E6968C construction--flat--rail-track: Rail Track
    804080 construction--flat--road: Road
    6E6E6E construction--flat--road-shoulder: Road Shoulder
    6E6E6E construction--flat--service-lane: Service Lane
    F423E8 construction--flat--sidewalk: Sidewalk
    80C480 construction--flat--traffic-island: Traffic Island
    966464 construction--structure--bridge: Bridge
    464646 construction--structure--building: Building
    969696 construction--structure--garage: Garage
    96785A construction--structure--tunnel: Tunnel
    DC143C human--person--individual: Person
    -DC143C human--person--person-group: Person Group
    FF0000 human--rider--bicyclist: Bicyclist
    FF0064 human--rider--motorcyclist: Motorcyclist
    FF00C8 human--rider--other-rider: Other Rider
    FFFFFF marking--continuous--dashed: Lane Marking - Dashed Line
    FFFFFF marking--continuous--solid: Lane Marking - Straight Line
    FAAA1D marking--continuous--zigzag: Lane Marking - Zigzag Line
    -FAAA1C marking--discrete--ambiguous: Lane Marking - Ambiguous
    FAAA1A marking--discrete--arrow--left: Lane Marking - Arrow (Left)
    FAAA19 marking--discrete--arrow--other: Lane Marking - Arrow (Other)
    FAAA18 marking--discrete--arrow--right: Lane Marking - Arrow (Right)
    FAAA16 marking--discrete--arrow--split-left-or-straight: Lane Marking - Arrow (Split Left or Straight)
    FAAA15 marking--discrete--arrow--split-right-or-straight: Lane Marking - Arrow (Split Right or Straight)
    FAAA14 marking--discrete--arrow--straight: Lane Marking - Arrow (Straight)
    FFFFFF marking--discrete--crosswalk-zebra: Lane Marking - Crosswalk
    FAAA13 marking--discrete--give-way-row: Lane Marking - Give Way (Row)
    FAAA12 marking--discrete--give-way-single: Lane Marking - Give Way (Single)
    FAAA0C marking--discrete--hatched--chevron: Lane Marking - Hatched (Chevron)
    FAAA0B marking--discrete--hatched--diagonal: Lane Marking - Hatched (Diagonal)
    FFFFFF marking--discrete--other-marking: Lane Marking - Other
    FFFFFF marking--discrete--stop-line: Lane Marking - Stop Line
    FAAA10 marking--discrete--symbol--bicycle: Lane Marking - Symbol (Bicycle)
    FAAA0F marking--discrete--symbol--other: Lane Marking - Symbol (Other)
    FAAA0F marking--discrete--text: Lane Marking - Text
    FFFFFF marking-only--continuous--dashed: Lane Marking (only) - Dashed Line
    FFFFFF marking-only--discrete--crosswalk-zebra: Lane Marking (only) - Crosswalk
    FFFFFF marking-only--discrete--other-marking: Lane Marking (only) - Other
    FFFFFF marking-only--discrete--text: Lane Marking (only) - Test
    40AA40 nature--mountain: Mountain
    E6A032 nature--sand: Sand
    4682B4 nature--sky: Sky
    BEFFFF nature--snow: Snow
    98FB98 nature--terrain: Terrain
    6B8E23 nature--vegetation: Vegetation
    00AA1E nature--water: Water
    FFFF80 object--banner: Banner
    FA001E object--bench: Bench
    648CB4 object--bike-rack: Bike Rack
    DC8080 object--catch-basin: Catch Basin
    DE2828 object--cctv-camera: CCTV Camera
    64AA1E object--fire-hydrant: Fire Hydrant
    282828 object--junction-box: Junction Box
    212121 object--mailbox: Mailbox
    6480A0 object--manhole: Manhole
    1414FF object--parking-meter: Parking Meter
    8E0000 object--phone-booth: Phone Booth
    466496 object--pothole: Pothole
    FAAB1E object--sign--advertisement: Signage - Advertisement
    -FAAC1E object--sign--ambiguous: Signage - Ambiguous
    FAAD1E object--sign--back: Signage - Back
    FAAE1E object--sign--information: Signage - Information
    FAAF1E object--sign--other: Signage - Other
    FAB01E object--sign--store: Signage - Store
    D2AA64 object--street-light: Street Light
    999999 object--support--pole: Pole
    -999999 object--support--pole-group: Pole Group
    808080 object--support--traffic-sign-frame: Traffic Sign Frame
    000050 object--support--utility-pole: Utility Pole
    D23C3C object--traffic-cone: Traffic Cone
    FAAA1E object--traffic-light--general-single: Traffic Light - General (Single)
    FAAA1E object--traffic-light--pedestrians: Traffic Light - Pedestrians
    FAAA1E object--traffic-light--general-upright: Traffic Light - General (Upright)
    FAAA1E object--traffic-light--general-horizontal: Traffic Light - General (Horizontal)
    FAAA1E object--traffic-light--cyclists: Traffic Light - Cyclists
    FAAA1E object--traffic-light--other: Traffic Light - Other
    -C0C0C0 object--traffic-sign--ambiguous: Traffic Sign - Ambiguous
    C0C0C0 object--traffic-sign--back: Traffic Sign (Back)
    C0C0C0 object--traffic-sign--direction-back: Traffic Sign - Direction (Back)
    DCDC00 object--traffic-sign--direction-front: Traffic Sign - Direction (Front)
    DCDC00 object--traffic-sign--front: Traffic Sign (Front)
    0000C4 object--traffic-sign--information-parking: Traffic Sign - Parking
    C0C0C0 object--traffic-sign--temporary-back: Traffic Sign - Temporary (Back)
    DCDC00 object--traffic-sign--temporary-front: Traffic Sign - Temporary (Front)
    8C8C14 object--trash-can: Trash Can
    770B20 object--vehicle--bicycle: Bicycle
    9600FF object--vehicle--boat: Boat
    003C64 object--vehicle--bus: Bus
    00008E object--vehicle--car: Car
    00005A object--vehicle--caravan: Caravan
    0000E6 object--vehicle--motorcycle: Motorcycle
    005064 object--vehicle--on-rails: On Rails
    804040 object--vehicle--other-vehicle: Other Vehicle
    00006E object--vehicle--trailer: Trailer
    000046 object--vehicle--truck: Truck
    -00008E object--vehicle--vehicle-group: Vehicle Group
    0000C0 object--vehicle--wheeled-slow: Wheeled Slow
    AAAAAA object--water-valve: Water Valve
    202020 void--car-mount: Car Mount
    6F4A00 void--dynamic: Dynamic
    780A0A void--ego-vehicle: Ego Vehicle
    510051 void--ground: Ground
    6F6F00 void--static: Static
    -000000 void--unlabeled: Unlabeled
"""
"""``RRGGBB name: readable name``, in the order of the labels; a dash before those that are not scored."""


def _register(version: str, lines: str) -> None:
    rows = [line.strip() for line in lines.strip().splitlines()]
    names = [row.partition(" ")[2].partition(":")[0] for row in rows]
    legend = legend_of("\n".join(row for row in rows if not row.startswith("-")))
    scored = [c.name for c in legend.classes]
    origin = Origin(f"Mapillary Vistas {version}", _HOME)
    register_benchmark(
        Benchmark(
            name=f"mapillary-vistas-{version}",
            title=origin.title,
            legend=legend,
            bands=RGB,
            splits=("val", "train", "test"),
            home=_HOME,
            license="CC BY-NC-SA",
            layout=(
                f"{{training,validation,testing}}/images/{{image}}.jpg\n"
                f"{{training,validation}}/{version}/labels/{{image}}.png\n"
                f"config_{version}.json"
            ),
            find=partial(_find, version=version, names=names, scored=scored, origin=origin),
            source=(
                f"config_{version}.json; mapillary/mapillary_vistas: evaluation/confusion_matrix.py; "
                "Datumaro 1.13.12; MMSegmentation 1.2.2"
            ),
            n_samples={"val": 2000, "train": 18000, "test": 5000},
            scoring=(
                "It leaves out pixels that are predicted as a label that is not scored; "
                "in geoseg a model has no such label."
            ),
        )
    )


def _find(
    root: Path, split: str, *, version: str, names: list[str], scored: list[str], origin: Origin
) -> list[Sample]:
    folder = {"val": "validation", "train": "training", "test": "testing"}[split]
    config = root / f"config_{version}.json"
    table = _table(_labels_of(config) if config.exists() else names, scored, config)
    is_old = (
        version == "v1.2" and not (root / folder / version).is_dir() and (root / folder / "labels").is_dir()
    )
    labels = f"{folder}/labels/{{id}}.png" if is_old else f"{folder}/{version}/labels/{{id}}.png"
    return pair(
        root,
        origin,
        images=f"{folder}/images/{{id}}.jpg",
        labels=None if split == "test" else labels,
        read=partial(read_labels, table=table),
    )


def _table(labels: list[str], scored: list[str], config: Path) -> Table:
    lacking = sorted(set(scored) - set(labels))
    if lacking:
        raise EvaluationError(
            f"{config} lacks the label {lacking[0]}. It belongs to another version of the data set: "
            "use the file that came with it."
        )
    value = {name: n for n, name in enumerate(scored)}
    classes = {number: value[name] for number, name in enumerate(labels) if name in value}
    return lookup(classes, ignored=set(range(len(labels))) - set(classes))


def _labels_of(config: Path) -> list[str]:
    try:
        return [label["name"] for label in json.loads(config.read_bytes())["labels"]]
    except (ValueError, KeyError, TypeError) as error:
        raise EvaluationError(
            f"{config} holds no list of labels ({type(error).__name__}: {error}). Unpack it again."
        ) from error


_register("v1.2", _V12)
_register("v2.0", _V20)
