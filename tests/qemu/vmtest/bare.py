# SPDX-License-Identifier: Apache-2.0
"""Machines without a system in them: they start at once and write nothing of
their own, so a copy of a disk that is made now is a copy of any instant until
the test writes."""

import random
import subprocess

from vmtest.guest import EMULATOR, Guest
from vmtest.images import (convert_to_raw, copy_disk, image_create, qemu_img)
from vmtest.test import check, check_equal

rand = random.Random(60)


def blockdev(name, path, form='qcow2', more=''):
    return ['-blockdev', f'driver={form},node-name={name},file.driver=file,'
                         f'file.filename={path}{more}']


class Machine:
    """One without a system in it: it starts at once and writes nothing, so a
    copy made before the backup is a copy of its instant."""

    def __init__(self, t, name):
        self.t = t
        self.name = name
        self.folder = t.subfolder(name)
        self.argv = []
        self.copies = {}  # name in the backup: what it must hold, raw
        self.devices = {}  # name: what qemu-io calls its device
        self.forms = {}    # name: qcow2 or raw
        self.vast = []    # those whose copy is a qcow2

    def path(self, name):
        return f'{self.folder}/{name}'

    def add(self, *argv):
        self.argv += argv

    def fill(self, image, form, size, options=()):
        """Some data here and there, and at the very end."""
        places = {0, max(0, size - 512)} | {
            rand.randrange(size) // 512 * 512 for _ in range(6) if size > 512}
        io(image, form, [
            f'write -P {rand.randrange(1, 255)} {at} {min(65536, size - at)}'
            for at in sorted(places) if at < size], options)

    def expect(self, name, image, form, options=()):
        """The copy of that disk."""
        target = self.path(name + '.t0')
        if options:
            qemu_img('convert', *options, '--image-opts', '-O', 'raw',
                            image, target)
        else:
            convert_to_raw(image, target, form)
        self.copies[name] = target

    def disk(self, name, size, form='qcow2', bus='virtio-blk-pci', options=None,
             more='', thread=''):
        image = self.path(f'{name}.img')
        image_create(image, str(size), form, options)
        self.fill(image, form, size)
        if size > 1 << 40:  # longer than a file can be
            self.copies[name] = copy_disk(image, self.path(name + '.t0'))
            self.vast.append(name)
        else:
            self.expect(name, image, form)
        self.add(*blockdev(name + '-node', image, form, more))
        self.add('-device', f'{bus},drive={name}-node,id={name}{thread}')
        self.forms[name] = form
        self.devices[name] = f'/machine/peripheral/{name}' + (
            '/virtio-backend' if bus.startswith('virtio-blk') else '')

    def write(self, guest, name, command):
        """What a guest would write to that disk: a command of qemu-io."""
        said = guest.qmp.hmp(f'qemu-io -d {self.devices[name]} "{command}"')
        check('rror' not in said and 'failed' not in said,
              f'{command} to {name}: {said}')

    def look_again(self, guest, name):
        """Its copy, as the disk is now."""
        self.write(guest, name, 'flush')
        convert_to_raw(self.path(f'{name}.img'), self.copies[name],
                       self.forms[name])

    def start(self):
        argv = EMULATOR + [
            '-name', self.name, '-accel', 'tcg', '-M', 'q35', '-m', '64',
            '-nodefaults', '-no-user-config', '-display', 'none']
        for word in ('', '-test'):
            argv += ['-qmp', f'unix:{self.folder}/{self.name}{word}.sock,'
                             'server=on,wait=off']
        return Bare(self.t, self.folder, self.name, argv + self.argv)


class Bare(Guest):
    """A Guest whose whole command line is given, the emulator included."""

    def __init__(self, t, folder, name, argv):
        n = len(EMULATOR)
        check_equal(argv[:n], EMULATOR, 'the emulator')
        super().__init__(folder=folder, name=name, argv=argv[n - 1:])
        t.guests.append(self)


def io(image, form, commands, options=()):
    words = ['--image-opts', image] if options else ['-f', form, image]
    argv = [x for command in commands for x in ('-c', command)]
    if not argv:
        return
    done = subprocess.run(['qemu-io', *options, *argv, *words],
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT,
                          text=True, check=False)
    check(done.returncode == 0 and 'rror' not in done.stdout,
          f'qemu-io {commands} {image}: {done.stdout}')
