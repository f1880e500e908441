"""Hardware layers: one frozen dataclass per kernel, satisfying `hls.dataflow.Layer`."""

from hls.layers.argmax import ArgMax
from hls.layers.matrix_vector import MatrixVector, Product
from hls.layers.thresholding import Thresholding
from hls.layers.width_converter import WidthConverter

__all__ = ["ArgMax", "MatrixVector", "Product", "Thresholding", "WidthConverter"]
