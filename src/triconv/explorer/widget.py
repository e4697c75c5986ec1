"""The widget: settings and what is lit as traits, which Python and the page both set."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import anywidget
import numpy as np
import traitlets
from numpy.typing import ArrayLike

from triconv import arguments
from triconv.compare import compare
from triconv.explorer.scene import Arrays, Scene, Settings, choices, prepared
from triconv.methods import METHODS

STATIC = Path(__file__).parent / "static"
SETTINGS = tuple(Settings.__dataclass_fields__)
PAIRS = ("size", "kernel_size", "stride", "dilation")
COUNTS = ("in_channels", "out_channels", "groups")


class RefusedValueError(traitlets.TraitError, ValueError):
    """What the library raises for a value, as traits have to hear it to keep the former one."""


class RefusedTypeError(traitlets.TraitError, TypeError):
    """The same for a type."""


class Explorer(anywidget.AnyWidget):
    """The widget that `explore` returns.

    Every setting can be read and set, here as on the page. What is not valid is refused, and nothing changes.

    Attributes
    ----------
    size, kernel_size : (int, int)
        Rows and columns of the leading part of the input, and of the filters, that are shown.
    in_channels, out_channels : int
        Channels and filters of that part.
    stride, dilation : (int, int)
        Rows and columns from patch to patch, and from tap to tap.
    padding : int, tuple or str
        As `conv2d` takes it.
    groups : int
        Splits channels and filters.
    padding_mode : {"zeros", "reflect", "replicate", "circular"}
        What the padding shows.
    selected : tuple
        ``("output", i, j, m)``, ``("input", r, c, C)`` over the padded input, or ``("row", n)`` or
        ``("column", n)`` of W, which become one of the others.
    seconds : dict
        Measured time of a call by method, once the page, or `measure`, has asked for it.
    panels, matrix, costs, choices, lit : dict or list
        What the page draws: the arrays, W, what each method takes, the valid values of every control, and the
        cells that belong to what is selected. Read only.
    """

    _esm = STATIC / "explorer.js"
    _css = STATIC / "explorer.css"

    size = traitlets.Any().tag(sync=True)
    in_channels = traitlets.Any().tag(sync=True)
    out_channels = traitlets.Any().tag(sync=True)
    kernel_size = traitlets.Any().tag(sync=True)
    stride = traitlets.Any().tag(sync=True)
    padding = traitlets.Any().tag(sync=True)
    dilation = traitlets.Any().tag(sync=True)
    groups = traitlets.Any().tag(sync=True)
    padding_mode = traitlets.Any().tag(sync=True)
    selected = traitlets.Any(("output", 0, 0, 0)).tag(sync=True)
    panels = traitlets.Dict().tag(sync=True)
    matrix = traitlets.Dict().tag(sync=True)
    costs: Any = traitlets.List().tag(sync=True)
    choices = traitlets.Dict().tag(sync=True)
    lit = traitlets.Dict().tag(sync=True)
    seconds = traitlets.Dict().tag(sync=True)

    def __init__(self, arrays: Arrays, settings: Settings) -> None:
        self._arrays = arrays
        super().__init__(**{name: getattr(settings, name) for name in SETTINGS})
        self._scene = Scene(arrays, settings)
        self.on_msg(self._told)
        self._refresh()

    def __repr__(self) -> str:  # all that a page without the widget shows of it
        settings = ", ".join(f"{name}={getattr(self, name)!r}" for name in SETTINGS)
        return f"Explorer({settings})"

    @property
    def settings(self) -> Settings:
        """All settings at once."""
        return Settings(**{name: getattr(self, name) for name in SETTINGS})

    def set_arrays(self, x: ArrayLike, weight: ArrayLike, bias: ArrayLike | None = None) -> None:
        """Show other arrays, channels last, under the present settings as far as they fit.

        Parameters
        ----------
        x : array_like
            ``(H, W, C_in)`` or ``(H, W)``.
        weight : array_like
            ``(C_out, k_h, k_w, C_in / groups)`` or ``(k_h, k_w)``.
        bias : array_like, optional
            ``(C_out,)``.

        Raises
        ------
        ValueError, TypeError
            As `explore`.
        """
        arrays = prepared(x, weight, bias, "NHWC", self.groups)
        found = whole(arrays, self.settings.keywords)
        self._scene = Scene(arrays, found)
        self._arrays = arrays
        with self.hold_trait_notifications():
            for name in SETTINGS:
                setattr(self, name, getattr(found, name))
        self._refresh()

    @traitlets.validate(*SETTINGS)
    def _normalised(self, proposal: Any) -> Any:
        """A setting in its plain form; refused where the library would refuse it."""
        try:
            return self._checked(proposal["trait"].name, proposal["value"])
        except ValueError as error:
            raise RefusedValueError(str(error)) from None
        except TypeError as error:
            raise RefusedTypeError(str(error)) from None

    def _checked(self, name: str, value: Any) -> Any:
        if name in PAIRS:
            value = arguments.pair("explore", name, value)
        elif name in COUNTS:
            value = arguments.integer("explore", name, value, 1)
        elif name == "padding_mode":
            value = arguments.padding_mode("explore", value)
        else:
            value = plain_padding(value)
        present = {each: getattr(self, each) for each in SETTINGS} | {name: value}
        self._arrays.checked(Settings(**present))
        return value

    def set_state(self, sync_data: dict[str, Any]) -> None:
        """Take what the page sends; what is refused is sent back as it was."""
        try:
            super().set_state(sync_data)
        except traitlets.TraitError:
            self.send_state(list(sync_data))

    @traitlets.validate("selected")
    def _inside(self, proposal: Any) -> tuple[Any, ...]:
        """What is lit, nearest to what was asked for where that is not there any more."""
        kind, *at = proposal["value"]
        g = self._scene.geometry
        kind = arguments.choice("explore", "selected", kind, ("output", "input", "row", "column"))
        if kind == "row":
            kind, at = "output", list(g.output_position(at[0]))
        elif kind == "column":
            kind, at = "input", list(g.padded_position(at[0]))
        shape = g.output_shape if kind == "output" else g.padded_shape
        if len(at) != len(shape):
            raise ValueError(f"explore: selected expects {len(shape)} numbers, got {len(at)}")
        numbers = (arguments.integer("explore", "selected", n, 0) for n in at)
        return kind, *(min(n, size - 1) for n, size in zip(numbers, shape, strict=True))

    @traitlets.observe(*SETTINGS)
    def _changed(self, change: Any) -> None:
        # Not before there is a scene, and once where several settings change together.
        if hasattr(self, "_scene") and self._scene.settings != self.settings:
            self._scene = Scene(self._arrays, self.settings)
            self._refresh()

    @traitlets.observe("selected")
    def _select(self, change: Any = None) -> None:
        kind, *at = self.selected
        self.lit = self._scene.output_at(*at) if kind == "output" else self._scene.input_at(*at)

    def _refresh(self) -> None:
        with self.hold_sync():
            self.seconds = {}
            self.panels = self._scene.panels()
            self.matrix = self._scene.matrix()
            self.costs = self._scene.costs()
            self.choices = choices(self._arrays, self.settings)
            self.selected = self._inside({"value": self.selected})
            self._select()

    def _told(self, widget: Any, content: Any, buffers: Any) -> None:
        if content == "measure":
            self.measure()

    def measure(self) -> None:
        """Measure a call of each method, and show the times."""
        scene = self._scene
        rows = compare(scene.x, scene.weight, scene.bias, methods=tuple(METHODS), **scene.keywords)
        self.seconds = {row.method: row.seconds for row in rows if row.ran}


def plain_padding(value: Any) -> Any:
    """Padding as plain tuples; the page sends lists."""
    if isinstance(value, np.ndarray):
        value = value.tolist()
    return tuple(map(plain_padding, value)) if isinstance(value, list | tuple) else value


def whole(arrays: Arrays, keywords: dict[str, Any]) -> Settings:
    """Settings that show all of the arrays."""
    where = "explore"
    groups = arguments.integer(where, "groups", keywords.get("groups", 1), 1)
    channels = min(arrays.x.shape[2], arrays.weight.shape[3] * groups)
    return Settings(
        size=arrays.x.shape[:2],
        in_channels=channels // groups * groups,
        out_channels=arrays.weight.shape[0],
        kernel_size=arrays.weight.shape[1:3],
        stride=arguments.pair(where, "stride", keywords.get("stride", 1)),
        padding=plain_padding(keywords.get("padding", 0)),
        dilation=arguments.pair(where, "dilation", keywords.get("dilation", 1)),
        groups=groups,
        padding_mode=arguments.padding_mode(where, keywords.get("padding_mode", "zeros")),
    )
