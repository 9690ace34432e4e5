"""Paths with ``{placeholders}``: filled from the columns of a list, or found again in the files of a folder.

A placeholder is the name of a column and nothing else: no attribute, index, conversion or nested placeholder
is looked up, and what comes out stays below the folder that it is for.
"""

import re
from collections.abc import Mapping
from glob import escape
from pathlib import Path, PureWindowsPath
from string import Formatter

from geoseg.registry import did_you_mean

_WIDTH = re.compile(r"(.?[<>^])?([1-9]\d?)?", re.DOTALL)
"""Fill, side and width of ``{chip:0>3}``; ``{chip:03}`` is not one: it would fill text on the right."""


def placeholders(pattern: str, *, with_widths: bool = True) -> tuple[str, ...]:
    """The names in a pattern, in order, each once.

    Args:
        pattern: the path.
        with_widths: whether names may have widths; :func:`found` cannot look for them.

    Raises:
        ValueError: the pattern is not usable, or leads out of the folder; says why.

    Example:
        >>> placeholders("chips/{city}_{chip:0>3}.tif")
        ('city', 'chip')
    """
    names = []
    for _, name, spec, conversion in Formatter().parse(pattern):
        if name is None:
            continue
        if not name or conversion or not _WIDTH.fullmatch(spec or ""):
            raise ValueError(
                f"{pattern!r} has a placeholder that is not the name of a column, or that and a width such "
                "as {chip:0>3}"
            )
        if spec and not with_widths:
            raise ValueError(f"{pattern!r} has a width, which is for the columns of an index: there is none")
        names.append(name)
    if "*" in pattern:
        raise ValueError(f"{pattern!r} has a *: write a placeholder such as {{chip}} for what differs")
    _refuse_outside(pattern)
    return tuple(dict.fromkeys(names))


def fill(pattern: str, values: Mapping[str, str]) -> str:
    """The path that a pattern gives for the values of its placeholders.

    Raises:
        ValueError: a value is not known, or the path leads out of the folder.

    Example:
        >>> fill("chips/{chip:0>3}.tif", {"chip": "7", "split": "val"})
        'chips/007.tif'
    """
    parts = []
    for literal, name, spec, _ in Formatter().parse(pattern):
        parts.append(literal)
        if name is not None:
            if name not in values:
                raise ValueError(f"{pattern!r} asks for {name!r}: {did_you_mean(name, list(values))}")
            parts.append(format(values[name], spec or ""))
    path = "".join(parts)
    _refuse_outside(path)
    return path


def found(root: Path, pattern: str) -> list[dict[str, str]]:
    """What the placeholders stand for in the files below a root that fit a pattern, sorted by path.

    A placeholder stands for one or more characters other than ``/``; where it occurs twice, for the same
    ones. Hidden files are left out.
    """
    names = placeholders(pattern, with_widths=False)
    regex, wildcard, seen = "", "", set()
    for literal, name, _, _ in Formatter().parse(pattern):
        regex, wildcard = regex + re.escape(literal), wildcard + escape(literal)
        if name is not None:
            group = f"g{names.index(name)}"
            regex += f"(?P={group})" if name in seen else f"(?P<{group}>[^/]+)"
            wildcard += "" if wildcard.endswith("*") else "*"
            seen.add(name)
    files = (path.relative_to(root) for path in root.glob(wildcard))
    shown = sorted(file.as_posix() for file in files if not any(part.startswith(".") for part in file.parts))
    fits = (re.fullmatch(regex, file) for file in shown)
    return [dict(zip(names, fit.groups(), strict=True)) for fit in fits if fit]


def _refuse_outside(path: str) -> None:
    read = PureWindowsPath(path)  # knows the separators and roots of both kinds of systems
    if read.anchor or ".." in read.parts or not read.parts or "\0" in path:
        raise ValueError(f"{path!r} is not a path below the folder of the data set")
