"""Whole regions: many scenes, one layer."""
