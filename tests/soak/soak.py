#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""Many processes on one repository for SOAK_SECONDS (10), all at once.

8 writers import images that change, and share content with each other and with
what was forgotten long ago; 2 maintainers forget and prune, with times of the
protocol so short (make_repo.c) that packs are condemned, emptied and deleted
all the while; a verifier checks all data and restores.  Writers and prunes are
killed, and stopped for longer than their lease or window.

At no time does a check find damage, and every backup that was reported as made
and is not forgotten is restored to its SHA-256, up to the end.  What is done
when is chosen by SOAK_SEED, else at random; it is printed, though what the
kernel's scheduler adds to it can't be.
"""
import collections
import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import tempfile
import threading
import time

from harness import PASSWORD, VMKEEP, main

SECONDS = float(os.environ.get('SOAK_SECONDS') or 10)
SEED = int(os.environ.get('SOAK_SEED') or random.randrange(1 << 32))
WRITERS, MAINTAINERS, HOSTS = 8, 2, 2
LEASE, VISIBILITY, WINDOW, GRACE, AGE = 2, 1, 1, 6, 1  # seconds
# A prune that is stopped between its look at the clock and a removal may be
# late by so much: what is left of the grace (docs/design/repository.md).
PRUNE_STOP = 2.5
CHECK_MAX = GRACE - VISIBILITY  # one that takes longer may meet maintenance
BLOCK, BLOCKS = 16 << 10, 24  # of an image
PATIENCE_S = 300
# What a run may say that was killed, stopped too long, or met maintenance.
STOPPED = (-signal.SIGKILL,)


def block(number):
    return random.Random(number).randbytes(BLOCK)


class Soak:
    """What all threads share."""

    def __init__(self, box):
        shm = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
        self.dir = tempfile.mkdtemp(prefix='vmkeep-soak-', dir=shm)
        self.repo = self.dir + '/repo'
        self.env = {**box.env, 'VMKEEP_PASSWORD': PASSWORD,
                    'VMKEEP_REPOSITORY': self.repo}
        subprocess.run([os.environ['MAKE_REPO'], self.repo, *map(
            str, (LEASE, VISIBILITY, WINDOW, GRACE, AGE))], check=True)
        self.end = time.monotonic() + SECONDS
        self.lock = threading.Lock()  # guards the rest
        self.count = collections.Counter()
        self.sums = {}         # of backups that were reported: id -> SHA-256
        self.tried = collections.defaultdict(set)  # machine -> SHA-256s
        self.forgotten = set()
        self.wrong = []

    def add(self, **counts):
        with self.lock:
            self.count.update(counts)

    def note(self, *what):
        """For who looks for a cause afterwards."""
        with self.lock, open(self.dir + '/log', 'a', encoding='utf-8') as f:
            print(f'{time.time():.3f}', *what, file=f)

    def fail(self, text):
        self.note('WRONG', text)
        with self.lock:
            self.wrong.append(text)

    def is_over(self):
        return time.monotonic() > self.end or len(self.wrong) > 5

    def run(self, host, *args, torment=None):
        """A run on that host: exit code, stdout, stderr."""
        child = subprocess.Popen(
            [VMKEEP, *args], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
            stderr=subprocess.PIPE, text=True, start_new_session=True,
            env={**self.env, 'HOME': f'{self.dir}/host{host}'})
        self.note(child.pid, *args[:1])
        if torment:
            torment(child)
        try:
            out, err = child.communicate(timeout=PATIENCE_S)
        finally:
            child.kill()
        self.note(child.pid, args[0], 'exit', child.returncode, out.strip())
        if child.returncode < 0 and child.returncode != -signal.SIGKILL:
            self.fail(f'{args[0]} died of signal {-child.returncode}: {err}')
        return child.returncode, out, err


class Torment:
    """Kills some processes, stops others for a while."""

    def __init__(self, soak, rng, kill, stop, longest_s):
        self.soak, self.rng = soak, rng
        self.kill, self.stop, self.longest_s = kill, stop, longest_s

    def __call__(self, child):
        dice = self.rng.random()
        if dice > self.kill + self.stop:
            return
        time.sleep(self.rng.uniform(0, 0.25))
        if child.poll() is not None:
            return
        if dice < self.kill:
            child.kill()
            self.soak.add(kills=1)
            return
        self.soak.note(child.pid, 'stopped')
        child.send_signal(signal.SIGSTOP)
        time.sleep(self.rng.uniform(0.5, self.longest_s))
        child.send_signal(signal.SIGCONT)
        self.soak.note(child.pid, 'continued')
        self.soak.add(suspensions=1)


# ---- who does what ------------------------------------------------------------

def change(rng, numbers):
    """New content for some blocks: of its own, or that others have as well."""
    for _ in range(rng.randint(1, 6)):
        at = rng.randrange(BLOCKS)
        numbers[at] = rng.choice([rng.randrange(40), rng.randrange(1 << 40)])


def writer(soak, me):
    rng = random.Random(f'{SEED} writer {me}')
    numbers = [rng.randrange(40) for _ in range(BLOCKS)]
    path, machine = f'{soak.dir}/image{me}.raw', f'machine{me}'
    torment = Torment(soak, rng, 0.12, 0.08, 2.5 * LEASE)
    while not soak.is_over():
        change(rng, numbers)
        data = b''.join(map(block, numbers))
        digest = hashlib.sha256(data).hexdigest()
        with open(path, 'wb') as f:
            f.write(data)
        with soak.lock:
            soak.tried[machine].add(digest)
        code, out, err = soak.run(me % HOSTS, 'import', path, '--name', machine,
                                  '--json', '--no-progress', torment=torment)
        if code == 0:
            summary = json.loads(out.splitlines()[-1])
            with soak.lock:
                soak.sums[summary['backup_id']] = digest
                soak.count['committed'] += 1
        elif code not in STOPPED:
            soak.add(refused=1)
            # Only where storage or protocol say so: 13; nothing is published.
            if code != 13:
                soak.fail(f'import: exit {code}: {err}')


def maintainer(soak, me):
    rng = random.Random(f'{SEED} maintainer {me}')
    torment = Torment(soak, rng, 0.08, 0.08, PRUNE_STOP)
    time.sleep(1 + me)
    while not soak.is_over():
        code, out, err = soak.run(me % HOSTS, 'forget', '--json', '--keep-last',
                                  str(rng.randint(1, 4)))
        if code == 0:
            ids = [b['id'] for b in json.loads(out)['forgotten']]
            with soak.lock:
                soak.forgotten.update(ids)
                soak.count['forgotten'] = len(soak.forgotten)
        else:
            soak.fail(f'forget: exit {code}: {err}')
        prune(soak, me, torment)
        time.sleep(rng.uniform(0, 1))


def prune(soak, host, torment=None):
    code, out, err = soak.run(host, 'prune', '--json', torment=torment)
    soak.add(prunes=1)
    if code == 0:
        r = json.loads(out)
        soak.add(**{k: r[k + '_packs'] for k in
                    ('condemned', 'deleted', 'repacked', 'pardoned')},
                 refs_removed=r['deleted_backups'],
                 merged_segments=r['merged_segments'])
    elif code not in STOPPED:
        soak.add(prunes_refused=1)
        if not torment:
            soak.fail(f'prune: exit {code}: {err}')


def restore(soak, backup, wanted, to):
    """1 if it has one of the wanted sums, else 0 and why."""
    shutil.rmtree(to, ignore_errors=True)
    code, _, err = soak.run(0, 'restore', backup, '--to', to, '--format', 'raw')
    if code != 0:
        return 0, f'restore of {backup}: exit {code}: {err}'
    (name,) = [n for n in os.listdir(to) if n.endswith('.raw')]
    with open(f'{to}/{name}', 'rb') as f:
        if hashlib.sha256(f.read()).hexdigest() not in wanted:
            return 0, f'restore of {backup}: WRONG BYTES'
    return 1, ''


def check(soak, patience=CHECK_MAX):
    start = time.monotonic()
    code, out, err = soak.run(0, 'check', '--read-data')
    if time.monotonic() - start > patience:
        soak.add(checks_too_slow=1)
        return
    soak.add(checks=1)
    if code != 0:
        soak.fail(f'check: exit {code}: {err}\n{out}')


def verifier(soak, _):
    rng = random.Random(f'{SEED} verifier')
    while not soak.is_over():
        check(soak)
        for _ in range(4):
            with soak.lock:
                known = sorted(set(soak.sums) - soak.forgotten)
            if not known:
                time.sleep(0.2)
                continue
            backup = rng.choice(known)
            ok, why = restore(soak, backup, {soak.sums[backup]},
                              soak.dir + '/restored')
            with soak.lock:
                gone = backup in soak.forgotten
            soak.add(restored=ok)
            if not ok and ('WRONG' in why or not gone):
                soak.fail(why)


# ---- the end ------------------------------------------------------------------

def final_look(soak):
    """All that is listed is right, and nothing that was reported is missing."""
    code, out, err = soak.run(0, 'list', '--json')
    assert code == 0, err
    listed = {b['id']: b['machine'] for b in json.loads(out)}
    for backup in set(soak.sums) - soak.forgotten - set(listed):
        soak.fail(f'{backup} was reported as made, not forgotten, and is gone')
    for backup, machine in listed.items():
        # One whose writer was killed before it could tell is not known.
        wanted = {soak.sums[backup]} if backup in soak.sums \
            else soak.tried[machine]
        ok, why = restore(soak, backup, wanted, soak.dir + '/restored')
        soak.add(restored=ok, restored_at_the_end=ok)
        if not ok:
            soak.fail(why)
    check(soak, PATIENCE_S)


def test_soak(box):
    """Writers, maintenance and restores at once; some are killed or stopped"""
    soak = Soak(box)
    print(f'# seed {SEED}, {SECONDS:.0f} s', flush=True)

    def guarded(fn, me):
        try:
            fn(soak, me)
        except Exception as why:  # whatever it is: the test must fail
            soak.fail(f'{fn.__name__} {me}: {why!r}')

    threads = [threading.Thread(target=guarded, args=(fn, i)) for fn, n in (
        (writer, WRITERS), (maintainer, MAINTAINERS), (verifier, 1))
               for i in range(n)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
    try:
        final_look(soak)
        for _ in range(2):  # and nothing more is lost by what is still due
            time.sleep(GRACE + 0.5)
            prune(soak, 0)
        final_look(soak)
    finally:
        print('# ' + ', '.join(f'{k} {v}' for k, v in
                               sorted(soak.count.items())), flush=True)
        if soak.wrong:
            print(f'# repository and log are kept: {soak.dir}')
        else:
            shutil.rmtree(soak.dir, ignore_errors=True)
    assert not soak.wrong, '\n'.join(soak.wrong[:10])
    assert soak.count['committed'] > WRITERS and soak.count['restored'] > 0
    assert soak.count['deleted'] > 0 or SECONDS < 20


main()
