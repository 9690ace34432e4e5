"""Registries fill themselves once, whoever comes first."""

import threading
import time

import pytest

from geoseg.errors import ModelError
from geoseg.registry import Registry, group_of


def test_threads_that_come_while_it_fills_wait():
    def fill():
        time.sleep(0.2)
        things.register("a")("A")

    things: Registry[str] = Registry("thing", ModelError, fill=fill)
    found = []
    threads = [threading.Thread(target=lambda: found.append(things["a"])) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == ["A"] * 4


def test_what_fills_it_may_look_things_up():
    things: Registry[str] = Registry("thing", ModelError, fill=lambda: things.register("b")("b" in things))
    assert things["b"] is False


def test_a_fill_that_failed_is_tried_again():
    tries = []

    def fill():
        tries.append(1)
        if len(tries) == 1:
            raise ImportError("not yet")
        things.register("a")("A")

    things: Registry[str] = Registry("thing", ModelError, fill=fill)
    with pytest.raises(ImportError):
        things["a"]
    assert things["a"] == "A"


def test_entry_point_groups_are_plurals():
    assert [group_of(kind) for kind in ("model", "model family", "loss", "class_metric")] == [
        "geoseg.models",
        "geoseg.model_families",
        "geoseg.losses",
        "geoseg.class_metrics",
    ]
