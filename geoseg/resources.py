"""Where catalogs and pipelines lie, in a wheel and in a checkout alike."""

from pathlib import Path

_PACKAGE = Path(__file__).parent


def resource_folder(kind: str) -> Path:
    """The folder of the shipped ``catalogs`` or ``pipelines``.

    A wheel carries them inside the package (``geoseg/_resources``); an editable install has them at
    the root of the repository, because hatch's force-include does not reach editable installs.
    """
    packaged = _PACKAGE / "_resources" / kind
    return packaged if packaged.is_dir() else _PACKAGE.parent / kind


def path_exists(path: Path) -> bool:
    """Whether there is such a file or folder; text that no path can be, such as long GeoJSON, is none."""
    try:
        return path.exists()
    except (OSError, ValueError):
        return False


def find_resource(kind: str, name: str, suffix: str) -> Path | None:
    """The file or folder that ``name`` stands for: a path as given, else a shipped resource, else None."""
    given = Path(name)
    if path_exists(given):
        return given
    shipped = resource_folder(kind) / f"{name}{suffix}"
    return shipped if shipped.exists() else None
