"""Classes: the tiles' cores laid side by side."""
