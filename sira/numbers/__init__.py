"""Exact numbers, intervals and scaled integers. Nothing here knows of a graph."""
