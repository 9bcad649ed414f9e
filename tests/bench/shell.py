# SPDX-License-Identifier: Apache-2.0
"""A guest for benches that does what it is told on its console: the test guest
with a shell in place of the witness, and the writer (tests/guest/writer.c)."""
import os
import subprocess

import vmtest

PROMPT = 'leave with poweroff'


def make_writer(folder):
    """The program as a raw disk; it takes some padding at its end well."""
    path = folder + '/writer.raw'
    subprocess.run(['gcc', '-std=gnu17', '-O2', '-static', '-s', '-o', path,
                    vmtest.ROOT + '/tests/guest/writer.c'], check=True)
    size = os.path.getsize(path)
    os.truncate(path, -size % 4096 + size)
    return path


class Shell(vmtest.Guest):
    """`disks` are vda, vdb and so on, the writer's is the last."""

    def __init__(self, folder, disks, **options):
        writer = vmtest.Disk(make_writer(folder), 'raw', read_only=True)
        letter = 'abcdefgh'[len(disks)]
        super().__init__(folder, disks=[*disks, writer],
                         append='witness.shell', **options)
        self.console.wait_line(PROMPT, 120)
        self.say(f'cat /dev/vd{letter} >/writer; chmod +x /writer; echo ready$?')
        self.console.wait_line('^ready0', 60)

    def say(self, line):
        self.process.stdin.write(line.encode() + b'\n')
        self.process.stdin.flush()

    def write_blocks(self, disk, size, block, count):
        """That many different blocks of it, at random."""
        seen = len(self.console.lines)
        self.say(f'/writer /dev/{disk} 0 {size} {block} {count}')
        self.console.wait_line('^writer done', 1800, since=seen)
        self.check_no_trouble()


def dirty_bytes(guest, node):
    """What the tracking bitmap of the node says has been written since."""
    for n in guest.qmp.run('query-named-block-nodes', flat=True):
        if n['node-name'] == node:
            for b in n.get('dirty-bitmaps', []):
                if b.get('name', '').startswith('vmkeep:'):
                    return b['count'], b['granularity']
    raise AssertionError(f'no tracking bitmap on {node}')
