"""Which scenes there are: files, lists, URLs and STAC in, a STAC catalogue of the outputs out."""
