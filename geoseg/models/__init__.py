"""The zoo: card, weights, one file per family."""
