"""Areas with confidence: a sample of points, its labels, and what follows from them."""
