"""Pixels to classes."""
