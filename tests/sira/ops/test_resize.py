from fractions import Fraction
from itertools import product

import numpy as np
import onnxruntime as ort
import pytest
from onnx_models import Net, integers
from op_checks import check, declared, ranges_of, some

from sira.datatypes import InputSpec, IntegerType
from sira.errors import SiraError
from sira.numbers.scaled import ScaledInt

SHAPE = (1, 2, 3, 4)
COORDINATES = ["half_pixel", "pytorch_half_pixel", "align_corners", "asymmetric"]
ROUNDINGS = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"]
PER_CHANNEL = InputSpec(
    IntegerType("test", -3, 5), (Fraction(1, 2), Fraction(3)), (Fraction(1, 4), Fraction(0))
)


def _runtime(net):
    options = ort.SessionOptions()
    options.log_severity_level = 3
    session = ort.InferenceSession(declared(net).SerializeToString(), options)
    return lambda x: session.run(None, {"x": x.astype(np.float32)})[0]


def _net(scales=None, sizes=None, shape=SHAPE, opset=19, **attrs):
    net = Net(shape, opset=opset)
    scales = None if scales is None else np.array(scales, np.float32)
    sizes = None if sizes is None else np.array(sizes, np.int64)
    net.node("Resize", "x", None, scales, *([] if sizes is None else [sizes]), **attrs)
    return net


def _check(net, **options):
    check(net, PER_CHANNEL, some(net.shape, -3, 5), oracle=_runtime(net), **options)


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("rounding", ROUNDINGS)
@pytest.mark.parametrize("scales", [[1, 1, 2, 2], [1, 1, 4, 0.5], [1, 1, 1.5, 1]])
def test_nearest_by_scales(coordinates, rounding, scales):
    _check(_net(scales, coordinate_transformation_mode=coordinates, nearest_mode=rounding))


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("sizes", [[1, 2, 6, 8], [1, 2, 3, 2], [1, 2, 1, 4]])
def test_nearest_by_sizes(coordinates, sizes):
    _check(_net(None, sizes, coordinate_transformation_mode=coordinates))


@pytest.mark.parametrize("coordinates", COORDINATES)
@pytest.mark.parametrize("scales", [[1, 1, 2, 2], [1, 1, 4, 1], [1, 1, 1, 0.5]])
def test_linear(coordinates, scales):
    """With weights in quarters and eighths nothing is rounded, in float32 either."""
    if coordinates == "align_corners":
        scales = [1, 1, 1, 0.5]  # the only one of them whose weights are binary fractions
    net = _net(scales, mode="linear", coordinate_transformation_mode=coordinates)
    _check(net)


def test_linear_in_thirds():
    """align_corners from 4 to 7 elements lies in halves, from 3 to 7 in thirds."""
    net = _net(None, [1, 2, 7, 7], mode="linear", coordinate_transformation_mode="align_corners")
    y = ranges_of(net, integers(0, 3))["t0"]
    assert isinstance(y, ScaledInt)
    assert (y.scale.values.item(), y.hi.item()) == (Fraction(1, 6), 18)


def test_linear_with_odd_weights_is_an_interval():
    net = _net([1, 1, 1.9, 1.7], mode="linear")
    y = ranges_of(net, integers(-2, 3))["t0"]
    assert "small fraction" in y.reason
    assert y.lo.size == y.hi.size == 1
    assert (y.lo.item(), y.hi.item()) == (-2.0, 3.0)


def test_scales_that_vary_along_the_axis():
    for mode, factor in product(["nearest", "linear"], [2.0, 2.0**-30]):
        net = Net(SHAPE)
        x = net.node("Mul", "x", np.array([1, factor, 1, 1]))
        net.node("Resize", x, None, np.array([1, 1, 1, 2], np.float32), mode=mode)
        check(net, integers(-3, 5), some(SHAPE, -3, 5), oracle=_runtime(net),
              integer=mode == "nearest" or factor > 1)  # fmt: skip


@pytest.mark.parametrize("mode", ["nearest", "linear"])
@pytest.mark.parametrize("op, opset", [("Upsample", 9), ("Upsample", 7), ("Resize", 10)])
def test_older_forms(mode, op, opset):
    net = Net(SHAPE, opset=opset)
    scales = np.array([1, 1, 2, 4], np.float32)
    if opset == 7:
        net.node(op, "x", scales=scales.tolist(), mode=mode)
    else:
        net.node(op, "x", scales, mode=mode)
    _check(net)


def test_chosen_axes():
    _check(_net([2.0], axes=[3]))


def test_stays_per_channel():
    for mode in ("nearest", "linear"):
        net = _net([1, 1, 2, 2], shape=(1, 2, 112, 112), mode=mode)
        y = ranges_of(net, PER_CHANNEL)["t0"]
        assert isinstance(y, ScaledInt)
        assert (y.lo.size, y.hi.size, y.scale.values.size, y.bias.values.size) == (1, 1, 2, 2)


def test_symmetric_and_shrinking_coordinates():
    """Against the formulas of the standard, in fractions."""
    net = _net([1, 1, 1, 0.8], shape=(1, 1, 1, 7),
               coordinate_transformation_mode="half_pixel_symmetric")  # fmt: skip
    scale = Fraction(float(np.float32(0.8)))
    adjustment = 5 / (scale * 7)
    places = [Fraction(7, 2) * (1 - adjustment) + (x + Fraction(1, 2)) / scale - Fraction(1, 2)
              for x in range(5)]  # fmt: skip
    indices = [round(float(p)) for p in places]
    q = some((1, 1, 1, 7), -3, 5)
    check(net, integers(-3, 5), q, oracle=lambda x: x[..., indices])


@pytest.mark.parametrize(
    "attrs, text",
    [
        ({"mode": "cubic"}, "this interpolation is not supported, expected nearest or linear"),
        ({"coordinate_transformation_mode": "tf_crop_and_resize"}, "mode of coordinates"),
        ({"nearest_mode": "up"}, "mode of rounding"),
        ({"antialias": 1, "mode": "linear"}, "antialias is not supported"),
        ({"keep_aspect_ratio_policy": "not_larger"}, "policy of aspect ratios"),
        ({"scales": [2, 2]}, "the scales or sizes do not fit, expected 4 positive numbers"),
        ({"scales": [1, 1, 0.1, 1]}, "nothing is left of the tensor"),
    ],
)
def test_errors(attrs, text):
    attrs = {"scales": [1, 1, 2, 2], **attrs}
    with pytest.raises(SiraError, match=text):
        ranges_of(_net(**attrs), None)
