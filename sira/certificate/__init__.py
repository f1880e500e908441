"""Certificates of accumulator ranges: the independent checker, and the writer of claims."""
