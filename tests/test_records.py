"""What kernels are told: unknown and missing names are refused, and numbers arrive where they belong."""

import importlib
import itertools
import pkgutil

import numpy as np
import pytest

from triconv import kernels
from triconv.kernels.records import Group, Record

WINDOW = Group("window", ("taps",), ("size", "stride"))
RECORD = Record(WINDOW, WINDOW.called("other"), "tasks")
NUMBERS = {"taps": 6, "size": (2, 3), "stride": (4, 5)}


def test_numbers_arrive_where_they_belong():
    made = RECORD(window=NUMBERS, other=NUMBERS | {"taps": 7}, tasks=8)[0]
    assert made["window"]["taps"] == 6
    assert made["window"]["size"].tolist() == [2, 3]
    assert made["other"]["stride"].tolist() == [4, 5]
    assert (made["other"]["taps"], made["tasks"]) == (7, 8)
    assert made.nbytes == RECORD.dtype.itemsize == 8 * 11
    assert {RECORD.dtype["window"][name].base for name in ("taps", "size")} == {np.dtype(np.int64)}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"task": 1}, "record: unknown task"),
        ({"tasks": None}, "record: missing tasks"),
        ({"window": NUMBERS | {"reach": 1, "span": 2}}, "record.window: unknown reach, span"),
        ({"other": {"taps": 1}}, "record.other: missing size, stride"),
    ],
)
def test_unknown_and_missing_names_are_refused(change, message):
    values = {"window": NUMBERS, "other": NUMBERS, "tasks": 1} | change
    with pytest.raises(TypeError) as caught:
        RECORD(**{name: value for name, value in values.items() if value is not None})
    assert str(caught.value) == message


def test_no_record_begins_another():
    """Numba would call what was compiled for the shorter one with the longer, and warn of it."""
    names = [module.name for module in pkgutil.iter_modules(kernels.__path__)]
    modules = [vars(importlib.import_module(f"triconv.kernels.{name}")) for name in names]
    records = {id(each): each for module in modules for each in module.values() if isinstance(each, Record)}
    assert len(records) > 5
    for one, other in itertools.permutations(records.values(), 2):
        fields = list(one.dtype.fields.items())
        assert list(other.dtype.fields.items())[: len(fields)] != fields
