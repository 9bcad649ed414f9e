# SPDX-License-Identifier: Apache-2.0
"""Backups of a real guest that follow one another: what is read of a disk of
which 1 % has changed, and how long that takes."""
import os

import shell
import vmtest

BLOCKS = ((4096, '4 KiB'), (65536, '64 KiB'))
BASE_SHARE = 5  # eighths of the disk that hold data at first


def fill(path, size):
    """Data as there is on disks, in its first part: files of this machine."""
    vmtest.image_of_files(path + '.raw', size >> 20, '/usr/lib')
    vmtest.qemu_img('convert', '-O', 'qcow2', path + '.raw', path)
    os.unlink(path + '.raw')


def row(name, s, first, dirty=0, grain=0):
    disk, = s['disks']
    cells = [name, f'{s["seconds"]:.1f}', f'{s["disks_seconds"]:.2f}',
             f'{s["memory_seconds"]:.2f}', f'{disk["read_bytes"] / 1e6:.1f}',
             f'{s["new_bytes"] / 1e6:.1f}', f'{s["stored_bytes"] / 1e6:.1f}']
    if dirty:
        cells += [f'{dirty / 1e6:.1f}', f'{grain >> 10} KiB',
                  f'{disk["read_bytes"] / dirty:.3f}',
                  f'{100 * s["disks_seconds"] / first["disks_seconds"]:.1f} %',
                  f'{100 * s["seconds"] / first["seconds"]:.1f} %']
    print(' '.join(f'{c:>10}' for c in cells), flush=True)


HEAD = ('', 'seconds', 'of disks', 'of memory', 'read MB', 'new MB',
        'stored MB', 'dirty MB', 'grain', 'read/dirty', 'disk time',
        'all time')


def measure(folder, image, size, method):
    work = f'{folder}/{method}'
    os.mkdir(work)
    disk = vmtest.Disk(vmtest.copy_disk(image, work + '/disk.qcow2'))
    guest = shell.Shell(work, [disk])
    try:
        vmkeep = vmtest.Vmkeep(work)
        vmkeep.run('init')
        argv = ['backup', '--method', method, '--scratch', work, '--qmp',
                guest.socket]
        first = vmkeep.json(*argv, timeout=1800).summary
        print(f'{method}, load {os.getloadavg()[0]:.1f}')
        print(' '.join(f'{h:>10}' for h in HEAD))
        row('full', first, first)
        for block, name in BLOCKS:
            guest.write_blocks('vda', size, block, size // 100 // block)
            dirty, grain = shell.dirty_bytes(guest, disk.name)
            s = vmkeep.json(*argv, timeout=1800).summary
            row(name, s, first, dirty, grain)
    finally:
        guest.kill()


def compare(folder, gib):
    image = folder + '/base.qcow2'
    fill(image, gib << 30)
    for method in ('live', 'disk'):
        measure(folder, image, gib << 30, method)
