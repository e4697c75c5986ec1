"""Loops only: no checks, no allocation, no exceptions."""

from triconv.runtime import cache  # noqa: F401 - takes the digest of the sources before they are imported
