"""Every example of a docstring gives what it says."""

import doctest
import importlib
import pkgutil

import pytest

import geoseg

FOUND = (found.name for found in pkgutil.walk_packages(geoseg.__path__, "geoseg."))
MODULES = sorted(name for name in FOUND if not name.endswith("__main__"))


@pytest.mark.parametrize("name", MODULES)
def test_examples(name, tmp_path, monkeypatch):
    module = importlib.import_module(name)
    monkeypatch.chdir(tmp_path)
    assert doctest.testmod(module).failed == 0


def test_there_are_examples():
    finder = doctest.DocTestFinder(exclude_empty=True)
    assert (
        sum(bool(found.examples) for name in MODULES for found in finder.find(importlib.import_module(name)))
        > 40
    )
