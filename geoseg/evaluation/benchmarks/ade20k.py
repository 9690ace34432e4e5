"""ADE20K scene parsing: 150 classes of indoor and outdoor scenes (the release ADEChallengeData2016).

Taken from the benchmark's own development kit (``CSAILVision/sceneparsing``): names and their order from
``objectInfo150.txt``, folders and numbers of images from ``README.md``, scores from ``demoEvaluation.m`` and
``evaluationCode``; colours are its ``color150.mat``, as MMSegmentation 1.2.2 and GluonCV 0.10.5 alike list
them. The PNGs hold 0 to 150: 0 is "other objects" and not scored, class ``n`` here is number ``n + 1``. A
class is called by the first of its names, as ``CSAILVision/semantic-segmentation-pytorch`` prints it; the
description has the rest. The test pictures come in another archive, without labels.
"""

from functools import partial
from pathlib import Path

from geoseg.evaluation.benchmark import Benchmark, Sample, register_benchmark
from geoseg.evaluation.label_files import RGB, Origin, base_of, legend_of, lookup, pair, read_labels

_ORIGIN = Origin("ADE20K scene parsing", "http://sceneparsing.csail.mit.edu/")

_LEGEND = legend_of("""
    787878 wall
    B47878 building: edifice
    06E6E6 sky
    503232 floor: flooring
    04C803 tree
    787850 ceiling
    8C8C8C road: route
    CC05FF bed
    E6E6E6 windowpane: window
    04FA07 grass
    E005FF cabinet
    EBFF07 sidewalk: pavement
    96053D person: individual, someone, somebody, mortal, soul
    787846 earth: ground
    08FF33 door: double door
    FF0652 table
    8FFF8C mountain: mount
    CCFF04 plant: flora, plant life
    FF3307 curtain: drape, drapery, mantle, pall
    CC4603 chair
    0066C8 car: auto, automobile, machine, motorcar
    3DE6FA water
    FF0633 painting: picture
    0B66FF sofa: couch, lounge
    FF0747 shelf
    FF09E0 house
    0907E6 sea
    DCDCDC mirror
    FF095C rug: carpet, carpeting
    7009FF field
    08FFD6 armchair
    07FFE0 seat
    FFB806 fence: fencing
    0AFF47 desk
    FF290A rock: stone
    07FFFF wardrobe: closet, press
    E0FF08 lamp
    6608FF bathtub: bathing tub, bath, tub
    FF3D06 railing: rail
    FFC207 cushion
    FF7A08 base: pedestal, stand
    00FF14 box
    FF0829 column: pillar
    FF0599 signboard: sign
    0633FF chest of drawers: chest, bureau, dresser
    EB0CFF counter
    A09614 sand
    00A3FF sink
    8C8C8C skyscraper
    FA0A0F fireplace: hearth, open fireplace
    14FF00 refrigerator: icebox
    1FFF00 grandstand: covered stand
    FF1F00 path
    FFE000 stairs: steps
    99FF00 runway
    0000FF case: display case, showcase, vitrine
    FF4700 pool table: billiard table, snooker table
    00EBFF pillow
    00ADFF screen door: screen
    1F00FF stairway: staircase
    0BC8C8 river
    FF5200 bridge: span
    00FFF5 bookcase
    003DFF blind: screen
    00FF70 coffee table: cocktail table
    00FF85 toilet: can, commode, crapper, pot, potty, stool, throne
    FF0000 flower
    FFA300 book
    FF6600 hill
    C2FF00 bench
    008FFF countertop
    33FF00 stove: kitchen stove, range, kitchen range, cooking stove
    0052FF palm: palm tree
    00FF29 kitchen island
    00FFAD computer: computing machine, computing device, data processor, electronic computer, \
        information processing system
    0A00FF swivel chair
    ADFF00 boat
    00FF99 bar
    FF5C00 arcade machine
    FF00FF hovel: hut, hutch, shack, shanty
    FF00F5 bus: autobus, coach, charabanc, double-decker, jitney, motorbus, motorcoach, omnibus, \
        passenger vehicle
    FF0066 towel
    FFAD00 light: light source
    FF0014 truck: motortruck
    FFB8B8 tower
    001FFF chandelier: pendant, pendent
    00FF3D awning: sunshade, sunblind
    0047FF streetlight: street lamp
    FF00CC booth: cubicle, stall, kiosk
    00FFC2 television: television receiver, television set, tv, tv set, idiot box, boob tube, telly, \
        goggle box
    00FF52 airplane: aeroplane, plane
    000AFF dirt track
    0070FF apparel: wearing apparel, dress, clothes
    3300FF pole
    00C2FF land: ground, soil
    007AFF bannister: banister, balustrade, balusters, handrail
    00FFA3 escalator: moving staircase, moving stairway
    FF9900 ottoman: pouf, pouffe, puff, hassock
    00FF0A bottle
    FF7000 buffet: counter, sideboard
    8FFF00 poster: posting, placard, notice, bill, card
    5200FF stage
    A3FF00 van
    FFEB00 ship
    08B8AA fountain
    8500FF conveyer belt: conveyor belt, conveyer, conveyor, transporter
    00FF5C canopy
    B800FF washer: automatic washer, washing machine
    FF001F plaything: toy
    00B8FF swimming pool: swimming bath, natatorium
    00D6FF stool
    FF0070 barrel: cask
    5CFF00 basket: handbasket
    00E0FF waterfall: falls
    70E0FF tent: collapsible shelter
    46B8A0 bag
    A300FF minibike: motorbike
    9900FF cradle
    47FF00 oven
    FF00A3 ball
    FFCC00 food: solid food
    FF008F step: stair
    00FFEB tank: storage tank
    85FF00 trade name: brand name, brand, marque
    FF00EB microwave: microwave oven
    F500FF pot: flowerpot
    FF007A animal: animate being, beast, brute, creature, fauna
    FFF500 bicycle: bike, wheel, cycle
    0ABED4 lake
    D6FF00 dishwasher: dish washer, dishwashing machine
    00CCFF screen: silver screen, projection screen
    1400FF blanket: cover
    FFFF00 sculpture
    0099FF hood: exhaust hood
    0029FF sconce
    00FFCC vase
    2900FF traffic light: traffic signal, stoplight
    29FF00 tray
    AD00FF ashcan: trash can, garbage can, wastebin, ash bin, ash-bin, ashbin, dustbin, trash barrel, \
        trash bin
    00F5FF fan
    4700FF pier: wharf, wharfage, dock
    7A00FF crt screen
    00FFB8 plate
    005CFF monitor: monitoring device
    B8FF00 bulletin board: notice board
    0085FF shower
    FFD600 radiator
    19C2C2 glass: drinking glass
    66FF00 clock
    5C00FF flag
""")
_TABLE = lookup({value + 1: value for value in _LEGEND.values}, ignored=[0])
_FOLDERS = {"val": "validation", "train": "training"}


def _find(root: Path, split: str) -> list[Sample]:
    folder = _FOLDERS[split]
    return pair(
        base_of(root, "annotations", "ADEChallengeData2016"),
        _ORIGIN,
        images=f"images/{folder}/{{id}}.jpg",
        labels=f"annotations/{folder}/{{id}}.png",
        read=partial(read_labels, table=_TABLE),
    )


register_benchmark(
    Benchmark(
        name="ade20k",
        title=_ORIGIN.title,
        legend=_LEGEND,
        bands=RGB,
        splits=("val", "train"),
        home=_ORIGIN.home,
        license="annotations BSD-3-Clause; pictures: research and education, without profit",
        layout=(
            "images/{training,validation}/ADE_{train,val}_{number}.jpg\n"
            "annotations/{training,validation}/ADE_{train,val}_{number}.png"
        ),
        find=_find,
        source="CSAILVision/sceneparsing: objectInfo150.txt, README.md, demoEvaluation.m, color150.mat",
        n_samples={"val": 2000, "train": 20210},
        scoring="Its mIoU counts a class that is in neither reference nor prediction as 0.",
    )
)
