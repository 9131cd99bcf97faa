"""Four float32 numbers in one vector register, for kernels of numba.

Numba's compiler does not turn short runs of equal operations into vector instructions by itself (LLVM's
superword pass is off there), and the values of a lattice vertex are such short runs. Arrays are flat and
C-contiguous; an index is that of the first of the four numbers.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from llvmlite import ir  # type: ignore[import-untyped]
from numba import types
from numba.core import cgutils
from numba.extending import intrinsic, models, register_model

WIDTH = 4

_VECTOR = ir.VectorType(ir.FloatType(), WIDTH)
_INTEGERS = ir.VectorType(ir.IntType(32), WIDTH)
_ITEM = 4  # bytes, all the alignment that can be counted on
_LOWEST = -64.0  # exp gives 0 below: no slow subnormal numbers come up in sums of products with weights


# The compiled kernels that lie on users' disks name this class: moved, numba could not read any of them.
class _LanesType(types.Type):
    def __init__(self) -> None:
        super().__init__(name="Lanes4")


@register_model(_LanesType)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager: Any, kind: Any) -> None:
        super().__init__(manager, kind, _VECTOR)  # type: ignore[no-untyped-call]


_LANES: Any = _LanesType()


def _inline(function: Callable[..., Any]) -> Any:
    """`numba.extending.intrinsic`, without its types: it takes one argument less than the function."""
    return intrinsic(function)


def _operation(build: Callable[[Any, Any], Any], result: Any, *inputs: Any) -> Any:
    """A typed intrinsic's (signature, code generator) from `build(builder, arguments)`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return build(builder, arguments)

    return result(*inputs), generate


def _constant(value: float) -> Any:
    return ir.Constant(_VECTOR, [float(np.float32(value))] * WIDTH)


def _address(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
    array = context.make_array(signature.args[0])(context, builder, arguments[0])
    return builder.bitcast(builder.gep(array.data, [arguments[1]]), _VECTOR.as_pointer())


def _spread(builder: Any, number: Any) -> Any:
    empty = ir.Constant(_VECTOR, ir.Undefined)
    first = builder.insert_element(empty, number, ir.Constant(ir.IntType(32), 0))
    return builder.shuffle_vector(first, empty, ir.Constant(_INTEGERS, [0] * WIDTH))


def _multiply_add(builder: Any, a: Any, b: Any, c: Any) -> Any:
    kind = ir.FunctionType(_VECTOR, [_VECTOR] * 3)
    name = f"llvm.fmuladd.v{WIDTH}f32"
    function = cgutils.get_or_insert_function(builder.module, kind, name)  # type: ignore[no-untyped-call]
    return builder.call(function, [a, b, c])


def _larger(builder: Any, a: Any, b: Any) -> Any:
    return builder.select(builder.fcmp_ordered(">", a, b), a, b)


def _fold(builder: Any, value: Any, join: Callable[[Any, Any], Any]) -> Any:
    for pattern in ([2, 3, 0, 1], [1, 0, 3, 2]):
        value = join(value, builder.shuffle_vector(value, value, ir.Constant(_INTEGERS, pattern)))
    return builder.extract_element(value, ir.Constant(ir.IntType(32), 0))


def _exponential(builder: Any, x: Any) -> Any:
    """2^n p(r) with x = n ln 2 + r and p Taylor's polynomial of degree 7, |r| <= ln(2) / 2: error < 3e-7."""
    inside = builder.fcmp_ordered(">", x, _constant(_LOWEST))
    x = builder.select(inside, x, _constant(_LOWEST))
    rounder = _constant(1.5 * 2**23)  # adding it leaves the nearest integer in the low bits
    shifted = _multiply_add(builder, x, _constant(1 / np.log(2)), rounder)
    n = builder.fsub(shifted, rounder)
    coarse = 0.693359375  # ln 2 in 9 bits: n times it is exact
    rest = _multiply_add(builder, n, _constant(-coarse), x)
    rest = _multiply_add(builder, n, _constant(coarse - np.log(2)), rest)
    power = _constant(1 / 5040)
    for coefficient in (1 / 720, 1 / 120, 1 / 24, 1 / 6, 1 / 2, 1.0, 1.0):
        power = _multiply_add(builder, power, rest, _constant(coefficient))
    exponent = builder.shl(builder.bitcast(shifted, _INTEGERS), ir.Constant(_INTEGERS, [23] * WIDTH))
    scaled = builder.bitcast(builder.add(builder.bitcast(power, _INTEGERS), exponent), _VECTOR)
    return builder.select(inside, scaled, _constant(0))


@_inline
def load(typing: Any, array: Any, index: Any) -> Any:
    """The four numbers at `array[index]`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        return builder.load(_address(context, builder, signature, arguments), align=_ITEM)

    return _LANES(array, types.intp), generate


@_inline
def store(typing: Any, array: Any, index: Any, value: Any) -> Any:
    """Write four numbers to `array[index]`."""

    def generate(context: Any, builder: Any, signature: Any, arguments: Any) -> Any:
        builder.store(arguments[2], _address(context, builder, signature, arguments), align=_ITEM)
        return context.get_dummy_value()

    return types.void(array, types.intp, _LANES), generate


@_inline
def fill(typing: Any, number: Any) -> Any:
    """One float32 four times."""
    return _operation(lambda b, a: _spread(b, a[0]), _LANES, types.float32)


@_inline
def add(typing: Any, x: Any, y: Any) -> Any:
    """Sum of x and y."""
    return _operation(lambda b, a: b.fadd(*a), _LANES, _LANES, _LANES)


@_inline
def add_scaled(typing: Any, x: Any, factor: Any, y: Any) -> Any:
    """Sum of x and factor * y with a float32 factor, rounded once where the processor can."""
    return _operation(
        lambda b, a: _multiply_add(b, _spread(b, a[1]), a[2], a[0]), _LANES, _LANES, types.float32, _LANES
    )


@_inline
def maximum(typing: Any, x: Any, y: Any) -> Any:
    """The larger of x and y, lane by lane."""
    return _operation(lambda b, a: _larger(b, *a), _LANES, _LANES, _LANES)


@_inline
def exp(typing: Any, x: Any) -> Any:
    """e^x for x <= 0, relative error below 3e-7; exactly 0 below -64."""
    return _operation(lambda b, a: _exponential(b, a[0]), _LANES, _LANES)


@_inline
def largest(typing: Any, x: Any) -> Any:
    """The largest of the four numbers, a float32."""
    return _operation(lambda b, a: _fold(b, a[0], lambda x, y: _larger(b, x, y)), types.float32, _LANES)


@_inline
def total(typing: Any, x: Any) -> Any:
    """The sum of the four numbers, a float32."""
    return _operation(lambda b, a: _fold(b, a[0], b.fadd), types.float32, _LANES)
