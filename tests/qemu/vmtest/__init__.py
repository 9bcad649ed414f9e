# SPDX-License-Identifier: Apache-2.0
"""vmtest: tests against real QEMU.

A test is an executable tests/qemu/NN-name that speaks TAP:

    import vmtest

    with vmtest.test() as t:
        disk = t.disk('a.qcow2', '256M')
        guest = t.guest(disks=[disk])
        with t.case('the guest runs'):
            guest.wait_reports(2)

It runs alone as well as under "meson test --suite system".  All that a test makes
is in its own temporary folder (t.folder), all that it starts dies with it.

  test.py       the frame: cases, requirements, what to clean up
  guest.py      a QEMU with the witness in it (tests/guest)
  console.py    what the witness says
  qmp.py        a monitor
  images.py     disk images
  footprint.py  is a guest as it was before?
  keep.py       the vmkeep program
  proxy.py      a monitor between vmkeep and QEMU
  bare.py       machines without a system
  fault.py      what the tests of faults share

Environment: VMKEEP (the program), VMTEST_GUEST (where the guest is built),
VMTEST_KEEP=1 (leave the temporary folder), VMTEST_QEMU (another emulator; words,
such as "chroot DIR qemu-system-x86_64" or "tools/qemu-tree --run DIR
qemu-system-x86_64").
"""

from vmtest.console import Console, Report
from vmtest.footprint import footprint, difference, tracking
from vmtest.guest import CALM, Disk, EMULATOR, Guest, ROOT, inside
from vmtest.images import (convert_to_raw, copy_disk, image_check,
                           image_compare, image_create, image_info,
                           image_of_files, qemu_img, snapshot_to_raw)
from vmtest.keep import Vmkeep
from vmtest.process import Timeout, wait_until
from vmtest.qmp import Qmp, QmpError
from vmtest.test import Failure, Test, check, check_equal, median, skip, test

__all__ = ['CALM', 'Console', 'Report', 'footprint', 'difference', 'Disk',
           'EMULATOR', 'Guest', 'ROOT', 'inside', 'convert_to_raw', 'copy_disk',
           'image_check', 'image_compare', 'image_create', 'image_info',
           'image_of_files', 'qemu_img', 'snapshot_to_raw', 'Vmkeep', 'Timeout',
           'wait_until', 'Qmp', 'QmpError', 'Failure', 'Test', 'check',
           'check_equal', 'median', 'skip', 'test', 'tracking']
