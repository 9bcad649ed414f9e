# SPDX-License-Identifier: Apache-2.0
"""Processes that cannot outlive the test, and waiting with an end."""

import ctypes
import os
import signal
import subprocess
import time

_libc = ctypes.CDLL(None, use_errno=True)
_PR_SET_PDEATHSIG = 1


class Timeout(Exception):
    """What was waited for did not happen in time."""


def _die_with_parent():
    # A shell ignores it for what it starts in the background, and that is
    # inherited.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    _libc.prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)


def start(argv, **options):
    """A Popen in its own process group that the kernel kills with the test.
    To be called from the main thread: that is whose death counts."""
    options.setdefault('stdin', subprocess.DEVNULL)
    return subprocess.Popen(argv, preexec_fn=_die_with_parent,
                            start_new_session=True, **options)


def kill(process):
    """SIGKILL to the process and what it has started; waits for its end."""
    if process.poll() is None:
        try:
            os.killpg(process.pid, signal.SIGKILL)
        except ProcessLookupError:
            pass
    process.wait()


def wait_until(condition, what, timeout=180, step=0.02):
    """The first true value of condition(); Timeout if there is none.  Here as
    elsewhere the end is for what never happens: nobody waits for it else, and a
    host that has too much to do is slow."""
    end = time.monotonic() + timeout
    while True:
        value = condition()
        if value:
            return value
        if time.monotonic() > end:
            raise Timeout(f'{what}: not within {timeout} s')
        time.sleep(step)
