"""Classes to polygons."""
