"""What changed between two map layers, object by object."""
