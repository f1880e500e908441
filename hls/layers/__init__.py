"""Hardware layers: one frozen dataclass per kernel, satisfying `hls.dataflow.Layer`."""

from hls.layers.argmax import ArgMax
from hls.layers.concat import Concat
from hls.layers.depth_to_space import DepthToSpace
from hls.layers.elementwise import Elementwise
from hls.layers.fork import Fork
from hls.layers.matrix_vector import MatrixVector, Product
from hls.layers.pooling import Pooling
from hls.layers.slice import Slice
from hls.layers.spread import Spread
from hls.layers.thresholding import Thresholding
from hls.layers.width_converter import WidthConverter

__all__ = [
    "ArgMax",
    "Concat",
    "DepthToSpace",
    "Elementwise",
    "Fork",
    "MatrixVector",
    "Pooling",
    "Product",
    "Slice",
    "Spread",
    "Thresholding",
    "WidthConverter",
]
