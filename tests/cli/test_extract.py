#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""extract: snapshots out of images of QEMU's, by what its own tools say of the
result.  Images that change meanwhile are in tests/unit/restore, a machine that
goes on is in tests/qemu.

EXTRACT_IMAGES=200 makes that many random images, EXTRACT_SEED chooses them."""
import json
import os
import random
import re
import shutil
import signal
import subprocess

from harness import Machine, Skip, main, matches
from images import io, savevm, simple, snapshots, tool

SECRET = 'secret,id=key,data=abc'


def check_same(box, image, entry, made):
    """`made` is what `image` has as the snapshot `entry`, says QEMU."""
    tool(box, 'qemu-img', 'check', '-q', made)
    assert snapshots(box, made) == [entry], (snapshots(box, made), entry)
    for source in ([image, '-l', f'snapshot.id={entry["id"]}'], None):
        if source:
            tool(box, 'qemu-img', 'convert', '-O', 'raw', '-l', source[2],
                 source[0], 'want.raw')
    info = json.loads(tool(box, 'qemu-img', 'info', '--output=json', made))
    # QEMU shows a snapshot as long as the disk is now.
    size = min(info['virtual-size'], os.path.getsize(box.path('want.raw')))
    os.truncate(box.path('want.raw'), size)
    for options in ([], ['-l', f'snapshot.id={entry["id"]}']):
        tool(box, 'qemu-img', 'convert', '-O', 'raw', *options, made,
             'got.raw')
        os.truncate(box.path('got.raw'), size)
        tool(box, 'cmp', 'want.raw', 'got.raw')


def extract(box, image, name, *options, made='out.qcow2'):
    if os.path.exists(box.path(made)):
        os.unlink(box.path(made))
    return box.run('extract', image, '--snapshot', name, '-o', made, *options)


def check_nothing(box, r, code, *words):
    """It failed as it should, and left nothing."""
    assert (r.code, r.out) == (code, ''), (r.code, r.out, r.err)
    assert r.err.count('\n') == 1, r.err
    for word in words:
        assert word in r.err, (word, r.err)
    assert not [f for f in os.listdir(box.dir) if 'out.qcow2' in f]


# ---- what comes out -------------------------------------------------------


def test_disk_and_names(box):
    image = simple(box)
    r = extract(box, image, 's')
    assert (r.code, r.out) == (0, 'out.qcow2\n'), r.err
    matches(r'^vmkeep: extracted snapshot s: 2 MiB in ', r.err)
    check_same(box, image, snapshots(box, image)[0], 'out.qcow2')
    assert os.stat(box.path('out.qcow2')).st_mode & 0o777 == 0o600
    assert sorted(os.listdir(box.dir)) == [
        'a.qcow2', 'got.raw', 'out.qcow2', 'want.raw']


def test_by_id_and_json(box):
    image = simple(box)
    tool(box, 'qemu-img', 'snapshot', '-c', 'second one', image)
    r = extract(box, image, '2', '--json')
    assert (r.code, r.err) == (0, ''), r.err
    s = r.json_lines()[-1]
    assert s['type'] == 'summary' and s['snapshot'] == 'second one'
    assert s['id'] == '2' and s['file'] == 'out.qcow2' and not s['in_use']
    assert s['disk_bytes'] == 4 << 20 and s['vmstate_bytes'] == 0
    assert s['read_bytes'] >= s['written_bytes'] == 3 << 20
    assert s['warnings'] == [] and s['seconds'] > 0
    check_same(box, image, snapshots(box, image)[1], 'out.qcow2')


def test_machine_state(box):
    """A machine state comes along, and QEMU loads it"""
    image = simple(box)
    savevm(box, image, 'vm')
    r = extract(box, image, 'vm')
    assert r.code == 0 and '-loadvm vm' in r.err, r.err
    entry = snapshots(box, image)[1]
    assert entry['vm-state-size'] > 0
    check_same(box, image, entry, 'out.qcow2')
    argv = ['qemu-system-x86_64', '-accel', 'tcg', '-M', 'q35', '-m', '16',
            '-nodefaults', '-display', 'none', '-S', '-qmp', 'stdio',
            '-drive', 'file=out.qcow2,if=none,id=d,format=qcow2',
            '-device', 'virtio-blk-pci,drive=d', '-loadvm', 'vm']
    done = subprocess.run(
        argv, input='{"execute":"qmp_capabilities"}{"execute":"quit"}',
        cwd=box.dir, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True,
        check=False, timeout=180)
    assert (done.returncode, done.stderr) == (0, ''), done.stderr


def random_image(box, rng):
    """Its name, and what extract is to be told about the files below it."""
    below, options = [], []
    for f in os.listdir(box.dir):
        os.unlink(box.path(f))
    for depth in range(rng.choice([1, 1, 1, 2, 3])):
        name, bits = f'l{depth}', rng.randint(9, 21)
        size = rng.randrange(1, 8192) * 512
        if depth == 0 and rng.random() < .3:
            with open(box.path(name), 'wb') as f:
                f.write(rng.randbytes(size))
            below = [(name, 'raw')]
            continue
        how = [f'cluster_size={1 << bits}']
        if rng.random() < .2:
            how.append('compat=0.10')
        else:
            how.append(f'refcount_bits={rng.choice([8, 16, 32, 64])}')
            if bits >= 14 and rng.random() < .4:
                how.append('extended_l2=on')
            if rng.random() < .4:
                how.append('compression_type=zstd')
        argv = ['qemu-img', 'create', '-q', '-f', 'qcow2', '-o', ','.join(how)]
        if below:
            argv += ['-b', below[0][0], '-F', below[0][1]]
        tool(box, *argv, name, str(size))
        for step in range(rng.randint(3, 9)):
            change(box, rng, name, step, 1 << bits)
        below.insert(0, (name, 'qcow2'))
    for name, _ in below[1:]:
        options += ['--backing', name]
    return below[0], options


def change(box, rng, name, step, cluster):
    if rng.random() < .4:
        tool(box, 'qemu-img', 'snapshot', '-c', f'n{step}', name, code=None)
        return
    if rng.random() < .15:
        tool(box, 'qemu-img', 'resize', '--shrink', '-q', '-f', 'qcow2', name,
             str(rng.randrange(1, 8192) * 512), code=None)
        return
    info = tool(box, 'qemu-img', 'info', '--output=json', name)
    size = json.loads(info)['virtual-size']
    commands = []
    for _ in range(rng.randint(1, 12)):
        at = rng.randrange(0, size, 512)
        n = min(size - at, 512 * rng.randint(1, 400))
        verb = rng.choice([f'write -P {rng.randint(1, 255)}', 'write -z',
                           'write -z -u', 'discard'])
        if rng.random() < .25:
            at -= at % cluster
            n, verb = min(cluster, size - at), 'write -c -P 9'
        commands.append(f'{verb} {at} {n}')
    argv = [x for c in commands for x in ('-c', c)]
    tool(box, 'qemu-io', '-f', 'qcow2', *argv, name, code=None)


def test_random_images(box):
    """Random images, all that QEMU can make, say the same to QEMU"""
    seed = int(os.environ.get('EXTRACT_SEED', random.randrange(1 << 30)))
    n = int(os.environ.get('EXTRACT_IMAGES', '12'))
    print(f'# EXTRACT_SEED={seed}')
    seen = 0
    for i in range(n):
        rng = random.Random(seed + i)
        (image, form), options = random_image(box, rng)
        if form == 'raw':
            continue
        for entry in snapshots(box, image):
            r = extract(box, image, entry['id'], *options)
            # QEMU writes overlapping clusters now and then: see qcow2/reader.h
            assert r.code in (0, 3), (seed + i, entry, r.err)
            assert r.code == 0 or 'lie over others' in r.err, r.err
            check_same(box, image, entry, 'out.qcow2')
            seen += 1
    print(f'# {n} images, {seen} snapshots')
    assert seen > (n if n >= 100 else 0)  # a few may be raw or have one each


def test_holes_stay_holes(box):
    tool(box, 'qemu-img', 'create', '-q', '-f', 'qcow2', 'a.qcow2', '64G')
    io(box, 'a.qcow2', 'write -P 5 63G 64k', 'write -P 0 1G 1M',
       'write -z 2G 1G')
    tool(box, 'qemu-img', 'snapshot', '-c', 's', 'a.qcow2')
    assert extract(box, 'a.qcow2', 's').code == 0
    check = json.loads(tool(box, 'qemu-img', 'check', '--output=json',
                            'out.qcow2'))
    assert check['allocated-clusters'] == 1, check
    assert os.stat(box.path('out.qcow2')).st_blocks * 512 < 1 << 20


def test_image_in_use(box):
    """A machine has the image open: nobody is kept out, it is said"""
    m = Machine(box, 'web', disk_mib=4, data=b'\5' * (2 << 20))
    image = next(f for f in os.listdir(box.dir) if f.endswith('.disk.qcow2'))
    with m.connect() as s, s.makefile('rw') as f:
        f.readline()
        for c in ('{"execute":"qmp_capabilities"}',
                  '{"execute":"human-monitor-command",'
                  '"arguments":{"command-line":"savevm now"}}'):
            f.write(c)
            f.flush()
            while '"return"' not in f.readline():
                pass
    listing = box.run('extract', '--list', image, '--json').json()
    assert listing['in_use'] and listing['snapshots'][0]['state'] == 'whole'
    r = extract(box, image, 'now')
    assert r.code == 0 and 'while the image was in use' in r.err, r.err
    tool(box, 'qemu-img', 'check', '-q', 'out.qcow2')
    assert m.status() == 'running'


# ---- lists ----------------------------------------------------------------


def test_list(box):
    image = simple(box)
    savevm(box, image, 'vm')
    r = box.run('extract', '--list', image)
    assert (r.code, r.err) == (0, ''), r.err
    matches(r'^SNAPSHOT +ID +TIME +DISK +DATA +MEMORY +STATE\n'
            r's +1 +\S+ \S+ +4 MiB +2 MiB +0 B +whole\n'
            r'vm +2 +\S+ \S+ +4 MiB +3 MiB +\d+ KiB +whole\n$', r.out)
    found = box.run('extract', '--list', image, '--json').json()
    assert found['version'] == 3 and found['cluster_bytes'] == 65536
    assert found['disk_bytes'] == 4 << 20 and not found['in_use']
    assert found['backing'] is None and found['encryption'] is None
    for mine, theirs in zip(found['snapshots'], snapshots(box, image)):
        assert mine['name'] == theirs['name'] and mine['id'] == theirs['id']
        assert mine['vmstate_bytes'] == theirs['vm-state-size']
        assert mine['state'] == 'whole' and mine['problem'] is None


def test_list_of_nothing(box):
    tool(box, 'qemu-img', 'create', '-q', '-f', 'qcow2', 'a.qcow2', '4M')
    r = box.run('extract', '--list', 'a.qcow2')
    assert (r.code, r.out) == (0, '') and 'no internal snapshots' in r.err
    found = box.run('extract', '--list', 'a.qcow2', '--json').json()
    assert found['snapshots'] == []


def test_one_is_damaged(box):
    """One snapshot is damaged: it is named, the other one is had all the same"""
    image = simple(box)
    tool(box, 'qemu-img', 'snapshot', '-c', 'later', image)
    with open(box.path(image), 'rb') as f:
        broken = bytearray(f.read())
    # The L1 table of the second entry of the snapshot table.
    entry = int.from_bytes(broken[64:72], 'big') + 72  # 40 + 24 + 2, aligned
    l1 = int.from_bytes(broken[entry:entry + 8], 'big')
    broken[l1:l1 + 8] = (1 << 40).to_bytes(8, 'big')
    with open(box.path('b.qcow2'), 'wb') as f:
        f.write(broken)
    r = box.run('extract', '--list', 'b.qcow2', '--json')
    assert r.code == 4, (r.code, r.err)
    first, other = r.json()['snapshots']
    assert first['state'] == 'whole' and other['state'] == 'damaged'
    assert other['problem']
    check_nothing(box, extract(box, 'b.qcow2', 'later'), 4, "'later'",
                  'b.qcow2', 'missing')
    assert extract(box, 'b.qcow2', 's').code == 0
    check_same(box, image, snapshots(box, image)[0], 'out.qcow2')


# ---- files below ----------------------------------------------------------


def test_backing_files_are_asked_for(box):
    """A backing file is named and asked for, never opened by its name"""
    with open(box.path('base.raw'), 'wb') as f:
        f.write(b'\7' * (4 << 20))
    image = simple(box, 'a.qcow2', '-b', 'base.raw', '-F', 'raw')
    check_nothing(box, extract(box, image, 's'), 1, "'base.raw'", '--backing')
    os.rename(box.path('base.raw'), box.path('moved.raw'))
    r = extract(box, image, 's', '--backing', 'moved.raw')
    assert r.code == 0, r.err
    os.rename(box.path('moved.raw'), box.path('base.raw'))
    check_same(box, image, snapshots(box, image)[0], 'out.qcow2')
    info = json.loads(tool(box, 'qemu-img', 'info', '--output=json',
                           'out.qcow2'))
    assert 'backing-filename' not in info
    check_nothing(box, extract(box, image, 's', '--backing', 'base.raw',
                               '--backing', 'base.raw'), 2, 'one too many')
    check_nothing(box, extract(box, image, 's', '--data-file', 'base.raw'), 2,
                  '--data-file')


def test_backing_is_not_needed(box):
    """If the snapshot has it all itself, nothing below is missed"""
    with open(box.path('base.raw'), 'wb') as f:
        f.write(b'\7' * (4 << 20))
    image = simple(box, 'a.qcow2', '-b', 'base.raw', '-F', 'raw')
    io(box, image, 'write -P 8 0 4M')
    tool(box, 'qemu-img', 'snapshot', '-c', 'full', image)
    assert extract(box, image, 'full').code == 0
    check_same(box, image, snapshots(box, image)[1], 'out.qcow2')


def test_backing_of_no_format(box):
    """A raw disk that looks like an image is not taken for one"""
    tool(box, 'qemu-img', 'create', '-q', '-f', 'qcow2', 'base', '4M')
    tool(box, 'qemu-img', 'create', '-q', '-f', 'qcow2', '-o', 'compat=1.1',
         'a.qcow2', '4M')
    tool(box, 'qemu-img', 'rebase', '-u', '-f', 'qcow2', '-b', 'base', '-F',
         'qcow2', 'a.qcow2')
    with open(box.path('a.qcow2'), 'r+b') as f:
        head = f.read(65536)
        at = head.index(b'\xe2\x79\x2a\xca')
        f.seek(at)
        f.write(b'\xab\xcd\xef\x01')  # an extension that nobody knows
    tool(box, 'qemu-img', 'snapshot', '-c', 's', 'a.qcow2', code=None)
    r = box.run('extract', '--list', 'a.qcow2', '--backing', 'base')
    assert r.code == 2 and '--backing-format' in r.err, r.err
    for form, first in (('raw', b'QFI\xfb'), ('qcow2', b'\0\0\0\0')):
        r = extract(box, 'a.qcow2', 's', '--backing', 'base',
                    '--backing-format', form)
        assert r.code == 0, r.err
        tool(box, 'qemu-img', 'convert', '-O', 'raw', 'out.qcow2', 'got.raw')
        with open(box.path('got.raw'), 'rb') as f:
            assert f.read(4) == first


# ---- what cannot be -------------------------------------------------------


def test_usage(box):
    for args, word in (([], 'IMAGE'), (['a'], '--snapshot'),
                       (['a', '--snapshot', 's'], '-o FILE'),
                       (['a', '--snapshot', 's', '-o', ''], '-o FILE'),
                       (['a', '--list', '-o', 'x'], 'excludes'),
                       (['a', '--list', '--backing-format', 'vmdk'], 'vmdk'),
                       (['a', 'b', '--list'], "'b'")):
        r = box.run('extract', *args)
        assert (r.code, r.out) == (2, ''), (args, r.err)
        assert word in r.err, (args, r.err)


def test_no_such_thing(box):
    image = simple(box)
    check_nothing(box, extract(box, image, 'x'), 1, "'x'", '--list')
    check_nothing(box, extract(box, 'none', 's'), 1, 'none')
    box.write('text', 'hello' * 1000)
    check_nothing(box, extract(box, 'text', 's'), 1, 'no qcow2 image')
    os.mkfifo(box.path('fifo'))
    check_nothing(box, extract(box, 'fifo', 's'), 2, 'regular file')
    check_nothing(box, box.run('extract', image, '--snapshot', 's', '-o',
                               'no/out.qcow2'), 1, 'no/out.qcow2')


def test_never_replaces(box):
    image = simple(box)
    box.write('there', 'precious')
    r = box.run('extract', image, '--snapshot', 's', '-o', 'there')
    assert r.code == 1 and 'exists' in r.err
    with open(box.path('there'), encoding='utf-8') as f:
        assert f.read() == 'precious'
    r = box.run('extract', image, '--snapshot', 's', '-o', image)
    assert r.code == 1 and 'exists' in r.err
    tool(box, 'qemu-img', 'check', '-q', image)


def test_encrypted(box):
    """An encrypted image is refused and says why; it can be listed"""
    for _ in range(50):  # it measures the processor, and gives up if that is busy
        tool(box, 'qemu-img', 'create', '-q', '-f', 'qcow2', '--object', SECRET,
             '-o', 'encrypt.format=luks,encrypt.key-secret=key,'
             'encrypt.iter-time=10', 'a.qcow2', '4M', code=None)
        if b'LUKS' in open(box.path('a.qcow2'), 'rb').read():
            break
    tool(box, 'qemu-img', 'snapshot', '--object', SECRET, '--image-opts', '-c',
         's', 'driver=qcow2,encrypt.key-secret=key,file.filename=a.qcow2')
    check_nothing(box, extract(box, 'a.qcow2', 's'), 1, 'LUKS')
    r = box.run('extract', '--list', 'a.qcow2', '--json')
    assert r.code == 3, r.err
    found = r.json()
    assert found['encryption'] == 'luks'
    assert found['snapshots'][0]['state'] == 'unreadable'


def test_damage_is_named(box):
    """A missing cluster is named, nothing is made, the exit code is 4"""
    image = simple(box)
    os.truncate(box.path(image), 512 << 10)
    check_nothing(box, extract(box, image, 's'), 4)
    r = extract(box, image, 's', '--json')
    assert r.code == 4 and r.json_error()['code'] == 'corrupt'


def writing(child, folder):
    """Has it a file open for writing in this folder?  One without a name."""
    try:
        fds = f'/proc/{child.pid}/fd'
        return any(os.readlink(f'{fds}/{n}').startswith(folder + '/#')
                   for n in os.listdir(fds))
    except FileNotFoundError:
        return False


def test_ended_midway(box):
    """Ctrl-C or killed: nothing is left; exit code 130"""
    tool(box, 'qemu-img', 'create', '-q', '-f', 'qcow2', 'a.qcow2', '1G')
    io(box, 'a.qcow2', 'write -P 5 0 512M')
    tool(box, 'qemu-img', 'snapshot', '-c', 's', 'a.qcow2')
    for how, code in ((signal.SIGINT, 130), (signal.SIGKILL, -9)) * 2:
        child = box.start('extract', 'a.qcow2', '--snapshot', 's', '-o',
                          'out.qcow2')
        while child.poll() is None and not (
                writing(child, os.path.realpath(box.dir)) or
                any('.partial' in f for f in os.listdir(box.dir))):
            pass
        child.send_signal(how)
        _, err = child.communicate()
        if child.returncode == 0:
            os.unlink(box.path('out.qcow2'))  # it was faster
            continue
        assert child.returncode == code, (child.returncode, err)
        if how == signal.SIGKILL:  # on a file system without O_TMPFILE
            tool(box, 'sh', '-c', 'rm -f out.qcow2.*.partial')
        assert os.listdir(box.dir) == ['a.qcow2']


def test_strange_names(box):
    """A name with an escape sequence does not reach the terminal"""
    simple(box)
    name = 'x\x1b[31m\ny'
    tool(box, 'qemu-img', 'snapshot', '-c', name, 'a.qcow2')
    r = box.run('extract', '--list', 'a.qcow2')
    assert r.code == 0 and '\x1b' not in r.out + r.err
    r = extract(box, 'a.qcow2', name)
    assert r.code == 0 and '\x1b' not in r.out + r.err
    assert snapshots(box, 'out.qcow2')[0]['name'] == name
    assert re.search(r'x\\x1b\[31m\\x0ay', r.err), r.err


if __name__ == '__main__':
    main()
