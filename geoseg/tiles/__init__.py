"""Tiles: which block of the raster is whose, and what of it is done."""
