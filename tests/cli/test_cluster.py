#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A real cluster fails in the middle of a backup: three OSDs that keep each
object three times, and write as long as two are there.

Every kind of failure once, in the middle of an import; VMKEEP_ALL_FAULTS=1
takes many moments, and the other commands too.
"""
import json
import os
import random
import subprocess
import threading
import time

from harness import PASSWORD, PATIENCE_S, main
from test_remote import MIB, Server, ok, s3_keys
from test_resume import Proxy

ALL = os.environ.get('VMKEEP_ALL_FAULTS') == '1'
SIZE = 80 * MIB
AWAY_S = 4  # what fails comes back after that

FAULTS = {
    'the gateway is killed': (['kill rgw'], ['start rgw']),
    'an OSD is killed': (['kill osd.1'], ['start osd.1']),
    'all OSDs pause': (['ceph osd pause'], ['ceph osd unpause']),
    'two OSDs are killed': (['kill osd.0', 'kill osd.2'],
                            ['start osd.0', 'start osd.2']),
}
USUAL = list(FAULTS)[:3]


class Fault:
    """Happens at a moment, and is over some seconds later; in its thread."""

    def __init__(self, cluster, name):
        self.cluster, self.name = cluster, name
        self.begin, self.end = FAULTS[name]
        self.thread = threading.Thread(target=self.happen)
        self.failed = None

    def happen(self):
        try:
            for command in self.begin:
                self.cluster.ask(command)
            time.sleep(AWAY_S)
            for command in self.end:
                self.cluster.ask(command)
        except Exception as why:  # told where the test can see it
            self.failed = why

    def over(self):
        """False if it never came."""
        if not self.thread.ident:
            return False
        self.thread.join(PATIENCE_S)
        assert not self.thread.is_alive() and not self.failed, self.failed
        return True


class World:
    """The cluster, a proxy before it that counts, and a repository there."""

    def __init__(self, box):
        s3_keys(box)
        self.box, self.rows, self.n = box, [], 0
        self.cluster = Server(box, 'rgw.py', '--osds', '3', '--store',
                              'bluestore')
        self.proxy = Proxy(int(self.cluster.text))
        box.env.update(
            VMKEEP_PASSWORD=PASSWORD,
            VMKEEP_REPOSITORY=f's3:http://127.0.0.1:{self.proxy.own}/cluster/r')
        ok(box, 'init')

    def disk(self, seed):
        path = self.box.path('disk.raw')
        with open(path, 'wb') as f:
            f.write(random.Random(seed).randbytes(SIZE))
        return path

    def whole(self, *args):
        """Runs it; exit code, documents, stderr."""
        child = self.box.start(*args)
        out, err = child.communicate(timeout=8 * PATIENCE_S)
        return child.returncode, out.decode(), err.decode()

    def through(self, fault, at, *args):
        """The same, and after so many bytes of it the fault."""
        f = Fault(self.cluster, fault)
        start = time.monotonic()
        self.proxy.sent, self.proxy.cut_at = 0, at
        self.proxy.on_cut = f.thread.start
        code, out, err = self.whole(*args)
        seconds = time.monotonic() - start
        self.proxy.cut_at = None
        assert f.over(), f'{args} ended before {at} bytes'
        return code, out, err, seconds

    def tell(self, *row):
        self.rows.append(row)

    def table(self):
        rows = [('FAULT', 'AT MIB', 'COMMAND', 'EXIT', 'SECONDS', 'NEXT',
                 'CHECK', 'CONTENT'), *self.rows]
        widths = [max(len(str(r[i])) for r in rows) for i in range(8)]
        for r in rows:
            print('# ' + '  '.join(str(c).ljust(w)
                                   for c, w in zip(r, widths)).rstrip())

    def restores(self, backup, path):
        code, _, err = self.whole('restore', backup, '--to', 'out', '--format',
                                  'raw')
        assert code == 0, err
        subprocess.run(['cmp', path, self.box.path('out/disk.raw')],
                       check=True)
        subprocess.run(['rm', '-r', self.box.path('out')], check=True)

    def import_through(self, fault, at):
        """It goes on, or fails with a reason and the next run works."""
        self.n += 1
        path = self.disk(self.n)
        words = ('import', path, '--name', 'web', '--json', '--no-progress')
        code, out, err, seconds = self.through(fault, at, *words)
        after = '-'
        if code != 0:
            assert code == 13 and 'storage' in err, (code, err)
            after, out, err = self.whole(*words)
            assert after == 0, err
        backup = json.loads(out.splitlines()[-1])['backup_id']
        checked, _, err = self.whole('check', '--read-data')
        assert checked == 0, err
        self.restores(backup, path)
        self.tell(fault, at // MIB, 'import', code, round(seconds), after,
                  checked, 'same')

    def command_through(self, fault, at, *words):
        """What only reads, or cleans up."""
        code, _, err, seconds = self.through(fault, at, *words)
        after = '-'
        if code != 0:
            assert code == 13, (code, err)
            after, _, err = self.whole(*words)
            assert after == 0, err
        checked, _, err = self.whole('check', '--read-data')
        assert checked == 0, err
        self.tell(fault, at // MIB, words[0], code, round(seconds), after,
                  checked, '-')


def test_cluster(box):
    """The gateway, an OSD, all of them: the backup goes on or the next does"""
    w = World(box)
    try:
        for fault in FAULTS if ALL else USUAL:
            for at in [1, 30, 55, 79] if ALL else [40]:
                w.import_through(fault, at * MIB)
        if ALL:
            for fault in FAULTS:
                w.command_through(fault, 1000, 'check', '--read-data')
                w.command_through(fault, 1000, 'restore', 'latest', '--to',
                                  'to-' + fault.replace(' ', '-'))
                w.command_through(fault, 1000, 'prune')
    finally:
        w.table()
        w.proxy.close()
        w.cluster.stop()


if __name__ == '__main__':
    main()
