"""Pixel geometry: the one grid, its tiles and their tapers. No I/O, no torch, no network."""
