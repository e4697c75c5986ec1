"""Which way vectors lie: every orientation that a tile of the direct form or of im2col may have.

A tile is what the registers hold of the output: ``rows`` rows of ``width`` elements. A row of it is made of
vectors, whose lanes lie over filters, over pixels, or over channels.
"""

from __future__ import annotations

from dataclasses import dataclass

from triconv.kernels.simd import Tile


@dataclass(frozen=True, slots=True)
class Orientation:
    """What a tile, packed weights and a band have from the way that vectors lie."""

    name: str  # that of the product of `triconv.kernels.multiply` that computes it
    lanes: str  # what lanes lie over: "filters", "pixels", "channels", or "elements" (pixels and channels)
    rows: str  # what a tile's rows lie over: "pixels", "filters" or "lines", which are rows of the output
    lanes_in_words: str
    planes: bool = False  # whether a band holds a plane a channel, not channels side by side
    wraps: bool = False  # whether a tile goes on in the next row of the output

    @property
    def over_filters(self) -> bool:
        """Whether lanes are filters."""
        return self.lanes == "filters"

    @property
    def by_lines(self) -> bool:
        """Whether a tile takes several rows of the output, which share what they read."""
        return self.rows == "lines"

    def blocks(self, groups: int, tile: Tile) -> tuple[int, int]:
        """Groups of packed filters, and filters in a block of them."""
        if self.lanes in ("channels", "elements"):  # a channel has a filter, so groups lie side by side
            return 1, tile.width
        return groups, {"pixels": tile.width, "filters": tile.rows, "lines": 1}[self.rows]

    def describe(self, tile: Tile) -> str:
        """The vectors and the tile, in words."""
        rows = {"lines": "rows"}.get(self.rows, self.rows)
        vectors = f"{tile.vectors} vectors of {tile.lanes} {tile.dtype}"
        return f"vectors over {self.lanes_in_words}, tiles of {tile.rows} {rows} x {vectors}"


# Many filters. A pixel's element is broadcast, and multiplied with the same tap of ``width`` filters.
#
#   band      pixel 0       pixel 1       ...        packed weights, [group][block][u, v, c][width]
#             c0 c1 c2 ..   c0 c1 c2 ..              u0v0c0:  m0 m1 m2 ... m(width-1)
#             |                                      u0v0c1:  m0 m1 m2 ... m(width-1)
#             broadcast  x  a row of these
CHANNELS = Orientation("channels", "filters", "pixels", "output channels")

# The same; where a row of the output leaves many pixels of its last tile idle, the tile goes on in the next.
#
#   tile of 4 over rows of 6 pixels    0 0 0 0 1 1
#                                      1 1 2 2 2 2
WRAPPED = Orientation("wrapped", "filters", "pixels", "output channels", wraps=True)

# Few filters of few channels. Pixels of a row are multiplied with the broadcast tap of each of the filters.
#
#   band, a plane a channel; stride 2: columns of a phase side by side
#                                                    packed weights, [group][block][u, v, c][rows]
#   c0   row 0   0 2 4 6 .. | 1 3 5 7 ..             u0v0c0:  m0 m1
#        row 1   0 2 4 6 .. | 1 3 5 7 ..             u0v0c1:  m0 m1
#   c1   ...
COLUMNS = Orientation("columns", "pixels", "filters", "pixels of a row", planes=True)

# One filter a group, as for a grey image: the band of `COLUMNS`, tiles over several rows of the output, which
# share what they read. Taps in the order of the kernel's columns where its height is unrolled:
#
#   packed weights     u0v0 u1v0 u2v0  u0v1 u1v1 u2v1  ...
ROWS = Orientation("rows", "pixels", "lines", "pixels of a row", planes=True)

# Depthwise, or small groups of as many filters as channels: lanes are channels, so nothing is broadcast.
#
#   band      pixel 0          pixel 1          ...  packed weights, depthwise [block][u, v][width]
#             c0 c1 c2 ... c15 c0 c1 c2 ... c15      u0v0:  c0 c1 c2 ... c15
DEPTH = Orientation("depth", "channels", "pixels", "channels")

# Depthwise with so few channels that a vector holds whole pixels; the taps repeat with them.
#
#   band      pixel 0   pixel 1   pixel 2   ...      packed weights, [v, u][width]
#             r g b     r g b     r g b              u0v0:  r g b r g b r g b ...
FLAT = Orientation("flat", "elements", "lines", "pixels and channels of a row")


@dataclass(frozen=True, slots=True)
class Sums:
    """The same of a tile of the weights' gradient: sums over pixels of products of two images' numbers."""

    name: str  # that of the product of `triconv.kernels.weight_grad` that computes it
    lanes: str  # what lanes lie over: "channels" that filters see, or "filters"
    rows: str  # what a tile's rows lie over: "filters", "channels" or "taps"
    wraps: bool = False  # whether a vector holds several pixels

    @property
    def over_filters(self) -> bool:
        """Whether lanes are filters."""
        return self.lanes == "filters"

    @property
    def by_taps(self) -> bool:
        """Whether each channel has a filter of its own, so that rows are left for taps."""
        return self.rows == "taps"


# A pixel of the output's gradient is broadcast, filter by filter, and multiplied with the channels of a tap.
#
#   gradient, pixel   m0 m1 ..   x   c0 c1 c2 ...   input, the pixel that tap u, v sees
#   sums              m0:  c0 c1 c2 ...
#                     m1:  c0 c1 c2 ...
SEEN = Sums("channels", "channels", "filters")

# The same, each with the other's part; taken where filters fill vectors better.
WANTED = Sums("filters", "filters", "channels")

# Depthwise: channels of both images are multiplied one by one, the input's at as many taps as there are rows.
#
#   gradient, pixel   c0 c1 c2 ...   x   c0 c1 c2 ...   input, the pixel that tap u, 0 sees
#                                    x   c0 c1 c2 ...                       tap u, 1
EACH = Sums("each", "channels", "taps")

# Depthwise with so few channels that a vector holds several pixels; their sums are added up at the end.
EACH_WRAPPED = Sums("each", "channels", "taps", wraps=True)
