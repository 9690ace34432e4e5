"""One recipe for many areas: a map for each value of an attribute of the area's layer."""

from collections import Counter
from collections.abc import Callable, Iterable, Mapping

from geoseg.aoi_source import AoiSource
from geoseg.errors import AoiError, GeosegError, one_line, some
from geoseg.jobs.folders import default_out, folder_name, name_of
from geoseg.jobs.stopping import Stopped, is_asked
from geoseg.recipe import Recipe
from geoseg.redaction import redact

FEATURE = "{feature}"
"""In ``out``: the value, as the name of a folder."""
MOST = 10_000
"""More maps than this are a slip: an attribute that is another one for each feature."""

Say = Callable[[str], None]


def recipes_of(recipe: Recipe) -> dict[str, Recipe]:
    """The recipe of each map that ``recipe`` asks for, by the value of ``per_feature``; or itself alone.

    Each names its features in ``aoi`` and has an ``out`` of its own: it makes its map by itself, as the
    ``manifest.json`` of that map does.

    Raises:
        AoiError: the layer has no such attribute or value, or too many.
    """
    if recipe.per_feature is None:
        return {name_of(recipe): recipe}
    from geoseg.vectors import no_such, sources_by  # with GDAL, which most recipes do not need here

    source, wanted = str(recipe.aoi), recipe.feature
    areas = sources_by(source, recipe.per_feature)
    file = "The GeoJSON given" if source.lstrip().startswith(("-", "{")) else AoiSource.parse(source).file
    if wanted is not None and wanted not in areas:
        raise AoiError(no_such(wanted, areas, attribute=recipe.per_feature, label=file))
    if wanted is None and len(areas) > MOST:
        raise AoiError(
            f"{file} has {len(areas):,} values of {recipe.per_feature}, more than the {MOST:,} maps that a "
            "run makes. Give another --per-feature, or one --feature."
        )
    names = folder_names(areas)
    out, earlier = recipe.out or default_out(recipe), recipe.change_from
    return {
        value: recipe.model_copy(
            update={
                "aoi": areas[value],
                "out": _placed(out, names[value]),
                "change_from": earlier and _placed(earlier, names[value]),
                "per_feature": None,
                "feature": None,
            }
        )
        for value in ([wanted] if wanted is not None else areas)
    }


def _placed(folder: str, name: str) -> str:
    return folder.replace(FEATURE, name) if FEATURE in folder else f"{folder.rstrip('/')}/{name}"


def folder_names(values: Iterable[str]) -> dict[str, str]:
    """A folder for each value, no two the same, also where upper and lower case are (macOS, Windows)."""
    plain = {value: folder_name(value) for value in values}
    n_alike = Counter(name.casefold() for name in plain.values())
    return {
        value: folder_name(value, is_marked=n_alike[name.casefold()] > 1) for value, name in plain.items()
    }


def for_each(recipes: Mapping[str, Recipe], make: Callable[[Recipe], None], *, say: Say, warn: Say) -> None:
    """Make all maps, one after the other; those that fail do not stop the others.

    Args:
        recipes: by what their areas are called.
        make: makes one.
        say: told which one begins.
        warn: told which one failed, and why.

    Raises:
        GeosegError: some failed; one line says which.
        Stopped: SIGTERM came; it says what is left.
    """
    failed: dict[str, Exception] = {}
    for n, (name, recipe) in enumerate(recipes.items()):
        left = list(recipes)[n:]
        if n and is_asked():
            raise Stopped(0, areas=left)
        if len(recipes) > 1:
            say(f"{name}: map {n + 1} of {len(recipes)}")
        try:
            make(recipe)
        except Stopped as stopped:
            raise Stopped(stopped.n_left, areas=left[1:]) from None
        except Exception as error:
            if len(recipes) == 1:
                raise
            failed[name] = error
            warn(f"{name} failed: {redact(one_line(error)) or type(error).__name__}")
    if failed:
        raise _failure(failed, len(recipes))


def _failure(failed: dict[str, Exception], n_maps: int) -> Exception:
    """The error at the end; a bug among them is that error, since it needs its traceback."""
    bugs = [name for name, error in failed.items() if not isinstance(error, GeosegError)]
    first = (bugs or list(failed))[0]
    error = failed[first]
    if len(failed) == n_maps:
        many = f"All {n_maps} maps failed"
    else:
        many = f"{len(failed)} of {n_maps} maps failed ({some(list(failed), 'area')}), the others are done"
    text = f"{many}. {first}: {error}"
    if bugs:
        error.add_note(text)
        return error
    whole = type(error)(text)
    whole.__cause__ = error
    return whole
