#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""A small Ceph on loopback with its RADOS Gateway, all of it in memory.

usage: rgw.py

Says "ready PORT" and serves until its standard input ends; "skip REASON" where
Debian's packages ceph-mon, ceph-osd, radosgw and ceph-common are not
installed.  One monitor, one OSD, no manager: S3 needs none.  The key is AKTEST,
its secret SKTEST.
"""
import os
import shutil
import signal
import socket
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
osd_pool_default_size = 1
osd_pool_default_min_size = 1
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
[mon]
mon_data = {dir}/mon
[osd]
osd_class_dir = {classes}
osd_data = {dir}/osd0
osd_objectstore = memstore
memstore_device_bytes = 4294967296
osd_op_num_shards = 2
[client.rgw]
rgw_data = {dir}/rgw
rgw_frontends = beast endpoint=127.0.0.1:{port}
rgw_thread_pool_size = 32
rgw_run_sync_thread = false
rgw_enable_usage_log = false
rgw_enable_quota_threads = false
rgw_dns_name = localhost
'''


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


class Ceph:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='vmkeep-rgw-')
        self.children = []
        self.port = free_port()
        self.env = {**os.environ, 'CEPH_CONF': self.path('ceph.conf')}

    def path(self, name):
        return os.path.join(self.dir, name)

    def run(self, *argv):
        done = subprocess.run(argv, env=self.env, stdin=subprocess.DEVNULL,
                              capture_output=True, timeout=PATIENCE_S)
        if done.returncode:
            raise RuntimeError(f'{argv}: {done.stderr.decode()}')

    def start(self, *argv):
        """In the foreground, so that we know its process."""
        with open(self.path('log/output'), 'ab') as log:
            self.children.append(subprocess.Popen(
                [*argv, '-f', '-c', self.path('ceph.conf')], env=self.env,
                stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def key(self, name, **caps):
        argv = ['ceph-authtool', self.path('keyring'), '--gen-key', '-n', name]
        if not os.path.exists(self.path('keyring')):
            argv.insert(1, '--create-keyring')
        for cap, value in caps.items():
            argv += ['--cap', cap, value]
        self.run(*argv)

    def monitor(self):
        for name in ('mon', 'osd0', 'rgw', 'run', 'log'):
            os.mkdir(self.path(name))
        fsid, mon_port = str(uuid.uuid4()), free_port()
        with open(self.path('ceph.conf'), 'w', encoding='utf-8') as f:
            f.write(CONF.format(dir=self.dir, fsid=fsid, mon_port=mon_port,
                                port=self.port, classes=CLASSES))
        self.key('client.admin', mon='allow *', osd='allow *')
        self.key('mon.', mon='allow *')
        self.key('client.rgw', mon='allow rwx', osd='allow rwx')
        self.key('osd.0', mon='allow profile osd', osd='allow *')
        self.run('monmaptool', '--create', '--clobber', '--fsid', fsid,
                 '--addv', 'a', f'[v2:127.0.0.1:{mon_port}]',
                 self.path('monmap'))
        self.run('ceph-mon', '-c', self.path('ceph.conf'), '--mkfs', '-i', 'a',
                 '--monmap', self.path('monmap'),
                 '--keyring', self.path('keyring'))
        self.start('ceph-mon', '-i', 'a')

    def gateway(self):
        osd = str(uuid.uuid4())
        self.run('ceph', 'auth', 'import', '-i', self.path('keyring'))
        self.run('ceph', 'osd', 'new', osd, '0')
        self.run('ceph-osd', '-c', self.path('ceph.conf'), '-i', '0', '--mkfs',
                 '--osd-uuid', osd)
        self.start('ceph-osd', '-i', '0')
        self.start('radosgw', '-n', 'client.rgw')
        self.run('radosgw-admin', '-c', self.path('ceph.conf'), 'user',
                 'create', '--uid=t', '--display-name=t',
                 '--access-key=AKTEST', '--secret-key=SKTEST')
        end = time.monotonic() + PATIENCE_S
        while not self.answers():
            if time.monotonic() > end:
                raise RuntimeError('the gateway never answered')
            time.sleep(.05)

    def answers(self):
        if any(c.poll() is not None for c in self.children):
            raise RuntimeError('a part of Ceph has ended')
        try:
            urllib.request.urlopen(f'http://127.0.0.1:{self.port}/',
                                   timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def stop(self):
        for child in self.children:
            child.kill()  # it has nothing to lose
        for child in self.children:
            child.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def main():
    os.environ['PATH'] += ':/usr/sbin:/sbin'
    lacking = [p for p in PROGRAMS if not shutil.which(p)]
    if lacking:
        print(f'skip {lacking[0]} is not installed', flush=True)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    ceph = Ceph()
    try:
        ceph.monitor()
        ceph.gateway()
        print(f'ready {ceph.port}', flush=True)
        sys.stdin.read()
    except RuntimeError as why:
        text = str(why).replace('\n', ' ')
        print(f'failed {text}', flush=True)
    finally:
        ceph.stop()


if __name__ == '__main__':
    main()
