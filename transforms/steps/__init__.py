"""Staircases: where a function of integers and its quantizer step."""
