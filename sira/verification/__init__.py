"""Golden integers, the oracles that are not ours, and the comparisons between them."""
