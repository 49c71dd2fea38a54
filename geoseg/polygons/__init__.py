"""Polygons: traced tile by tile, joined across seams, exact."""
