# SPDX-License-Identifier: Apache-2.0
"""Two systems for benches: raw ext4 images of 4 GiB with real files of this
machine.  The second stands for a system installed separately: mostly the same
files, in another order and at other places, some of them missing, some new."""
import os
import random
import shutil
import subprocess

MIB = 1 << 20
SIZE_MIB = 4096
FILES_MIB = 2500
SOURCES = ('/usr/bin', '/usr/share', '/usr/lib', '/usr/include', '/usr/libexec',
           '/usr/local', '/opt', '/etc')
BIGGEST_MIB = 64  # a few files of gigabytes make no system


def files_of(sources):
    """All plain files below, in the order of their names: (path, bytes)."""
    for source in sources:
        for folder, folders, names in os.walk(source):
            folders.sort()
            for name in sorted(names):
                path = os.path.join(folder, name)
                try:
                    st = os.lstat(path)
                except OSError:
                    continue
                if os.path.isfile(path) and not os.path.islink(path) and \
                        st.st_size <= BIGGEST_MIB * MIB:
                    yield path, st.st_size


def choose(seed):
    """About FILES_MIB of files, and as many more as make 6 % of that, chosen
    by folders so that what belongs together stays together."""
    folders = {}
    for path, size in files_of(SOURCES):
        key = '/'.join(path.split('/')[:5])
        folders.setdefault(key, []).append((path, size))
    order = sorted(folders)
    random.Random(seed).shuffle(order)
    base, extra, total = [], [], 0
    for key in order:
        size = sum(max(s, 4096) for _, s in folders[key])
        if size > 300 * MIB:
            continue
        if total + size <= FILES_MIB * MIB:
            base += folders[key]
        elif total + size <= FILES_MIB * MIB * 1.06:
            extra += folders[key]
        else:
            continue
        total += size
    return base, extra


def lay_out(root, files, rng):
    """Puts files, (where it is, its path in the system) each, below root; with
    rng under names that put the entries of each folder into another order."""
    names = {}

    def name_of(parent, name):
        if rng is None:
            return name
        key = (parent, name)
        if key not in names:
            names[key] = f'{name}.{rng.getrandbits(32):08x}'
        return names[key]

    for source, path in files:
        here = root
        parts = path.strip('/').split('/')
        for part in parts[:-1]:
            here = os.path.join(here, name_of(here, part))
        os.makedirs(here, exist_ok=True)
        target = os.path.join(here, name_of(here, parts[-1]))
        try:
            if source == path:
                shutil.copyfile(source, target)
            else:  # our own copy already
                os.link(source, target)
        except PermissionError:
            pass  # what a user may not read is not needed


def mke2fs(root, image, *options):
    subprocess.run(['mke2fs', '-q', '-F', '-t', 'ext4', *options, '-d', root,
                    image, f'{SIZE_MIB}M'], check=True,
                   stdout=subprocess.DEVNULL)


def make(folder):
    """folder/first.raw and folder/second.raw, unless they are there."""
    first, second = folder + '/first.raw', folder + '/second.raw'
    if os.path.exists(first) and os.path.exists(second):
        return first, second
    base, extra = choose(1)
    a, b = folder + '/a', folder + '/b'
    try:
        lay_out(a, [(p, p) for p, _ in base], None)
        mke2fs(a, first + '.new')
        rng = random.Random(2)
        kept = [p for p, _ in base if rng.random() > 0.06]
        lay_out(b, [(a + p, p) for p in kept if os.path.exists(a + p)] +
                [(p, p) for p, _ in extra], rng)
        mke2fs(b, second + '.new', '-N', '400000')
    finally:
        shutil.rmtree(a, ignore_errors=True)
        shutil.rmtree(b, ignore_errors=True)
    os.rename(first + '.new', first)
    os.rename(second + '.new', second)
    return first, second


def rewrite(image, fraction, seed):
    """That part of the image's blocks of 4 KiB that hold data, at random
    places, with random bytes; how many bytes."""
    rng = random.Random(seed)
    fd = os.open(image, os.O_RDWR)
    try:
        blocks, at, end = [], 0, os.fstat(fd).st_size
        while at < end:
            try:
                at = os.lseek(fd, at, os.SEEK_DATA)
            except OSError:
                break
            hole = os.lseek(fd, at, os.SEEK_HOLE)
            blocks += range(at // 4096, hole // 4096)
            at = hole
        chosen = rng.sample(blocks, int(len(blocks) * fraction))
        for block in chosen:
            os.pwrite(fd, rng.randbytes(4096), block * 4096)
        os.fsync(fd)
    finally:
        os.close(fd)
    return len(chosen) * 4096
