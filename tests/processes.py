"""Code in a process of its own, for what depends on a fresh interpreter."""

import contextlib
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


FORKS = """
import os, signal, traceback
import triconv
for line in sys.stdin:
    child = os.fork()
    if child == 0:
        signal.alarm(120)
        try:
            exec(eval(line), {"__name__": "__main__"})
        except BaseException:
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(0)
    print("exit", os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]), flush=True)
"""


@contextlib.contextmanager
def forks():
    """Like `run`, for many codes in little time: each in a child of a process that has imported the package.

    What a child that was killed printed last is minus the number of the signal. Where warnings and errors
    are printed, they are among the words.
    """
    paths = [str(Path(triconv.__file__).parents[1]), str(Path(__file__).parent)]
    with subprocess.Popen(
        [sys.executable, "-c", f"import sys; sys.path[:0] = {paths!r}\n{FORKS}"],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
    ) as process:

        def run(code):
            print(repr(code), file=process.stdin, flush=True)
            words = []
            for line in process.stdout:
                if line.startswith("exit "):
                    break
                words += line.split()
            return words + line.split()[1:] * (line != "exit 0\n")

        yield run
