# SPDX-License-Identifier: Apache-2.0
"""The frame of a test: cases in TAP, requirements, cleaning up."""

import contextlib
import os
import shutil
import signal
import statistics
import sys
import tempfile
import time
import traceback

from vmtest import images
from vmtest.footprint import difference
from vmtest.guest import Disk, EMULATOR, Guest, root_of
from vmtest.keep import Vmkeep


class Failure(AssertionError):
    """What the test says is not so."""


class Skip(Exception):
    """This machine cannot run the test."""


def check(condition, what):
    if not condition:
        raise Failure(what)


def check_equal(found, wanted, what):
    if found != wanted:
        raise Failure(f'{what}: {found!r}, not {wanted!r}')


def skip(why):
    raise Skip(why)


median = statistics.median


class Test:
    """What a test has at hand while it runs; made by test()."""

    def __init__(self, folder):
        self.folder = folder
        self.guests = []
        self.n_cases = 0
        self.n_failed = 0

    # ---- making things -------------------------------------------------

    def path(self, name):
        return f'{self.folder}/{name}'

    def subfolder(self, name):
        os.mkdir(self.path(name))
        return self.path(name)

    def disk(self, name, size, form=None, **more):
        """A new, empty image and the Disk of it; the name's ending tells the
        format if it is not given."""
        form = form or ('raw' if name.endswith('.raw') else 'qcow2')
        images.image_create(self.path(name), size, form)
        return Disk(self.path(name), form, **more)

    def guest(self, **options):
        """A running Guest, which is killed at the end of the test."""
        options.setdefault('folder', self.folder)
        options.setdefault('name', f'guest{len(self.guests)}')
        guest = Guest(**options)
        self.guests.append(guest)
        return guest

    def vmkeep(self, **options):
        return Vmkeep(self.folder, **options)

    # ---- saying things -------------------------------------------------

    @staticmethod
    def note(text):
        for line in str(text).splitlines():
            print('#', line, flush=True)

    @contextlib.contextmanager
    def case(self, name):
        """One line of the result.  What fails in it does not end the test."""
        start = time.monotonic()
        try:
            yield
        except Skip as e:
            self._result(True, f'{name} # SKIP {e}')
        except Exception:  # pylint: disable=broad-except
            self._fail(name)
        else:
            self._result(True, name)
        self.note(f'{time.monotonic() - start:.1f} s')

    def check_as_before(self, guest, before):
        """The guest's footprint is `before` again."""
        lines = difference(before, guest.footprint())
        check(not lines, 'not as before:\n' + '\n'.join(lines))

    def _result(self, good, name):
        self.n_cases += 1
        print('ok' if good else 'not ok', self.n_cases, '-', name, flush=True)

    def _fail(self, name):
        self.n_failed += 1
        self._result(False, name)
        self.note(traceback.format_exc())
        for guest in self.guests:
            if guest.process.poll() is None or guest is self.guests[-1]:
                for line in guest.dump():
                    self.note(line)


def _stop(signum, _frame):
    sys.exit(128 + signum)


def _require(needs):
    for program in (EMULATOR[0], 'qemu-img', *needs):
        if shutil.which(program) is None and not os.access(program, os.X_OK):
            raise Failure(f'{program} is not installed; run tools/setup')


@contextlib.contextmanager
def test(needs=()):
    """The frame around a whole test, which needs these programs.

    Prints TAP.  A test that cannot run here says so in its plan and exits 0, as
    TAP has it: meson takes any other status for an error."""
    signal.signal(signal.SIGTERM, _stop)
    root = root_of(EMULATOR)
    folder = tempfile.mkdtemp(prefix='vmkeep-test-',
                              dir=root + '/tmp' if root else None)
    t = Test(folder)
    try:
        _require(needs)
        yield t
    except Skip as e:
        print(f'1..0 # SKIP {e}', flush=True)
        sys.exit(0)
    except Exception:  # pylint: disable=broad-except
        t._fail('the test runs to its end')  # pylint: disable=protected-access
    finally:
        for guest in t.guests:
            guest.kill()
        if os.environ.get('VMTEST_KEEP'):
            t.note(f'kept: {folder}')
        else:
            shutil.rmtree(folder, ignore_errors=True)
    print(f'1..{t.n_cases}', flush=True)
    if t.n_failed > 0:
        sys.exit(1)
