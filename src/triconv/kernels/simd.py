"""The one generator of microkernels: a tile of outputs held in vector registers.

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

Complex numbers lie interleaved in a vector. Products with the real and with the imaginary part of the
broadcast number are summed apart and joined at the end.
"""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any

import numpy as np
from llvmlite import ir
from numba.core import cgutils, types
from numba.extending import intrinsic

from triconv.kernels.addresses import INT, LANE, integer

QUAD = 4  # pixels that share a pointer
UNROLL = 4  # steps a turn of the channels loop: pays for moving the pixels' pointers


@dataclass(frozen=True, slots=True)
class Tile:
    """The numbers that make a microkernel."""

    dtype: str
    lanes: int
    rows: int
    vectors: int
    fma: bool
    group: int = 1  # channels that share a group, where lanes are channels
    # The kernel along the axis of the tile's rows, where what they read is loaded once for all of them.
    kernel: int = 1
    stride: int = 1

    @property
    def width(self) -> int:
        """Elements along the vectors."""
        return self.lanes * self.vectors

    @property
    def span(self) -> int:
        """Places along the axis of the rows that one step reads."""
        return (self.rows - 1) * self.stride + self.kernel

    def served(self, place: int) -> list[tuple[int, int]]:
        """Rows that read a place, and the tap that each reads it with."""
        taps = ((row, place - row * self.stride) for row in range(self.rows))
        return [(row, tap) for row, tap in taps if 0 <= tap < self.kernel]

    def __str__(self) -> str:
        words = [self.dtype, f"{self.rows}x{self.vectors}x{self.lanes}"]
        words += ["nofma"] * (not self.fma) + [f"groups{self.group}"] * (self.group > 1)
        words += [f"kernel{self.kernel}stride{self.stride}"] * (self.kernel > 1)
        return "_".join(words)


class Emitter:
    """Writes the instructions of one tile into the function that Numba is compiling."""

    def __init__(self, builder: ir.IRBuilder, tile: Tile) -> None:
        self.b = builder
        self.tile = tile
        dtype = np.dtype(tile.dtype)
        self.parts = 2 if dtype.kind == "c" else 1
        self.scalar_bytes = dtype.itemsize // self.parts
        self.scalar = ir.FloatType() if self.scalar_bytes == 4 else ir.DoubleType()
        self.element = self.scalar if self.parts == 1 else ir.ArrayType(self.scalar, 2)
        self.count = tile.lanes * self.parts
        self.vector = ir.VectorType(self.scalar, self.count)
        zero = ir.Constant(self.vector, [0.0] * self.count)
        self.acc = [
            [
                [cgutils.alloca_once_value(builder, zero) for _ in range(self.parts)]
                for _ in range(tile.vectors)
            ]
            for _ in range(tile.rows)
        ]

    # --- memory -------------------------------------------------------------------------------------

    def pointer(self, address: Any, element: ir.Type | None = None) -> Any:
        """An address, given as an integer, as a pointer to elements."""
        return self.b.inttoptr(address, (element or self.element).as_pointer())

    def load_vector(self, pointer: Any) -> Any:
        """One vector from the element pointed at, of any alignment."""
        return self.b.load(self.b.bitcast(pointer, self.vector.as_pointer()), align=self.scalar_bytes)

    def load_vectors(self, pointer: Any) -> list[Any]:
        """The vectors that lie side by side from the element pointed at, as many as the tile is wide."""
        return [
            self.load_vector(self.b.gep(pointer, [integer(q * self.tile.lanes)]))
            for q in range(self.tile.vectors)
        ]

    def broadcast(self, pointer: Any) -> list[Any]:
        """The element pointed at, each of its parts spread over a vector."""
        start = self.b.bitcast(pointer, self.scalar.as_pointer())
        return [
            self.splat(self.b.load(self.b.gep(start, [integer(part)]), align=self.scalar_bytes))
            for part in range(self.parts)
        ]

    def splat(self, value: Any) -> Any:
        """A scalar spread over a vector."""
        none = ir.Constant(self.vector, ir.Undefined)
        one = self.b.insert_element(none, value, ir.Constant(LANE, 0))
        return self.b.shuffle_vector(
            one, none, ir.Constant(ir.VectorType(LANE, self.count), [0] * self.count)
        )

    def spread(self, vector: Any) -> list[Any]:
        """A vector as its parts: real and imaginary numbers, each in both places of a pair."""
        if self.parts == 1:
            return [vector]
        lanes = ir.VectorType(LANE, self.count)
        return [
            self.b.shuffle_vector(
                vector, vector, ir.Constant(lanes, [lane // 2 * 2 + part for lane in range(self.count)])
            )
            for part in range(2)
        ]

    def of_group(self, vector: Any, channel: int) -> Any:
        """A vector of channels with one ``channel`` of each group in all the places of its group."""
        size = self.tile.group * self.parts
        lanes = [lane // size * size + channel * self.parts + lane % self.parts for lane in range(self.count)]
        kind = ir.VectorType(LANE, self.count)
        return self.b.shuffle_vector(vector, vector, ir.Constant(kind, lanes))

    def interleave(self, real: Any, imaginary: Any) -> Any:
        """Two splats as one vector of complex numbers."""
        lanes = [lane if lane % 2 == 0 else self.count + lane for lane in range(self.count)]
        return self.b.shuffle_vector(real, imaginary, ir.Constant(ir.VectorType(LANE, self.count), lanes))

    # --- arithmetic ---------------------------------------------------------------------------------

    def start_columns(self, bias: Any) -> None:
        """Start every row from the same vectors of biases."""
        for q, start in enumerate(self.load_vectors(bias)):
            for p in range(self.tile.rows):
                self.b.store(start, self.acc[p][q][0])

    def start_rows(self, bias: Any, apart: Any) -> None:
        """Start each row from one bias, ``apart`` elements from the last row's."""
        for p in range(self.tile.rows):
            real, *imaginary = self.broadcast(self.b.gep(bias, [self.b.mul(apart, integer(p))]))
            start = self.interleave(real, imaginary[0]) if imaginary else real
            for q in range(self.tile.vectors):
                self.b.store(start, self.acc[p][q][0])

    def add_product(self, p: int, q: int, parts: list[Any], vector: Any) -> None:
        """Add a broadcast element times a vector onto an accumulator."""
        for part, cell in zip(parts, self.acc[p][q], strict=True):
            self.b.store(self.multiply_add(part, vector, self.b.load(cell)), cell)

    def multiply_add(self, a: Any, b: Any, c: Any) -> Any:
        """``a * b + c``, rounded once where the machine can."""
        if not self.tile.fma:
            return self.b.fadd(self.b.fmul(a, b), c)
        name = f"llvm.fma.v{self.count}f{8 * self.scalar_bytes}"
        kind = ir.FunctionType(self.vector, [self.vector] * 3)
        return self.b.call(cgutils.get_or_insert_function(self.b.module, kind, name), [a, b, c])

    def result(self, p: int, q: int) -> Any:
        """The finished value of an accumulator."""
        cells = [self.b.load(cell) for cell in self.acc[p][q]]
        if self.parts == 1:
            return cells[0]
        swap = ir.Constant(ir.VectorType(LANE, self.count), [lane ^ 1 for lane in range(self.count)])
        signs = ir.Constant(self.vector, [-1.0, 1.0] * self.tile.lanes)
        turned = self.b.shuffle_vector(cells[1], cells[1], swap)
        return self.b.fadd(cells[0], self.b.fmul(turned, signs))

    # --- a sum that goes on later -------------------------------------------------------------------

    def cells(self, held: Any) -> list[tuple[Any, Any]]:
        """Every accumulator, and the place in memory at ``held`` that keeps it."""
        cells = [cell for row in self.acc for parts in row for cell in parts]
        start = self.b.bitcast(held, self.vector.as_pointer())
        return [(cell, self.b.gep(start, [integer(n)])) for n, cell in enumerate(cells)]

    def resume(self, held: Any) -> None:
        """Take the accumulators up again."""
        for cell, place in self.cells(held):
            self.b.store(self.b.load(place, align=self.scalar_bytes), cell)

    def keep(self, held: Any) -> None:
        """Put the accumulators by."""
        for cell, place in self.cells(held):
            self.b.store(self.b.load(cell), place, align=self.scalar_bytes)

    # --- results ------------------------------------------------------------------------------------

    def store(self, out: Any, rows: Any, width: Any, row_step: Any, step: Any) -> None:
        """Write the first ``rows`` x ``width`` results, ``row_step`` and ``step`` elements apart."""
        b, tile = self.b, self.tile
        values = [[self.result(p, q) for q in range(tile.vectors)] for p in range(tile.rows)]
        with b.if_else(b.icmp_signed("==", step, integer(1))) as (contiguous, scattered):
            with contiguous:
                whole = b.icmp_signed(">=", width, integer(tile.width))
                for p in range(tile.rows):
                    with b.if_then(b.icmp_signed("<", integer(p), rows)):
                        row = b.gep(out, [b.mul(row_step, integer(p))])
                        with b.if_else(whole) as (full, partial):
                            with full:
                                self.store_row(row, values[p], None)
                            with partial:
                                self.store_row(row, values[p], width)
            with scattered:
                if tile.rows not in (2, 4, 8):
                    self.scatter(out, values, rows, width, row_step, step)
                    return
                # Filters side by side, and all of them in this tile: it is one stretch of memory.
                side_by_side = b.icmp_signed("==", row_step, integer(1))
                all_here = b.and_(
                    b.icmp_signed("==", step, integer(tile.rows)),
                    b.icmp_signed("==", rows, integer(tile.rows)),
                )
                with b.if_else(b.and_(side_by_side, all_here)) as (one, many):
                    with one:
                        columns = zip(*values, strict=True)
                        turned = [vector for column in columns for vector in self.transpose(list(column))]
                        self.store_row(out, turned, b.mul(width, rows))
                    with many:
                        self.scatter(out, values, rows, width, row_step, step)

    def transpose(self, vectors: list[Any]) -> list[Any]:
        """The first elements of all vectors, then the second ones, and so on, as many vectors again."""
        if len(vectors) == 1 or self.tile.lanes == 1:
            return vectors
        turned = []
        lanes = ir.VectorType(LANE, self.count)
        for even, odd in zip(self.transpose(vectors[::2]), self.transpose(vectors[1::2]), strict=True):
            for half in range(2):
                first = half * self.count // 2
                picked = [
                    side * self.count + first + place + part
                    for place in range(0, self.count // 2, self.parts)
                    for side in range(2)
                    for part in range(self.parts)
                ]
                turned.append(self.b.shuffle_vector(even, odd, ir.Constant(lanes, picked)))
        return turned

    def store_row(self, row: Any, values: list[Any], width: Any) -> None:
        """Write vectors side by side, the last ones masked where a ``width`` is given."""
        b = self.b
        for q, value in enumerate(values):
            place = b.bitcast(b.gep(row, [integer(q * self.tile.lanes)]), self.vector.as_pointer())
            if width is None:
                b.store(value, place, align=self.scalar_bytes)
                continue
            mask = self.counting(width, q)
            name = f"llvm.masked.store.v{self.count}f{8 * self.scalar_bytes}.p0"
            kind = ir.FunctionType(
                ir.VoidType(),
                [self.vector, self.vector.as_pointer(), LANE, ir.VectorType(ir.IntType(1), self.count)],
            )
            function = cgutils.get_or_insert_function(b.module, kind, name)
            b.call(function, [value, place, ir.Constant(LANE, self.scalar_bytes), mask])

    def counting(self, width: Any, q: int) -> Any:
        """Which places of vector ``q`` are among the first ``width`` elements."""
        b, lanes = self.b, ir.VectorType(LANE, self.count)
        left = b.sub(b.mul(width, integer(self.parts)), integer(q * self.count))
        limit = b.insert_element(ir.Constant(lanes, ir.Undefined), b.trunc(left, LANE), ir.Constant(LANE, 0))
        limit = b.shuffle_vector(limit, limit, ir.Constant(lanes, [0] * self.count))
        return b.icmp_signed("<", ir.Constant(lanes, list(range(self.count))), limit)

    def scatter(
        self, out: Any, values: list[list[Any]], rows: Any, width: Any, row_step: Any, step: Any
    ) -> None:
        """Write results one by one, through a copy of the tile on the stack."""
        b, tile = self.b, self.tile
        size = tile.rows * tile.width
        scratch = cgutils.alloca_once(b, ir.ArrayType(self.element, size))
        scratch = b.bitcast(scratch, self.element.as_pointer())
        for p, row in enumerate(values):
            for q, value in enumerate(row):
                place = b.gep(scratch, [integer(p * tile.width + q * tile.lanes)])
                b.store(value, b.bitcast(place, self.vector.as_pointer()), align=self.scalar_bytes)
        with cgutils.for_range(b, width) as lane:
            column = b.gep(out, [b.mul(lane.index, step)])
            with cgutils.for_range(b, rows) as row:
                source = b.gep(scratch, [b.add(b.mul(row.index, integer(tile.width)), lane.index)])
                value = b.load(source, align=self.scalar_bytes)
                b.store(value, b.gep(column, [b.mul(row.index, row_step)]), align=self.scalar_bytes)


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
            emit.start_columns(bias)
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
