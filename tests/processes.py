"""Code in a process of its own, for what depends on a fresh interpreter."""

import os
import subprocess
import sys
from pathlib import Path

import triconv


def run(code, timeout=120, **environment):
    """The words that `code` prints in a fresh interpreter that finds the same package and these tests.

    A variable of the environment that is None is left out.
    """
    paths = [str(Path(triconv.__file__).parents[1]), str(Path(__file__).parent)]
    done = subprocess.run(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}\n{code}"],
        capture_output=True,
        text=True,
        timeout=timeout,
        env={name: value for name, value in (os.environ | environment).items() if value is not None},
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.split()
