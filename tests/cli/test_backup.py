#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""backup, list, show and restore of real machines, as far as words go; that
the machine itself comes back is tested in tests/qemu."""
import json
import os
import random
import shutil
import signal
import socket
import threading

from harness import Machine, Skip, Terminal, main, matches, under_way

UUID = '6ba7b810-9dad-11d1-80b4-00c04fd430c8'


def able(r):
    """Leaves out what cannot be done here."""
    if r.code and 'userfaultfd' in r.err:
        raise Skip('no permission for userfaultfd')
    return r


NOISE = random.Random(1).randbytes(4 << 20)


def test_backup_and_all_that_follows(box):
    """A backup as JSON, listed, shown and restored"""
    box.repository()
    m = Machine(box, 'web-01', '-uuid', UUID, disk_mib=16, data=NOISE)
    r = able(box.run('backup', 'web-01', '--json', '--no-progress'))
    assert (r.code, r.err) == (0, ''), r.err
    s, = r.json_lines()
    assert s['type'] == 'summary' and s['machine'] == 'web-01'
    assert s['method'] == 'live' and s['uuid'] == UUID
    assert s['pause_ms'] > 0 and s['seconds'] > 0
    assert s['seconds'] > s['disks_seconds'] + s['memory_seconds'] > 0
    assert s['read_bytes'] > 4 << 20 and s['new_bytes'] > 4 << 20
    assert s['stored_bytes'] > 4 << 20 and s['warnings'] == []
    d, = s['disks']
    assert d['name'] == 'vda' and d['size_bytes'] == 16 << 20
    assert d['read'] == 'full' and 'since QEMU was started' in d['reason']
    assert 4 << 20 <= d['read_bytes'] <= 16 << 20
    assert set(s['pause']) == {'stop_ms', 'arm_ms', 'ram_ms', 'populate_ms',
                               'protect_ms', 'expected_ms'}
    assert s['consistency'] == 'full'
    low, high = s['pause']['expected_ms']
    assert 0 < low < high < s['pause_ms'] + 1000
    matches('^[0-9a-f]{32}$', s['backup_id'])
    assert m.status() == 'running'

    b, = box.run('list', '--json').json()
    for key in ('machine', 'uuid', 'method', 'time', 'read_bytes',
                'new_bytes', 'stored_bytes'):
        assert b[key] == s[key], key
    assert b['id'] == s['backup_id'] and b['size_bytes'] > 48 << 20
    r = box.run('list')
    matches(r'^ID +TIME +MACHINE +METHOD +SIZE +NEW +STORED\n'
            rf'{b["id"][:8]}  \d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d  web-01 +live ',
            r.out)
    for name in ('web-01', UUID, UUID.upper()):
        assert box.run('list', name).out == r.out, name
    r = box.run('list', 'db')
    assert r.code == 1 and 'web-01' in r.err

    for name in (b['id'], b['id'][:8], 'latest', 'web-01@latest',
                 UUID + '@latest', 'web-01@2100-01-01'):
        shown = box.run('show', name, '--json').json()
        assert shown['id'] == b['id'], name
    r = box.run('show', 'latest')
    assert (r.code, r.err) == (0, '')
    for word in (b['id'], 'web-01', UUID, 'live', 'vda', 'qcow2', '16 MiB',
                 'pause'):
        assert word in r.out, (word, r.out)

    r = box.run('restore', 'latest', '--to', 'out', '--json', '--no-progress')
    assert (r.code, r.err) == (0, ''), r.err
    s, = r.json_lines()
    assert s['type'] == 'summary' and s['backup_id'] == b['id']
    assert s['written_bytes'] >= 4 << 20 and s['directory'] == 'out'
    assert all(os.path.isabs(f) and os.path.exists(f) for f in s['files'])
    assert os.access(s['files'][-1], os.X_OK)
    r = box.run('restore', 'latest', '--to', 'out')
    assert (r.code, r.out) == (1, '') and 'out' in r.err
    r = box.run('restore', 'latest', '--to', 'none', '--disk', 'vdz')
    assert r.code == 1 and 'vdz' in r.err
    r = box.run('restore', 'latest', '--to', 'raw', '--disk', 'vda',
                '--format', 'raw')
    assert r.code == 0, r.err
    with open(r.out.splitlines()[0], 'rb') as f:
        assert f.read(4 << 20) == NOISE


def test_as_text(box):
    """A backup in words, by the machine's monitor; the second adds little"""
    box.repository()
    m = Machine(box, 'web-01', disk_mib=16, data=NOISE)
    r = able(box.run('backup', '--qmp', m.socket))
    assert (r.code, r.err) == (0, ''), r.err
    matches(r'^saved web-01 as of .*: backup [0-9a-f]{8} \(live\)\n'
            r'  pause [\d.]+ ms: .*\n  read .*, new .*, stored .*\n'
            r'  disk vda: read all of it, .*: no backup before .*\n$', r.out)
    second = json.loads(box.run('backup', '--json', '--qmp',
                                m.socket).out.splitlines()[-1])
    assert second['new_bytes'] < 4 << 20
    d, = second['disks']
    assert d == {'name': 'vda', 'size_bytes': 16 << 20, 'read': 'changed',
                 'read_bytes': 0}
    r = box.run('backup', '--qmp', m.socket)
    assert r.code == 0 and '  disk vda: read what has changed, 0 B\n' in r.out
    d, = json.loads(box.run('backup', '--json', '--no-tracking', '--qmp',
                            m.socket).out.splitlines()[-1])['disks']
    assert d['read'] == 'full' and d['reason'] == 'tracking is off'
    r = box.run('restore', 'latest', '--to', 'out')
    assert r.code == 0 and 'continue it by' in r.err
    assert r.out.splitlines()[-1].endswith('/out/run')


def test_several(box):
    """Some of several machines: exit code 3, each failure named"""
    box.repository()
    Machine(box, 'vmkeep-cli-a')
    Machine(box, 'vmkeep-cli-b', qmp=False)
    r = able(box.run('backup', 'vmkeep-cli-a', 'vmkeep-cli-b', 'vmkeep-cli-a',
                     '--json', '--no-progress'))
    assert r.code == 3, (r.code, r.err)
    saved, summary = r.json_lines()
    assert saved['type'] == 'backup' and saved['machine'] == 'vmkeep-cli-a'
    assert summary == {'type': 'summary', 'machines': 2, 'saved': 1,
                       'disks_only': 0, 'failed': 1, 'exit': 3}
    e = json.loads(r.err)
    assert e['machine'] == 'vmkeep-cli-b' and e['type'] == 'error'
    assert '-qmp unix:' in e['message'] and e['exit'] == 20
    r = box.run('backup', 'vmkeep-cli-a', 'vmkeep-cli-b')
    assert r.code == 3 and '1 of 2 machines saved' in r.out
    matches(r'^vmkeep: backup: vmkeep-cli-b: ', r.err)
    with open('/dev/full', 'wb') as full:  # does not hide what else failed
        r = box.run('backup', 'vmkeep-cli-a', 'vmkeep-cli-b', stdout=full)
    assert r.code == 3 and 'cannot write the answer' in r.err


def test_none_of_several(box):
    box.repository()
    Machine(box, 'vmkeep-cli-a', qmp=False)
    Machine(box, 'vmkeep-cli-b', qmp=False)
    r = box.run('backup', 'vmkeep-cli-a', 'vmkeep-cli-b')
    assert r.code == 1 and r.err.count('\n') == 2
    assert '0 of 2' in r.out


def test_which_machine(box):
    box.repository()
    r = box.run('backup', 'vmkeep-cli-none')
    assert (r.code, r.out) == (1, '') and 'vmkeep machines' in r.err
    first = Machine(box, 'vmkeep-cli-twin')
    second = Machine(box, 'vmkeep-cli-twin')
    r = box.run('backup', 'vmkeep-cli-tiwn')
    assert r.code == 1 and 'did you mean vmkeep-cli-twin' in r.err
    r = box.run('backup', 'vmkeep-cli-twin')
    assert r.code == 2
    assert str(first.pid) in r.err and str(second.pid) in r.err


def test_no_monitor(box):
    box.repository()
    r = box.run('backup', '--qmp', 'nowhere')
    assert (r.code, r.out) == (20, '') and 'nowhere' in r.err
    m = Machine(box, 'vmkeep-cli-busy')
    with m.connect() as mine:
        mine.recv(10)
        r = box.run('backup', 'vmkeep-cli-busy', '--json')
        assert r.code == 20 and r.json_error()['code'] == 'qemu'
    assert box.run('list', '--json').json() == []


def test_no_repository(box):
    m = Machine(box, 'web-01')
    r = box.run('backup', '-r', 'nowhere', '--qmp', m.socket)
    assert (r.code, r.out) == (10, '')
    assert m.status() == 'running'


def test_a_machine_that_was_never_started(box):
    """A run state from which nothing can be captured is refused"""
    box.repository()
    m = Machine(box, 'web-01', '-S')
    r = box.run('backup', '--qmp', m.socket)
    assert r.code in (1, 20) and 'prelaunch' in r.err, r.err
    assert m.status() == 'prelaunch'


def test_abort(box):
    """abort: whose backup; none under way is no error; one that is ends"""
    m = Machine(box, 'web-01', disk_mib=64)
    for args, code, word in ((('abort',), 2, '--all'),
                             (('abort', '--all', 'web-01'), 2, 'one machine'),
                             (('abort', 'web-02'), 1, 'did you mean web-01'),
                             (('abort', 'x'), 1, 'vmkeep machines'),
                             (('abort', 'web-01', '--timeout', '0'), 2, '0')):
        r = box.run(*args)
        assert (r.code, r.out) == (code, '') and word in r.err, (args, r.err)
    r = box.run('abort', 'web-01')
    assert (r.code, r.out) == (0, '') and 'no backup of web-01' in r.err
    assert box.run('abort', '--all', '--json').json() == []
    e, = [x for x in box.run('machines', '--json').json()
          if x['pid'] == m.pid]
    assert e['backup_pid'] is None

    box.repository()
    able(box.run('backup', 'web-01'))
    child, _ = under_way(box, 'backup', 'web-01', '--no-tracking')
    r = box.run('abort', 'web-01', '--json')
    assert r.code == 0, r.err
    _, err = child.communicate(timeout=180)
    if r.json():  # it may have been too late, or too early
        assert r.json()[0]['pid'] == child.pid
        assert child.returncode in (0, 130), err
    assert m.status() == 'running'
    assert os.listdir(box.path('run')) == []


def test_limits(box):
    """Limits that cannot be meant are refused before anything is done"""
    for option, value in (('--max-pause', '0'), ('--max-pause', 'long'),
                          ('--write-stall', '0'), ('--write-stall', '1.5'),
                          ('--write-stall', '3601'), ('--scratch-size', '0'),
                          ('--scratch-size', 'much'), ('--min-free', '-1')):
        r = box.run('backup', 'web-01', option, value)
        assert r.code == 2 and option in r.err, (option, value, r.err)
    for option in (['--write-stall', '2'], ['--scratch-size', '1G'],
                   ['--max-pause', '9']):
        r = box.run('backup', 'web-01', '--method', 'savevm', *option)
        assert r.code == 2 and option[0] in r.err, (option, r.err)
    r = box.run('backup', 'web-01', '--no-tracking', '--persistent-bitmaps')
    assert r.code == 2 and 'exclude each other' in r.err, r.err


def test_too_long_a_pause(box):
    """A pause that is surely too long is refused before it"""
    box.repository()
    m = Machine(box, 'big', '-m', '2G')  # touched by nobody: it costs nothing
    r = able(box.run('backup', 'big', '--max-pause', '20'))
    assert r.code == 20 and 'at least' in r.err and '--max-pause' in r.err
    assert m.status() == 'running' and os.listdir(box.path('run')) == []


def test_by_savevm(box):
    """The method savevm; it can be restored; nothing stays in the image"""
    box.repository()
    m = Machine(box, 'web-01', disk_mib=16, data=NOISE)
    r = box.run('backup', 'web-01', '--method', 'savevm', '--json')
    assert (r.code, r.err) == (0, ''), r.err
    s = r.json_lines()[-1]
    assert s['method'] == 'savevm' and s['pause_ms'] > 0
    d, = s['disks']
    assert d['name'] == 'vda' and d['size_bytes'] == 16 << 20
    assert d['read'] == 'full' and d['reason']
    assert m.status() == 'running'
    assert os.listdir(box.path('run')) == []
    image = next(f for f in os.listdir(box.dir) if f.endswith('.disk.qcow2'))
    found = box.run('extract', '--list', image, '--json').json()
    s, = found['snapshots']  # the next backup by savevm builds on it
    assert s['name'].startswith('vmkeep:'), found
    shown = box.run('show', 'latest', '--json').json()
    assert shown['method'] == 'savevm'
    assert box.run('restore', 'latest', '--to', 'out').code == 0
    found = box.run('extract', '--list', 'out/vda.qcow2', '--json').json()
    assert found['snapshots'][0]['state'] == 'whole', found


def test_savevm_refuses(box):
    """savevm says which disk it cannot do, and why; nothing was done"""
    box.repository()
    m = Machine(box, 'raw', disk_mib=1)
    r = box.run('backup', 'raw', '--method', 'savevm')
    assert r.code == 20 and 'no qcow2 image' in r.err, r.err
    assert m.status() == 'running'
    Machine(box, 'bare')
    r = box.run('backup', 'bare', '--method', 'savevm')
    assert r.code == 20 and 'no disk' in r.err, r.err
    m = Machine(box, 'gone', disk_mib=1, data=b'x')
    assert m.status() == 'running'  # it has opened its image
    image = max(f for f in os.listdir(box.dir) if f.endswith('.disk.qcow2'))
    os.rename(box.path(image), box.path('moved'))
    r = box.run('backup', 'gone', '--method', 'savevm')
    assert r.code == 1 and image in r.err, r.err
    os.rename(box.path('moved'), box.path('copy'))
    shutil.copy(box.path('copy'), box.path(image))
    r = box.run('backup', 'gone', '--method', 'savevm')
    assert r.code == 20 and 'another file' in r.err, r.err
    found = box.run('extract', '--list', 'copy', '--json').json()
    assert found['snapshots'] == [], found
    assert os.listdir(box.path('run')) == []


def test_disks_only(box):
    """The method disk of a machine without an agent: crash-consistent"""
    box.repository()
    m = Machine(box, 'web-01', '-S', disk_mib=16, data=NOISE)
    r = box.run('backup', '--qmp', m.socket, '--method', 'disk', '--json')
    assert (r.code, r.err) == (0, ''), r.err
    s = r.json_lines()[-1]
    assert s['method'] == 'disk' and s['consistency'] == 'crash'
    assert s['frozen_ms'] == 0 and s['warnings'] == []
    assert [d['name'] for d in s['disks']] == ['vda']
    assert m.status() == 'prelaunch'
    assert os.listdir(box.path('run')) == []
    assert box.run('list', '--json').json()[0]['consistency'] == 'crash'
    assert 'disk (crash)' in box.run('list').out
    assert 'disk (crash)' in box.run('show', 'latest').out
    r = box.run('backup', '--qmp', m.socket, '--method', 'disk')
    assert r.code == 0 and 'crash-consistent' in r.out
    r = box.run('restore', 'latest', '--to', 'out')
    assert r.code == 0 and 'starts cold' in r.err and 'start it by' in r.err
    with open(box.path('out/run'), encoding='utf-8') as f:
        assert '-loadvm' not in f.read()
    r = box.run('backup', '--qmp', m.socket, '--method', 'disk', '--agent', 'nowhere')
    assert r.code in (1, 20) and 'nowhere' in r.err


def test_disks_only_refuses(box):
    box.repository()
    Machine(box, 'bare')
    r = box.run('backup', 'bare', '--method', 'disk')
    assert r.code == 20 and 'no disk' in r.err, r.err


def test_allowed_to_do_less(box):
    """What live cannot do is done by another method only by leave"""
    box.repository()
    m = Machine(box, 'web-01', '-S', disk_mib=16, data=NOISE)
    r = box.run('backup', '--qmp', m.socket, '--allow', 'savevm')
    assert r.code == 20 and 'prelaunch' in r.err, r.err
    r = box.run('backup', '--qmp', m.socket, '--allow', 'savevm,disk', '--json')
    assert r.code == 0, r.err
    s = r.json_lines()[-1]
    assert s['method'] == 'disk' and 'prelaunch' in s['fallback']
    r = box.run('backup', '--qmp', m.socket, '--allow', 'disk')
    assert r.code == 0 and '--allow permits' in r.err, r.err
    assert m.status() == 'prelaunch'


def test_several_monitors(box):
    """--qmp more than once: the one that is free"""
    box.repository()
    m = Machine(box, 'web-01', disk_mib=1, data=b'x')
    r = able(box.run('backup', '--qmp', 'nowhere', '--qmp', m.socket, '--json'))
    assert r.code == 0 and r.json_lines()[-1]['machine'] == 'web-01', r.err


def test_progress_and_interruption(box):
    """SIGUSR1 shows progress; Ctrl-C, twice, leaves guest and repository whole"""
    repo = box.repository()
    m = Machine(box, 'web-01', disk_mib=300)
    child, p = under_way(box, 'backup', '--qmp', m.socket)
    assert p['type'] == 'progress' and p['phase'] and 'done_bytes' in p
    assert p['subject'] == 'web-01'
    child.send_signal(signal.SIGINT)
    child.send_signal(signal.SIGTERM)
    out, err = child.communicate(timeout=180)
    assert child.returncode == 130, (child.returncode, out, err)
    lines = [json.loads(line) for line in err.splitlines()]
    assert [x['type'] for x in lines][-1] == 'error'
    assert {x['type'] for x in lines[:-1]} == {'note'}, lines
    assert lines[-1]['code'] == 'canceled' and lines[-1]['exit'] == 130
    assert b'summary' not in out
    assert m.status() == 'running'
    assert box.run('list', '--json').json() == []

    t = Terminal(box, 'backup', '--qmp', m.socket)
    t.expect('% ')
    t.type('\x03')
    t.expect('putting everything right')
    assert t.end() == 130
    assert m.status() == 'running'
    assert box.run('list', '--json').json() == []

    t = Terminal(box, 'backup', '--qmp', m.socket)
    t.expect('% ')
    t.expect('/s')
    t.expect('\r\x1b[Ksaved web-01')  # what was redrawn is gone
    assert t.end() == 0
    assert m.status() == 'running'

    child, _ = under_way(box, 'restore', 'latest', '--to', 'out')
    child.send_signal(signal.SIGINT)
    out, err = child.communicate(timeout=180)
    assert child.returncode == 130, (child.returncode, err)
    assert b'putting everything right' in err
    left = os.listdir(box.path('out')) if os.path.exists(box.path('out')) else []
    assert all(name.endswith('.partial') for name in left), left
    assert os.path.isdir(repo)


class Silent:
    """A monitor that greets, and answers nothing but the negotiation."""

    def __init__(self, path):
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(path)
        self.listener.listen()
        threading.Thread(target=self.serve, daemon=True).start()

    def serve(self):
        version = {'qemu': {'major': 7, 'minor': 2, 'micro': 0}, 'package': ''}
        while True:
            peer, _ = self.listener.accept()
            with peer, peer.makefile('rwb', buffering=0) as f:
                say(f, {'QMP': {'version': version, 'capabilities': []}})
                for line in f:
                    asked = json.loads(line.lstrip(b'\xff'))
                    if asked['execute'] == 'qmp_capabilities':
                        say(f, {'return': {}, 'id': asked.get('id')})


def say(f, message):
    f.write(json.dumps(message).encode() + b'\n')


def test_qmp_timeout(box):
    """How long a monitor may be silent"""
    box.repository()
    path = box.path('silent')
    Silent(path)
    r = box.run('backup', '--qmp', path, env={'VMKEEP_QMP_TIMEOUT': '1'})
    assert r.code != 0 and 'has not answered for 1000 ms' in r.err, r.err
    assert 'VMKEEP_QMP_TIMEOUT gives' in r.err, r.err
    for seconds in ('0', '3601', 'long', '-1', '1.5'):
        r = box.run('list', env={'VMKEEP_QMP_TIMEOUT': seconds})
        assert r.code == 2 and 'VMKEEP_QMP_TIMEOUT ' + seconds in r.err, r.err


main()
