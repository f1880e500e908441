"""Graph-to-graph transforms, one function a file, in the order of the flow."""

from transforms.accumulators import annotate_accumulators
from transforms.aggregate import aggregate
from transforms.canonical import to_canonical
from transforms.constant_channels import remove_constant_channels, removed_channels
from transforms.thresholds import to_thresholds

__all__ = [
    "aggregate",
    "annotate_accumulators",
    "remove_constant_channels",
    "removed_channels",
    "to_canonical",
    "to_thresholds",
]
