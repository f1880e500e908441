"""Graph-to-graph transforms, one function a file, in the order of the flow."""

from transforms.accumulators import annotate_accumulators
from transforms.aggregate import aggregate
from transforms.canonical import to_canonical
from transforms.thresholds import to_thresholds

__all__ = ["aggregate", "annotate_accumulators", "to_canonical", "to_thresholds"]
