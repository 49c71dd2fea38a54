"""Run: the stages composed into one graph."""
