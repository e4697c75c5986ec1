"""Memory by address: what compiled loops do to bytes, where an array's bounds would only be in the way."""

from __future__ import annotations

import functools
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from triconv.runtime import arrays

INT = ir.IntType(64)
LANE = ir.IntType(32)
STRIDES = (1, 2, 3, 4)  # that a strided copy has vectors for


def integer(value: int) -> ir.Constant:
    """An index that is known now."""
    return ir.Constant(INT, value)


@intrinsic
def address(context, array, index):
    """Address of ``array[index]``, as an integer."""
    signature = types.int64(array, types.int64)

    def codegen(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.ptrtoint(builder.gep(data, [arguments[1]]), INT)

    return signature, codegen


@intrinsic
def claim(context, counters, which):
    """Take the next number from one of the counters that threads share.

    It returns ``counters[which]`` and adds one to it, as one operation that no other thread comes between.
    """

    def codegen(context, builder, signature, arguments):
        data = context.make_array(signature.args[0])(context, builder, arguments[0]).data
        return builder.atomic_rmw("add", builder.gep(data, [arguments[1]]), integer(1), "monotonic")

    return types.int64(counters, types.int64), codegen


@intrinsic
def copy(context, target, source, count):
    """Copy ``count`` bytes from one address to another."""

    def codegen(context, builder, signature, arguments):
        byte = ir.IntType(8).as_pointer()
        target, source, count = arguments
        to, there = builder.inttoptr(target, byte), builder.inttoptr(source, byte)
        cgutils.raw_memcpy(builder, to, there, count, 1)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64, types.int64), codegen


@intrinsic
def clear(context, target, count):
    """Set ``count`` bytes from an address on to zero."""

    def codegen(context, builder, signature, arguments):
        target, count = arguments
        cgutils.memset(builder, builder.inttoptr(target, ir.IntType(8).as_pointer()), count, 0)
        return context.get_dummy_value()

    return types.void(types.int64, types.int64), codegen


@functools.cache
def strided_copy(dtype: str, lanes: int) -> Any:
    """A copy of elements that lie some way apart to one place after the other.

    ::

        target[n] = source[n * stride]      for n < count

        stride 2, vectors of 4      source   0 1 2 3 4 5 6 7 | 8 ...      one read of stride vectors
                                             |   |   |   |                a shuffle
                                    target   0 2 4 6                      one write

    Its arguments are two addresses, how many elements and how many places apart they lie. The strides of
    `STRIDES` go by vectors, a stride of 1 as a block of bytes; what is left goes one by one, and so do other
    strides.
    """
    kind = np.dtype(dtype)
    parts = arrays.parts(kind)
    scalar = ir.IntType(8 * kind.itemsize // parts)
    element = ir.ArrayType(scalar, parts)

    @intrinsic
    def strided(context, target, source, count, stride):
        def codegen(context, b, signature, arguments):
            target, source, count, stride = arguments
            target, source = (b.inttoptr(place, element.as_pointer()) for place in (target, source))
            done = cgutils.alloca_once_value(b, integer(0))
            rest = b.append_basic_block("one_by_one")
            chosen = b.switch(stride, rest)
            for apart in STRIDES:
                block = b.append_basic_block(f"apart_{apart}")
                chosen.add_case(integer(apart), block)
                b.position_at_end(block)
                if apart == 1:
                    size = integer(kind.itemsize)
                    cgutils.raw_memcpy(b, target, source, b.mul(count, size), 1)
                    b.store(count, done)
                    b.branch(rest)
                    continue
                # A vector reads stride - 1 elements after the last that it takes. These lie before the
                # source's last element, as long as that one is left to be copied alone.
                turns = b.sdiv(b.sub(count, integer(1)), integer(lanes))
                turns = b.select(b.icmp_signed(">", count, integer(0)), turns, integer(0))
                wide = ir.VectorType(scalar, lanes * apart * parts)
                picked = [n * apart * parts + part for n in range(lanes) for part in range(parts)]
                mask = ir.Constant(ir.VectorType(LANE, lanes * parts), picked)
                with cgutils.for_range(b, turns) as loop:
                    n = b.mul(loop.index, integer(lanes))
                    there = b.gep(source, [b.mul(n, stride)])
                    read = b.load(b.bitcast(there, wide.as_pointer()), align=scalar.width // 8)
                    taken = b.shuffle_vector(read, ir.Constant(wide, ir.Undefined), mask)
                    place = b.bitcast(b.gep(target, [n]), taken.type.as_pointer())
                    b.store(taken, place, align=scalar.width // 8)
                b.store(b.mul(turns, integer(lanes)), done)
                b.branch(rest)
            b.position_at_end(rest)
            with cgutils.for_range_slice(b, b.load(done), count, integer(1)) as (n, _):
                value = b.load(b.gep(source, [b.mul(n, stride)]), align=scalar.width // 8)
                b.store(value, b.gep(target, [n]), align=scalar.width // 8)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 4), codegen

    return strided
