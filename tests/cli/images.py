# SPDX-License-Identifier: Apache-2.0
"""Images that QEMU's own tools make, for tests."""
import json
import shutil
import subprocess


def tool(box, *argv, code=0):
    """A program of QEMU's, in the box; its output."""
    assert shutil.which(argv[0]), f'{argv[0]} is not installed; run tools/setup'
    done = subprocess.run(argv, cwd=box.dir, stdout=subprocess.PIPE,
                          stderr=subprocess.STDOUT, text=True, check=False)
    if code is not None:
        assert done.returncode == code, (argv, done.stdout)
    return done.stdout


def io(box, image, *commands):
    argv = [x for c in commands for x in ('-c', c)]
    tool(box, 'qemu-io', '-f', 'qcow2', *argv, image)


def savevm(box, image, tag, machine='q35'):
    """With the state of a machine that has not begun to run."""
    commands = [{'execute': 'qmp_capabilities'},
                {'execute': 'human-monitor-command',
                 'arguments': {'command-line': f'savevm {tag}'}},
                {'execute': 'quit'}]
    done = subprocess.run(
        ['qemu-system-x86_64', '-accel', 'tcg', '-M', machine, '-m', '16',
         '-nodefaults', '-display', 'none', '-S', '-qmp', 'stdio', '-drive',
         f'file={image},if=none,id=d,format=qcow2', '-device',
         'virtio-blk-pci,drive=d'],
        input=''.join(json.dumps(c) for c in commands), cwd=box.dir,
        stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        check=True, timeout=180)
    assert '"return": ""' in done.stdout, done.stdout


def simple(box, name='a.qcow2', *options):
    """A disk of 4 MiB whose snapshot "s" is half full of fives; written to
    since."""
    tool(box, 'qemu-img', 'create', '-q', '-f', 'qcow2', *options, name, '4M')
    io(box, name, 'write -P 5 0 2M')
    tool(box, 'qemu-img', 'snapshot', '-c', 's', name)
    io(box, name, 'write -P 6 1M 2M')
    return name


def snapshots(box, image):
    info = tool(box, 'qemu-img', 'info', '-U', '--output=json', image)
    return json.loads(info).get('snapshots', [])
