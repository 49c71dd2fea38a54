"""The road class of a raster as a network of centrelines."""
