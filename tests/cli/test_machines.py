#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vmkeep machines, with real QEMU processes beside whatever else runs here."""
import json
import os
import signal
import socket
from uuid import uuid4

from harness import Machine, Terminal, main, matches

UUID = '6ba7b810-9dad-11d1-80b4-00c04fd430c8'


def entry(box, machine):
    """What the list says of this one."""
    r = box.run('machines', '--json')
    assert r.code == 0, r.err
    mine = [m for m in r.json() if m['pid'] == machine.pid]
    assert len(mine) == 1, r.out
    return mine[0]


def test_a_machine(box):
    m = Machine(box, 'web-01', '-uuid', UUID, disk_mib=16, data=b'x')
    e = entry(box, m)
    assert e['name'] == 'web-01' and e['uuid'] == UUID
    assert e['reachable'] is True and e['status'] == 'running'
    assert e['ram_bytes'] == 32 << 20 and e['socket'] == m.socket
    matches(r'^\d+\.\d+\.\d+$', e['qemu'])
    assert [d['name'] for d in e['disks']] == ['vda']
    assert e['disks'][0]['size_bytes'] == 16 << 20
    assert e['disks'][0]['format'] == 'qcow2'
    r = box.run('machines', '--qmp', m.socket)
    assert (r.code, r.err) == (0, '')
    matches(r'^MACHINE +STATE +METHOD +RAM +DISKS +PID\n'
            rf'web-01 +running +live +32 MiB +vda 16 MiB +{m.pid}\n$', r.out)
    assert box.run('machines', '--json', '--qmp',
                   m.socket).json()[0]['name'] == 'web-01'
    assert m.status() == 'running'


def test_a_paused_machine(box):
    m = Machine(box, 'paused', '-S')
    assert entry(box, m)['status'] == 'prelaunch'
    assert m.status() == 'prelaunch'


def own(name):
    """No other machine of this host is called so."""
    return f'{name}-{os.getpid()}'


def methods(e):
    return {m['name']: m.get('reason') for m in e['methods']}


def ask(m, command):
    """What its monitor replies."""
    with m.connect() as s, s.makefile('rw') as f:
        f.readline()
        f.write('{"execute":"qmp_capabilities"}' f'{{"execute":"{command}"}}\n')
        f.flush()
        f.readline()
        return json.loads(f.readline())['return']


def test_methods(box):
    """For each the best method, and why not a better one, as a backup would say"""
    raw = Machine(box, own('raw-disk'), disk_mib=1)
    early = Machine(box, own('early'), '-S', disk_mib=1, data=b'x')
    bare = Machine(box, own('bare'))
    before = {m.name: (ask(m, 'query-named-block-nodes'), ask(m, 'query-status'))
              for m in (raw, early, bare)}
    r = box.run('machines', '--json', own('raw-disk'), own('early'), own('bare'))
    a, b, c = r.json()
    assert a['method'] == 'live' and methods(a)['live'] is None
    assert 'is no qcow2 image' in methods(a)['savevm'], a
    assert methods(a)['disk'] is None
    low, high = a['methods'][0]['expected_pause_ms']
    assert 0 < low <= high
    assert b['method'] == 'disk', b
    assert "run state 'prelaunch'" in methods(b)['live']
    assert "run state 'prelaunch'" in methods(b)['savevm']
    assert c['method'] == 'live'
    assert 'has no disk' in methods(c)['savevm'] and 'no disk' in methods(c)['disk']
    assert all('last_backup' not in e for e in (a, b, c))
    for m in (raw, early, bare):
        assert (ask(m, 'query-named-block-nodes'),
                ask(m, 'query-status')) == before[m.name], 'it was touched'

    r = box.run('machines', '--qmp', early.socket)
    assert r.code == 0, r.err
    matches(r'early-\d+ +prelaunch +disk .*\n\nmachine early-\d+ cannot be captured live.*'
            r"\nmachine early-\d+ cannot be captured in run state 'prelaunch'", r.out)
    box.repository()
    r = box.run('backup', own('early'), '--method', 'live')
    assert r.code == 20 and methods(b)['live'] in r.err, r.err


def test_details(box):
    """All about a machine that is named, or with -v"""
    uuid = str(uuid4())
    m = Machine(box, own('web-01'), '-uuid', uuid, disk_mib=1)
    for args in ([own('web-01')], [uuid.upper()], ['-v', '--qmp', m.socket]):
        r = box.run('machines', *args)
        assert (r.code, r.err) == (0, ''), (args, r.err)
        matches(rf'^machine +web-01-\d+\nuuid +{uuid}\nstate +running\npid +{m.pid}\n'
                r'qemu +\d\S+ .*\nmonitor +\S+\nram +32 MiB\n'
                r'live +yes, with a pause of about \d+ to \d+ ms\n'
                r'savevm +no: .*no qcow2.*\ndisk +yes\n\n'
                r'DISK +SIZE +FORMAT +NEXT BACKUP READS +IMAGE\n'
                r'vda +1 MiB +raw +- +\S+\n$', r.out)
    r = box.run('machines', own('web-02'))
    assert r.code == 1 and 'did you mean web-01-' in r.err, r
    assert box.run('machines', own('web-01'), '--qmp', m.socket).code == 2


def test_last_backup(box):
    """When it was saved last, and what the next backup has to read"""
    m = Machine(box, own('web-01'), '-uuid', UUID, disk_mib=1, data=b'x')
    Machine(box, own('dark'), qmp=False)
    repo = box.repository()
    both = ('machines', '--json', own('web-01'), own('dark'))
    e, dark = box.run(*both).json()
    assert e['last_backup'] is None and dark['last_backup'] is None
    assert e['disks'][0]['next_read'] == 'full'
    assert 'no backup before' in e['disks'][0]['reason']
    for method in ('disk', 'live'):
        r = box.run('backup', own('web-01'), '--json', '--method', method)
        id_ = r.json_lines()[-1]['backup_id']
    e, dark = box.run(*both).json()
    assert e['last_backup']['backup_id'] == id_
    assert e['last_backup']['method'] == 'live'
    matches(r'^20\d\d-\d\d-\d\dT.*Z$', e['last_backup']['time'])
    assert dark['last_backup'] is None
    assert e['disks'][0]['next_read'] == 'changed' and 'reason' not in e['disks'][0]
    r = box.run('machines', '--qmp', m.socket)
    matches(r'PID +LAST BACKUP +NEXT\nweb-01-\d+ .* 20\d\d-\S+ \S+ +changes\n$', r.out)
    r = box.run('machines', own('web-01'))
    matches(rf'\nlast +20.*, backup {id_[:8]} \(live\)\n', r.out)
    assert 'what has changed' in r.out
    # It is true: nothing was written, and only what was is read.
    s = box.run('backup', own('web-01'), '--json').json_lines()[-1]
    assert s['disks'][0]['read'] == 'changed'

    m.process.kill()
    m.process.wait()
    again = Machine(box, own('web-01'), '-uuid', UUID, disk_mib=1, data=b'x')
    r = box.run('machines', '--qmp', again.socket, '--json')
    assert r.json()[0]['last_backup']['backup_id'] == s['backup_id']
    assert r.json()[0]['disks'][0]['next_read'] == 'full'
    r = box.run('machines', '--qmp', again.socket, '--json', '-r', repo + '-not')
    assert r.code == 3 and 'there is no repository' in r.err, r.err
    assert r.json()[0]['method'] == 'live' and 'last_backup' not in r.json()[0]
    r = box.run('machines', '--qmp', again.socket, env={'VMKEEP_PASSWORD': 'wrong'})
    assert r.code == 3 and 'again' not in r.out and 'warning' in r.err, r.err
    assert own('web-01') in r.out and 'LAST BACKUP' not in r.out


def test_nobody_is_asked(box):
    """A password that is not at hand is not asked for"""
    m = Machine(box, own('web-01'))
    box.repository()
    del box.env['VMKEEP_PASSWORD']
    t = Terminal(box, 'machines', '--qmp', m.socket)
    assert t.end() == 0, t.seen
    assert own('web-01') in t.seen and 'LAST' not in t.seen, t.seen
    r = box.run('machines', '--qmp', m.socket, '--password-file', 'not-there')
    assert r.code == 3 and 'not-there' in r.err and own('web-01') in r.out, r.err


def test_a_wedged_machine(box):
    """A QEMU that is stopped keeps nobody from the list"""
    m = Machine(box, own('wedged'))
    well = Machine(box, own('well'))
    assert m.status() == 'running'
    os.kill(m.pid, signal.SIGSTOP)
    e, other = box.run('machines', '--json', own('wedged'), own('well')).json()
    assert e['reachable'] is False and other['reachable'] is True
    assert 'is stopped' in e['problem'] and e['fix'] == f'let it go on: kill -CONT {m.pid}', e
    r = box.run('machines', own('wedged'))
    matches(r'state +stopped\n', r.out)
    os.kill(m.pid, signal.SIGCONT)
    assert m.status() == 'running' and well.status() == 'running'


def test_without_a_monitor(box):
    """A machine without a monitor is unprotected, and there is a fix"""
    m = Machine(box, 'old-db', qmp=False)
    e = entry(box, m)
    assert e['reachable'] is False and e['name'] == 'old-db'
    assert 'no QMP monitor' in e['problem'] and '-qmp unix:' in e['fix']
    r = box.run('machines')
    assert r.code == 0
    matches(rf'old-db +unprotected .* {m.pid}\n', r.out)
    matches(rf'\nold-db \(pid {m.pid}\) is unprotected: .*\n  fix: .*'
            r'-qmp unix:/run/old-db\.qmp,server=on,wait=off\n', r.out)


def test_a_busy_monitor(box):
    m = Machine(box, 'busy')
    with m.connect() as mine:
        mine.recv(10)  # now it is ours
        e = entry(box, m)
        assert e['reachable'] is False and e['problem'] and e['fix']
        r = box.run('machines', '--qmp', m.socket, '--json')
        assert r.code == 20 and r.json_error()['code'] == 'qemu'


def test_no_machine_behind_the_socket(box):
    r = box.run('machines', '--qmp', 'nowhere')
    assert (r.code, r.out) == (20, '') and 'nowhere' in r.err
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(box.path('dead'))
    assert box.run('machines', '--qmp', 'dead').code == 20
    box.write('file', '')
    assert box.run('machines', '--qmp', 'file').code == 20
    assert box.run('machines', '--qmp', 'x' * 200).code in (1, 2, 20)


def test_something_else_behind_the_socket(box):
    with socket.socket(socket.AF_UNIX) as s:
        s.bind(box.path('web'))
        s.listen()
        child = box.start('machines', '--qmp', 'web')
        client, _ = s.accept()
        client.sendall(b'HTTP/1.1 400 Bad Request\r\n\r\n')
        client.close()
        out, _ = child.communicate(timeout=180)
        assert (child.returncode, out) == (20, b'')


def test_a_hostile_name(box):
    """A name with escape sequences does not reach the terminal"""
    m = Machine(box, 'a\x1b[2Jb\nc')
    r = box.run('machines')
    assert '\x1b' not in r.out and '\\x1b[2Jb\\x0ac' in r.out, r.out
    assert entry(box, m)['name'] == 'a\x1b[2Jb\nc'


def test_on_a_terminal(box):
    """On a terminal the table fits its width, and only titles are bold"""
    Machine(box, 'a-machine-with-quite-a-long-name-that-takes-room')
    for env, bold in (({}, True), ({'NO_COLOR': '1'}, False),
                      ({'TERM': 'dumb'}, False)):
        t = Terminal(box, 'machines', env=env, columns=70)
        t.end()
        table = t.seen.replace('\r', '').partition('\n\n')[0].splitlines()
        assert ('\x1b[1m' in table[0]) == bold, table[0]
        assert all('\x1b' not in line for line in table[1:])
        plain = table[0].replace('\x1b[1m', '').replace('\x1b[0m', '')
        assert all(len(line) <= 70 for line in [plain, *table[1:]]), table


main()
