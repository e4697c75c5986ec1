"""The microkernels: one generator a shape of tile, told only numbers.

Every method ends in the same step. A tile has ``rows`` x ``vectors`` accumulators, and each step of the
reduction adds products onto them:

    acc[p, q] = bias + sum over k of a[p, k] * b[k, q]

============== ==================== ============================ =======================
tile           rows                 vectors over                 a[p, k] is
============== ==================== ============================ =======================
`channels_tile` pixels              output channels              one pixel, broadcast
`columns_tile` filters              pixels                       one weight, broadcast
`sparse_tile`  rows of W            samples                      one entry, broadcast
`rows_tile`    output rows          pixels                       one weight, broadcast
flat           output rows          pixels and channels alike    a vector of weights
`depth_tile`   pixels               channels of small groups     a vector of weights
`outer_tile`   filters or channels  channels or filters          one number, broadcast
the same, each taps                 channels of both images      a vector of the input
============== ==================== ============================ =======================

`rows_tile` and `depth_tile` may know the kernel along the axis of their rows; then what they read there is
loaded once for all the rows that it serves. The sum runs over k in order, one fused multiply-add
a term where the machine has it, so a result depends on neither tile nor thread.
"""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from triconv.kernels.addresses import INT, integer
from triconv.kernels.simd import Emitter, Tile

QUAD = 4  # pixels that share a pointer
UNROLL = 4  # steps a turn of the channels loop: pays for moving the pixels' pointers


@functools.cache
def channels_tile(tile: Tile, wrapped: bool) -> Any:
    """A tile of ``rows`` pixels x ``width`` output channels.

    The kernel's arguments, addresses unless said otherwise: ``data`` of the tile's first pixel; where the
    others are: elements from one to the next, or, ``wrapped`` from row to row, a table of offsets (int64,
    one each); ``runs``, pairs of int64 offsets into data and weights where a stretch of the reduction
    starts that is contiguous in both; their number and their length; ``weight``, packed ``[k][width]``;
    ``bias``; ``out``; how many pixels and channels count; the strides of ``out`` between pixels and
    between channels, in elements.
    """

    @intrinsic
    def channels(context, data, places, runs, n_runs, run, weight, bias, out, rows, width, row_step, step):
        def codegen(context, b, signature, arguments):
            data, places, runs, n_runs, run, weight, bias, out, rows, width, row_step, step = arguments
            emit = Emitter(b, tile)
            data, weight, bias, out = (emit.pointer(value) for value in (data, weight, bias, out))
            runs = emit.pointer(runs, INT)
            emit.start_columns(bias, pixels=True)
            if wrapped:
                table = emit.pointer(places, INT)
                offsets = [b.load(b.gep(table, [integer(p)])) for p in range(tile.rows)]
            else:
                # Few pointers and few distances between them: all of them stay in registers.
                offsets = [b.mul(places, integer(p)) for p in range(max(tile.rows, QUAD))]

            def pixels(data):
                if wrapped:
                    return [b.gep(data, [offset]) for offset in offsets]
                quads = [b.gep(data, [offsets[p]]) for p in range(0, tile.rows, QUAD)]
                return [b.gep(quads[p // QUAD], [offsets[p % QUAD]]) for p in range(tile.rows)]

            def step_at(pixels, weight, k):
                vectors = emit.load_vectors(b.gep(weight, [integer(k * tile.width)]))
                for p, pixel in enumerate(pixels):
                    parts = emit.broadcast(b.gep(pixel, [integer(k)]))
                    for q, vector in enumerate(vectors):
                        emit.add_product(p, q, parts, vector)

            def steps(first, count, stride, here, weight):
                with cgutils.for_range(b, count) as loop:
                    k = b.add(first, b.mul(loop.index, integer(stride)))
                    there = pixels(b.gep(here, [k]))
                    weights = b.gep(weight, [b.mul(k, integer(tile.width))])
                    for t in range(stride):
                        step_at(there, weights, t)

            with cgutils.for_range(b, n_runs) as loop:
                entry = b.gep(runs, [b.mul(loop.index, integer(2))])
                here = b.gep(data, [b.load(entry)])
                weights = b.gep(weight, [b.load(b.gep(entry, [integer(1)]))])
                turns = b.sdiv(run, integer(UNROLL))
                done = b.mul(turns, integer(UNROLL))
                steps(integer(0), turns, UNROLL, here, weights)
                steps(done, b.sub(run, done), 1, here, weights)
            emit.store(out, rows, width, row_step, step)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 12), codegen

    return channels


@functools.cache
def columns_tile(tile: Tile) -> Any:
    """A tile of ``rows`` filters x ``width`` pixels.

    The kernel's arguments, addresses unless said otherwise: ``data`` of the tile's first pixel; ``taps``,
    where in data each step of the reduction reads (int64); their number; ``weight``, packed ``[k][rows]``;
    ``bias``; ``out``; how many filters and pixels count; the strides of ``out`` between filters and
    between pixels, in elements.
    """

    @intrinsic
    def columns(context, data, taps, n_taps, weight, bias, out, rows, width, row_step, step):
        def codegen(context, b, signature, arguments):
            data, taps, n_taps, weight, bias, out, rows, width, row_step, step = arguments
            emit = Emitter(b, tile)
            data, weight, bias, out = (emit.pointer(value) for value in (data, weight, bias, out))
            taps = emit.pointer(taps, INT)
            emit.start_rows(bias, integer(1))
            with cgutils.for_range(b, n_taps) as loop:
                tap = b.load(b.gep(taps, [loop.index]))
                here = b.gep(data, [tap])
                vectors = emit.load_vectors(here)
                weights = b.gep(weight, [b.mul(loop.index, integer(tile.rows))])
                for p in range(tile.rows):
                    parts = emit.broadcast(b.gep(weights, [integer(p)]))
                    for q, vector in enumerate(vectors):
                        emit.add_product(p, q, parts, vector)
            emit.store(out, rows, width, row_step, step)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 10), codegen

    return columns


@functools.cache
def sparse_tile(tile: Tile, index_bits: int, shared: bool) -> Any:
    """A tile of ``rows`` rows of W, all of one length, x ``width`` samples.

    The kernel's arguments, addresses unless said otherwise: ``data`` of the samples, interleaved, and how
    many of them there are; ``indices``, the column of each entry, in elements of ``index_bits``; how many
    entries a row has; ``entries``, row after row; ``bias``, and its elements from row to row; ``out``; how
    many samples count; the strides of ``out`` between rows and between samples, in elements. ``shared``
    rows have the columns of the first one.
    """
    index = ir.IntType(index_bits)

    @intrinsic
    def sparse(context, data, scale, indices, length, entries, bias, bias_step, out, width, row_step, step):
        def codegen(context, b, signature, arguments):
            data, scale, indices, length, entries, bias, bias_step, out, *extent = arguments
            emit = Emitter(b, tile)
            data, entries, bias, out = (emit.pointer(value) for value in (data, entries, bias, out))
            indices = emit.pointer(indices, index)
            emit.start_rows(bias, bias_step)
            starts = [b.mul(length, integer(p)) for p in range(tile.rows)]
            with cgutils.for_range(b, length) as loop:
                for p, start in enumerate(starts):
                    at = b.add(start, loop.index)
                    if p == 0 or not shared:
                        column = b.load(b.gep(indices, [at]))
                        column = column if index_bits == 64 else b.sext(column, INT)
                        vectors = emit.load_vectors(b.gep(data, [b.mul(column, scale)]))
                    parts = emit.broadcast(b.gep(entries, [at]))
                    for q, vector in enumerate(vectors):
                        emit.add_product(p, q, parts, vector)
            emit.store(out, integer(tile.rows), *extent)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 11), codegen

    return sparse


@functools.cache
def rows_tile(tile: Tile, flat: bool) -> Any:
    """A tile of ``rows`` output rows of one filter x ``width`` pixels.

    Or, ``flat``, x ``width`` elements of a row, where each channel has a filter of its own.

    The kernel's arguments, addresses unless said otherwise: ``data`` of the tile's first pixel; elements
    between the places that the tile reads; how many rows of the kernel the tile does not know of, and
    elements between them; ``taps``, where in a row each step reads (int64); their number; ``weight``,
    packed ``[row][tap][kernel]``, and ``flat`` ``[width]``; ``bias``; ``out``; how many rows and pixels
    count; the strides of ``out`` between rows and between pixels, in elements.
    """

    @intrinsic
    def rows(
        context, data, pitch, height, line, taps, n_taps, weight, bias, out, rows, width, row_step, step
    ):
        def codegen(context, b, signature, arguments):
            data, pitch, height, line, taps, n_taps, weight, bias, out, *extent = arguments
            emit = Emitter(b, tile)
            data, weight, bias, out = (emit.pointer(value) for value in (data, weight, bias, out))
            taps = emit.pointer(taps, INT)
            if flat:
                emit.start_columns(bias)
            else:
                emit.start_rows(bias, integer(0))
            wide = tile.width if flat else 1
            size = integer(tile.kernel * wide)
            with cgutils.for_range(b, height) as loop:
                here = b.gep(data, [b.mul(loop.index, line)])
                known = b.gep(weight, [b.mul(loop.index, b.mul(n_taps, size))])
                for place in range(tile.span):
                    if not tile.served(place):
                        continue
                    with cgutils.for_range(b, n_taps) as step:
                        tap = b.load(b.gep(taps, [step.index]))
                        there = b.gep(b.gep(here, [b.mul(pitch, integer(place))]), [tap])
                        weights = b.gep(known, [b.mul(step.index, size)])
                        vectors = emit.load_vectors(there)
                        for p, tap in tile.served(place):
                            at = b.gep(weights, [integer(tap * wide)])
                            shared = None if flat else emit.broadcast(at)
                            for q, vector in enumerate(vectors):
                                own = b.gep(at, [integer(q * tile.lanes)])
                                parts = shared or emit.spread(emit.load_vector(own))
                                emit.add_product(p, q, parts, vector)
            emit.store(out, *extent)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 13), codegen

    return rows


@functools.cache
def depth_tile(tile: Tile) -> Any:
    """A tile of ``rows`` pixels x ``width`` channels, each group of ``tile.group`` with as many filters.

    The kernel's arguments, addresses unless said otherwise: ``data`` of the tile's first pixel; elements
    between the places that the tile reads; the rows of the kernel, and elements between them; how many of
    its columns the tile does not know of, and elements between them; ``weight``, packed
    ``[k][kernel][group][width]``; ``bias``; ``out``; how many pixels and channels count; the stride of
    ``out`` between pixels, in elements.
    """

    @intrinsic
    def depth(context, data, pitch, height, line, across, tap, weight, bias, out, rows, width, row_step):
        def codegen(context, b, signature, arguments):
            data, pitch, height, line, across, tap, weight, bias, out, *extent = arguments
            emit = Emitter(b, tile)
            data, weight, bias, out = (emit.pointer(value) for value in (data, weight, bias, out))
            emit.start_columns(bias)
            size = integer(tile.kernel * tile.group * tile.width)
            with cgutils.for_range(b, height) as u, cgutils.for_range(b, across) as v:
                here = b.gep(data, [b.add(b.mul(u.index, line), b.mul(v.index, tap))])
                weights = b.gep(weight, [b.mul(b.add(b.mul(u.index, across), v.index), size)])
                for place in range(tile.span):
                    for q in range(tile.vectors):
                        vector = emit.load_vector(b.gep(here, [integer(q * tile.lanes)]))
                        for channel in range(tile.group):
                            shared = vector if tile.group == 1 else emit.of_group(vector, channel)
                            for p, known in tile.served(place):
                                at = (known * tile.group + channel) * tile.width + q * tile.lanes
                                parts = emit.spread(emit.load_vector(b.gep(weights, [integer(at)])))
                                emit.add_product(p, q, parts, shared)
                    here = b.gep(here, [pitch])
            emit.store(out, *(*extent, integer(1)))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 12), codegen

    return depth


@functools.cache
def outer_tile(tile: Tile, each: bool) -> Any:
    """A tile of ``rows`` x ``width`` sums over pixels: of one image's channels times another's.

    Or, ``each``, of every channel times the same channel of the other image, at ``rows`` places.

    The kernel's arguments, addresses unless said otherwise: ``a``, whose elements are broadcast, with its
    elements from line to line, from pixel to pixel and, ``each``, from place to place, where they are
    vectors; ``b``, whose elements are vectors, with its elements from line to line and pixel to pixel; how
    many lines, and pixels of a line; how many elements more a line has where pixels are vectors, others
    counting as zeros; ``held``, where sums are kept between calls; whether they start here,
    and whether they end and go to ``out``; how many rows and columns count; the strides of ``out``
    between rows and between columns, in elements.
    """

    @intrinsic
    def outer(
        context, a, a_line, a_pixel, a_place, b, b_line, b_pixel, lines, pixels, more,
        held, starts, ends, out, rows, width, row_step, step,
    ):  # fmt: skip
        def codegen(context, builder, signature, arguments):
            a, a_line, a_pixel, a_place, b, b_line, b_pixel, lines, pixels, more, *rest = arguments
            held, starts, ends, out, *extent = rest
            emit = Emitter(builder, tile)
            a, b, held, out = (emit.pointer(value) for value in (a, b, held, out))
            zero = integer(0)
            with builder.if_then(builder.icmp_signed("==", starts, zero)):
                emit.resume(held)

            def add(numbers, vectors, masks):
                for p in range(tile.rows):
                    if each:
                        seen = emit.load_vectors(builder.gep(numbers, [builder.mul(a_place, integer(p))]))
                        if masks:
                            nothing = ir.Constant(emit.vector, [0.0] * emit.count)
                            seen = [builder.select(*pair, nothing) for pair in zip(masks, seen, strict=True)]
                        factors = [emit.spread(vector) for vector in seen]
                    else:
                        factors = [emit.broadcast(builder.gep(numbers, [integer(p)]))] * tile.vectors
                    for q, vector in enumerate(vectors):
                        emit.add_product(p, q, factors[q], vector)

            with cgutils.for_range(builder, lines) as line:
                a_here = builder.gep(a, [builder.mul(line.index, a_line)])
                b_here = builder.gep(b, [builder.mul(line.index, b_line)])
                with cgutils.for_range(builder, pixels) as pixel:
                    numbers = builder.gep(a_here, [builder.mul(pixel.index, a_pixel)])
                    add(
                        numbers,
                        emit.load_vectors(builder.gep(b_here, [builder.mul(pixel.index, b_pixel)])),
                        None,
                    )
                if each:
                    # What the vector holds past the end is seen by no output, and may be no number.
                    with builder.if_then(builder.icmp_signed(">", more, zero)):
                        numbers = builder.gep(a_here, [builder.mul(pixels, a_pixel)])
                        vectors = emit.load_vectors(builder.gep(b_here, [builder.mul(pixels, b_pixel)]))
                        add(numbers, vectors, [emit.counting(more, q) for q in range(tile.vectors)])
            with builder.if_else(builder.icmp_signed("==", ends, zero)) as (later, now):
                with later:
                    emit.keep(held)
                with now:
                    emit.store(out, *extent)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 18), codegen

    return outer
