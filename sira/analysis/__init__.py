"""Scaled-integer range analysis, and what is read off its result."""
