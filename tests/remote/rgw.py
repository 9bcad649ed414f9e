#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small Ceph with its RADOS Gateway, by default on loopback and in memory.

usage: rgw.py [--osds N] [--store memstore|bluestore] [--address IP] [--tls]

Says "ready PORT", with --tls "ready PORT FILE" where FILE is the certificate,
and serves until its standard input ends; "skip REASON" where
Debian's packages ceph-mon, ceph-osd, radosgw and ceph-common are not
installed.  One monitor and no manager: S3 needs none.  With three OSDs each
object is on all of them, and two are enough to write.  The key is AKTEST, its
secret SKTEST; IP is where the gateway listens.

Takes commands, a line each, and answers "done TEXT" or "failed TEXT":
  kill rgw | kill osd.N     SIGKILL
  start rgw | start osd.N   again; the gateway is waited for
  user NAME                 another one, key AKNAME, secret SKNAME
  ceph WORD...              what the cluster's own command says to that
An OSD that is killed has its data afterwards with bluestore only; memstore
begins again with an empty one, as after a disk was replaced.
"""
import argparse
import os
import shlex
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import tempfile
import time
import urllib.error
import urllib.request
import uuid

PATIENCE_S = 60
PROGRAMS = ('ceph-mon', 'ceph-osd', 'radosgw', 'radosgw-admin', 'ceph',
            'ceph-authtool', 'monmaptool')
CLASSES = '/usr/lib/x86_64-linux-gnu/rados-classes'

CONF = '''[global]
fsid = {fsid}
mon_host = [v2:127.0.0.1:{mon_port}]
public_addr = 127.0.0.1
cluster_addr = 127.0.0.1
ms_bind_ipv4 = true
ms_bind_msgr1 = false
keyring = {dir}/keyring
admin_socket = {dir}/run/$name.asok
pid_file = {dir}/run/$name.pid
log_file = {dir}/log/$name.log
mon_cluster_log_file = {dir}/log/cluster.log
log_to_stderr = false
err_to_stderr = false
crash_dir = {dir}/crash
run_dir = {dir}/run
osd_pool_default_size = {osds}
osd_pool_default_min_size = {least}
osd_pool_default_pg_num = 2
osd_pool_default_pgp_num = 2
osd_pool_default_pg_autoscale_mode = off
osd_crush_chooseleaf_type = 0
mon_allow_pool_size_one = true
mon_max_pg_per_osd = 1000
mon_data_avail_crit = 1
mon_data_avail_warn = 2
mon_warn_on_pool_no_redundancy = false
paxos_propose_interval = 0.05
paxos_min_wait = 0.02
mon_osd_reporter_subtree_level = osd
osd_heartbeat_interval = 1
osd_heartbeat_grace = 4
[mon]
mon_data = {dir}/mon
[osd]
osd_class_dir = {classes}
osd_data = {dir}/osd.$id
osd_objectstore = {store}
memstore_device_bytes = 4294967296
bluestore_block_size = 2147483648
bluestore_block_db_create = false
bluestore_cache_autotune = false
bluestore_cache_size = 67108864
osd_op_num_shards = 2
[client.rgw]
rgw_data = {dir}/rgw
rgw_frontends = beast {endpoint}
rgw_thread_pool_size = 32
rgw_run_sync_thread = false
rgw_enable_usage_log = false
rgw_enable_quota_threads = false
rgw_dns_name = localhost
'''


def free_port(address='127.0.0.1'):
    with socket.socket() as s:
        s.bind((address, 0))
        return s.getsockname()[1]


def quietly(text):
    return text.replace('\n', ' ').strip()


class Ceph:
    def __init__(self, osds=1, store='memstore', address='127.0.0.1',
                 tls=False):
        memory = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
        self.dir = tempfile.mkdtemp(
            prefix='vmkeep-rgw-', dir=memory if store == 'bluestore' else None)
        self.osds, self.store, self.address = osds, store, address
        self.children = {}  # by name, also those that were killed
        self.port, self.tls = free_port(address), tls
        self.env = {**os.environ, 'CEPH_CONF': self.path('ceph.conf')}

    def path(self, name):
        return os.path.join(self.dir, name)

    def run(self, *argv):
        done = subprocess.run(argv, env=self.env, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=PATIENCE_S)
        if done.returncode:
            raise RuntimeError(f'{argv}: {done.stderr.decode()}')
        return done.stdout.decode()

    def run_together(self, commands):
        children = [subprocess.Popen(argv, env=self.env,
                                     stdin=subprocess.DEVNULL,
                                     stdout=subprocess.DEVNULL,
                                     stderr=subprocess.PIPE)
                    for argv in commands]
        for child in children:
            _, err = child.communicate(timeout=PATIENCE_S)
            if child.returncode:
                raise RuntimeError(f'{child.args}: {err.decode()}')

    def start(self, name):
        """In the foreground, so that we know its process."""
        kind, _, number = name.partition('.')
        who = {'mon': ['ceph-mon', '-i', 'a'],
               'osd': ['ceph-osd', '-i', number],
               'rgw': ['radosgw', '-n', 'client.rgw']}[kind]
        with open(self.path('log/output'), 'ab') as log:
            self.children[name] = subprocess.Popen(
                [*who, '-f', '-c', self.path('ceph.conf')], env=self.env,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log)

    def key(self, name, **caps):
        argv = ['ceph-authtool', self.path('keyring'), '--gen-key', '-n', name]
        if not os.path.exists(self.path('keyring')):
            argv.insert(1, '--create-keyring')
        for cap, value in caps.items():
            argv += ['--cap', cap, value]
        self.run(*argv)

    def endpoint(self):
        """What the gateway listens on, as its configuration has it."""
        where = f'endpoint={self.address}:{self.port}'
        if not self.tls:
            return where
        self.run('openssl', 'req', '-x509', '-newkey', 'rsa:2048', '-nodes',
                 '-subj', '/CN=rgw', '-days', '2',
                 '-addext', f'subjectAltName=IP:{self.address}',
                 '-keyout', self.path('key.pem'), '-out',
                 self.path('cert.pem'))
        return (f'ssl_{where} ssl_certificate={self.path("cert.pem")} '
                f'ssl_private_key={self.path("key.pem")}')

    def numbers(self):
        return range(self.osds)

    def monitor(self):
        for name in ('mon', 'rgw', 'run', 'log',
                     *(f'osd.{i}' for i in self.numbers())):
            os.mkdir(self.path(name))
        fsid, mon_port = str(uuid.uuid4()), free_port()
        with open(self.path('ceph.conf'), 'w', encoding='utf-8') as f:
            f.write(CONF.format(dir=self.dir, fsid=fsid, mon_port=mon_port,
                                port=self.port, classes=CLASSES,
                                endpoint=self.endpoint(), store=self.store,
                                osds=self.osds, least=(self.osds + 1) // 2))
        self.key('client.admin', mon='allow *', osd='allow *')
        self.key('mon.', mon='allow *')
        self.key('client.rgw', mon='allow rwx', osd='allow rwx')
        for i in self.numbers():
            self.key(f'osd.{i}', mon='allow profile osd', osd='allow *')
        self.run('monmaptool', '--create', '--clobber', '--fsid', fsid,
                 '--addv', 'a', f'[v2:127.0.0.1:{mon_port}]',
                 self.path('monmap'))
        self.run('ceph-mon', '-c', self.path('ceph.conf'), '--mkfs', '-i', 'a',
                 '--monmap', self.path('monmap'),
                 '--keyring', self.path('keyring'))
        self.start('mon')

    def disks(self):
        ids = [str(uuid.uuid4()) for _ in self.numbers()]
        self.run('ceph', 'auth', 'import', '-i', self.path('keyring'))
        for i, osd in enumerate(ids):
            self.run('ceph', 'osd', 'new', osd, str(i))
        self.run_together(
            ['ceph-osd', '-c', self.path('ceph.conf'), '-i', str(i), '--mkfs',
             '--osd-uuid', osd] for i, osd in enumerate(ids))
        for i in self.numbers():
            self.start(f'osd.{i}')

    def user(self, name, key):
        self.run('radosgw-admin', '-c', self.path('ceph.conf'), 'user',
                 'create', f'--uid={name}', f'--display-name={name}',
                 f'--access-key=AK{key}', f'--secret-key=SK{key}')

    def wait_gateway(self):
        end = time.monotonic() + PATIENCE_S
        while not self.answers():
            if time.monotonic() > end:
                raise RuntimeError('the gateway never answered')
            time.sleep(.05)

    def gateway(self):
        self.disks()
        self.start('rgw')
        self.user('t', 'TEST')
        self.wait_gateway()

    def answers(self):
        ended = [n for n, c in self.children.items() if c.poll() is not None]
        if any(self.children[n].returncode != -signal.SIGKILL for n in ended):
            raise RuntimeError(f'a part of Ceph has ended: {ended}')
        scheme, context = 'http', None
        if self.tls:
            scheme = 'https'
            context = ssl.create_default_context(cafile=self.path('cert.pem'))
        try:
            urllib.request.urlopen(f'{scheme}://{self.address}:{self.port}/',
                                   timeout=5, context=context).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def kill(self, name):
        self.children[name].kill()
        self.children[name].wait()

    def obey(self, line):
        word, *rest = shlex.split(line)
        if word == 'kill':
            self.kill(*rest)
        elif word == 'start':
            self.start(*rest)
            if rest == ['rgw']:
                self.wait_gateway()
        elif word == 'user':
            self.user(rest[0], rest[0])
        elif word == 'ceph':
            return quietly(self.run('ceph', *rest))
        else:
            raise RuntimeError(f'no such command: {word}')
        return ''

    def serve(self):
        for line in sys.stdin:
            try:
                print('done', self.obey(line), flush=True)
            except (RuntimeError, KeyError, TypeError,
                    subprocess.TimeoutExpired) as why:
                print('failed', quietly(repr(why)), flush=True)

    def stop(self):
        for child in self.children.values():
            child.kill()  # it has nothing to lose
        for child in self.children.values():
            child.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def options():
    parser = argparse.ArgumentParser()
    parser.add_argument('--osds', type=int, default=1)
    parser.add_argument('--store', default='memstore')
    parser.add_argument('--address', default='127.0.0.1')
    parser.add_argument('--tls', action='store_true')
    return parser.parse_args()


def main():
    given = options()
    os.environ['PATH'] += ':/usr/sbin:/sbin'
    lacking = [p for p in PROGRAMS if not shutil.which(p)]
    if lacking:
        print(f'skip {lacking[0]} is not installed', flush=True)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    ceph = Ceph(**vars(given))
    try:
        ceph.monitor()
        ceph.gateway()
        print('ready', ceph.port, *([ceph.path('cert.pem')] if given.tls
                                    else []), flush=True)
        ceph.serve()
    except RuntimeError as why:
        print(f'failed {quietly(str(why))}', flush=True)
    finally:
        ceph.stop()


if __name__ == '__main__':
    main()
