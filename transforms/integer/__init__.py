"""The integer core of a graph, built region by region from the ranges."""
