"""A made-up settlement from above, for trying geoseg out."""
