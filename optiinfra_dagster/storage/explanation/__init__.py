"""Explains a row that people read: the slices that it was computed from, and whether they are all there."""
