"""Map view: a layer as one page that opens offline, or served to this machine by bounding box."""
