"""The straight path, block by block, on a Dask scheduler."""
