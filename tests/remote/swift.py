#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""OpenStack Swift with its S3 API, on loopback: one disk, one copy.

usage: swift.py

Says "ready PORT" and serves until its standard input ends; "skip REASON" where
Debian's packages swift-proxy, swift-account, swift-container, swift-object and
memcached are not installed, or namespaces cannot be made.  The key is
AKTEST:x, its secret SKTEST.

It answers a conditional PUT with 501.  Its daemons read /etc/swift/swift.conf
and no other, so each runs where our folder is mounted there.
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

PATIENCE_S = 60
SERVERS = ('account', 'container', 'object', 'proxy')
PYTHON = '/usr/bin/python3'  # Debian's own, which has Swift's modules

COMMON = '''[swift-hash]
swift_hash_path_suffix = a
swift_hash_path_prefix = b
[storage-policy:0]
name = Policy-0
default = yes
'''
STORAGE = '''[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {dir}/etc
devices = {dir}/dev
mount_check = false
workers = 0
log_level = WARNING
log_address = {dir}/none
fallocate_reserve = 0
[pipeline:main]
pipeline = {name}-server
[app:{name}-server]
use = egg:swift#{name}
'''
PROXY = '''[DEFAULT]
bind_ip = 127.0.0.1
bind_port = {port}
user = {user}
swift_dir = {dir}/etc
workers = 0
log_level = WARNING
log_address = {dir}/none
[pipeline:main]
pipeline = catch_errors gatekeeper healthcheck cache listing_formats s3api \
tempauth copy slo dlo versioned_writes proxy-server
[app:proxy-server]
use = egg:swift#proxy
account_autocreate = true
[filter:cache]
use = egg:swift#memcache
memcache_servers = 127.0.0.1:{memcached}
[filter:s3api]
use = egg:swift#s3api
location = us-east-1
[filter:tempauth]
use = egg:swift#tempauth
user_AKTEST_x = SKTEST .admin
'''
FILTERS = ('catch_errors', 'gatekeeper', 'healthcheck', 'listing_formats',
           'copy', 'slo', 'dlo', 'versioned_writes')
# One process for the three: each swift-ring-builder takes a second to start.
RINGS = '''
import sys
from swift.common.ring import RingBuilder
for i, name in enumerate(('account', 'container', 'object')):
    b = RingBuilder(2, 1, 0)
    b.add_dev(dict(region=1, zone=1, ip='127.0.0.1', device='d1', weight=1,
                   port=int(sys.argv[2 + i]),
                   replication_ip='127.0.0.1',
                   replication_port=int(sys.argv[2 + i])))
    b.rebalance(seed='1')
    b.get_ring().save(f'{sys.argv[1]}/etc/{name}.ring.gz')
'''


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def lacking():
    for program in ('memcached', 'unshare',
                    *(f'swift-{n}-server' for n in SERVERS)):
        if not shutil.which(program):
            return f'{program} is not installed'
    if subprocess.run(['unshare', '-m', 'true'], check=False,
                      stderr=subprocess.DEVNULL).returncode != 0:
        return 'no namespace of mounts can be made here'
    return None


class Swift:
    def __init__(self):
        self.dir = tempfile.mkdtemp(prefix='vmkeep-swift-')
        os.chmod(self.dir, 0o755)
        self.children = []
        self.ports = {name: free_port() for name in (*SERVERS, 'memcached')}
        self.port = self.ports['proxy']

    def write(self, name, text):
        with open(f'{self.dir}/etc/{name}', 'w', encoding='utf-8') as f:
            f.write(text)

    def configure(self):
        for name in 'etc', 'dev/d1', 'log':
            os.makedirs(f'{self.dir}/{name}')
        values = {'dir': self.dir, 'user': 'root'}
        self.write('swift.conf', COMMON)
        for name in SERVERS[:3]:
            self.write(f'{name}.conf', STORAGE.format(
                name=name, port=self.ports[name], **values))
        filters = ''.join(f'[filter:{f}]\nuse = egg:swift#{f}\n'
                          for f in FILTERS)
        self.write('proxy.conf', PROXY.format(
            port=self.port, memcached=self.ports['memcached'], **values) +
            filters)
        done = subprocess.run(
            [PYTHON, '-c', RINGS, self.dir,
             *(str(self.ports[n]) for n in SERVERS[:3])],
            capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f'the rings: {done.stderr}')

    def start(self, name, *argv):
        with open(f'{self.dir}/log/{name}', 'wb') as log:
            self.children.append(subprocess.Popen(
                argv, stdin=subprocess.DEVNULL, stdout=log, stderr=log))

    def serve(self):
        self.start('memcached', 'memcached', '-l', '127.0.0.1', '-p',
                   str(self.ports['memcached']), '-u', 'root', '-m', '16')
        for name in SERVERS:
            self.start(name, 'unshare', '-m', 'sh', '-c',
                       'mount --bind "$0/etc" /etc/swift && exec "$@"',
                       self.dir, f'swift-{name}-server',
                       f'{self.dir}/etc/{name}.conf')
        end = time.monotonic() + PATIENCE_S
        while not all(self.answers(n) for n in SERVERS):
            ended = [c.args for c in self.children if c.poll() is not None]
            if ended or time.monotonic() > end:
                raise RuntimeError(f'not up; ended: {ended}: {self.logs()}')
            time.sleep(.1)

    def answers(self, name):
        try:
            urllib.request.urlopen(
                f'http://127.0.0.1:{self.ports[name]}/healthcheck',
                timeout=5).close()
        except urllib.error.HTTPError:
            return True
        except OSError:
            return False
        return True

    def logs(self):
        text = ''
        for name in os.listdir(f'{self.dir}/log'):
            with open(f'{self.dir}/log/{name}', encoding='utf-8',
                      errors='replace') as f:
                text += f'{name}: {f.read()[-500:]} '
        return text

    def stop(self):
        for child in self.children:
            child.kill()
        for child in self.children:
            child.wait()
        shutil.rmtree(self.dir, ignore_errors=True)


def main():
    os.environ['PATH'] += ':/usr/sbin:/sbin'
    why = lacking()
    if why:
        print('skip', why, flush=True)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    swift = Swift()
    try:
        swift.configure()
        swift.serve()
        print(f'ready {swift.port}', flush=True)
        sys.stdin.read()
    except RuntimeError as failed:
        print('failed', str(failed).replace('\n', ' '), flush=True)
    finally:
        swift.stop()


if __name__ == '__main__':
    main()
