"""Drawn scenes: the same every time, physical, and labelled as their pixels are."""

import time

import numpy as np
import pytest

from geoseg.errors import EvaluationError
from geoseg.evaluation.benchmark import check
from geoseg.evaluation.benchmark_images import Part, labelled_samples
from geoseg.evaluation.labelled import benchmark_of
from geoseg.evaluation.synthetic.covers import BIOMES, COVERS, SOIL
from geoseg.evaluation.synthetic.layouts import highest, parcels, random_fields
from geoseg.evaluation.synthetic.scenes import N_SCENES, draw_scene
from geoseg.evaluation.synthetic.spectra import BANDS, KINDS, MATERIALS, draw_spectrum, path_reflectance

CLASSES = [c.name for c in benchmark_of("synthetic-landcover").legend.classes]


def band(image, name):
    return image[BANDS.index(name)]


def index(image, a, b):
    return (band(image, a) - band(image, b)) / (band(image, a) + band(image, b) + 1e-6)


@pytest.fixture(scope="module")
def scenes():
    return [draw_scene("train", n, side=64) for n in range(200)]


@pytest.fixture(scope="module")
def pixels(scenes):
    """(band, pixel) reflectance by class."""
    image = np.concatenate([s.image.reshape(len(BANDS), -1)[:, ::7] for s in scenes], axis=1)
    labels = np.concatenate([s.labels.ravel()[::7] for s in scenes])
    return {name: image[:, labels == value] for value, name in enumerate(CLASSES)}


def test_they_are_named_like_any_data_set_with_the_classes_of_the_default_model(tmp_path):
    benchmark = benchmark_of("synthetic-landcover")
    assert benchmark_of(benchmark.address) is benchmark
    assert benchmark.legend == benchmark_of("landcover-30m").legend
    assert set(benchmark_of("landcover-30m").bands) - {"coastal"} < set(benchmark.bands)
    assert all(split.is_complete for split in check(benchmark, tmp_path))
    train, val = (labelled_samples(benchmark, Part(benchmark.name, tmp_path, s)) for s in ("train", "val"))
    assert len({s.place for s in train + val}) == len(train) + len(val) == sum(N_SCENES.values())
    with pytest.raises(EvaluationError, match="did you mean synthetic-landcover"):
        benchmark_of("synthetic-landcovr")


def test_a_scene_follows_from_its_number_and_seed(tmp_path):
    sample = benchmark_of("synthetic-landcover").samples(tmp_path, "train")[5]
    first = sample.read_image().copy(), sample.read_labels().copy()
    draw_scene.cache_clear()
    assert (sample.read_image() == first[0]).all()
    assert (sample.read_labels() == first[1]).all()
    others = (draw_scene("val", 5), draw_scene("train", 6), draw_scene("train", 5, seed=1))
    assert not any((other.image == first[0]).all() for other in others)


def test_values_are_reflectances_and_every_class_and_biome_occurs(scenes, pixels):
    for scene in scenes:
        assert scene.image.dtype == np.float32
        assert scene.image.shape == (len(BANDS), *scene.labels.shape) == (10, 64, 64)
        assert scene.image.min() >= 0
        assert scene.image.max() <= 1.2
        assert scene.labels.dtype == np.uint8
    assert {s.biome for s in scenes} == set(BIOMES)
    assert min(values.shape[1] for values in pixels.values()) > 0.02 * 200 * 64**2 / 7


def test_pixels_are_what_their_labels_say(pixels):
    def middle(name, a, b):
        return np.median(index(pixels[name], a, b))

    assert middle("tree", "nir08", "red") > 0.5 > middle("grass", "nir08", "red")
    assert middle("grass", "nir08", "red") > middle("built", "nir08", "red") > middle("bare", "nir08", "red")
    assert np.median(band(pixels["water"], "swir16")) < 0.03 < np.median(band(pixels["wetland"], "swir16"))
    assert middle("water", "green", "nir08") > 0 > middle("bare", "green", "nir08")
    assert np.median(band(pixels["bare"], "swir22")) > np.median(band(pixels["tree"], "swir22")) + 0.1
    red_edge = [np.median(band(pixels["tree"], b)) for b in ("red", "rededge071", "rededge075", "nir")]
    assert red_edge == sorted(red_edge)


@pytest.mark.parametrize("name", MATERIALS)
def test_materials_keep_their_shape_however_they_are_drawn(name):
    rng = np.random.default_rng(0)
    for _ in range(20):
        spectrum = draw_spectrum(name, rng)
        assert (spectrum > 0).all()
        assert (spectrum < 1.2).all()
        if KINDS[name] == "leaf":
            assert index(spectrum, "nir08", "red") > 0.3
        if KINDS[name] == "water":
            assert band(spectrum, "swir16") < 0.06
        if KINDS[name] in ("soil", "dry") and name != "mud":
            assert band(spectrum, "red") > band(spectrum, "blue")


def test_air_adds_most_in_blue():
    assert (np.diff(path_reflectance(0.08, 4)) < 0).all()


def test_covers_and_biomes_name_what_there_is():
    for cover in COVERS.values():
        assert cover.class_name in (*CLASSES, "")
        assert set(cover.parts) - {SOIL} <= set(MATERIALS)
        assert cover.dry in MATERIALS
    for biome in BIOMES.values():
        named = {*biome.nature, *biome.crops, *biome.towns, *biome.waters, *biome.shores}
        assert named <= set(COVERS)
        assert set(biome.soils) <= set(MATERIALS)
    used = {name for b in BIOMES.values() for name in (*b.nature, *b.crops, *b.towns, *b.waters, *b.shores)}
    assert set(COVERS) - used <= {"ash", "road"}


def test_fields_and_parcels():
    rng = np.random.default_rng(0)
    field = random_fields(rng, 2, side=64, slope=2)
    assert np.allclose(field.std(axis=(1, 2)), 1, atol=1e-5)
    assert highest(field[0], 0.25).mean() == pytest.approx(0.25, abs=0.01)
    assert 10 < len(np.unique(parcels(rng, 64, size=8))) < 100


def test_a_scene_is_drawn_in_a_blink():
    def seconds(n):
        draw_scene.cache_clear()
        start = time.thread_time()
        draw_scene("train", n)
        return time.thread_time() - start

    best = [min(seconds(n) for _ in range(3)) for n in range(1000, 1010)]
    assert np.median(best) < 0.1  # 0.03 s on a machine that does nothing else
