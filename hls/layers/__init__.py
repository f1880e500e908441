"""Hardware layers: one frozen dataclass per kernel, satisfying `hls.dataflow.Layer`."""

from hls.layers.argmax import ArgMax
from hls.layers.concat import Concat
from hls.layers.depth_to_space import DepthToSpace
from hls.layers.depthwise_vector import DepthwiseVector
from hls.layers.elementwise import Elementwise
from hls.layers.fork import Fork
from hls.layers.global_pooling import GlobalPooling
from hls.layers.matrix_vector import MatrixVector
from hls.layers.parts.products import Product
from hls.layers.pooling import Pooling
from hls.layers.slice import Slice
from hls.layers.sliding_window import SlidingWindow
from hls.layers.thresholding import Thresholding
from hls.layers.upsample import Upsample
from hls.layers.width_converter import WidthConverter
from hls.layers.zero_insertion import ZeroInsertion

__all__ = [
    "ArgMax",
    "Concat",
    "DepthToSpace",
    "DepthwiseVector",
    "Elementwise",
    "Fork",
    "GlobalPooling",
    "MatrixVector",
    "Pooling",
    "Product",
    "Slice",
    "SlidingWindow",
    "Thresholding",
    "Upsample",
    "WidthConverter",
    "ZeroInsertion",
]
