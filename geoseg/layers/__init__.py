"""Map layers: polygons with attributes, written and read in the formats a GIS opens."""
