"""Vectors of 16 float32 for numba kernels: they live in registers, and + - * / act on all 16 at once.

LLVM vectorises a loop over pixels, but not a loop over Gaussians around a loop over pixels: the
transmittance and colours of a block of pixels would go to memory and back at every Gaussian. As values of a
type of their own they stay in registers. LLVM splits them where the processor's vectors are shorter (AVX2,
SSE, NEON), so nothing here asks for AVX-512.

All functions are for use inside `numba.njit` functions without `fastmath`: `exp2` relies on the order of its
additions. Where lanes are expected, a float stands for 16 equal ones. Numba knows a cached kernel by its own
file alone: after a change here, touch `place.py`, `blend.py` and `gradient.py`.
"""

from __future__ import annotations

import operator
from collections.abc import Callable, Sequence
from typing import Any

from llvmlite import ir
from numba.core import types
from numba.core.datamodel import models
from numba.core.typing.templates import AbstractTemplate, infer_global, signature
from numba.extending import intrinsic, lower_builtin, register_model

WIDTH = 16

_Value = Any
"""A value of LLVM's: llvmlite has no types for pyright."""

_FLOAT = ir.FloatType()
_INT = ir.IntType(32)
_FLOATS = ir.VectorType(_FLOAT, WIDTH)
_INTS = ir.VectorType(_INT, WIDTH)

_EXP2 = (0.99999926157, 0.69312182126, 0.24024745057, 0.05591780848, 0.00957006888)
"""2^x on [-1/2, 1/2] by the polynomial of degree four with the least greatest relative error, 2.6e-6."""

_ROUNDER = 1.5 * 2**23
"""Added to a float32 it rounds to an integer, which then stands in the lowest bits."""


class Lanes(types.Type):
    """The numba type of 16 float32."""

    def __init__(self) -> None:
        super().__init__(name="Lanes")


LANES = Lanes()


@register_model(Lanes)
class _LanesModel(models.PrimitiveModel):
    def __init__(self, manager, numba_type):
        super().__init__(manager, numba_type, _FLOATS)


def _constant(value: float) -> ir.Constant:
    return ir.Constant(_FLOATS, [value] * WIDTH)


def _widen(builder: ir.IRBuilder, numba_type: types.Type, value: _Value) -> _Value:
    """16 copies of a float; lanes as they are."""
    if isinstance(numba_type, Lanes):
        return value
    if numba_type == types.float64:
        value = builder.fptrunc(value, _FLOAT)
    first = builder.insert_element(ir.Constant(_FLOATS, ir.Undefined), value, ir.Constant(_INT, 0))
    return builder.shuffle_vector(first, ir.Constant(_FLOATS, ir.Undefined), ir.Constant(_INTS, [0] * WIDTH))


def _call(
    builder: ir.IRBuilder, name: str, result: ir.Type, args: Sequence[_Value], flags: Sequence[str] = ()
) -> _Value:
    """Call an intrinsic of LLVM."""
    function = builder.module.globals.get(name)
    if function is None:
        function = ir.Function(builder.module, ir.FunctionType(result, [a.type for a in args]), name)
    return builder.call(function, args, fastmath=flags)


def _is_lanes_or_float(numba_type: types.Type) -> bool:
    return isinstance(numba_type, (Lanes, types.Float))


class _Arithmetic(AbstractTemplate):
    def generic(self, args, kws):
        if len(args) == 2 and all(map(_is_lanes_or_float, args)) and LANES in args:
            return signature(LANES, *args)
        return None


def _define_operator(function: Callable, instruction: str) -> None:
    template = type(f"_Lanes_{instruction}", (_Arithmetic,), {"key": function})
    infer_global(function)(template)  # pyright: ignore[reportOptionalCall]

    def lower(context, builder, sig, args):
        left, right = (_widen(builder, t, v) for t, v in zip(sig.args, args, strict=True))
        return getattr(builder, instruction)(left, right, flags=("contract",))

    for types_ in ((Lanes, Lanes), (Lanes, types.Float), (types.Float, Lanes)):
        lower_builtin(function, *types_)(lower)


_define_operator(operator.add, "fadd")
_define_operator(operator.sub, "fsub")
_define_operator(operator.mul, "fmul")
_define_operator(operator.truediv, "fdiv")


@intrinsic
def splat(typingctx, value):
    """16 copies of a float."""

    def codegen(context, builder, sig, args):
        return _widen(builder, sig.args[0], args[0])

    return LANES(value), codegen


def _address(context, builder: ir.IRBuilder, sig, args) -> _Value:
    """Of element args[1] of the one-dimensional contiguous array args[0], as a pointer to 16 floats."""
    array = context.make_array(sig.args[0])(context, builder, args[0])
    return builder.bitcast(builder.gep(array.data, [args[1]]), _FLOATS.as_pointer())


@intrinsic
def spread(typingctx, array, index):
    """16 copies of one element of a contiguous float32 array of one dimension."""

    def codegen(context, builder, sig, args):
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        return _widen(builder, types.float32, builder.load(builder.gep(data, [args[1]])))

    return LANES(array, types.intp), codegen


@intrinsic
def load(typingctx, array, index):
    """Elements index .. index + 15 of a contiguous float32 array of one dimension."""

    def codegen(context, builder, sig, args):
        return builder.load(_address(context, builder, sig, args), align=4)

    return LANES(array, types.intp), codegen


@intrinsic
def store(typingctx, array, index, value):
    """Write elements index .. index + 15 of a contiguous float32 array of one dimension."""

    def codegen(context, builder, sig, args):
        builder.store(args[2], _address(context, builder, sig, args), align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, LANES), codegen


@intrinsic
def fma(typingctx, a, b, c):
    """a * b + c, in one rounding where the processor can."""

    def codegen(context, builder, sig, args):
        lanes = [_widen(builder, t, v) for t, v in zip(sig.args, args, strict=True)]
        return _call(builder, f"llvm.fmuladd.v{WIDTH}f32", _FLOATS, lanes)

    return LANES(a, b, c), codegen


@intrinsic
def absolute(typingctx, a):
    """|a|."""

    def codegen(context, builder, sig, args):
        return _call(builder, f"llvm.fabs.v{WIDTH}f32", _FLOATS, args)

    return LANES(a), codegen


@intrinsic
def where_less(typingctx, a, b, yes, no):
    """`yes` in the lanes where a < b, `no` in the others."""

    def codegen(context, builder, sig, args):
        a, b, yes, no = (_widen(builder, t, v) for t, v in zip(sig.args, args, strict=True))
        return builder.select(builder.fcmp_ordered("<", a, b), yes, no)

    return LANES(a, b, yes, no), codegen


@intrinsic
def bits_less(typingctx, a, b):
    """An integer whose bit i says whether a < b in lane i."""

    def codegen(context, builder, sig, args):
        a, b = (_widen(builder, t, v) for t, v in zip(sig.args, args, strict=True))
        bits = builder.bitcast(builder.fcmp_ordered("<", a, b), ir.IntType(WIDTH))
        return builder.zext(bits, ir.IntType(64))

    return types.uint64(a, b), codegen


@intrinsic
def exp2(typingctx, a):
    """2^a to within 3e-6 of its size, for -126 < a < 127."""

    def codegen(context, builder, sig, args):
        (a,) = args
        shifted = builder.fadd(a, _constant(_ROUNDER))
        fraction = builder.fsub(a, builder.fsub(shifted, _constant(_ROUNDER)))
        power = _constant(_EXP2[-1])
        for coefficient in _EXP2[-2::-1]:
            power = _call(
                builder, f"llvm.fmuladd.v{WIDTH}f32", _FLOATS, [power, fraction, _constant(coefficient)]
            )
        exponent = builder.shl(builder.bitcast(shifted, _INTS), ir.Constant(_INTS, [23] * WIDTH))
        return builder.bitcast(builder.add(builder.bitcast(power, _INTS), exponent), _FLOATS)

    return LANES(a), codegen


def _halved(builder: ir.IRBuilder, a: _Value, b: _Value, width: int) -> _Value:
    """Add the second half of every run of `width` lanes to its first; what is left of a, then of b."""
    count = a.type.count
    first = [i for i in range(2 * count) if i % width < width // 2]
    halves = []
    for places in (first, [i + width // 2 for i in first]):
        mask = ir.Constant(ir.VectorType(_INT, len(places)), places)
        halves.append(builder.shuffle_vector(a, b, mask))
    return builder.fadd(*halves)


@intrinsic
def add_totals(typingctx, array, index, a, b, c, d):  # noqa: PLR0917 (numba has no keyword-only parameters)
    """Add the sums over the lanes of a, b, c, d to elements index .. index + 3 of a float32 array.

    Four sums at once take half the shuffles of four sums one by one.
    """

    def codegen(context, builder, sig, args):
        a, b, c, d = (_widen(builder, t, v) for t, v in zip(sig.args[2:], args[2:], strict=True))
        both = _halved(builder, _halved(builder, a, b, 16), _halved(builder, c, d, 16), 8)
        for width in (4, 2):
            both = _halved(builder, both, ir.Constant(both.type, ir.Undefined), width)
            half = ir.Constant(ir.VectorType(_INT, both.type.count // 2), list(range(both.type.count // 2)))
            both = builder.shuffle_vector(both, ir.Constant(both.type, ir.Undefined), half)
        data = context.make_array(sig.args[0])(context, builder, args[0]).data
        address = builder.bitcast(builder.gep(data, [args[1]]), both.type.as_pointer())
        builder.store(builder.fadd(builder.load(address, align=4), both), address, align=4)
        return context.get_dummy_value()

    return types.void(array, types.intp, a, b, c, d), codegen


@intrinsic
def greatest(typingctx, a):
    """The greatest of the 16 lanes."""

    def codegen(context, builder, sig, args):
        return _call(builder, f"llvm.vector.reduce.fmax.v{WIDTH}f32", _FLOAT, args, ("nnan",))

    return types.float32(a), codegen


@intrinsic
def lowest_bit(typingctx, bits):
    """The place of the lowest bit that is set in a non-zero uint64."""

    def codegen(context, builder, sig, args):
        return _call(builder, "llvm.cttz.i64", ir.IntType(64), [args[0], ir.Constant(ir.IntType(1), 1)])

    return types.int64(types.uint64), codegen


@intrinsic
def square_root(typingctx, a):
    """The square root of a float64; no call, as `math.sqrt` is, that keeps LLVM from vectorising."""

    def codegen(context, builder, sig, args):
        return _call(builder, "llvm.sqrt.f64", ir.DoubleType(), args)

    return types.float64(types.float64), codegen
