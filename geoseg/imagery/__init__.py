"""Items or files to pixels."""
