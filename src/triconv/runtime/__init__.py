"""Everything that knows Numba's or the machine's ways."""
