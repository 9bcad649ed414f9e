# SPDX-License-Identifier: Apache-2.0
"""A QEMU that runs the witness guest (tests/guest)."""

import functools
import os
import re
import shlex
import shutil
import subprocess
import sys

from vmtest import process
from vmtest.console import Console
from vmtest.footprint import footprint
from vmtest.qmp import Qmp

HERE = os.path.dirname(os.path.abspath(__file__))
ROOT = os.path.dirname(os.path.dirname(os.path.dirname(HERE)))
# For the witness of a guest that only has to notice if it is harmed: it rests
# between its steps, so that what is tested has the CPU, and says more often how
# far it is, so that nobody waits for that.
CALM = 'witness.pace=60 witness.report=250'
EMULATOR = shlex.split(os.environ.get('VMTEST_QEMU', 'qemu-system-x86_64'))


def root_of(emulator):
    """The folder that "chroot FOLDER qemu..." sees as /, else ''."""
    return emulator[1].rstrip('/') if emulator[0] == 'chroot' else ''


@functools.cache
def loses_interrupts():
    """Does this QEMU when it stops, without KVM and with a disk in an I/O
    thread (docs/design/versions.md)?"""
    out = subprocess.run([*EMULATOR, '--version'], check=True, text=True,
                         stdout=subprocess.PIPE).stdout
    return int(re.search(r'version (\d+)\.', out).group(1)) >= 9


def inside(root, path):
    """`path` as a QEMU in that root sees it."""
    if root and not path.startswith(root + '/'):
        raise ValueError(f'{path} is not in {root}')
    return path[len(root):]


class Disk:
    """A disk of a guest.

    form    qcow2 or raw
    bus     virtio-blk, virtio-scsi or ide (the guest has it on "pc" only)
    style   blockdev: nodes NAME and NAME-file, the way libvirt does it;
            drive: -drive with generated node names, the way people do it
    iothread  in a thread of its own
    options   more for the format node, such as {'cache.no-flush': 'on'}"""

    def __init__(self, path, form='qcow2', bus='virtio-blk', name=None,
                 style='blockdev', iothread=False, read_only=False,
                 options=None):
        self.path = os.path.abspath(path)
        self.form = form
        self.bus = bus
        self.name = name or os.path.basename(path).split('.')[0]
        self.style = style
        self.iothread = iothread
        self.read_only = read_only
        self.options = options or {}

    def moved(self, path):
        """The same disk in another file."""
        return Disk(path, self.form, self.bus, self.name, self.style,
                    self.iothread, self.read_only, self.options)

    def arguments(self, root=''):
        name, path = self.name, inside(root, self.path)
        more = ''.join(f',{k}={v}' for k, v in self.options.items())
        ro = 'on' if self.read_only else 'off'
        argv, thread = [], ''
        if self.iothread:
            argv += ['-object', f'iothread,id={name}-thread']
            thread = f',iothread={name}-thread'
        if self.style == 'drive':
            argv += ['-drive', f'if=none,id={name},file={path},'
                               f'format={self.form},read-only={ro}{more}']
        else:
            argv += ['-blockdev', f'driver={self.form},node-name={name},'
                                  f'read-only={ro},file.driver=file,'
                                  f'file.node-name={name}-file,'
                                  f'file.filename={path}{more}']
        if self.bus == 'virtio-blk':
            device = f'virtio-blk-pci,drive={name},id={name}-dev{thread}'
        elif self.bus == 'virtio-scsi':
            argv += ['-device', f'virtio-scsi-pci,id={name}-bus{thread}']
            device = f'scsi-hd,drive={name},id={name}-dev,bus={name}-bus.0'
        else:
            device = f'ide-hd,drive={name},id={name}-dev'
        return argv + ['-device', device]


@functools.cache
def build_guest(folder):
    subprocess.run([ROOT + '/tests/guest/make-guest', folder], check=True,
                   stdout=sys.stderr)
    return folder


def guest_files(root, folder):
    """The path of a folder with vmlinux, initrd and append, which it builds if
    needed; if QEMU has another root, `folder` becomes that folder."""
    made = build_guest(os.environ.get('VMTEST_GUEST',
                                      ROOT + '/build/tests/qemu'))
    if not root:
        return made
    for name in ('vmlinux', 'initrd', 'append'):
        if not os.path.exists(f'{folder}/{name}'):
            shutil.copy(f'{made}/{name}', folder)
    return folder


class Guest:
    """One QEMU process; it runs as soon as it is made.

    socket   a monitor for vmkeep
    qmp      the test's own monitor, always connected
    console  what the guest says: see vmtest.console

    disks     of Disk
    machine   its type, with options
    append    for the witness: "witness.dirty=64 witness.key=2"
    incoming  a file that save_state wrote, a URI or "defer"
    emulator  words, the program last, such as ['chroot', DIR,
              'qemu-system-x86_64']; then all files are to be in DIR
    extra     more arguments for QEMU
    argv      instead of all of these: the whole command line, such as a script
              that continues a machine of the same folder and name: with the
              serial line on its standard output and a monitor at test_socket.
              It sees the files, and so the QEMU, that `emulator` does"""

    def __init__(self, folder, disks=(), memory_mib=512, machine='q35', smp=1,
                 append='', incoming=None, extra=(), name='guest',
                 emulator=None, argv=None):
        self.folder = folder
        self.name = name
        self.disks = list(disks)
        self.socket = f'{folder}/{name}.sock'
        self.test_socket = f'{folder}/{name}-test.sock'
        self.stderr_path = f'{folder}/{name}.err'
        self.emulator = emulator or EMULATOR
        self.root = root_of(self.emulator)
        if argv:
            self.argv = self.emulator[:-1] + [inside(self.root, argv[0]),
                                              *argv[1:]]
        else:
            self.argv = self._command(memory_mib, machine, smp, append,
                                      self._incoming(incoming), list(extra))
        self.qmp = None
        self._dumped = None
        for path in (self.socket, self.test_socket):
            if os.path.exists(path):
                os.unlink(path)  # of a machine that was killed
        with open(self.stderr_path, 'wb') as err:
            self.process = process.start(
                self.argv, cwd=folder, stdin=subprocess.PIPE,
                stdout=subprocess.PIPE, stderr=err)
        self.console = Console(self.process.stdout)
        try:
            self.qmp = process.wait_until(self._connect,
                                          f'the monitor of {name}')
        except BaseException:
            self.kill()
            raise

    def _command(self, memory_mib, machine, smp, append, incoming, extra):
        files = guest_files(self.root, self.folder)
        with open(files + '/append', encoding='ascii') as f:
            append = f'{f.read().strip()} {append}'.strip()
        files = inside(self.root, files)
        argv = self.emulator + [
            '-name', self.name, '-accel', 'tcg,thread=multi', '-M', machine,
            '-m', str(memory_mib), '-smp', str(smp), '-nodefaults',
            '-no-user-config', '-display', 'none', '-no-reboot',
            '-kernel', files + '/vmlinux', '-initrd', files + '/initrd',
            '-append', append,
            '-chardev', 'stdio,id=serial,signal=off',
            '-serial', 'chardev:serial']
        for path in (self.socket, self.test_socket):
            argv += ['-qmp', f'unix:{inside(self.root, path)},'
                             'server=on,wait=off']
        for disk in self.disks:
            argv += disk.arguments(self.root)
        return argv + incoming + extra

    def _incoming(self, source):
        if source is None:
            return []
        if source.startswith('/'):
            name = shlex.quote(inside(self.root, source))
            source = f'exec:cat {name}'
        return ['-incoming', source]

    def _connect(self):
        if self.process.poll() is not None:
            raise EOFError(f'QEMU ended at once: {self.stderr()}')
        try:
            return Qmp(self.test_socket)
        except (FileNotFoundError, ConnectionRefusedError):
            return None

    # ---- what it says --------------------------------------------------

    @property
    def pid(self):
        return self.process.pid

    @property
    def seq(self):
        """The last step that the witness reported; 0 if none."""
        reports = self.console.reports
        return reports[-1].seq if reports else 0

    def stderr(self):
        with open(self.stderr_path, encoding='utf-8', errors='replace') as f:
            return f.read()

    def wait_reports(self, count=2, timeout=300):
        """See Console.wait_reports: that the guest lives, and how far it is."""
        return self.console.wait_reports(count, timeout)

    def check_no_trouble(self):
        """No MISMATCH, no IOERROR, no complaint of the guest's kernel."""
        if self.console.trouble:
            raise AssertionError(f'{self.name} says:\n' +
                                 '\n'.join(self.console.trouble[:5]))

    def wait_mismatch(self, timeout=180):
        return self.console.wait_line('MISMATCH', timeout)

    def dump(self):
        """For the log of a failed test: what is new since the last time."""
        lines = [f'{self.name}, status {self.process.poll()}:']
        if self._dumped is None:
            self._dumped = 0
            lines.append(shlex.join(self.argv))
            lines += ['stderr: ' + x for x in self.stderr().splitlines()[-10:]]
        new = self.console.lines[self._dumped:]
        self._dumped += len(new)
        return lines + ['console: ' + x for x in new[-10:]]

    # ---- what is done to it --------------------------------------------

    def footprint(self):
        return footprint(self.qmp)

    def save_state(self, path):
        """Stop it and write its RAM and devices to a file, the plain way.  It
        stays stopped."""
        self.qmp.run('stop')
        self.qmp.run('migrate-set-parameters', max_bandwidth=1 << 40)
        name = shlex.quote(inside(self.root, path))
        self.qmp.run('migrate', uri=f'exec:cat >{name}')
        state = self.qmp.wait_migration()
        if state['status'] != 'completed':
            raise AssertionError(f'the migration to a file failed: {state}')
        return path

    def wait_loaded(self, timeout=180):
        """With incoming: until it is all there; then it is paused."""
        process.wait_until(
            lambda: self.qmp.run('query-status')['status'] != 'inmigrate',
            'the incoming migration', timeout)

    def cont(self):
        self.qmp.run('cont')

    def kill(self):
        """SIGKILL, as when its host is lost."""
        process.kill(self.process)
        if self.qmp is not None:
            self.qmp.close()
        self.process.stdin.close()

    def quit(self, timeout=300):
        """The orderly way; the disk images are closed then.  QEMU may answer
        only when it has flushed them, or never."""
        try:
            self.qmp.run('quit', timeout=timeout)
        except (EOFError, OSError):
            pass
        self.process.wait(timeout)
        self.kill()
