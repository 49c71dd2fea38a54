"""Any georeferenced raster as uint8 windows on one pixel grid, and class rasters back to disk."""
