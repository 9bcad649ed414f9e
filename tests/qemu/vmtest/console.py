# SPDX-License-Identifier: Apache-2.0
"""What a guest's witness says on the serial line (tests/guest/witness.c)."""

import collections
import re
import threading
import time

from vmtest.process import Timeout

# One "witness seq=" line.
Report = collections.namedtuple(
    'Report', 'seq gap_ms stopped_ms mismatches ioerrors')

_REPORT = re.compile(r'witness seq=(\d+) max_gap_ms=([\d.]+)'
                     r'(?: stopped_ms=(-?[\d.]+))?'
                     r'(?: mismatches=(\d+) ioerrors=(\d+))?$')
_TROUBLE = re.compile(r'MISMATCH|IOERROR|Kernel panic|BUG: |Oops|'
                      r'segfault|rcu.*stall|soft lockup|hung_task|'
                      r'blocked for more than')


class Console:
    """Reads a stream of lines in a thread of its own, until it ends."""

    def __init__(self, stream):
        self._changed = threading.Condition()
        self._stream = stream
        self.lines = []    # all of them
        self.reports = []  # the witness's regular lines
        self.trouble = []  # MISMATCH, IOERROR and the kernel's complaints
        self.started = None  # when "witness start" arrived
        self.ended = False
        self._thread = threading.Thread(target=self._read, daemon=True)
        self._thread.start()

    def _read(self):
        for raw in self._stream:
            now = time.monotonic()
            line = raw.decode(errors='replace').rstrip()
            with self._changed:
                self._take(now, line)
                self._changed.notify_all()
        with self._changed:
            self.ended = True
            self._changed.notify_all()

    def _take(self, now, line):
        self.lines.append(line)
        if _TROUBLE.search(line):
            self.trouble.append(line)
        if 'witness start ' in line:
            self.started = now
        found = _REPORT.search(line)
        if found:
            seq, gap, stopped, mismatches, ioerrors = found.groups()
            self.reports.append(Report(
                int(seq), float(gap), float(stopped or 0),
                int(mismatches or 0), int(ioerrors or 0)))

    def wait(self, condition, what, timeout=180):
        """The first true value of condition(), which is tried at each line.
        EOFError if the stream ends before, Timeout if nothing comes of it."""
        end = time.monotonic() + timeout
        with self._changed:
            while True:
                value = condition()
                if value:
                    return value
                if self.ended:
                    raise EOFError(f'{what}: the guest is gone')
                if not self._changed.wait(max(0, end - time.monotonic())):
                    raise Timeout(f'{what}: not within {timeout} s')

    def wait_line(self, pattern, timeout=180, since=0):
        """The first line, of those from index `since` on, that has it."""
        regex = re.compile(pattern)
        return self.wait(
            lambda: next(filter(regex.search, self.lines[since:]), None),
            f'a line with "{pattern}"', timeout)

    def wait_reports(self, count=2, timeout=300):
        """That many more reports, each with more steps than the one before;
        returns them."""
        first = len(self.reports)
        before = self.reports[-1:]

        def enough():
            return (len(self.reports) >= first + count and
                    self.reports[first:first + count])
        new = self.wait(enough, f'{count} reports of the witness', timeout)
        run = before + new
        for older, newer in zip(run, run[1:]):
            if newer.seq <= older.seq:
                raise AssertionError(
                    f'the witness went from step {older.seq} to {newer.seq}')
        return new
