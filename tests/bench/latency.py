# SPDX-License-Identifier: Apache-2.0
"""How long a guest's writes take while a backup is under way to a place that
takes nothing any more."""
import collections
import os
import re
import signal
import socket
import statistics
import subprocess
import sys
import time

import increments
import shell
import vmtest

# The guest writes to REGION bytes at the end of its disk, all of which have
# been copied before what is measured.
REGION = 16 << 20
WARM_S = 15
PAIR = re.compile(r' (\d+):(\d+)')


def gather(guest, seconds):
    """All that the guest measured in that time, {microseconds: count}; with
    what was still waiting at the end of it, if anything was."""
    seen = len(guest.console.lines)
    time.sleep(seconds)
    taken = collections.Counter()
    for line in guest.console.lines[seen:]:
        if line.startswith('latency'):
            for us, n in PAIR.findall(line):
                taken[int(us)] += int(n)
    return taken


def percentile(taken, share):
    left = sum(taken.values()) * share
    for us in sorted(taken):
        left -= taken[us]
        if left <= 0:
            return us
    return 0


def row(name, taken, around=()):
    """Returns its p99 by that of those around it."""
    n = sum(taken.values())
    cells = [f'{name:<34}', f'{n:>8}']
    ratio = None
    if n:
        p99 = percentile(taken, 0.99)
        cells += [f'{percentile(taken, 0.5) / 1000:>9.2f}',
                  f'{p99 / 1000:>9.2f}', f'{max(taken) / 1000:>9.2f}']
        if around:
            ratio = p99 / statistics.mean(percentile(x, 0.99) for x in around)
            cells.append(f'{ratio:>9.2f}x')
    print(''.join(cells), flush=True)
    return ratio


class Sshd:
    """The SFTP server of the tests, whose processes can be stopped."""

    def __init__(self):
        self.process = subprocess.Popen(
            [sys.executable, vmtest.ROOT + '/tests/remote/sshd.py'],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        word, _, self.folder = self.process.stdout.readline().partition(' ')
        if word != 'ready':
            raise SystemExit(f'no SFTP server: {self.folder}')
        self.folder = self.folder.strip()
        self.repository = f'sftp:127.0.0.1:{self.folder}/data/repo'

    def _servers(self):
        """All that descend from it, and serve."""
        out = subprocess.run(['ps', '-eo', 'pid=,ppid='], check=True,
                             stdout=subprocess.PIPE, text=True).stdout
        parents = {int(a): int(b) for a, b in map(str.split,
                                                  out.splitlines())}
        mine, more = {self.process.pid}, True
        while more:
            more = {p for p, parent in parents.items()
                    if parent in mine} - mine
            mine |= more
        return mine - {self.process.pid}

    def signal(self, number):
        for pid in self._servers():
            os.kill(pid, number)

    def close(self):
        self.signal(signal.SIGCONT)
        self.process.stdin.close()
        self.process.wait()


def has_filters(guest):
    return any(n['drv'] == 'copy-before-write' for n in
               guest.qmp.run('query-named-block-nodes', flat=True))


def during_backup(folder, guest, method, seconds):
    """A backup whose store stops as soon as the guest runs again, and is then
    given up."""
    sshd = Sshd()
    try:
        vmkeep = vmtest.Vmkeep(folder, repository=sshd.repository)
        vmkeep.env['VMKEEP_SSH_COMMAND'] = f'ssh -F {sshd.folder}/ssh_config'
        vmkeep.run('init')
        running = vmkeep.start('backup', '--method', method, '--scratch',
                               folder, '--qmp', guest.socket)
        vmtest.wait_until(lambda: has_filters(guest), 'the backup', 120)
        sshd.signal(signal.SIGSTOP)
        time.sleep(WARM_S)
        taken = gather(guest, seconds)
        still = running.poll() is None and has_filters(guest)
        running.send_signal(signal.SIGTERM)
        sshd.signal(signal.SIGCONT)
        out, err = running.communicate(timeout=120)
        if not still:
            raise AssertionError(f'the backup had ended: {out}{err}')
        return taken
    finally:
        sshd.close()


class Target:
    """A disk over the network, which can stop: qemu-nbd."""

    def __init__(self, folder, size):
        path = folder + '/target.qcow2'
        vmtest.image_create(path, str(size))
        self.socket = folder + '/target.sock'
        self.process = subprocess.Popen(
            ['qemu-nbd', '-f', 'qcow2', '-k', self.socket, '-x', 'target',
             path], stderr=subprocess.DEVNULL)
        vmtest.wait_until(self._answers, 'qemu-nbd', 30)

    def _answers(self):
        with socket.socket(socket.AF_UNIX) as s:
            return s.connect_ex(self.socket) == 0

    def close(self):
        self.process.kill()
        self.process.wait()


def during_push(folder, guest, node, size, seconds):
    """The same with QEMU's own job, which writes to its target itself."""
    target = Target(folder, size)
    try:
        guest.qmp.run('blockdev-add', driver='nbd', node_name='target',
                      server={'type': 'unix', 'path': target.socket},
                      export='target')
        guest.qmp.run('blockdev-backup', job_id='push', device=node,
                      target='target', sync='full', speed=64 << 20)
        time.sleep(2)
        target.process.send_signal(signal.SIGSTOP)
        time.sleep(WARM_S)
        return gather(guest, seconds)
    finally:
        target.close()


def compare(folder, gib, seconds, rounds):
    size = gib << 30
    image = folder + '/disk.qcow2'
    increments.fill(image, size)
    disk = vmtest.Disk(image)
    guest = shell.Shell(folder, [disk])
    ratios = {'live': [], 'disk': []}
    try:
        guest.say(f'/writer /dev/vda {size - REGION} {REGION}')
        time.sleep(WARM_S)
        print(f'writes of 4 KiB, each flushed, {seconds} s each; load '
              f'{os.getloadavg()[0]:.1f}')
        print(f'{"":<34}{"writes":>8}{"p50 ms":>9}{"p99 ms":>9}{"max ms":>9}'
              f'{"p99":>10}')
        before = gather(guest, seconds)
        row('no backup', before)
        for _ in range(rounds):
            for method, seen in ratios.items():
                taken = during_backup(folder, guest, method, seconds)
                after = gather(guest, seconds)
                seen.append(row(f'vmkeep {method}, store stopped', taken,
                                (before, after)))
                row('no backup', after)
                before = after
        for method, seen in ratios.items():
            print(f'{method}: median of p99 {statistics.median(seen):.2f}x '
                  f'that of no backup before and after it')
        row('QEMU\'s backup job, target stopped',
            during_push(folder, guest, disk.name, size, seconds))
    finally:
        guest.kill()
