"""Graph-to-graph transforms, one function a file."""
