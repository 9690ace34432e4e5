"""How good a map is: scores, areas with intervals, and whether its confidence can be believed."""
