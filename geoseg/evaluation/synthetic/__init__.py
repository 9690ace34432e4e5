"""Scenes that are drawn instead of observed: spectra, layouts, and what puts them together."""
