import numpy as np

from geoseg.bench.classmaps import N_CLASSES, class_map


def test_small_maps_are_corners_of_large_ones():
    large = class_map(700)
    assert np.array_equal(class_map(300), large[:300, :300])
    assert set(np.unique(large)) == set(range(N_CLASSES))
