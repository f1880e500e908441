"""Hardware layers: one frozen dataclass per kernel, satisfying `hls.dataflow.Layer`."""
