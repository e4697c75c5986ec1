"""Ctrl-C during a call that would take ten seconds: it ends at once, and the process goes on."""

import signal
import threading
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from processes import run

from triconv import plan
from triconv.runtime import interrupts

pytestmark = pytest.mark.processes

SETUP = """
import os, signal, threading, time
import numpy as np, triconv
from triconv import conv2d, conv2d_input_grad, conv2d_weight_grad
signal.signal(signal.SIGINT, signal.default_int_handler)  # a shell's background jobs ignore it
small, taps = np.ones((24, 24, 8)), np.ones((8, 3, 3, 8))
x, weight, grad = np.ones((480, 480, 64)), np.ones((64, 31, 31, 64)), np.ones((450, 450, 64))
keywords = {"method": METHOD}
"""
CALL = """
for _ in range(3):
    expected = conv2d(small, taps, **keywords)
    sent = []
    def interrupt():
        time.sleep(1)
        sent.append(time.perf_counter())
        os.kill(os.getpid(), signal.SIGINT)
    interrupter = threading.Thread(target=interrupt)
    interrupter.start()
    try:
        CALLED
        print("finished")
    except KeyboardInterrupt:
        print(time.perf_counter() - sent[0])
    interrupter.join()
    print((conv2d(small, taps, **keywords) == expected).all(), len(threading.enumerate()))
"""


@pytest.mark.slow
@pytest.mark.parametrize("method", ["direct", "im2col"])
@pytest.mark.parametrize(
    "call",
    [
        "conv2d(x, weight, **keywords)",
        "triconv.plan(weight, x.shape, **keywords)(x)",
        "conv2d_input_grad(grad, weight, x.shape, **keywords)",
        "conv2d_weight_grad(grad, x, 31, **keywords)",
        "triconv.ConvOperator(weight, x.shape, **keywords).H @ grad.ravel()",
    ],
)
def test_a_long_call_ends_within_half_a_second(call, method):
    words = run((SETUP + CALL).replace("CALLED", call).replace("METHOD", repr(method)))
    assert words[1::3] == ["True"] * 3
    assert words[2::3] == ["1"] * 3
    # The first may be compiling, which comes to its end; other tests may have the cores in one of the others.
    assert min(map(float, words[3::3])) < 0.5


@pytest.fixture
def every_call_is_long(monkeypatch):
    monkeypatch.setattr(interrupts, "LONG", 0)


def test_what_a_long_call_raises_reaches_the_caller(every_call_is_long, monkeypatch):
    layer = plan(np.ones((3, 3)), (5, 5))
    monkeypatch.setattr(layer._prepared, "_run", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        layer(np.ones((5, 5)))


def test_any_handler_that_raises_is_heard(every_call_is_long, monkeypatch):
    """The call stops before its second kernel."""
    layer, began, calls = plan(np.ones((3, 3)), (5, 5)), threading.Event(), []

    def work(*_):
        for _ in range(1000):
            counters = np.zeros(8, np.int64)
            interrupts.begin(counters)
            calls.append(counters[0])
            began.set()
            if counters[0]:
                break
            threading.Event().wait(0.01)

    def handler(*_):
        raise TimeoutError

    monkeypatch.setattr(layer._prepared, "_run", work)
    former = signal.signal(signal.SIGALRM, handler)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(TimeoutError):
            layer(np.ones((5, 5)))
    finally:
        signal.signal(signal.SIGALRM, former)
    assert calls[-1] == interrupts.STOPPED


def test_other_threads_are_left_alone(every_call_is_long):
    """Signals are the main thread's."""

    def ident():
        return interrupts.interruptible(1, threading.get_ident)

    with ThreadPoolExecutor(1) as pool:
        assert pool.submit(ident).result() == pool.submit(threading.get_ident).result()
    assert ident() != threading.get_ident()


def test_where_no_thread_can_be_started_the_present_one_works(every_call_is_long, monkeypatch):
    def start(thread):
        raise RuntimeError("can't start new thread")

    monkeypatch.setattr("threading.Thread.start", start)
    assert interrupts.interruptible(1, threading.get_ident) == threading.get_ident()
    with pytest.raises(ZeroDivisionError):
        interrupts.interruptible(1, lambda: 1 / 0)
    assert (plan(np.ones((3, 3)), (5, 5))(np.ones((5, 5))) == 9).all()
