"""The land-cover model that geoseg trained and ships: see docs/models.md."""

from pathlib import Path

from geoseg.models.zoo import register_folder

LANDCOVER_30M = register_folder(Path(__file__).with_name("landcover-30m"))
