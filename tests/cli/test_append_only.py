# SPDX-License-Identifier: Apache-2.0
"""The recipes of docs/append-only.md, as they are written there."""
import json
import os
import pwd
import re
import shutil
import subprocess
import sys
import tempfile

from harness import PASSWORD, PATIENCE_S, Skip, main, matches
from test_remote import (MIB, REMOTE, Server, change, doctor, host_key, image,
                         ok, s3_keys)

sys.path.insert(0, REMOTE)
from s3client import Client  # pylint: disable=wrong-import-position

DOC = os.path.join(REMOTE, '..', '..', 'docs', 'append-only.md')
HOST = {'AWS_ACCESS_KEY_ID': 'AKweb-01', 'AWS_SECRET_ACCESS_KEY': 'SKweb-01'}
ENABLED = '<Status>Enabled</Status>'


def recipe(kind, about):
    """The block of that language that has these words in it."""
    with open(DOC, encoding='utf-8') as f:
        blocks = re.findall(r'^```(\w*)\n(.*?)^```$', f.read(), re.M | re.S)
    found, = [text for k, text in blocks if k == kind and about in text]
    return found


class Host:
    """The host that backs itself up, with its own account and key."""

    def __init__(self, box, repo, env):
        self.box, self.repo, self.env = box, repo, env
        self.path = image(box, 'web.raw', 1, 9 * MIB)

    def run(self, *args, env=None):
        return self.box.run('-r', self.repo, *args,
                            env={**self.env, **(env or {})})

    def ok(self, *args, env=None):
        r = self.run(*args, env=env)
        assert r.code == 0, (args, r.code, r.out, r.err)
        return r

    def backs_up(self):
        """Twice; the ids."""
        ids = []
        for _ in range(2):
            change(self.path)
            r = self.ok('import', self.path, '--name', 'web', '--json')
            ids.append(r.json_lines()[-1]['backup_id'])
        return ids

    def restores(self):
        """With the admin's password, over the host's account."""
        admin = {'VMKEEP_PASSWORD': PASSWORD}
        assert len(self.ok('list', '--json', env=admin).json()) == 2
        self.ok('restore', 'latest', '--to', 'out', '--format', 'raw',
                env=admin)
        subprocess.run(['cmp', self.path, self.box.path('out/web.raw')],
                       check=True)
        self.ok('check', '--read-data', env=admin)

    def is_refused(self, old):
        """Its key may not forget; and with the admin's, the storage says no."""
        r = self.run('forget', old)
        assert r.code == 12 and 'may not forget' in r.err, (r.code, r.err)
        admin = {'VMKEEP_PASSWORD': PASSWORD}
        r = self.run('forget', old, env=admin)
        assert r.code == 13, (r.code, r.err)
        matches('AccessDenied|ermission denied', r.err)
        assert len(self.ok('list', '--json', env=admin).json()) == 2


def maintains(box, old, **how):
    """Elsewhere, under the other account."""
    for command in ('forget', old), ('prune',), ('check', '--read-data'):
        r = box.run(*command, **how)
        assert r.code == 0, (command, r.code, r.err)
    r = box.run('list', '--json', **how)
    assert len(r.json()) == 1, r.out
    r = box.run('doctor', '--json', **how)
    assert r.json()['can_delete'] is True, r.out


class Bucket:
    """A Ceph with a bucket of the account that maintains it."""

    def __init__(self, box, **headers):
        s3_keys(box)
        self.server = Server(box, 'rgw.py')
        self.server.ask('user web-01')
        self.owner = Client('127.0.0.1', int(self.server.text), 'AKTEST',
                            'SKTEST')
        self.thief = Client('127.0.0.1', int(self.server.text),
                            *HOST.values())
        self.does('PUT', '/backups', **headers)
        self.repo = f's3:http://127.0.0.1:{self.server.text}/backups/site'
        box.env.update(VMKEEP_PASSWORD=PASSWORD, VMKEEP_REPOSITORY=self.repo)

    def does(self, *args, who=None, status=(200, 204), **more):
        code, text = (who or self.owner).request(*args, **more)
        assert code in status, (args, code, text)
        return text

    def policy(self):
        self.does('PUT', '/backups', {'policy': ''},
                  recipe('json', '"Sid": "add"').replace('user/backup',
                                                         'user/t'))

    def keys(self):
        text = self.does('GET', '/backups', {'list-type': '2'})
        return re.findall('<Key>(.*?)</Key>', text)

    def cannot_be_robbed(self):
        """What a thief would send himself."""
        for key in self.keys():
            path = '/backups/' + key
            self.does('DELETE', path, who=self.thief, status=(403,))
            self.does('PUT', path, {'acl': ''}, who=self.thief, status=(403,),
                      x_amz_acl='private')
        for where in 'keys/x', 'config', 'cond/x', 'retired/x':
            self.does('PUT', '/backups/site/' + where, None, b'x',
                      who=self.thief, status=(403,))
        for what in 'policy', 'versioning', 'lifecycle', 'object-lock':
            self.does('PUT', '/backups', {what: ''}, b'<x/>', who=self.thief,
                      status=(403,))


def test_bucket_policy(box):
    """S3: a bucket policy without removals, and versions"""
    b = Bucket(box)
    b.does('PUT', '/backups', {'versioning': ''},
           f'<VersioningConfiguration>{ENABLED}</VersioningConfiguration>')
    b.policy()
    ok(box, 'init')
    host = Host(box, b.repo, {**HOST, **host_key(box)})
    old, _ = host.backs_up()
    host.restores()
    host.is_refused(old)
    b.cannot_be_robbed()
    d, checks = doctor(box, 0, '-r', b.repo, env=host.env)
    assert (d['can_delete'], d['can_overwrite'], d['versioned']) == \
        (False, True, True), d
    assert checks['delete'] == 'ok', d
    # Without versions a thief could write over them, and that is told.
    b.does('PUT', '/backups', {'versioning': ''}, '<VersioningConfiguration>'
           '<Status>Suspended</Status></VersioningConfiguration>')
    d, checks = doctor(box, 3, '-r', b.repo, env=host.env)
    assert checks['delete'] == 'warning', d
    b.does('PUT', '/backups', {'versioning': ''},
           f'<VersioningConfiguration>{ENABLED}</VersioningConfiguration>')
    # What a thief wrote over comes back.
    pack = max(k for k in b.keys() if '/packs/d/' in k)
    b.does('PUT', '/backups/' + pack, None, b'gone', who=b.thief)
    assert box.run('check', '--read-data').code == 4
    text = b.does('GET', '/backups', {'versions': '', 'prefix': pack})
    newest = re.search('<VersionId>(.*?)</VersionId>', text)[1]
    b.does('DELETE', '/backups/' + pack, {'versionId': newest}, who=b.thief,
           status=(403,))
    b.does('DELETE', '/backups/' + pack, {'versionId': newest})
    maintains(box, old)
    b.server.stop()


def lock_document():
    lock = json.loads(recipe('json', 'DefaultRetention'))
    rule = lock['Rule']['DefaultRetention']
    return ('<ObjectLockConfiguration>'
            f'<ObjectLockEnabled>{lock["ObjectLockEnabled"]}'
            '</ObjectLockEnabled><Rule><DefaultRetention>'
            f'<Mode>{rule["Mode"]}</Mode><Days>{rule["Days"]}</Days>'
            '</DefaultRetention></Rule></ObjectLockConfiguration>')


def test_object_lock(box):
    """S3: object lock: even the owner ends no version"""
    b = Bucket(box, x_amz_bucket_object_lock_enabled='true')
    b.does('PUT', '/backups', {'object-lock': ''}, lock_document())
    b.policy()
    ok(box, 'init')
    host = Host(box, b.repo, {**HOST, **host_key(box)})
    old, _ = host.backs_up()
    host.restores()
    host.is_refused(old)
    d, checks = doctor(box, 0, '-r', b.repo, env=host.env)
    assert (d['can_delete'], d['versioned'], d['locked']) == \
        (False, True, True), d
    assert checks['delete'] == 'ok', d
    # The owner's removal hides an object; the version stays, and comes back.
    pack = max(k for k in b.keys() if '/packs/d/' in k)
    b.does('DELETE', '/backups/' + pack)
    assert pack not in b.keys()
    text = b.does('GET', '/backups', {'versions': '', 'prefix': pack})
    versions = re.findall(r'<(Version|DeleteMarker)>.*?<VersionId>(.*?)<',
                          text, re.S)
    kinds = dict(versions)
    b.does('DELETE', '/backups/' + pack, {'versionId': kinds['Version']},
           status=(403,))
    b.does('DELETE', '/backups/' + pack, {'versionId': kinds['DeleteMarker']})
    assert pack in b.keys()
    maintains(box, old)
    b.server.stop()


# ---- SFTP ------------------------------------------------------------------


def sftp_server(box):
    """A folder that sshd takes for a root: it and those above are root's."""
    if os.geteuid() != 0:
        raise Skip('accounts of a server need root')
    user = pwd.getpwnam('nobody')
    top = tempfile.mkdtemp(prefix='vmkeep-append-', dir='/run')
    os.chmod(top, 0o755)
    text = recipe('', 'ChrootDirectory').replace('/srv/backup/web-01', top)
    conf = box.write('match.conf', text.replace('web-01', user.pw_name))
    server = Server(box, 'sshd.py', '--match', conf)
    return server, top, user


def seal(top, user):
    """The job that runs on the server; nothing is too young for it here."""
    group = str(user.pw_gid)
    script = recipe('sh', 'packs index refs').replace(
        '/srv/backup/web-01', top).replace('-mmin +10', '-mmin -10').replace(
        'chgrp web-01', 'chgrp ' + group).replace('web-01', user.pw_name)
    subprocess.run(['sh', '-e', '-c', script], check=True)


def contents(top):
    seen = {}
    for folder, _, names in os.walk(top + '/repo'):
        for name in names:
            path = os.path.join(folder, name)
            with open(path, 'rb') as f:
                seen[path] = f.read()
    return seen


def rob(server, top, commands):
    """What a thief would do by OpenSSH's own client; it must change nothing
    that is there."""
    before = contents(top)
    for command in commands:
        subprocess.run(
            ['sftp', '-q', '-b', '-', '-F', server.text + '/ssh_config',
             'nobody@127.0.0.1'], input=command + '\n', text=True,
            capture_output=True, timeout=PATIENCE_S, check=False)
        after = contents(top)
        changed = [p for p in before if after.get(p) != before[p]]
        assert not changed, (command, changed)


def test_sftp_jail(box):
    """SFTP: refused requests, a folder as root, files that are taken away"""
    server, top, user = sftp_server(box)
    try:
        box.env.update(VMKEEP_PASSWORD=PASSWORD, VMKEEP_SSH_COMMAND=(
            f'ssh -F {server.text}/ssh_config'))
        box.env['VMKEEP_REPOSITORY'] = f'sftp:root@127.0.0.1:{top}/repo'
        ok(box, 'init')
        host = Host(box, 'sftp:nobody@127.0.0.1:/repo', host_key(box))
        seal(top, user)
        old, _ = host.backs_up()
        pack = [p for p in contents(top) if '/packs/d/' in p][0]
        # Before the job was there, its own files are in its reach.
        d, _ = doctor(box, 3, '-r', host.repo, env=host.env)
        assert (d['can_delete'], d['can_overwrite']) == (False, True), d
        seal(top, user)
        host.restores()
        host.is_refused(old)
        d, checks = doctor(box, 0, '-r', host.repo, env=host.env)
        assert (d['can_delete'], d['can_overwrite']) == (False, False), d
        assert checks['delete'] == 'ok', d
        inside = pack[len(top):]
        box.write('x', 'x')
        rob(server, top, [
            f'rm {inside}', f'put {box.path("x")} {inside}',
            f'reput {box.path("x")} {inside}', f'chmod 777 {inside}',
            f'rename {inside} /repo/packs/x', 'rename /repo/packs /repo/p',
            f'rename {os.path.dirname(inside)} /repo/packs/x',
            f'rmdir {os.path.dirname(inside)}', 'mkdir /repo/retired',
            f'symlink {inside} /repo/packs/link', 'rm /repo/config',
            f'put {box.path("x")} /repo/config'])
        assert not os.path.exists(top + '/repo/retired')
        maintains(box, old)
        seal(top, user)
        host.ok('import', host.path, '--name', 'web')
    finally:
        server.stop()
        shutil.rmtree(top)


if __name__ == '__main__':
    main()
