"""Pixels to classes."""

import os

# Layers of a network take tens of megabytes for an instant. With large pages, torch's allocator meets 7,000
# page faults for a tile of 1024 pixels in U-Net/ResNet34 in place of 190,000, one for each 4 kB. Read when
# torch first allocates; no harm where the system has none.
os.environ.setdefault("THP_MEM_ALLOC_ENABLE", "1")
