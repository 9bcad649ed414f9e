# SPDX-License-Identifier: Apache-2.0
"""What the tests of faults share: a backup that stands still at a chosen moment,
a machine with the oracle that says whether it was harmed, and disks that are
full or hang."""

import contextlib
import os
import subprocess
import threading

from vmtest.footprint import difference, tracking
from vmtest.guest import CALM
from vmtest.images import image_compare
from vmtest.process import Timeout, wait_until
from vmtest.proxy import Proxy
from vmtest.test import Failure, check, check_equal, skip

FIRST_PULL = b'"block-export-add"'  # the guest runs again, its disks are armed


class Held:
    """A backup that stands still before it sends the first command with `word`
    in it, until it is released; for less than vmkeep waits for an answer, which
    is long, as what happens meanwhile takes its time on a busy host.

    What it talks to is in the place of the guest's own socket meanwhile, or as a
    `relay` beside it, from where nothing leads to QEMU's process."""

    on_reply = None
    qmp_timeout_s = 90

    def __init__(self, setting, word, *options, relay=False, after=None):
        self.setting = setting
        self.after = after  # only commands behind one with this in it count
        self.word = word
        self.reached = threading.Event()
        self.go_on = threading.Event()
        self.swallow = False
        real = setting.guest.socket
        self.socket = real + '.relay' if relay else real
        self.moved = None if relay else real + '.real'
        if self.moved:
            os.rename(real, self.moved)
        self.proxy = Proxy(self.socket, self.moved or real, self._look,
                           self.on_reply)
        self.running = setting.vmkeep.start(
            '--json', 'backup', '--qmp', self.socket, *options,
            env={**setting.vmkeep.env,
                 'VMKEEP_QMP_TIMEOUT': str(self.qmp_timeout_s)})
        self.status = self.out = self.err = None

    def _look(self, _number, line):
        if self.after:
            if self.after in line:
                self.after = None
            return True
        if self.word in line and not self.reached.is_set():
            self.reached.set()
            self.go_on.wait(60)
            return not self.swallow
        return True

    def __enter__(self):
        wait_until(
            lambda: self.reached.is_set() or self.running.poll() is not None,
            'the moment')
        if not self.reached.is_set():
            self.finish()
            raise AssertionError(f'it never came so far: {self.err}')
        return self

    def __exit__(self, *_):
        self.finish()

    def finish(self):
        """Let it go on, and wait for its end."""
        self.go_on.set()
        if self.status is None:
            self.out, self.err = self.running.communicate(timeout=300)
            self.status = self.running.returncode
            self.proxy.close()
            with contextlib.suppress(FileNotFoundError):  # QEMU may be gone
                if self.moved:
                    os.rename(self.moved, self.socket)

    def cut(self):
        """The connection ends in place of the command."""
        self.swallow = True
        self.proxy.cut()
        self.go_on.set()

    def check_failed(self, *words):
        self.finish()
        check(self.status > 0 and self.status != 3,
              f'it has not failed: exit {self.status} {self.err} {self.out}')
        for word in words:
            check(word in self.err, f'"{word}" in: {self.err}')
        check('"summary"' not in self.out, f'no summary: {self.out}')

    def check_done(self):
        self.finish()
        check_equal(self.status, 0, f'its status: {self.err}')


class Garbled(Held):
    """A backup to which the monitor does not answer as it should.

    From the first command with `word` in it (a number: from that command) on,
    answer(reply) says what is heard in place of each reply, event or greeting,
    until `heal` is called or it has returned None."""

    qmp_timeout_s = 10

    def __init__(self, setting, word, answer, *options):
        self.answer = answer
        self.number = word if isinstance(word, int) else 0
        super().__init__(setting, word, *options)

    def _look(self, number, line):
        if number == self.number if self.number else self.word in line:
            self.reached.set()
        return True

    def on_reply(self, line):
        if not self.reached.is_set() or not self.answer:
            return None
        instead = self.answer(line)
        if instead is None:
            self.heal()
        return instead

    def heal(self):
        self.answer = None


def once(make):
    """The first reply becomes make(reply), events and what follows stay."""
    done = []

    def answer(line):
        if done or b'"return"' not in line and b'"error"' not in line:
            return None if done else line
        done.append(True)
        return make(line)
    return answer


class Setting:
    """A machine, a repository, and what was seen of both.

    faults, harmed     faults tried, guests that did not come through unharmed
    compared, wrong    disks compared byte by byte, those that differ
    worst_gap_ms       longest time between two steps of the guest"""

    def __init__(self, t, disks=None, **options):
        self.t = t
        self.disks = disks or [t.disk('a.qcow2', '96M'),
                               t.disk('b.raw', '96M')]
        self.vmkeep = t.vmkeep()
        self.vmkeep.run('init')
        self.guest = None
        self.before = None
        self.faults = self.harmed = 0
        self.compared = self.wrong = 0
        self.worst_gap_ms = 0
        self.options = options
        self.new_guest()

    def new_guest(self):
        options = {'memory_mib': 128, 'append': 'witness.ram=16 ' + CALM,
                   'extra': ['-action', 'reboot=reset'], **self.options}
        self.guest = self.t.guest(
            disks=self.disks, **options,
            # Other tests run at the same time, and some name their machines.
            name=f'guest-{os.getpid()}-{len(self.t.guests)}')
        self.guest.wait_reports(1)
        self.before = self.guest.footprint()

    def settled(self):
        return (not os.listdir(self.t.path('run')) and not
                difference(self.before, self.guest.footprint()))

    def check_unharmed(self, reports=True):
        """The oracle.  It need not say something if it is just booting."""
        self.faults += 1
        self.harmed += 1  # until it is known better
        pid = self.guest.pid
        self._check_unharmed(reports)
        check_equal(self.guest.process.poll(), None, f'the end of QEMU {pid}')
        self.harmed -= 1

    def _check_unharmed(self, reports):
        if not self.settled():
            self.vmkeep.reconcile()
            with contextlib.suppress(Timeout):
                wait_until(self.settled, 'peace', step=0.05)
        check_equal(os.listdir(self.t.path('run')), [], 'records left')
        self.t.check_as_before(self.guest, self.before)
        published = {b['id'] for b in self.vmkeep.json('list').document}
        stray = [k for k in tracking(self.guest.qmp)
                 if k[1] not in published]
        check(not stray, f'bitmaps of no backup: {stray}')
        if not reports:
            return
        reports = self.guest.wait_reports(2)
        self.guest.check_no_trouble()
        gap = max(r.gap_ms for r in self.guest.console.reports[-20:])
        self.worst_gap_ms = max(self.worst_gap_ms, gap)
        self.t.note(f'longest gap between two steps of the guest: {gap} ms, '
                    f'step {reports[-1].seq}')

    def check_next(self):
        self.vmkeep.json('backup', '--qmp', self.guest.socket)

    def check_bytes(self, image, wanted, form='qcow2'):
        """Is the disk of a backup the one of its instant, a raw file?"""
        self.compared += 1
        if not image_compare(image, wanted, form, 'raw'):
            self.wrong += 1
            raise Failure(f'{image} is not {wanted}')

    def summary(self):
        self.t.note(f'{self.faults} faults tried, guests harmed: '
                    f'{self.harmed}; {self.compared} disks compared, wrong: '
                    f'{self.wrong}; longest gap {self.worst_gap_ms} ms')


@contextlib.contextmanager
def small_disk(t, size):
    path = t.subfolder(f'scratch-{size}')
    if subprocess.run(['mount', '-t', 'tmpfs', '-o', f'size={size}',
                       'vmkeep-test', path], check=False,
                      stderr=subprocess.DEVNULL).returncode != 0:
        skip('a tmpfs cannot be mounted here')
    try:
        yield path
    finally:
        subprocess.run(['umount', path], check=True)


@contextlib.contextmanager
def freezing_disk(t):
    """An ext4 of its own, which can be frozen."""
    name = f'frozen-{len(os.listdir(t.folder))}'
    image, path = t.path(name + '.img'), t.subfolder(name)
    with open(image, 'wb') as f:
        f.truncate(1 << 30)
    subprocess.run(['mke2fs', '-q', '-t', 'ext4', image], check=True,
                   stdout=subprocess.DEVNULL)
    if subprocess.run(['mount', '-o', 'loop', image, path], check=False,
                      stderr=subprocess.DEVNULL).returncode != 0:
        skip('a loop device cannot be mounted here')
    try:
        yield path
    finally:
        subprocess.run(['umount', '-l', path], check=True)
