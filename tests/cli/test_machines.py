#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""vmkeep machines, with real QEMU processes beside whatever else runs here."""
import socket

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
    matches(r'^MACHINE +STATE +RAM +DISKS +PID +QEMU +MONITOR\n'
            rf'web-01 +running +32 MiB +vda 16 MiB +{m.pid} +\S+ +\S+\n$', r.out)
    assert box.run('machines', '--json', '--qmp',
                   m.socket).json()[0]['name'] == 'web-01'
    assert m.status() == 'running'


def test_a_paused_machine(box):
    m = Machine(box, 'paused', '-S')
    assert entry(box, m)['status'] == 'prelaunch'
    assert m.status() == 'prelaunch'


def test_without_a_monitor(box):
    """A machine without a monitor is unprotected, and there is a fix"""
    m = Machine(box, 'old-db', qmp=False)
    e = entry(box, m)
    assert e['reachable'] is False and e['name'] == 'old-db'
    assert 'no QMP monitor' in e['problem'] and '-qmp unix:' in e['fix']
    r = box.run('machines')
    assert r.code == 0
    matches(rf'old-db +unprotected .* {m.pid} ', r.out)
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
        out, _ = child.communicate(timeout=60)
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
