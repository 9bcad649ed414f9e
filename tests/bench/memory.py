# SPDX-License-Identifier: Apache-2.0
"""Memory of real systems some minutes apart: guests with a Debian 12 and
PostgreSQL, one of them idle and one busy."""
import os
import shlex
import shutil
import subprocess
import time

import vmtest

PACKAGES = 'cron,python3-minimal,postgresql-15'
# Its first process.  systemd would do the same, in minutes under emulation.
START = '''#!/bin/sh
export PATH=/usr/sbin:/usr/bin:/sbin:/bin
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mkdir -p /dev/shm
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
install -d -o postgres -g postgres -m 2775 /run/postgresql
cron
pg_ctlcluster 15 main start
# All of the tables has been looked at, as in a system that is not new.
su postgres -c 'pgbench -n -S -t 2000 bench' >/dev/null 2>&1
echo "system is up"
case " $(cat /proc/cmdline) " in
*' bench.busy '*) su postgres -c /usr/local/bin/work & ;;
esac
while :; do sleep 60; done
'''
# What the busy guest does: pgbench, with 60,000 objects of Python of which some
# change at a time.
WORK = '''#!/bin/sh
python3 -c '
import random, time
records = {n: {"name": f"customer {n}", "visits": [], "balance": n * 1.5}
           for n in range(60000)}
while True:
    for _ in range(200):
        r = records[random.randrange(60000)]
        r["visits"] = r["visits"][-3:] + [time.time()]
        r["balance"] += random.random()
    time.sleep(0.5)
' &
exec pgbench -c 2 -R 10 -T 1000000 bench
'''
# The cluster and its tables are made where the image is, so that the guests
# start with what they have on their disks, not with what making it left in
# memory.
PREPARE = '''set -e
cd /
pg_ctlcluster 15 main start
trap 'pg_ctlcluster 15 main stop' EXIT
su postgres -c 'createdb bench; pgbench -q -i -s 5 bench'
'''


def write(path, text, mode=0o644):
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, 'w', encoding='ascii') as f:
        f.write(text)
    os.chmod(path, mode)


def make_system(folder):
    """folder/debian.qcow2, unless it is there: ext4 with a Debian 12 on it."""
    image, root = folder + '/debian.qcow2', folder + '/debian'
    if os.path.exists(image):
        return image
    if os.geteuid() != 0:
        raise SystemExit('the Debian of this bench is made by root only')
    try:
        subprocess.run(['mmdebstrap', '--quiet', '--mode=root',
                        '--variant=minbase', '--include=' + PACKAGES,
                        '--aptopt=APT::Install-Recommends "false"',
                        '--customize-hook=chroot "$1" sh -c ' +
                        shlex.quote(PREPARE), 'bookworm', root], check=True)
        write(root + '/etc/fstab', '/dev/vda / ext4 defaults 0 1\n')
        write(root + '/etc/hostname', 'guest\n')
        write(root + '/usr/local/bin/start', START, 0o755)
        write(root + '/usr/local/bin/work', WORK, 0o755)
        subprocess.run(['mke2fs', '-q', '-F', '-t', 'ext4', '-d', root,
                        folder + '/debian.raw', '3G'], check=True)
        vmtest.qemu_img('convert', '-O', 'qcow2', folder + '/debian.raw',
                        image + '.new')
        os.rename(image + '.new', image)
    finally:
        shutil.rmtree(root, ignore_errors=True)
        if os.path.exists(folder + '/debian.raw'):
            os.unlink(folder + '/debian.raw')
    return image


class System:
    """A guest that runs it."""

    def __init__(self, folder, image, name):
        self.folder, self.name = f'{folder}/{name}', name
        os.mkdir(self.folder)
        disk = self.folder + '/disk.qcow2'
        vmtest.qemu_img('create', '-q', '-f', 'qcow2', '-F', 'qcow2', '-b',
                        image, disk)
        self.guest = vmtest.Guest(
            self.folder, name=name, append=f'witness.shell bench.{name}',
            disks=[vmtest.Disk(disk, options={'cache.no-flush': 'on'})])

    def boot(self):
        """The first process of the test guest makes place for Debian's."""
        self.guest.console.wait_line('leave with poweroff', 300)
        stdin = self.guest.process.stdin
        stdin.write(b'mkdir /new; mount /dev/vda /new; '
                    b'mount --move /dev /new/dev; umount /proc /sys; '
                    b'exec switch_root /new /usr/local/bin/start\n')
        stdin.flush()

    def capture(self, name):
        """All of RAM in a file."""
        path = f'{self.folder}/{name}.ram'
        run = self.guest.qmp.run
        run('stop')
        run('pmemsave', val=0, size=512 << 20, filename=path, timeout=120)
        run('cont')
        return path


def compare(program, folder, minutes, settle_s=60):
    """Captures of an idle and a busy guest, `minutes` apart, through
    bench_leaf."""
    image = make_system(folder)
    systems = [System(folder, image, name) for name in ('idle', 'busy')]
    try:
        for s in systems:
            s.boot()
        for s in systems:
            s.guest.console.wait_line('^system is up', 900)
        time.sleep(settle_s)
        first = [s.capture('first') for s in systems]
        time.sleep(minutes * 60)
        second = [s.capture('second') for s in systems]
    finally:
        for s in systems:
            s.guest.kill()
    for s, a, b in zip(systems, first, second):
        print(f'{s.name}, {minutes} minutes apart:', flush=True)
        subprocess.run([program, a, b], check=True)
