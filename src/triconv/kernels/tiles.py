"""The microkernels: one generator a shape of tile, told only numbers.

Every method ends in the same step. A tile has ``rows`` x ``vectors`` accumulators, and each step of the
reduction adds products onto them, ``p`` being a row of the tile and ``q`` one of its vectors:

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

Registers hold the accumulators, and one step reads from memory::

                  b[k, 0]    b[k, 1]        vectors, each read once for all rows
        a[0, k]   acc[0, 0]  acc[0, 1]
        a[1, k]   acc[1, 0]  acc[1, 1]
        a[2, k]   acc[2, 0]  acc[2, 1]
        numbers, each read once for all vectors

`rows_tile` and `depth_tile` may have the kernel along the axis of their rows unrolled; then what they read
there is loaded once for all the rows that it serves. The sum runs over k in order, one fused multiply-add a
term where the machine has it, so a result depends on neither tile nor thread.

All arguments of a microkernel are int64. Below, an *address* counts bytes, *elements* are distances in
elements of the tile's dtype, and a *count* is a number of things. ``rows`` and ``width`` among the arguments
are how many results are stored; the tile computes ``tile.rows`` x ``tile.width``, and reads what these need.
"""

from __future__ import annotations

import functools
from typing import Any

from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from triconv.kernels.addresses import INT, integer
from triconv.kernels.simd import Emitter, Tile

QUAD = 4  # pixels that share a pointer: pixel p is p % QUAD distances behind pointer p // QUAD
UNROLL = 4  # steps of a run in one turn of the loop, for which the pixels' pointers are moved once


@functools.cache
def channels_tile(tile: Tile, wrapped: bool) -> Any:
    """A tile of ``rows`` pixels x ``width`` output channels.

    ::

        out[p * row_step + m * step] = bias[m] + sum over t < n_runs, k < run of
            data[x(p) + runs[2 t] + k] * weight[runs[2 t + 1] + k * tile.width + m]

        x(p) = p * places, or, wrapped, places[p]

    The microkernel's arguments::

        data      address   what the tile's first pixel reads; wrapped: where offsets count from
        places    elements  from pixel to pixel; wrapped: address of tile.rows int64 offsets
        runs      address   int64 pairs: where a run starts in data, and in weight
        n_runs    count     runs: stretches of the reduction that are contiguous in both
        run       count     steps of a run
        weight    address   packed [k][tile.width]
        bias      address   tile.width biases
        out       address   result of pixel 0 and channel 0
        rows      count     pixels that are stored
        width     count     channels that are stored
        row_step  elements  of out, from pixel to pixel
        step      elements  of out, from channel to channel

    A kernel of 2 x 3 taps on 2 channels has two runs of 6 steps, one a row of the kernel::

        data, row 0    u0v0c0 u0v0c1 u0v1c0 u0v1c1 u0v2c0 u0v2c1 | ...     runs[0], runs[1] = 0, 0
              row 1    u1v0c0 u1v0c1 u1v1c0 u1v1c1 u1v2c0 u1v2c1 | ...     runs[2], runs[3] = row, 6 width

        weight, k = 0  m0 m1 m2 ...        a step reads one of these lines as vectors,
                k = 1  m0 m1 m2 ...        and element k of every pixel

    A patch of im2col is one run. For many filters: a vector of weights is read once for all pixels, an
    element of a pixel once for all vectors.
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
                # A pointer for every QUAD pixels and the distances within them all stay in registers.
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

    ::

        out[p * row_step + j * step] = bias[p] + sum over k < n_taps of
            data[taps[k] + j] * weight[k * tile.rows + p]

    The microkernel's arguments::

        data      address   what the tile's first pixel reads
        taps      address   an int64 offset into data a step of the reduction
        n_taps    count     steps
        weight    address   packed [k][tile.rows]
        bias      address   tile.rows biases
        out       address   result of filter 0 and pixel 0
        rows      count     filters that are stored
        width     count     pixels that are stored
        row_step  elements  of out, from filter to filter
        step      elements  of out, from pixel to pixel

    A step reads ``width`` pixels from one place on, and a number a filter::

        data       . . x0 x1 x2 x3 x4 x5 x6 x7 . .         weight, k = 0   m0 m1
                       |                                           k = 1   m0 m1
                       taps[k]

    For few filters, which fill no vector: a vector of pixels is read once for all filters, a weight once for
    all vectors of pixels.
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

    ::

        out[p * row_step + s * step] = bias[p * bias_step] + sum over e < length of
            entries[p * length + e] * data[indices[p * length + e] * scale + s]

    ``shared`` rows have the columns of the first one: ``indices[e]`` stands for ``indices[p * length + e]``.

    The microkernel's arguments::

        data       address   samples, interleaved: the element of column 0 of the tile's first sample
        scale      elements  of data, from column to column of W
        indices    address   column of each entry, integers of index_bits
        length     count     entries of a row
        entries    address   entries, row after row
        bias       address   bias of row 0
        bias_step  elements  of bias, from row to row
        out        address   result of row 0 and sample 0
        width      count     samples that are stored; rows are stored all
        row_step   elements  of out, from row to row
        step       elements  of out, from sample to sample

    The entries of two rows of W lie one after the other; each picks a line of data::

        entries   a b c | d e f              data, column 0   s0 s1 s2 s3
        indices   0 1 4 | 1 2 5                    column 1   s0 s1 s2 s3
                  row 0   row 1                    ...

    An entry and its index are read once for all samples. Several rows are summed side by side, so that a
    multiply-add need not wait for the one before it; where they are ``shared``, each line of data is read
    once for all of them.
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

    ::

        out[p * row_step + j * step] = bias[0] + sum over l < height, u < kernel, t < n_taps of
            data[l * line + (p * stride + u) * pitch + taps[t] + j] * weight[(l * n_taps + t) * kernel + u]

    Or, ``flat``, x ``width`` elements of a row, where each channel has a filter of its own: ``bias[j]`` and
    ``weight[((l * n_taps + t) * kernel + u) * tile.width + j]``, vectors in the place of broadcast numbers.

    ``kernel`` and ``stride`` are the tile's. A tile with the kernel's height unrolled takes it as
    ``kernel``, with a ``height`` of 1; any other has a ``kernel`` and a ``stride`` of 1, and a ``height`` of
    all rows of the kernel.

    The microkernel's arguments::

        data      address   what the tile's first pixel reads
        pitch     elements  of data, from place to place: a row; not unrolled, stride rows
        height    count     rows of the kernel that are not unrolled
        line      elements  of data, from one of these rows to the next
        taps      address   int64 offsets into data, one a tap and channel of a row of the kernel
        n_taps    count     these offsets
        weight    address   packed [height][n_taps][kernel], flat [height][n_taps][kernel][tile.width]
        bias      address   one bias, flat tile.width
        out       address   result of row 0 and pixel 0
        rows      count     output rows that are stored
        width     count     pixels, flat elements, that are stored
        row_step  elements  of out, from output row to output row
        step      elements  of out, from pixel to pixel, flat from element to element

    Places are the rows of the band that the tile reads; each is read once for the rows that it serves
    (`Tile.served`), as here with ``kernel`` 3, ``stride`` 1 and ``rows`` 2::

        place 0    acc[0] += u0 x
        place 1    acc[0] += u1 x    acc[1] += u0 x
        place 2    acc[0] += u2 x    acc[1] += u1 x
        place 3                      acc[1] += u2 x

    For one filter a group: no second filter shares what is read, but rows of the output do. A vector of
    pixels serves up to ``kernel`` rows of the tile, a broadcast weight all vectors of a row.
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
                of_row = b.gep(weight, [b.mul(loop.index, b.mul(n_taps, size))])
                for place in range(tile.span):
                    if not tile.served(place):
                        continue
                    with cgutils.for_range(b, n_taps) as step:
                        tap = b.load(b.gep(taps, [step.index]))
                        there = b.gep(b.gep(here, [b.mul(pitch, integer(place))]), [tap])
                        weights = b.gep(of_row, [b.mul(step.index, size)])
                        vectors = emit.load_vectors(there)
                        for p, tap in tile.served(place):
                            at = b.gep(weights, [integer(tap * wide)])
                            shared = None if flat else emit.broadcast(at)
                            for q, vector in enumerate(vectors):
                                own = b.gep(at, [integer(q * tile.lanes)])
                                parts = shared or emit.split(emit.load_vector(own))
                                emit.add_product(p, q, parts, vector)
            emit.store(out, *extent)
            return context.get_dummy_value()

        return types.void(*[types.int64] * 13), codegen

    return rows


@functools.cache
def depth_tile(tile: Tile) -> Any:
    """A tile of ``rows`` pixels x ``width`` channels, each group of ``tile.group`` with as many filters.

    ::

        out[p * row_step + m] = bias[m] + sum over u < height, v < across, w < kernel, c < group of
            data[u * line + v * tap + (p * stride + w) * pitch + m // group * group + c]
            * weight[(((u * across + v) * kernel + w) * group + c) * tile.width + m]

    ``kernel``, ``stride`` and ``group`` are the tile's. A tile with the kernel's width unrolled takes it as
    ``kernel``, with an ``across`` of 1; any other has a ``kernel`` and a ``stride`` of 1.

    The microkernel's arguments::

        data      address   what the tile's first pixel reads, from its first channel on
        pitch     elements  of data, from place to place: a column; not unrolled, stride columns
        height    count     rows of the kernel
        line      elements  of data, from row to row of the kernel
        across    count     columns of the kernel that are not unrolled
        tap       elements  of data, from one of these columns to the next
        weight    address   packed [height][across][kernel][group][tile.width]
        bias      address   tile.width biases
        out       address   result of pixel 0 and channel 0; channels lie side by side
        rows      count     pixels that are stored
        width     count     channels that are stored
        row_step  elements  of out, from pixel to pixel

    A group of 2 in vectors of 4: two steps, one a channel of the group::

        data       a0 a1 b0 b1       c = 0    a0 a0 b0 b0  x  weights of m0 m1 m2 m3 for their channel 0
                                     c = 1    a1 a1 b1 b1  x  weights of m0 m1 m2 m3 for their channel 1

    Lanes are channels, so that nothing is broadcast from memory. The weights of a tap are the same for all
    pixels, and a vector of input is read once for the pixels that it serves, as in `rows_tile`.
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
                            for p, tap_number in tile.served(place):
                                at = (tap_number * tile.group + channel) * tile.width + q * tile.lanes
                                parts = emit.split(emit.load_vector(b.gep(weights, [integer(at)])))
                                emit.add_product(p, q, parts, shared)
                    here = b.gep(here, [pitch])
            emit.store(out, *(*extent, integer(1)))
            return context.get_dummy_value()

        return types.void(*[types.int64] * 12), codegen

    return depth


@functools.cache
def outer_tile(tile: Tile, each: bool) -> Any:
    """A tile of ``rows`` x ``width`` sums over pixels: of one image's channels times another's.

    ::

        out[p * row_step + m * step] = sum over l < lines, j < pixels of
            a[l * a_line + j * a_pixel + p] * b[l * b_line + j * b_pixel + m]

    Or, ``each``, of every channel times the same channel of the other image, at ``rows`` places::

        out[p * row_step + m * step] = sum over l < lines, j < pixels of
            a[l * a_line + j * a_pixel + p * a_place + m] * b[l * b_line + j * b_pixel + m]

            and for j = pixels the elements m < more

    The microkernel's arguments::

        a         address   what is broadcast; each: what is read as vectors at several places
        a_line    elements  of a, from line to line
        a_pixel   elements  of a, from pixel to pixel; where a vector holds several, from vector to vector
        a_place   elements  of a, from place to place; read by each alone
        b         address   what is read as vectors
        b_line    elements  of b, from line to line
        b_pixel   elements  of b, as a_pixel
        lines     count     lines of pixels
        pixels    count     pixels of a line; where a vector holds several, whole vectors of a line
        more      count     elements of a line after these; read by each alone
        held      address   tile.rows x tile.width unfinished sums, as the registers hold them
        starts    flag      whether sums start from zero, or else from held
        ends      flag      whether sums go to out, or else to held
        out       address   result 0, 0
        rows      count     rows that are stored
        width     count     columns that are stored
        row_step  elements  of out, from row to row
        step      elements  of out, from column to column

    A step of either::

                b   m0 m1 m2 m3                     each    b   c0 c1 c2 c3    read once for all places
        a   p0      acc[0]                          a, place 0  c0 c1 c2 c3    acc[0]
            p1      acc[1]                             place 1  c0 c1 c2 c3    acc[1]

    Every number of ``a`` is read once for all vectors of ``b``, every vector once for all rows. Where
    channels have a filter each, a channel meets no other; there the tile's rows are taps of a row of the
    kernel, and the gradient's vector is read once for all of them.
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
                        factors = [emit.split(vector) for vector in seen]
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
                    # Past the end b holds zeros, but a may hold infinities and NaN of pixels that this tap
                    # does not read, whose products with zeros are NaN: they are masked.
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
