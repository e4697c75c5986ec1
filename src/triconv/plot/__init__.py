r"""Figures of a convolution's parts and results; they need the extra ``plot``, imported when one is drawn.

Every function takes ``ax=``, the axes to draw on, and returns them; without it a new figure of pyplot's is
made. Text and lines that stand on the background take the colours of the style in use.

Examples
--------
>>> import triconv
>>> ax = triconv.plot.patch([[1, 2, 3], [4, 5, 6]], [[1, 0], [0, 1]], 0, 1)
>>> ax.get_title()
'$Y[0, 1, 0] = x_{ij} \\cdot k_m = 8$'
"""

from triconv.plot.comparison import comparison_figure
from triconv.plot.patches import patch, patch_matrix
from triconv.plot.results import feature_maps, heat_map, spectrum
from triconv.plot.structure import matrix, matrix_column, matrix_row

__all__ = [
    "comparison_figure",
    "feature_maps",
    "heat_map",
    "matrix",
    "matrix_column",
    "matrix_row",
    "patch",
    "patch_matrix",
    "spectrum",
]
