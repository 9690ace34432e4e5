"""Scores of things that are counted: polygons, instances, panoptic segments."""
