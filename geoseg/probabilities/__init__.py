"""Probabilities: patches of the raster through an engine."""
