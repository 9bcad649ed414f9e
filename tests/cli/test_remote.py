#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A repository's whole life, the same on every kind of storage."""
import json
import os
import random
import re
import signal
import subprocess
import time

from harness import (PASSWORD, PATIENCE_S, Skip, main, matches,
                     under_way)

MIB = 1 << 20
REMOTE = os.path.join(os.path.dirname(os.path.abspath(__file__)), '..',
                      'remote')
SECRET = 'SKTEST'
PLANTED = 'planted-secret-value'


class Server:
    """A program of tests/remote, for one test."""

    def __init__(self, box, *argv):
        self.process = subprocess.Popen(
            [os.path.join(REMOTE, argv[0]), *argv[1:]],
            stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
            env={**os.environ, 'TMPDIR': box.dir}, start_new_session=True)
        box.children.append(self.process)
        word, _, text = self.process.stdout.readline().strip().partition(' ')
        if word == 'skip':
            raise Skip(text)
        assert word == 'ready', (word, text)
        self.text = text

    def ask(self, command):
        """One of rgw.py's commands; what it answers."""
        self.process.stdin.write(command + '\n')
        self.process.stdin.flush()
        word, _, text = self.process.stdout.readline().strip().partition(' ')
        assert word == 'done', (command, word, text)
        return text

    def stop(self):
        self.process.communicate(timeout=PATIENCE_S)


def s3_keys(box):
    box.env.update(AWS_ACCESS_KEY_ID='AKTEST', AWS_SECRET_ACCESS_KEY=SECRET)


def image(box, name, seed, size):
    r = random.Random(seed)
    with open(box.path(name), 'wb') as f:
        f.truncate(size)
        f.write(r.randbytes(2 * MIB))
        f.seek(5 * MIB + 512)
        f.write(r.randbytes(MIB))
    return box.path(name)


def change(path):
    with open(path, 'r+b') as f:
        f.seek(MIB)
        f.write(b'changed' * 1000)


def ok(box, *args):
    r = box.run(*args)
    assert r.code == 0, (args, r.code, r.err)
    assert SECRET not in r.out + r.err
    return r


def live(box, repo):
    """init, import, import again, list, restore, forget, prune, check."""
    box.env['VMKEEP_PASSWORD'] = PASSWORD
    r = box.run('-r', repo, 'list')
    assert r.code == 10, (r.code, r.err)
    matches('vmkeep init ', r.err)
    ok(box, 'init', repo)
    box.env['VMKEEP_REPOSITORY'] = repo
    assert box.run('init', repo).code == 1
    path = image(box, 'web.raw', 1, 9 * MIB)
    first = ok(box, 'import', path, '--name', 'web', '--json').json_lines()[-1]
    assert 3 * MIB <= first['stored_bytes'] < 4 * MIB, first
    before = open(path, 'rb').read()
    change(path)
    after = open(path, 'rb').read()
    again = ok(box, 'import', path, '--name', 'web', '--json').json_lines()[-1]
    assert again['stored_bytes'] < MIB, again
    ids = [b['id'] for b in ok(box, 'list', '--json').json()]
    assert sorted(ids) == sorted([first['backup_id'], again['backup_id']])
    for s, content in ((first, before), (again, after)):
        to = box.path('to-' + s['backup_id'])
        ok(box, 'restore', s['backup_id'], '--to', to, '--format', 'raw')
        name, = [n for n in os.listdir(to) if n.endswith('.raw')]
        with open(os.path.join(to, name), 'rb') as f:
            assert f.read() == content
    ok(box, 'check', '--read-data')
    ok(box, 'forget', first['backup_id'])
    assert [b['id'] for b in ok(box, 'list', '--json').json()] == \
        [again['backup_id']]
    ok(box, 'prune')
    ok(box, 'check', '--read-data')
    r = box.run('list', env={'VMKEEP_PASSWORD': 'wrong'})
    assert r.code == 12, (r.code, r.err)


def test_directory(box):
    """A folder"""
    live(box, box.path('repo'))


def sftp(box, *options):
    server = Server(box, 'sshd.py', *options)
    box.env['VMKEEP_SSH_COMMAND'] = f'ssh -F {server.text}/ssh_config'
    return server, f'sftp:127.0.0.1:{server.text}/data/some/where'


def test_sftp(box):
    """SFTP, OpenSSH's server"""
    server, repo = sftp(box)
    live(box, repo)
    server.stop()


def test_sftp_append_only(box):
    """SFTP, a server that lets nobody remove anything"""
    server, repo = sftp(box, '-P', 'remove,rmdir')
    box.env.update(VMKEEP_PASSWORD=PASSWORD, VMKEEP_REPOSITORY=repo)
    ok(box, 'init', repo)
    path = image(box, 'web.raw', 1, 9 * MIB)
    for _ in range(2):
        r = box.run('import', path, '--name', 'web')
        assert r.code in (0, 3), (r.code, r.err)
        change(path)
    assert len(ok(box, 'list', '--json').json()) == 2
    ok(box, 'check', '--read-data')
    server.stop()


def test_sftp_refusals(box):
    """SFTP: no server, no key, no folder: told in one line, exit code 13"""
    server, repo = sftp(box)
    box.env.update(VMKEEP_PASSWORD=PASSWORD)
    good = box.env['VMKEEP_SSH_COMMAND']
    for command, about in (
            (f'{good} -p 1', 'ssh says: .*refused'),
            (f'{good} -oPubkeyAuthentication=no', 'ermission denied'),
            ('/nonexistent/ssh', 'not found|ssh says'),
            ('echo hello there; false', 'makes no sense|ended'),
            (f'{good} -oUserKnownHostsFile=/dev/null', 'ost key')):
        r = box.run('init', repo, env={'VMKEEP_SSH_COMMAND': command})
        assert r.code == 13, (command, r.code, r.err)
        matches(about, r.err)
    r = box.run('-r', repo, 'list')
    assert r.code == 10, (r.code, r.err)
    for bad in 'sftp:-oProxyCommand=x:/a', 'sftp:host', 'sftp://u:pw@host/a':
        assert box.run('init', bad).code == 2, bad
    r = box.run('init', f'sftp:127.0.0.1:{server.text}/ssh_config/below')
    assert r.code == 13, (r.code, r.err)
    server.stop()


def test_s3(box):
    """S3, a server of our own"""
    s3_keys(box)
    server = Server(box, 's3server.py')
    live(box, f's3:http://127.0.0.1:{server.text}/fine/some/where')


def test_s3_ceph(box):
    """S3, Ceph's RADOS gateway; the bucket is made"""
    s3_keys(box)
    server = Server(box, 'rgw.py')
    live(box, f's3:http://127.0.0.1:{server.text}/backups/host')
    server.stop()


def test_s3_swift(box):
    """S3, OpenStack Swift's; it knows no conditions; the bucket is made"""
    s3_keys(box)
    box.env['AWS_ACCESS_KEY_ID'] = 'AKTEST:x'
    server = Server(box, 'swift.py')
    live(box, f's3:http://127.0.0.1:{server.text}/backups/host')
    server.stop()


def test_s3_ceph_bucket_in_host(box):
    """S3, the bucket's name in the host's"""
    s3_keys(box)
    server = Server(box, 'rgw.py')
    box.env.update(VMKEEP_S3_STYLE='virtual', VMKEEP_PASSWORD=PASSWORD)
    repo = f's3:http://localhost:{server.text}/backups'
    ok(box, 'init', repo)
    assert ok(box, '-r', repo, 'list', '--json').json() == []
    server.stop()


def test_s3_tls(box):
    """S3 over TLS: a certificate that is not trusted, then one that is"""
    s3_keys(box)
    server = Server(box, 's3server.py', '--tls', box.dir)
    repo = f's3:https://127.0.0.1:{server.text}/fine'
    box.env['VMKEEP_PASSWORD'] = PASSWORD
    r = box.run('init', repo)
    assert r.code == 13, (r.code, r.err)
    matches('certificate', r.err)
    matches('VMKEEP_S3_CA_FILE', r.err)
    box.env['VMKEEP_S3_CA_FILE'] = box.path('no-such-file')
    r = box.run('init', repo)
    assert r.code == 13, (r.code, r.err)
    matches('no-such-file', r.err)
    box.env['VMKEEP_S3_CA_FILE'] = box.path('cert.pem')
    ok(box, 'init', repo)
    del box.env['VMKEEP_S3_CA_FILE']
    box.env['AWS_CA_BUNDLE'] = box.path('cert.pem')
    assert ok(box, '-r', repo, 'list', '--json').json() == []


def test_s3_refusals(box):
    """S3: what is wrong is told, in exit code 13, and no secret is"""
    server = Server(box, 's3server.py')
    base = f's3:http://127.0.0.1:{server.text}'
    box.env['VMKEEP_PASSWORD'] = PASSWORD
    for env, bucket, about in (
            ({}, 'fine', 'set AWS_ACCESS_KEY_ID'),
            ({'AWS_ACCESS_KEY_ID': 'AKTEST'}, 'fine', 'only one of'),
            ({'AWS_ACCESS_KEY_ID': 'AKTEST',
              'AWS_SECRET_ACCESS_KEY': PLANTED}, 'fine', 'secret key is wrong'),
            ({'AWS_ACCESS_KEY_ID': 'AKNOBODY',
              'AWS_SECRET_ACCESS_KEY': PLANTED}, 'fine',
             'does not know this access key'),
            ({'AWS_ACCESS_KEY_ID': 'AKTEST', 'AWS_SECRET_ACCESS_KEY': SECRET},
             'open-skew', 'set the one that is wrong'),
            ({'AWS_ACCESS_KEY_ID': 'AKTEST', 'AWS_SECRET_ACCESS_KEY': SECRET},
             'open-region', 'AWS_REGION=eu-west-3')):
        for command in ('init', f'{base}/{bucket}'), \
                ('-v', '-r', f'{base}/{bucket}', 'list'):
            r = box.run(*command, env=env)
            assert r.code == 13, (bucket, r.code, r.err)
            matches(about, r.err)
            assert PLANTED not in r.out + r.err, r.err
            assert SECRET not in r.out + r.err, r.err
    r = box.run('init', f's3:http://key:{PLANTED}@127.0.0.1/bucket')
    assert r.code == 2, r.err


def test_s3_gone(box):
    """S3: the server ends in the middle of a backup's life"""
    s3_keys(box)
    server = Server(box, 's3server.py')
    repo = f's3:http://127.0.0.1:{server.text}/fine'
    box.env.update(VMKEEP_PASSWORD=PASSWORD, VMKEEP_REPOSITORY=repo)
    ok(box, 'init', repo)
    server.stop()
    r = box.run('list')
    assert r.code == 13, (r.code, r.err)
    matches('is the server up', r.err)


def limited(r, which):
    """What a run with a limit says of it: bytes, milliseconds waited."""
    m = re.search(rf'limit={which} bytes=(\d+) waited_ms=(\d+)', r.err)
    assert m, r.err
    return int(m[1]), int(m[2])


def limits(box, repo):
    """Every byte goes by the limits, and is waited for."""
    box.env.update(VMKEEP_PASSWORD=PASSWORD, VMKEEP_REPOSITORY=repo)
    ok(box, 'init', repo)
    path = image(box, 'web.raw', 1, 9 * MIB)
    r = ok(box, 'import', path, '--name', 'web', '--json', '--no-progress',
           '-v', '--limit-upload', '8M', '--limit-download', '00:00-24:00=8M')
    stored = r.json_lines()[-1]['stored_bytes']
    sent, waited = limited(r, 'upload')
    sent_waited = waited
    assert stored <= sent < stored + MIB, (stored, sent)
    got, _ = limited(r, 'download')
    assert got < MIB, got
    r = ok(box, '-v', '--limit-download', '1M', 'restore', 'latest', '--to',
           'out', '--format', 'raw')
    got, more = limited(r, 'download')
    assert 3 * MIB < got < 5 * MIB, got
    assert 'limit=upload' not in r.err
    with open(path, 'rb') as f, open(box.path('out/web.raw'), 'rb') as g:
        assert f.read() == g.read()
    # At another time of the day there is no limit: it is counted all the same.
    r = ok(box, 'check', '--read-data', '-v', '--limit-download',
           '00:00-24:00=unlimited,16k')
    got, waited = limited(r, 'download')
    assert got > 3 * MIB and waited == 0, (got, waited)
    return sent_waited + more


def test_limits_directory(box):
    """Limits of the bytes a second: a folder"""
    assert limits(box, box.path('repo')) > 0  # others may be slower than that
    for bad, about in (('fast', 'is no rate'), ('1k', 'too few'),
                       ('8-9=1M', 'time of the day')):
        r = box.run('list', '--limit-upload', bad)
        assert r.code == 2, (bad, r.code)
        matches(about, r.err)


def test_limits_sftp(box):
    """Limits of the bytes a second: SFTP"""
    server, repo = sftp(box)
    limits(box, repo)
    server.stop()


def test_limits_s3(box):
    """Limits of the bytes a second: S3"""
    s3_keys(box)
    server = Server(box, 's3server.py')
    limits(box, f's3:http://127.0.0.1:{server.text}/fine/some/where')


def test_copy_s3_to_sftp(box):
    """Backups are copied from S3 to SFTP; the second time what changed"""
    s3_keys(box)
    s3 = Server(box, 's3server.py')
    first = f's3:http://127.0.0.1:{s3.text}/fine/some/where'
    server, second = sftp(box)
    box.env['VMKEEP_PASSWORD'] = 'battery'
    ok(box, 'init', second)
    box.env.update(VMKEEP_PASSWORD=PASSWORD, VMKEEP_REPOSITORY=first,
                   VMKEEP_TO_PASSWORD='battery')
    ok(box, 'init', first)
    path = image(box, 'web.raw', 1, 9 * MIB)
    for least in 3 * MIB, 1:
        ok(box, 'import', path, '--name', 'web')
        r = ok(box, 'copy', '--to', second, '--json', '--no-progress', '-v',
               '--limit-upload', '64M')
        s = r.json_lines()[-1]
        assert s['copied'] == 1, s
        assert least <= s['stored_bytes'] <= limited(r, 'upload')[0], s
        if least == 1:
            assert s['new_bytes'] < MIB, s
        before = open(path, 'rb').read()
        change(path)
    env = {'VMKEEP_PASSWORD': 'battery'}
    r = box.run('-r', second, 'restore', 'latest', '--to', 'out', '--format',
                'raw', env=env)
    assert r.code == 0, r.err
    assert open(box.path('out/web.raw'), 'rb').read() == before
    r = box.run('-r', second, 'check', '--read-data', env=env)
    assert r.code == 0, r.err
    server.stop()


def test_copy_between_accounts(box):
    """Backups are copied between two accounts of a Ceph; neither can do what
    the other does"""
    server = Server(box, 'rgw.py')
    server.ask('user OTHER')
    s3_keys(box)
    other = {'AWS_ACCESS_KEY_ID': 'AKOTHER',
             'AWS_SECRET_ACCESS_KEY': 'SKOTHER'}
    first, second = (f's3:http://127.0.0.1:{server.text}/{name}/r'
                     for name in ('mine', 'theirs'))
    box.env.update(VMKEEP_PASSWORD=PASSWORD, VMKEEP_REPOSITORY=first,
                   VMKEEP_TO_PASSWORD=PASSWORD)
    ok(box, 'init')
    r = box.run('init', second, env=other)
    assert r.code == 0, r.err
    path = image(box, 'web.raw', 1, 9 * MIB)
    ok(box, 'import', path, '--name', 'web')
    to = ('copy', '--to', second, '--json', '--no-progress')
    # One key for both is not enough, whichever it is.
    for env in {}, other:
        r = box.run(*to, env=env)
        assert r.code == 13 and 'AccessDenied' in r.err, (r.code, r.err)
    theirs = {'VMKEEP_TO_' + k: v for k, v in other.items()}
    r = box.run(*to, env=theirs)
    assert r.code == 0 and r.json_lines()[-1]['copied'] == 1, r.err
    # The same from a profile; what the variables say of a key does not count.
    os.mkdir(box.path('.aws'))
    box.write('.aws/credentials', '[away]\naws_access_key_id = AKOTHER\n'
              'aws_secret_access_key = SKOTHER\n')
    change(path)
    ok(box, 'import', path, '--name', 'web')
    r = box.run(*to, '--to-profile', 'nobody')
    assert r.code == 13 and "profile 'nobody'" in r.err, (r.code, r.err)
    r = box.run(*to, '--to-profile', 'away',
                env={'VMKEEP_TO_AWS_ACCESS_KEY_ID': 'no',
                     'VMKEEP_TO_AWS_SECRET_ACCESS_KEY': 'no'})
    assert r.code == 0 and r.json_lines()[-1]['copied'] == 1, r.err
    r = box.run(*to, env={'VMKEEP_TO_AWS_PROFILE': 'away'})
    assert r.code == 0 and r.json_lines()[-1]['there'] == 2, (r.out, r.err)
    r = box.run('-r', second, 'check', '--read-data', env=other)
    assert r.code == 0, r.err
    server.stop()


def markers(repo):
    return sorted(n for _, _, names in os.walk(os.path.join(repo, 'sess'))
                  for n in names)


def doctor(box, code, *args, **how):
    r = box.run('doctor', '--json', *args, **how)
    assert r.code == code, (r.code, r.out, r.err)
    d = r.json()
    return d, {c['check']: c['result'] for c in d['checks']}


def host_key(box):
    r = box.run('key', 'add', '--role', 'host',
                env={'VMKEEP_NEW_PASSWORD': 'host'})
    assert r.code == 0, r.err
    return {'VMKEEP_PASSWORD': 'host'}


def test_doctor_directory(box):
    """doctor: a folder; nothing is left behind; who can delete is told"""
    repo = box.path('repo')
    box.env.update(VMKEEP_PASSWORD=PASSWORD, VMKEEP_REPOSITORY=repo)
    ok(box, 'init', repo)
    ok(box, 'import', image(box, 'web.raw', 1, 9 * MIB), '--name', 'web')
    before = markers(repo)
    assert before
    d, checks = doctor(box, 0)
    assert markers(repo) == before and os.listdir(repo + '/tmp') == []
    assert d['result'] == 'ok' and d['can_delete'] is True, d
    assert d['exclusive'] and d['free_bytes'] > 0 and d['versioned'] is None
    assert abs(d['clock_ahead_s']) < 3600 and d['put_ms'] > 0, d
    assert [m['machine'] for m in d['machines']] == ['web'], d
    assert checks['names'] == checks['write'] == checks['durable'] == 'ok'
    assert d['can_overwrite'] is True and d['syncs_files'] is True, d
    assert d['last_check'] is None and d['last_full_check'] is None, d
    r = ok(box, 'doctor')
    matches(r'web: \d{4}-\d\d-\d\d', r.out)
    matches(r'last full check .* none on this host', r.out)
    # To a host that only backs up it is a warning.
    env = host_key(box)
    d, checks = doctor(box, 3, env=env)
    assert checks['delete'] == 'warning' and d['role'] == 'host', d
    box.run('key', 'add', '--role', 'restore',
            env={'VMKEEP_NEW_PASSWORD': 'reader'})
    before = markers(repo)
    d, checks = doctor(box, 0, env={'VMKEEP_PASSWORD': 'reader'})
    assert d['may_write'] is False and d['can_delete'] is None
    assert markers(repo) == before and 'write' not in checks
    assert box.run('doctor', '-r', box.path('no')).code == 10


def test_doctor_checked(box):
    """doctor: when this host last checked, and that other hosts' do not count"""
    repo = box.path('repo')
    box.env.update(VMKEEP_PASSWORD=PASSWORD, VMKEEP_REPOSITORY=repo)
    ok(box, 'init', repo)
    ok(box, 'import', image(box, 'web.raw', 1, 9 * MIB), '--name', 'web')
    ok(box, 'check')
    d, _ = doctor(box, 0)
    assert d['last_check']['faults'] == 0 and d['last_full_check'] is None, d
    ok(box, 'check', '--read-subset', '1/1000000')  # not all of it
    assert doctor(box, 0)[0]['last_full_check'] is None
    ok(box, 'check', '--read-data')
    d, _ = doctor(box, 0)
    assert d['last_full_check'] == d['last_check'] or \
        d['last_full_check']['time'] >= d['last_check']['time'], d
    matches(r'last full check +- +\d{4}-.*0\.0 h ago\) on this host, 0 faults',
            ok(box, 'doctor').out)
    d, _ = doctor(box, 0, env={'VMKEEP_CACHE_DIR': box.path('other')})
    assert d['last_check'] is None
    # Damage, found by the check and told again.
    pack, = [os.path.join(p, n) for p, _, names in os.walk(repo + '/packs')
             for n in names if os.path.getsize(os.path.join(p, n)) > MIB]
    with open(pack, 'r+b') as f:
        f.seek(MIB)
        f.write(bytes(100))
    assert box.run('check', '--read-data').code == 4
    d, checks = doctor(box, 3)
    assert d['last_full_check']['faults'] > 0, d
    assert checks['last full check'] == 'warning', checks


def test_doctor_append_only(box):
    """doctor: an SFTP server that lets nobody remove anything"""
    server, repo = sftp(box, '-P', 'remove,rmdir')
    box.env.update(VMKEEP_PASSWORD=PASSWORD, VMKEEP_REPOSITORY=repo)
    ok(box, 'init', repo)
    env = host_key(box)
    # It can still write over what it has written.
    d, checks = doctor(box, 3, env=env)
    assert d['can_delete'] is False and d['can_overwrite'] is True, d
    assert checks['delete'] == 'warning', checks
    # fsync@openssh.com and statvfs@openssh.com tell these.
    assert d['syncs_files'] is True and d['free_bytes'] > 0, d
    assert checks['durable'] == 'ok' and 'space' in checks, checks
    # What it could not remove is a marker as others are, no fault.
    ok(box, 'check', '--read-data')
    server.stop()


def test_doctor_s3(box):
    """doctor: S3, with and without old versions"""
    s3_keys(box)
    server = Server(box, 's3server.py')
    for bucket, code, keeps in ('fine', 3, False), ('fine-versioned', 0, True):
        repo = f's3:http://127.0.0.1:{server.text}/{bucket}/some/where'
        box.env.update(VMKEEP_PASSWORD=PASSWORD, VMKEEP_REPOSITORY=repo)
        ok(box, 'init', repo)
        d, checks = doctor(box, code, env=host_key(box))
        assert (d['can_delete'], d['versioned'], d['locked']) == \
            (True, keeps, False), d
        assert checks['delete'] == ('ok' if keeps else 'warning')
        assert d['exclusive'] and d['list_ms'] > 0 and 'free_bytes' not in d


def test_doctor_ceph(box):
    """doctor: on a Ceph"""
    s3_keys(box)
    server = Server(box, 'rgw.py')
    repo = f's3:http://127.0.0.1:{server.text}/doctor/r'
    box.env.update(VMKEEP_PASSWORD=PASSWORD, VMKEEP_REPOSITORY=repo)
    ok(box, 'init', repo)
    d, checks = doctor(box, 3, env=host_key(box))
    assert (d['can_delete'], d['can_overwrite'], d['versioned'],
            d['locked']) == (True, True, False, False), d
    assert d['exclusive'] and checks['listing'] == checks['clock'] == 'ok', d
    assert abs(d['clock_ahead_s']) < 60 and d['put_ms'] > 0, d
    server.stop()


def progress(child):
    """What a command that is under way has done, as it says when asked."""
    child.send_signal(signal.SIGUSR1)
    while True:
        line = json.loads(child.stdout.readline())
        if line['type'] == 'progress':
            return line['phase'], line['done_bytes']


def test_interrupted_while_it_stalls(box):
    """Ctrl-C ends a command whose storage does not answer any more"""
    s3_keys(box)
    server = Server(box, 's3server.py')
    box.env['VMKEEP_REPOSITORY'] = f's3:http://127.0.0.1:{server.text}/fine'
    ok(box, 'init', '--password-command', f'echo {PASSWORD}')
    with open(box.path('large.raw'), 'wb') as f:
        f.write(random.Random(7).randbytes(64 * MIB))
    child, _ = under_way(box, 'import', box.path('large.raw'), '--name', 'web',
                         reading=True)
    os.kill(server.process.pid, signal.SIGSTOP)
    try:
        # It has read what it can, and waits for the storage.
        before = None
        while (now := progress(child)) != before:
            before = now
            time.sleep(1)
        child.send_signal(signal.SIGINT)
        _, err = child.communicate(timeout=PATIENCE_S)
    finally:
        os.kill(server.process.pid, signal.SIGCONT)
    assert child.returncode == 130, (child.returncode, err)
    assert b'"canceled"' in err and b'interrupted' in err, err
    # Nothing is in the way of doing it again.
    box.env['VMKEEP_PASSWORD'] = PASSWORD
    ok(box, 'import', box.path('large.raw'), '--name', 'web')
    server.stop()


if __name__ == '__main__':
    main()
