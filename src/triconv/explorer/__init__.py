"""A widget to touch a convolution with; it needs the extra ``notebook``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Unpack

from numpy.typing import ArrayLike

from triconv.types import GeometryKeywords, Layout

if TYPE_CHECKING:
    from triconv.explorer.widget import Explorer

KEYWORDS = tuple(GeometryKeywords.__annotations__)


def explore(
    x: ArrayLike | None = None,
    weight: ArrayLike | None = None,
    bias: ArrayLike | None = None,
    *,
    layout: Layout = "NHWC",
    **keywords: Unpack[GeometryKeywords],
) -> Explorer:
    """Show a convolution in its three forms, number by number, to be touched and changed.

    Touch an output and see its patch, the two vectors and their product written out, and its row of W;
    touch a pixel of the input and see all the patches that hold it, and its column of W.

    Parameters
    ----------
    x : array_like, optional
        One sample: ``(H, W, C_in)``, in NCHW ``(C_in, H, W)``, or ``(H, W)``; at most 24 x 24 of 8 channels.
        Small integers by default.
    weight : array_like, optional
        ``(C_out, k_h, k_w, C_in / groups)``, in NCHW ``(C_out, C_in / groups, k_h, k_w)``, or ``(k_h, k_w)``;
        at most 8 filters of 9 x 9. Small integers by default.
    bias : array_like, optional
        ``(C_out,)``; zeros by default.
    layout : {"NHWC", "NCHW"}
        Of ``x`` and ``weight``.
    **keywords
        ``stride``, ``padding``, ``dilation``, ``groups`` and ``padding_mode``, each as `conv2d` takes it; all
        can be changed on the page.

    Returns
    -------
    Explorer
        A widget; a notebook shows it. All its settings can be read and set from Python too.

    Raises
    ------
    ImportError
        Where anywidget is missing; the extra ``notebook`` brings it.
    ValueError
        For shapes, values and names that do not fit, arrays that are too large to be shown, and numbers that
        are not finite.
    TypeError
        For dtypes and types, complex ones too.

    Examples
    --------
    >>> import triconv
    >>> widget = triconv.explore(stride=2)
    >>> widget.stride
    (2, 2)
    >>> widget.selected = "output", 1, 2, 0
    >>> widget.lit["row"]
    5
    """
    if unknown := set(keywords) - set(KEYWORDS):
        name = min(unknown)
        raise TypeError(f"explore: unexpected keyword {name!r}; expected one of {', '.join(KEYWORDS)}")
    try:
        from triconv.explorer import scene, widget
    except ModuleNotFoundError as error:
        raise ImportError(f"explore needs {error.name}: pip install 'triconv[notebook]'") from None
    arrays = scene.prepared(x, weight, bias, layout, keywords.get("groups", 1))
    settings = widget.whole(arrays, dict(keywords))
    if x is None and weight is None:
        channels = 1 if settings.groups == 1 else settings.in_channels
        filters = max(2, settings.groups)
        settings = settings.but(size=(6, 7), in_channels=channels, out_channels=filters, kernel_size=(3, 3))
    return widget.Explorer(arrays, settings)
