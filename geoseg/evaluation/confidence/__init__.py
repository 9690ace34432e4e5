"""Whether confidence means what it says, and how to mend it."""
