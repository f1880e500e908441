from fractions import Fraction

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from onnx_models import Net, integers
from op_checks import check, ranges_of, some

from sira.datatypes import InputSpec, IntegerType
from sira.errors import SiraError
from sira.numbers.scaled import ScaledInt

SHAPE = (1, 4, 4, 6)
PER_CHANNEL = InputSpec(
    IntegerType("test", -5, 6),
    tuple(map(Fraction, ["1", "1/2", "3", "1/4"])),
    tuple(map(Fraction, ["0", "1/2", "-1", "0"])),
)
MAX = 2**63 - 1


def i64(*values):
    return np.array(values, np.int64)


def _case(op, *inputs, opset=18, outputs=1, shape=SHAPE, **attrs):
    net = Net(shape, opset=opset)
    net.node(op, "x", *inputs, outputs=outputs, output="y", **attrs)
    return net


CASES = [
    _case("Slice", i64(0), i64(9)),
    _case("Slice", i64(0, 1), i64(3, 6), i64(1, -1), i64(2, 3)),
    _case("Slice", i64(-1), i64(-MAX), i64(3), i64(-1)),
    _case("Slice", i64(-1, 4), i64(0, MAX), i64(1, 3), i64(-2, 1)),
    _case("Slice", opset=9, starts=[1, -3], ends=[100, -1], axes=[2, 3]),
    _case("Slice", opset=9, starts=[0, 1], ends=[1, 3]),
    _case("Gather", i64(2, 0, -1), axis=1),
    _case("Gather", i64([1, 2, 0], [5, 5, -6]), axis=3),
    _case("Gather", np.array(1, np.int64), axis=1),
    _case("Gather", i64(0, 0)),
    _case("Tile", i64(1, 2, 1, 3)),
    _case("Tile", i64(2, 1, 1, 1)),
    _case("Expand", i64(3, 4, 1, 6)),
    _case("Expand", i64(2, 3, 1, 1, 1, 1)),
    _case("Expand", i64(2, 3, 4), shape=(1, 1, 4)),
    _case("DepthToSpace", blocksize=2),
    _case("DepthToSpace", blocksize=2, mode="CRD"),
    _case("SpaceToDepth", blocksize=2),
    _case("SpaceToDepth", blocksize=1),
]
SPLITS = [
    (_case("Split", opset=11, outputs=2, axis=1), 2),
    (_case("Split", opset=11, outputs=3, axis=-1, split=[1, 2, 3]), 3),
    (_case("Split", i64(3, 1), opset=13, outputs=2, axis=1), 2),
    (_case("Split", outputs=3, axis=3, num_outputs=3, shape=(1, 4, 1, 7)), 3),
    (_case("Split", outputs=2, axis=2, num_outputs=2), 2),
]


@pytest.mark.parametrize("net", CASES, ids=lambda net: net.nodes[0].op_type)
@pytest.mark.parametrize("spec", [integers(-5, 6), integers(2, 6, 0.5, 0.25), PER_CHANNEL])
def test_values_and_ranges(net, spec):
    if net.shape == (1, 1, 4) and spec is PER_CHANNEL:
        spec = integers(3, 5)
    check(net, spec, some(net.shape, spec.datatype.lo, spec.datatype.hi))


@pytest.mark.parametrize("net, n", SPLITS)
def test_split(net, n):
    check(net, PER_CHANNEL, some(net.shape, -5, 6), *(f"y_{i}" for i in range(n)))


@pytest.mark.parametrize("net", CASES, ids=lambda net: net.nodes[0].op_type)
def test_varying_in_every_element(net):
    """Scales and biases of their own for each element go where the element goes."""
    size = int(np.prod(net.shape))
    made = Net(net.shape, net.opset)
    scales = np.random.default_rng(1).integers(1, 9, net.shape) / 4.0
    made.constant(scales, "scales")
    made.constant(np.arange(size).reshape(net.shape) / 2.0, "biases")
    made.initializers += net.initializers
    made.node("Add", made.node("Mul", "x", "scales"), "biases", output="scaled")
    [node] = net.nodes
    node.input[0] = "scaled"
    made.nodes.append(node)
    try:
        check(made, integers(-2, 5), some(net.shape, -2, 5), "y")
    finally:
        node.input[0] = "x"


@pytest.mark.parametrize("net", CASES, ids=lambda net: net.nodes[0].op_type)
def test_real_numbers(net):
    made = Net(net.shape, net.opset)
    made.initializers += net.initializers
    made.node("Relu", "x", output="real")
    [node] = net.nodes
    node.input[0] = "real"
    made.nodes.append(node)
    try:
        check(made, integers(-2, 5), some(net.shape, -2, 5), "y", integer=False)
    finally:
        node.input[0] = "x"


def test_size_one_axes_stay():
    """What is known per channel stays per channel through a slice of rows or a gather."""
    for op, *inputs in (
        ("Slice", i64(1), i64(3), i64(2)),
        ("Gather", i64(3, 3, 1)),
        ("Tile", i64(1, 1, 5, 5)),
        ("Expand", i64(7, 4, 4, 6)),
    ):
        attrs = {"axis": 2} if op == "Gather" else {}
        y = ranges_of(_case(op, *inputs, **attrs), PER_CHANNEL)["y"]
        assert isinstance(y, ScaledInt)
        assert (y.lo.size, y.hi.size, y.scale.values.size, y.bias.values.size) == (1, 1, 4, 4)
    y = ranges_of(_case("SpaceToDepth", blocksize=2), PER_CHANNEL)["y"]
    assert y.scale.shape == (1, 16, 1, 1)


@given(st.data())
def test_random_slices(data):
    n = data.draw(st.integers(1, 6))
    start, end = data.draw(st.tuples(*[st.integers(-9, 9)] * 2))
    step = data.draw(st.sampled_from([-3, -2, -1, 1, 2, 3]))
    net = _case("Slice", i64(start), i64(end), i64(-1), i64(step), shape=(1, 2, n))
    if len(np.arange(n)[start:end:step]):
        check(net, integers(0, 9), some((1, 2, n), 0, 9))
    else:
        with pytest.raises(SiraError, match="nothing is left of the tensor"):
            ranges_of(net, None)


def _im2col(shape, pads=(0, 0, 0, 0), fill=0, **attrs):
    net = Net(shape)
    net.node("Im2Col", "x", output="y", pad_amount=list(pads), pad_value=fill,
             input_shape=str(shape), **attrs)  # fmt: skip
    return net


def _columns(net):
    """numpy, window by window."""
    attrs = {a.name: list(a.ints) or a.i for a in net.nodes[0].attribute}
    top, left, bottom, right = attrs["pad_amount"]
    (kh, kw), (sh, sw), (dh, dw) = attrs["kernel_size"], attrs["stride"], attrs["dilations"]

    def execute(x):
        x = np.pad(x, [(0, 0), (top, bottom), (left, right), (0, 0)],
                   constant_values=attrs["pad_value"])  # fmt: skip
        rows = range(0, x.shape[1] - dh * (kh - 1), sh)
        columns = range(0, x.shape[2] - dw * (kw - 1), sw)
        window = [[x[0, i : i + dh * kh : dh, j : j + dw * kw : dw].ravel() for j in columns]
                  for i in rows]  # fmt: skip
        return np.array(window)[None]

    return execute


@pytest.mark.parametrize("spec", [integers(-3, 3), integers(2, 5), integers(0, 3, 1, 0.5)])
@pytest.mark.parametrize("fill", [0, 4])
@pytest.mark.parametrize(
    "attrs",
    [
        {"kernel_size": [2, 2], "stride": [1, 1], "dilations": [1, 1]},
        {"kernel_size": [2, 3], "stride": [2, 1], "dilations": [1, 1], "pads": [1, 0, 0, 1]},
        {"kernel_size": [2, 2], "stride": [1, 2], "dilations": [2, 1], "pads": [0, 1, 1, 1]},
        {"kernel_size": [1, 3], "stride": [1, 1], "dilations": [1, 2], "pads": [0, 1, 0, 0]},
    ],
)
def test_im2col(spec, fill, attrs):
    net = _im2col((1, 4, 5, 2), fill=fill, **attrs)
    q = some((1, 4, 5, 2), spec.datatype.lo, spec.datatype.hi)
    compact = attrs.get("pads") and spec.datatype.lo <= fill <= spec.datatype.hi
    check(net, spec, q, attained=not compact)


def test_im2col_window_by_window():
    """qonnx's order of elements is that of kernel rows, kernel columns and channels."""
    attrs = {"kernel_size": [3, 2], "stride": [2, 1], "dilations": [1, 2]}
    net = _im2col((1, 4, 5, 2), (1, 0, 1, 2), **attrs)
    check(net, integers(-3, 3), some((1, 4, 5, 2), -3, 3), oracle=_columns(net), attained=False)


def test_im2col_stays_per_channel():
    y = ranges_of(_im2col((1, 64, 64, 4), (1, 1, 1, 1), kernel_size=[3, 3], stride=[1, 1],
                          dilations=[1, 1]), integers(0, 15))["y"]  # fmt: skip
    assert isinstance(y, ScaledInt) and (y.lo.size, y.hi.size) == (1, 1)


@pytest.mark.parametrize(
    "net, text",
    [
        (_case("Slice", i64(1), i64(3), i64(9)), "no such axis, expected -4..3, found 9"),
        (_case("Slice", i64(1), i64(3, 4)), "starts, ends, axes and steps do not fit"),
        (_case("Slice", i64(2), i64(2)), "nothing is left"),
        (_case("Gather", i64(6), axis=3), r"an index is outside of the tensor, expected -6..5"),
        (_case("Tile", i64(1, 2)), "repeats do not fit, expected 4 positive numbers"),
        (_case("Expand", i64(3, 1, 1)), "shapes do not broadcast"),
        (_case("Split", opset=11, outputs=3, axis=1), "found 3 equal parts of 4"),
        (_case("Split", i64(3, 2), outputs=2, axis=1), r"whose sum is 4, found \[3, 2\]"),
        (_case("DepthToSpace", blocksize=3), "the blocks do not fit the tensor"),
        (_case("DepthToSpace", blocksize=2, mode="RCD"), "unknown mode, expected DCR or CRD"),
        (_im2col((1, 2, 2, 1), kernel_size=[3, 3], stride=[1, 1]), "kernel is larger"),
        (
            _im2col((1, 2, 2, 1), kernel_size=[3], stride=[1, 1]),
            "the attribute kernel_size does not fit",
        ),
    ],
)
def test_errors(net, text):
    with pytest.raises(SiraError, match=text):
        output = net.nodes[0].output[0]
        ranges_of(net, None, output)
