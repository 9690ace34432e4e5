"""A run in one value: what a TOML file or the command line asks for."""

import re
from contextlib import suppress
from typing import Annotated, Any, Literal, Self

from pydantic import (
    AfterValidator,
    BaseModel,
    BeforeValidator,
    ConfigDict,
    Field,
    ValidationError,
    model_validator,
)

from geoseg.errors import RecipeError
from geoseg.object_storage import checked_address, is_address
from geoseg.recipe_file import mistake, read_recipe
from geoseg.registry import did_you_mean

MAX_AREA_KM2 = 25_000.0
Uncertainty = Literal["entropy", "conformal", "mc-dropout", "ensemble", "evidential"]
Tta = Literal["none", "flip", "d4", "scale", "scale-flip"]
ClusterKind = Literal[
    "local", "slurm", "pbs", "lsf", "sge", "oar", "htcondor", "kubernetes", "gateway", "coiled"
]
_EPISTEMIC = ("mc-dropout", "ensemble", "evidential")


def memory_bytes(text: str) -> int:
    """Of ``2GB``, ``512 MiB``.

    Raises:
        ValueError: it is no amount of memory.
    """
    from dask.utils import parse_bytes

    return int(parse_bytes(text))


def _is_number(value: object) -> object:
    """TOML's ``true`` is not 1."""
    if isinstance(value, bool):
        raise ValueError("expected a number, not true or false")
    return value


_Int = Annotated[int, BeforeValidator(_is_number)]
_Float = Annotated[float, BeforeValidator(_is_number)]


def _is_memory(text: str) -> str:
    with suppress(ValueError):
        if memory_bytes(text) > 0:
            return text
    raise ValueError("is no amount of memory: give, for instance, 2GB")


def _is_place(text: str) -> str:
    """A path, or the address of an object store; a folder at ``file://`` is a path."""
    if odd := [word for word in _BRACES.findall(text) if word not in _WORDS]:
        raise ValueError(f"has {{{odd[0]}}} in it: {did_you_mean(odd[0], list(_WORDS))}")
    if not is_address(text):
        return text
    address = checked_address(text)
    return address.removeprefix("file://")


def _is_scheduler(text: str) -> str:
    if not _SCHEDULER.fullmatch(text):
        raise ValueError("is no address of a Dask scheduler: give tcp://host:8786 or tls://host:8786")
    return text


_SCHEDULER = re.compile(r"((tcp|tls|wss?|ucx)://)?[^/\s]+:\d+/?|inproc://\S+")
_BRACES = re.compile(r"\{([^{}/]*)\}")
_WORDS = ("month", "year", "start", "end", "feature")
"""What an output folder may be named after."""
_OF_A_SEARCH = ("catalog", "collection", "datetime", "max_cloud_cover")


class Recipe(BaseModel):
    """Everything a run depends on. Keys are the same in TOML, here and as ``--flags``."""

    model_config = ConfigDict(frozen=True, extra="forbid", use_attribute_docstrings=True)

    aoi: str | None = None
    """Area: vector file, ``-`` for GeoJSON on standard input, or west,south,east,north; also
    ``file.gpkg|layername=north``, and ``file.gpkg|name=Olinda`` for features with that value. Without one,
    all of the ``image``."""
    aoi_crs: str | None = None
    """CRS of an area that does not say its own."""
    per_feature: str | None = None
    """A map for each value of this attribute of the area's layer, in folders of their own."""
    feature: str | None = None
    """Of those only the map of this value."""
    max_area_km2: Annotated[_Float, Field(gt=0)] = MAX_AREA_KM2
    """A larger area is refused."""

    catalog: str = "earth-search"
    """Name of a shipped catalog, or the URL, file or folder of any STAC API, static catalog, item collection
    or stac-geoparquet."""
    collection: str | None = None
    """Collection id; None for the catalog's default."""
    datetime: str | None = None
    """Dates as ``2024-06/2024-08``, or from today: ``last month``, ``last 90 days``, ``last summer``,
    ``same season last year``. None for the last 12 months of a remote catalog, all of a local one."""
    max_cloud_cover: Annotated[_Float, Field(ge=0, le=100)] | None = None
    """Percent; cloudier items are left out. None for the collection's default."""
    max_items: Annotated[_Int, Field(ge=1)] = 8
    """Per place, the least cloudy items are taken up to this many."""
    min_coverage: Annotated[_Float, Field(ge=0, le=1)] = 0.95
    """Share of the area that items must cover."""
    composite: str = "median"
    """How dates become one: ``median``, ``least-cloudy``, ``first``, ``nearest-date``."""
    date: str | None = None
    """For ``nearest-date``: ``2024-07-01``."""
    keep_clouds: bool = False
    """Do not mask clouds."""

    image: tuple[str, ...] = ()
    """Files that take the place of a catalog."""
    bands: tuple[str, ...] | None = None
    """Common names of the image's bands in order, ``-`` to leave one out."""
    scale: tuple[_Float, ...] | None = None
    """Reflectance = digital number * scale + offset, whatever the images say: one value, or one per band in
    order."""
    offset: tuple[_Float, ...] | None = None
    """See ``scale``."""

    model: str = "landcover-30m"
    """Name of a built-in model, or a model folder."""
    gsd: Annotated[_Float, Field(gt=0)] | None = None
    """Pixel size of the map, metres; None for the finest of the bands used."""
    crs: str | None = None
    """CRS of the map: a code, ``utm`` or ``equal-area`` (true hectares over several UTM zones). None for the
    items' own where they share one, else UTM, or equal-area where the area is too wide for a zone."""
    tile_size: Annotated[_Int, Field(ge=1)] | None = None
    """Side of what the model sees at once, pixels; None for what its card says."""
    halo: Annotated[_Int, Field(ge=0)] | None = None
    """Margin that tiles share, pixels; None for what the model's card says."""
    batch_size: Annotated[_Int, Field(ge=1)] = 4
    """Tiles at a time on a GPU, where it may change the class of pixels at which two are all but equally
    probable. The CPU runs one at a time."""
    device: str = "auto"
    """``cpu``, ``cuda`` (all GPUs), ``cuda:1`` (the second one), or ``auto``: GPUs where there are any. With
    a ``scheduler`` or ``cluster``, GPUs are those of workers with the resource ``GPU``."""
    backend: Annotated[str, Field(min_length=1)] = "auto"
    """What runs the network: ``torch-eager``, ``torch-compiled``, ``onnxruntime``, ``openvino`` or
    ``tensorrt``; ``auto``: the one that is done first, measured on the first tiles."""
    precision: Literal["auto", "float32", "bf16", "int8"] = "auto"
    """Of the network's arithmetic. ``auto``: the fastest whose classes are those of float32 on the first
    tiles, for 99.9 % of the pixels in bf16 and 99.5 % in int8, which it tries on models trained for it."""
    threads: Annotated[_Int, Field(ge=1)] | None = None
    """Of a network on the CPU; torch's last bits depend on them. None for all cores; with a ``scheduler`` or
    ``cluster``, as many as its workers have."""
    tta: Tta = "none"
    """Test-time augmentation, the mean over several views of each tile: 4 reflections (``flip``), 8 rotations
    and reflections (``d4``), for as many times the work; 3 scales (``scale``), for about 3 times; or both
    scales and reflections (``scale-flip``), for about 12 times."""
    uncertainty: tuple[Uncertainty, ...] = ()
    """What is not known, as rasters beside confidence.tif, with commas: ``entropy`` of the probabilities;
    ``conformal``, how many classes may be true (set_size.tif; needs a calibrated model); what more training
    would take away (epistemic.tif), by ``mc-dropout``, ``ensemble`` or ``evidential``, whichever the model is
    made for."""
    dropout_passes: Annotated[_Int, Field(ge=2)] = 10
    """Answers that ``mc-dropout`` compares, each as much work as the map itself."""

    block_size: Annotated[_Int, Field(ge=64)] = 4096
    """Side of the unit of work, pixels; does not change a map made on the CPU."""
    max_memory: Annotated[str, AfterValidator(_is_memory)] | None = None
    """What a process may take, such as ``2GB``: blocks are made as small as that asks for."""
    workers: Annotated[_Int, Field(ge=1)] | None = None
    """Blocks at a time on this machine; None for one, or one for each GPU. With a ``cluster``, its workers;
    None for as many as such a cluster has by itself."""
    cluster: ClusterKind | None = None
    """Kind of Dask cluster that is started for the run: ``local`` (processes of this machine), ``slurm``,
    ``pbs``, ``lsf``, ``sge``, ``oar``, ``htcondor``, ``kubernetes``, ``gateway`` or ``coiled``."""
    cluster_options: Annotated[dict[str, Any], Field(repr=False)] = {}
    """What its class in Dask takes: a table in TOML; as a flag ``queue=main,cores=4,memory=16GiB``, with
    values in JSON or plain text."""
    scheduler: Annotated[str, AfterValidator(_is_scheduler)] | None = None
    """Address of a Dask scheduler that runs already, ``tcp://host:8786`` or ``tls://host:8786``; None for
    this machine."""

    tries: Annotated[_Int, Field(ge=1)] = 3
    """How often a block is tried whose servers or workers fail, in all; the other blocks go on meanwhile."""
    on_missing: Literal["fail", "skip"] = "fail"
    """What becomes of pixels that cannot be read at last: the run ends when all other blocks are done
    (``fail``), or they are nodata in their item, as under clouds, and the report says so (``skip``)."""
    notify: Annotated[tuple[str, ...], Field(exclude=True, repr=False)] = ()
    """Who hears how a run ended: addresses of apprise, such as ``mailto://user:password@host``, or
    ``env:NAME``, an environment variable that holds one. They are in no output."""
    price_per_hour: Annotated[_Float, Field(ge=0)] | None = None
    """What an hour of a worker costs, for ``geoseg plan``: of whatever makes one block at a time."""
    currency: str = ""
    """Of ``price_per_hour``, any word."""

    out: Annotated[str, AfterValidator(_is_place)] | None = None
    """Output folder, or the address of one: ``s3://bucket/maps``, also ``gs://`` and ``az://``. None for
    ``geoseg-out/`` and the name of the area. ``{month}``, ``{year}``, ``{start}`` and ``{end}`` in it are
    those of the dates, the first one's month and year: ``maps/{month}`` is ``maps/2026-10``. ``{feature}`` is
    the value of ``per_feature``; without it each map is in a folder of that name within."""
    store: Annotated[str, AfterValidator(checked_address)] | None = None
    """Address that workers leave the parts of blocks at until the map is made: ``s3://bucket/parts``, also
    ``gs://``, ``az://`` and ``file:///``; they need not see the output folder then. None for ``.parts`` in an
    ``out`` that is an address, else for a hidden folder at ``out``."""
    change_from: str | None = None
    """Output folder of an earlier map, such as ``maps/{year-1}``; also ``{month-1}``. What has become of what
    since then is written beside this map, in a folder of its name with ``-change``, once both are there."""
    resume: bool = False
    """Go on with a run that was stopped or killed, or bring the map in the output folder up to date: blocks
    that would come out the same are not made again."""
    overwrite: bool = False
    """Replace the map that lies in the output folder."""
    max_file_gb: Annotated[_Float, Field(gt=0)] = 16.0
    """GB of a raster before compression, with overviews. A larger one is cut into sheets, each a file with a
    STAC item, and ``class.vrt`` shows them as one. They have 512 pixels a side at least."""
    polygons: Literal["gpkg", "geoparquet", "none"] = "gpkg"
    """``classes.gpkg``; for large maps GeoParquet, ``classes-0000.parquet`` and so on; or no polygons."""
    min_area_ha: Annotated[_Float, Field(ge=0)] = 0.0
    """Polygons smaller than this go to the neighbour with the longest common border."""
    simplify_m: Annotated[_Float, Field(ge=0)] = 0.0
    """Smooth polygon borders by about this much; neighbours keep their common borders."""

    @model_validator(mode="after")
    def _is_whole(self) -> Self:
        if self.aoi is None and not self.image:
            raise ValueError("no area: give --aoi FILE, --bbox west,south,east,north, or --image FILE")
        if self.feature is not None and self.per_feature is None:
            raise ValueError("--feature is a value of an attribute: name that with --per-feature")
        if self.per_feature is None and "{feature}" in f"{self.out} {self.change_from}":
            raise ValueError("{feature} in a folder is a value of an attribute: name that with --per-feature")
        if self.per_feature is not None and self.aoi is None:
            raise ValueError("--per-feature is an attribute of the area's layer: give that with --aoi")
        if self.composite == "nearest-date" and self.date is None:
            raise ValueError("nearest-date needs the date: give --date 2024-07-01")
        if (self.bands or self.scale is not None or self.offset is not None) and not self.image:
            raise ValueError("--bands, --scale and --offset describe an --image; a catalog describes its own")
        if len(several := [name for name in self.uncertainty if name in _EPISTEMIC]) > 1:
            raise ValueError(
                f"{' and '.join(several)} would both be epistemic.tif: give one of them to --uncertainty"
            )
        if self.cluster is not None and self.scheduler is not None:
            raise ValueError("--cluster starts a scheduler, --scheduler names one: give one of them")
        if self.cluster_options and self.cluster is None:
            raise ValueError("--cluster-options are those of a --cluster: name its kind, such as slurm")
        if self.change_from is not None and any(map(is_address, (self.change_from, self.out or ""))):
            raise ValueError(
                "--change-from compares maps in folders; what lies at addresses has to be fetched"
            )
        if self.store is not None and "{" in self.store:
            raise ValueError("--store takes no {month} or {feature}: parts of all maps may lie in one store")
        searched = [k for k in _OF_A_SEARCH if getattr(self, k) != type(self).model_fields[k].default]
        if self.image and searched:
            flags = " and ".join(f"--{key.replace('_', '-')}" for key in searched)
            raise ValueError(
                f"{flags} would choose from a catalog, but --image takes its place: give one of them"
            )
        return self

    @classmethod
    def resolve(cls, path: str | None, **given: Any) -> Self:
        """The recipe of a TOML file (or none) with the keys that were ``given``, those not None winning.

        Raises:
            RecipeError: unknown file, not TOML, an unknown key or a value out of range.
        """
        given = {key: value for key, value in given.items() if value is not None}
        written = read_recipe(path) if path else {}
        try:
            return cls(**{**written, **given})
        except ValidationError as error:
            of_file = written.keys() - given.keys()
            text = mistake(error, cls.model_fields, file=path, written=of_file)
            raise RecipeError(text) from None

    @property
    def is_on_cluster(self) -> bool:
        """Whether blocks run on the workers of a Dask scheduler, not in this process."""
        return self.cluster is not None or self.scheduler is not None

    def changed(self) -> dict[str, Any]:
        """The keys whose value is not the default."""
        return self.model_dump(exclude_defaults=True, mode="json")
