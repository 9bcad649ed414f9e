# SPDX-License-Identifier: Apache-2.0
"""Disk images, by qemu-img."""

import json
import os
import shutil
import subprocess


LUKS_TRIES = 20


def qemu_img(*argv):
    """Its output; AssertionError with what it said if it fails."""
    for _ in range(LUKS_TRIES):
        done = subprocess.run(['qemu-img', *argv], stdout=subprocess.PIPE,
                              stderr=subprocess.PIPE, text=True, check=False)
        # It measures how fast it is, and gives up where it hardly runs.
        if 'Unable to get accurate CPU usage' not in done.stderr:
            break
    if done.returncode != 0:
        raise AssertionError(f'qemu-img {" ".join(argv)}: exit '
                             f'{done.returncode}: {done.stderr}{done.stdout}')
    return done.stdout


def image_create(path, size, form='qcow2', options=None, backing=None):
    argv = ['create', '-q', '-f', form]
    if options:
        argv += ['-o', options]
    if backing:
        argv += ['-b', backing, '-F', image_info(backing)['format']]
    qemu_img(*argv, path, *([size] if size else []))


def image_info(path):
    return json.loads(qemu_img('info', '-U', '--output=json', path))


def image_check(path, form='qcow2'):
    """No error and no leak.  The image must not be in use."""
    qemu_img('check', '-q', '-f', form, path)


def image_compare(a, b, form_a='qcow2', form_b='qcow2'):
    """Do two images, neither in use, hold the same bytes?"""
    done = subprocess.run(['qemu-img', 'compare', '-f', form_a, '-F', form_b, a,
                           b], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                          text=True, check=False)
    if done.returncode > 1:
        raise AssertionError(f'qemu-img compare {a} {b}: {done.stderr}')
    return done.returncode == 0


def snapshot_to_raw(image, snapshot, target):
    """The disk as an internal snapshot of a qcow2 image has it."""
    qemu_img('convert', '-U', '-l', f'snapshot.name={snapshot}', '-O', 'raw',
             image, target)
    return target


def convert_to_raw(image, target, form='qcow2'):
    """What a disk holds, by qemu-img alone.  It may be in use; then the machine
    must be paused, as QEMU has flushed its caches when it stops."""
    qemu_img('convert', '-U', '-f', form, '-O', 'raw', image, target)
    return target


def copy_disk(source, target):
    """A copy of the file that keeps its holes."""
    subprocess.run(['cp', '--sparse=always', '--reflink=auto', source, target],
                   check=True)
    return os.path.abspath(target)


def image_of_files(path, mib, source='/usr/share'):
    """A raw ext4 image of that size, about three fifths full of real files of
    this machine; how many MiB of files there are."""
    files, total = path + '.files', 0
    os.mkdir(files)
    try:
        for name in sorted(os.listdir(source)):
            folder = f'{source}/{name}'
            if os.path.islink(folder) or not os.path.isdir(folder):
                continue
            size = int(subprocess.run(['du', '-sm', folder], check=True,
                                      stdout=subprocess.PIPE).stdout.split()[0])
            if total + size <= mib * 3 // 5:
                shutil.copytree(folder, f'{files}/{name}', symlinks=True)
                total += size
        subprocess.run(['mke2fs', '-q', '-t', 'ext4', '-d', files, path,
                        f'{mib}M'], check=True, stdout=subprocess.DEVNULL)
    finally:
        shutil.rmtree(files)
    return total
