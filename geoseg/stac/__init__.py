"""The only door to catalogs."""
