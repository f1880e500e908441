"""Synthesis with open tools."""
