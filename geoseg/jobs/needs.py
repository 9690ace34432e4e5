"""What a recipe needs where geoseg is installed anew: extras, variables that hold keys, and paths."""

from dataclasses import dataclass
from pathlib import PurePath

from geoseg.aoi_source import AoiSource
from geoseg.jobs.clusters import KINDS
from geoseg.jobs.notify import ENVIRONMENT
from geoseg.object_storage import STORE_KEYS
from geoseg.recipe import Recipe
from geoseg.stac.catalog import load_catalog
from geoseg.stac.signing import AWS_KEYS, KEYS

_BACKENDS = {"onnxruntime": "onnx", "openvino": "openvino", "tensorrt": "tensorrt"}
"""The extra that brings a backend."""


@dataclass(frozen=True)
class Needs:
    """What has to be there."""

    extras: tuple[str, ...] = ()
    """Of the package geoseg, in alphabetical order."""
    secrets: tuple[str, ...] = ()
    """Names of environment variables."""
    paths: tuple[str, ...] = ()
    """Absolute ones: what they name has to be there under the same names."""

    @property
    def package(self) -> str:
        """For pip: ``geoseg[notify]``."""
        return f"geoseg[{','.join(self.extras)}]" if self.extras else "geoseg"


def needs_of(recipe: Recipe) -> Needs:
    """What ``recipe`` needs, as far as it says so itself."""
    extras = {_BACKENDS.get(recipe.backend)}
    secrets = [*_keys_to_read(recipe)]
    if not recipe.image:
        signing = load_catalog(recipe.catalog).signing
        extras.add(signing if signing == "planetary-computer" else None)
    for place in filter(None, (recipe.out, recipe.store)):
        secrets += STORE_KEYS.get(place.partition("://")[0], ())
    if recipe.notify:
        extras.add("notify")
        secrets += [a.removeprefix(ENVIRONMENT) for a in recipe.notify if a.startswith(ENVIRONMENT)]
    if recipe.cluster is not None:
        extras.add(KINDS[recipe.cluster].extra)
    return Needs(tuple(sorted(filter(None, extras))), tuple(dict.fromkeys(secrets)), _absolute(recipe))


def _absolute(recipe: Recipe) -> tuple[str, ...]:
    area = recipe.aoi and AoiSource.parse(recipe.aoi).file
    places = (area, *recipe.image, recipe.catalog, recipe.model, recipe.out, recipe.store, recipe.change_from)
    paths = [place.removeprefix("file://") for place in places if place]
    return tuple(path for path in paths if PurePath(path).is_absolute() and not path.startswith("/vsi"))


def _keys_to_read(recipe: Recipe) -> tuple[str, ...]:
    if recipe.image:
        return AWS_KEYS if any(image.startswith("s3://") for image in recipe.image) else ()
    catalog = load_catalog(recipe.catalog)
    config = catalog.collections.get(recipe.collection or catalog.default_collection or "")
    if config is not None and "AWS_REQUEST_PAYER" in config.read_options:
        return AWS_KEYS
    return KEYS.get(catalog.signing or "", ())
