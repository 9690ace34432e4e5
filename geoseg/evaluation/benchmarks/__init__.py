"""The data sets that segmentation is scored on, one file each: layout, splits, labels, classes, colours."""
