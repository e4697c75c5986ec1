"""What a command prints, and how it ends, whatever takes its output: a terminal, a pipe, a full disk."""

from __future__ import annotations

import codecs
import contextlib
import io
import logging
import os
import sys
import warnings
from collections.abc import Iterator
from typing import TextIO


class UnwritableError(Exception):
    """The output could not be written; the message says why."""


@contextlib.contextmanager
def prepared() -> Iterator[None]:
    """Print what the output's encoding lacks as escapes, and no line but one's own."""
    # A stream that was closed before Python started is None, which libraries do not expect.
    streams = sys.stdout or io.StringIO(), sys.stderr or io.StringIO()
    with (
        contextlib.redirect_stdout(streams[0]),
        contextlib.redirect_stderr(streams[1]),
        _lenient(streams[0]),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")
        before = logging.root.manager.disable
        logging.disable(logging.CRITICAL)
        try:
            yield
        finally:
            logging.disable(before)


@contextlib.contextmanager
def _lenient(stream: TextIO) -> Iterator[None]:
    if not isinstance(stream, io.TextIOWrapper) or stream.errors not in ("strict", "surrogateescape"):
        yield
        return
    errors, through = stream.errors, stream.write_through
    # File names that are no text are written as the bytes that they are, where that can be.
    utf = codecs.lookup(stream.encoding).name == "utf-8"
    # What is written is held until `flush`, which can say why it could not be.
    stream.reconfigure(errors="surrogateescape" if utf else "backslashreplace", write_through=False)
    try:
        yield
    finally:
        stream.reconfigure(errors=errors, write_through=through)


def flush() -> None:
    """Write what has been printed; what standard error does not take is dropped.

    Raises
    ------
    BrokenPipeError
        If no one reads it any more.
    UnwritableError
        If it cannot be written.
    """
    complain("")
    try:
        sys.stdout.flush()
    except OSError as error:
        _discard(sys.stdout)
        if isinstance(error, BrokenPipeError):
            raise
        raise UnwritableError(f"cannot write the output: {error.strerror}") from None


def complain(text: object) -> None:
    """Print one line to standard error, if it takes it."""
    try:
        print(" ".join(str(text).split()), end="\n" if text else "", file=sys.stderr, flush=True)
    except OSError:
        _discard(sys.stderr)


def _discard(stream: TextIO) -> None:
    """Let go what is still held: it would fail once more as the process ends, with words of Python's."""
    with contextlib.suppress(OSError, ValueError):
        null = os.open(os.devnull, os.O_WRONLY)
        os.dup2(null, stream.fileno())
        os.close(null)


def printable(text: str) -> str:
    """A name in letters that can be drawn: bytes and characters that cannot are escapes."""
    text = os.fsencode(text).decode("utf-8", "backslashreplace")
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in text)
