#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""The program under a file layer that fails, or kills it, at the N-th call that
changes something (shim.c).

Whatever happens to init, import, forget, prune, repair and key add: a check of
all data is clean, every earlier backup is restored to its bytes, what was said
to be done is done, and the same command works the next time.  A sample of the
points, chosen by VMKEEP_SEED, else at random; all by VMKEEP_ALL_FAULTS=1.
"""
import atexit
import hashlib
import os
import random
import re
import shutil
import struct
import subprocess
import tempfile
import time

from harness import PASSWORD, VMKEEP, main

SHIM = os.environ['FAULT_SHIM']
ALL = 'VMKEEP_ALL_FAULTS' in os.environ
SEED = int(os.environ.get('VMKEEP_SEED') or random.randrange(1 << 32))
SAMPLE = 9  # points of each command
KIB = 1 << 10
# Of the protocol, in seconds: lease, visibility, window, grace, age.
TIMES = (3, 0, 2, 5, 1)
GRACE_S = 5.2
HOME = tempfile.mkdtemp(prefix='vmkeep-faults-',
                        dir='/dev/shm' if os.access('/dev/shm', os.W_OK)
                        else None)
atexit.register(shutil.rmtree, HOME, True)

# What happens at the chosen call; "for ever": to all later ones too.
KINDS = [('fail', 'EIO', False), ('fail', 'ENOSPC', True),
         ('done', 'EIO', False), ('short', 'EIO', False),
         ('crash', '', False), ('crash-half', '', False),
         ('crash-after', '', False)]


class Bad(Exception):
    """What must not be."""


def environment():
    env = {'PATH': os.environ['PATH'], 'LC_ALL': 'C.UTF-8', 'TZ': 'UTC',
           'HOME': HOME + '/home', 'VMKEEP_RUNTIME_DIR': HOME + '/run',
           'VMKEEP_PASSWORD': PASSWORD, 'VMKEEP_NEW_PASSWORD': 'new',
           'VMKEEP_PBKDF_MEMORY': '1M'}
    for name in ('ASAN_OPTIONS', 'UBSAN_OPTIONS', 'TSAN_OPTIONS'):
        if name in os.environ:
            env[name] = os.environ[name]
    return env


def vmkeep(repo, *args, **env):
    """A run without faults; its exit code and output."""
    done = subprocess.run([VMKEEP, '-r', repo, *args], stdin=subprocess.DEVNULL,
                          env={**environment(), **env}, capture_output=True,
                          text=True, timeout=120, check=False)
    return done.returncode, done.stdout, done.stderr


def must(repo, *args, codes=(0,), **env):
    code, out, err = vmkeep(repo, *args, **env)
    if code not in codes:
        raise Bad(f'vmkeep {" ".join(args)}: exit {code}: {err.strip()}\n'
                  f'{out.strip()[:2000]}')
    return out


def shimmed(repo, *args, at=0, what='', error='', forever=False):
    """A run under the shim: its exit code, and how many calls it counted."""
    state = HOME + '/state'
    with open(state, 'wb') as f:
        f.write(bytes(4096))
    env = {**environment(), 'LD_PRELOAD': SHIM, 'SHIM_STATE': state,
           'SHIM_UNDER': HOME + '/copy', 'SHIM_PROGRAM': 'vmkeep'}
    env['ASAN_OPTIONS'] = env.get('ASAN_OPTIONS', '') + ':verify_asan_link_order=0'
    for name, value in (('AT', at), ('DO', what), ('ERRNO', error),
                        ('FOREVER', int(forever))):
        if value:
            env['SHIM_' + name] = str(value)
    done = subprocess.run([VMKEEP, '-r', repo, *args], env=env, timeout=120,
                          stdin=subprocess.DEVNULL, capture_output=True,
                          text=True, check=False)
    with open(state, 'rb') as f:
        calls, faults, _ = struct.unpack('<QQQ', f.read(24))
    return done.returncode, calls, faults, done.stderr


# ---- images and the repositories that the commands start with -----------------

def image(name, *seeds):
    """A file of 64 KiB for each seed; the same seed, the same bytes."""
    path = f'{HOME}/{name}.raw'
    if not os.path.exists(path):
        with open(path, 'wb') as f:
            for seed in seeds:
                f.write(random.Random(seed).randbytes(64 * KIB))
            f.truncate(1024 * KIB)
    return path


def digest(path):
    with open(path, 'rb') as f:
        return hashlib.sha256(f.read()).hexdigest()


def imported(repo, name, path):
    """Import it; the backup's id."""
    code, out, err = vmkeep(repo, 'import', path, '--name', name, '--json',
                            '--no-progress')
    if code != 0:
        raise Bad(f'import: {err}')
    return re.search(r'"backup_id": ?"([0-9a-f]+)"', out)[1]


class Template:
    """A repository to be copied, and the backups in it: id -> SHA-256."""

    made = {}

    def __init__(self, name, before, change):
        self.backups, self.ids = {}, {}
        self.repo = f'{HOME}/{name}'
        if before:
            base = template(before)
            shutil.copytree(base.repo, self.repo)
            self.backups, self.ids = dict(base.backups), dict(base.ids)
        else:
            subprocess.run([os.environ['MAKE_REPO'], self.repo,
                            *map(str, TIMES)], check=True)
        change(self)

    def add(self, label, machine, path):
        self.ids[label] = imported(self.repo, machine, path)
        self.backups[self.ids[label]] = digest(path)


def two_machines(t):
    t.add('web1', 'web', image('web1', 1, 2, 3, 4))
    t.add('db', 'db', image('db', 5, 6))


def three_backups(t):
    t.add('web2', 'web', image('web2', 1, 7, 8, 9))


def forgotten(t):
    must(t.repo, 'forget', t.ids['web1'])
    time.sleep(GRACE_S)


def condemned(t):
    must(t.repo, 'prune')
    assert os.listdir(t.repo + '/cond'), 'nothing was condemned'
    time.sleep(GRACE_S)


def packs(repo):
    return [os.path.join(d, f) for d, _, files in os.walk(repo + '/packs/d')
            for f in files]


def damaged(t):
    """The last object of db's pack, and an index of the others."""
    before = set(packs(t.repo))
    t.add('hurt', 'hurt', image('hurt', 10, 11))
    (pack,) = set(packs(t.repo)) - before
    with open(pack, 'r+b') as f:
        f.seek(-1, os.SEEK_END)
        byte = f.read(1)[0]
        f.seek(-1, os.SEEK_END)
        f.write(bytes([byte ^ 1]))
    del t.backups[t.ids['hurt']]  # not to be restored whole any more
    index = t.repo + '/index/d'
    os.unlink(os.path.join(index, sorted(os.listdir(index))[0]))


CHAIN = {'empty': (None, lambda t: None), 'two': ('empty', two_machines),
         'three': ('two', three_backups), 'forgotten': ('three', forgotten),
         'condemned': ('forgotten', condemned), 'damaged': ('three', damaged)}


def template(name):
    if name not in Template.made:
        Template.made[name] = Template(name, *CHAIN[name])
    return Template.made[name]


# ---- what must hold -----------------------------------------------------------

def restores(repo, backup, want):
    to = HOME + '/out'
    shutil.rmtree(to, ignore_errors=True)
    must(repo, 'restore', backup, '--to', to, '--format', 'raw')
    (name,) = [n for n in os.listdir(to) if n.endswith('.raw')]
    if digest(f'{to}/{name}') != want:
        raise Bad(f'WRONG BYTES restored of {backup}')


def restore_all(repo, t, but=()):
    for backup, want in t.backups.items():
        if backup not in but:
            restores(repo, backup, want)


class Job:
    """A command, and what must hold around it.  `may_go`: a backup that it may
    remove; `clean`: there is no damage, before or after."""

    def __init__(self, start, *args, may_go=None, clean=True, done=None,
                 again=(0,)):
        self.template = template(start) if start else None
        self.args = [a(self.template) if callable(a) else a for a in args]
        self.but = [self.template.ids[may_go]] if may_go else []
        self.clean, self.done, self.again = clean, done, again

    def copy(self):
        repo = HOME + '/copy/repo'
        shutil.rmtree(HOME + '/copy', ignore_errors=True)
        os.makedirs(HOME + '/copy')
        os.makedirs(HOME + '/home', exist_ok=True)
        if self.template:
            shutil.copytree(self.template.repo, repo)
        return repo

    def check(self, repo):
        must(repo, 'check', '--read-data', codes=(0,) if self.clean else (0, 4))

    def judge(self, repo, code):
        """After a run that went wrong somewhere."""
        if self.template:
            self.check(repo)
        if self.template and self.clean:
            restore_all(repo, self.template, self.but)
        if code == 0 and self.done:
            self.done(repo, self)
        must(repo, *self.args, codes=self.again)
        if self.done:
            self.done(repo, self)
        self.check(repo)
        if self.template:
            restore_all(repo, self.template, self.but)


def points_of(job):
    """All that can happen: (kind, N)."""
    repo = job.copy()
    code, calls, _, err = shimmed(repo, *job.args)
    assert code in job.again, (code, err)
    assert calls > 5, calls
    return [(kind, n) for kind in KINDS for n in range(1, calls + 1)]


def sweep(title, job, share=1):
    points = points_of(job)
    chosen = points
    if not ALL:
        chosen = random.Random(f'{SEED} {title}').sample(points,
                                                         SAMPLE // share)
    failures, met, killed = [], 0, 0
    for (what, error, forever), n in chosen:
        repo = job.copy()
        code, _, faults, err = shimmed(repo, *job.args, at=n, what=what,
                                       error=error, forever=forever)
        met += faults > 0
        killed += code < 0
        try:
            if what.startswith('crash') != (code == -9) and faults:
                raise Bad(f'exit {code}: {err.strip()}')
            job.judge(repo, code)
        except Bad as why:
            failures.append(f'{what} {error} at {n}: {why}')
    print(f'# {title}: {len(chosen)} of {len(points)} points, {met} met, '
          f'{killed} killed, {len(failures)} failures (seed {SEED})')
    assert met > 0
    assert not failures, '\n'.join(failures[:20])


# ---- the commands ---------------------------------------------------------------

def newest_is(name, path):
    def done(repo, _):
        restores(repo, name + '@latest', digest(path))
    return done


def test_init(_):
    """init, at any call"""
    def usable(repo, _):
        path = image('db', 5, 6)
        restores(repo, imported(repo, 'm', path), digest(path))
    # The second one says that there is a repository, if there is one.
    sweep('init', Job(None, 'init', HOME + '/copy/repo', done=usable,
                      again=(0, 1, 2, 10)), share=3)


def test_first_import(_):
    """The first import, at any call"""
    path = image('web1', 1, 2, 3, 4)
    sweep('first import', Job('empty', 'import', path, '--name', 'new',
                              done=newest_is('new', path)))


def test_import_of_changes(_):
    """An import of what has changed, at any call"""
    path = image('web2', 1, 7, 8, 9)
    sweep('import of changes', Job('two', 'import', path, '--name', 'web',
                                   done=newest_is('web', path)))


def test_forget(_):
    """forget, at any call"""
    def done(repo, job):
        gone = job.template.ids['web1']
        if gone in must(repo, 'list', '--json'):
            raise Bad('it was forgotten and is listed')
    sweep('forget', Job('three', 'forget', lambda t: t.ids['web1'], done=done,
                        again=(0, 2)))


def test_prune_that_condemns(_):
    """A prune that condemns and copies, at any call"""
    def done(repo, _):
        if not os.listdir(repo + '/cond'):
            raise Bad('nothing is condemned')
    sweep('prune that condemns', Job('forgotten', 'prune', may_go='web1',
                                     done=done))


def test_prune_that_deletes(_):
    """A prune that deletes, at any call"""
    def done(repo, job):
        if len(packs(repo)) >= len(packs(job.template.repo)):
            raise Bad('nothing is deleted')
    sweep('prune that deletes', Job('condemned', 'prune', may_go='web1',
                                    done=done))


def test_repair(_):
    """repair, at any call"""
    def done(repo, _):
        path = image('hurt', 10, 11)  # heals what was lost
        backup = imported(repo, 'healer', path)
        restores(repo, backup, digest(path))
        must(repo, 'check', '--read-data')
    sweep('repair', Job('damaged', 'repair', clean=False, done=done,
                        again=(0, 4)))


def test_key_add(_):
    """key add, at any call"""
    def done(repo, _):
        must(repo, 'list', VMKEEP_PASSWORD='new')
    sweep('key add', Job('two', 'key', 'add', '--role', 'admin', done=done),
          share=3)


main()
