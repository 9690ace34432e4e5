"""``python -m geoseg``."""

from geoseg.cli.main import run

run()
