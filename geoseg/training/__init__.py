"""Chips and labels -> a fitted network: data, losses, fitting, and the model folder that comes out."""
