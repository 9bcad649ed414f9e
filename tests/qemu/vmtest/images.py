# SPDX-License-Identifier: Apache-2.0
"""Disk images, by qemu-img."""

import json
import os
import subprocess


def qemu_img(*argv):
    """Its output; AssertionError with what it said if it fails."""
    done = subprocess.run(['qemu-img', *argv], stdout=subprocess.PIPE,
                          stderr=subprocess.PIPE, text=True, check=False)
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


def copy_disk(source, target):
    """A copy of the file that keeps its holes."""
    subprocess.run(['cp', '--sparse=always', '--reflink=auto', source, target],
                   check=True)
    return os.path.abspath(target)
