#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""OpenSSH's server on loopback, with its own keys, for SFTP alone.

usage: sshd.py [--match FILE] [OPTION-OF-SFTP-SERVER...]

FILE is put at the end of its configuration: what holds for other accounts.

Says "ready FOLDER" and serves until its standard input ends; "skip REASON"
where there is no sshd.  `ssh -F FOLDER/ssh_config 127.0.0.1` reaches it;
FOLDER/data is empty.  "-P remove,rmdir" makes it refuse to remove.
"""
import getpass
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time

PATIENCE_S = 20

SERVER = '''Port {port}
ListenAddress 127.0.0.1
HostKey {dir}/host_key
PidFile none
AuthorizedKeysFile {dir}/id.pub
PasswordAuthentication no
KbdInteractiveAuthentication no
UsePAM no
StrictModes no
PermitRootLogin prohibit-password
MaxSessions 100
MaxStartups 100
Subsystem sftp internal-sftp {options}
{match}'''
CLIENT = '''Host *
Port {port}
User {user}
IdentityFile {dir}/id
IdentitiesOnly yes
UserKnownHostsFile {dir}/known_hosts
GlobalKnownHostsFile none
# A tenth of the time that OpenSSH's first choices take; nobody listens.
KexAlgorithms curve25519-sha256
Ciphers aes128-gcm@openssh.com
'''


def free_port():
    with socket.socket() as s:
        s.bind(('127.0.0.1', 0))
        return s.getsockname()[1]


def write(path, text):
    with open(path, 'w', encoding='utf-8') as f:
        f.write(text)


def start(folder, options, match):
    port = free_port()
    for name in ('host_key', 'id'):
        subprocess.run(['ssh-keygen', '-q', '-t', 'ed25519', '-N', '', '-f',
                        f'{folder}/{name}'], check=True)
    values = {'dir': folder, 'port': port, 'user': getpass.getuser(),
              'options': ' '.join(options), 'match': match}
    os.chmod(folder, 0o711)  # other accounts look for the key
    write(f'{folder}/sshd_config', SERVER.format(**values))
    write(f'{folder}/ssh_config', CLIENT.format(**values))
    with open(f'{folder}/host_key.pub', encoding='utf-8') as f:
        write(f'{folder}/known_hosts', f'[127.0.0.1]:{port} {f.read()}')
    os.mkdir(f'{folder}/data')
    os.makedirs('/run/sshd', exist_ok=True)
    with open(f'{folder}/log', 'wb') as log:
        server = subprocess.Popen(
            ['/usr/sbin/sshd', '-D', '-e', '-f', f'{folder}/sshd_config'],
            stdin=subprocess.DEVNULL, stdout=log, stderr=log)
    end = time.monotonic() + PATIENCE_S
    while time.monotonic() < end and server.poll() is None:
        with socket.socket() as s:
            if s.connect_ex(('127.0.0.1', port)) == 0:
                return server
        time.sleep(.02)
    with open(f'{folder}/log', encoding='utf-8') as log:
        print('failed', log.read().replace('\n', ' '), flush=True)
    server.kill()
    sys.exit(1)


def main():
    for program in ('/usr/sbin/sshd', 'ssh', 'ssh-keygen'):
        if not shutil.which(program):
            print(f'skip {program} is not installed', flush=True)
            return
    if os.geteuid() != 0:
        print('skip sshd wants to be run by root here', flush=True)
        return
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    # in memory: thousands of fsyncs would be the disk's time
    memory = '/dev/shm' if os.access('/dev/shm', os.W_OK) else None
    folder = tempfile.mkdtemp(prefix='vmkeep-sshd-', dir=memory)
    server, match, options = None, '', sys.argv[1:]
    if options[:1] == ['--match']:
        with open(options[1], encoding='utf-8') as f:
            match = f.read()
        options = options[2:]
    try:
        server = start(folder, options, match)
        print(f'ready {folder}', flush=True)
        sys.stdin.read()
    finally:
        if server:
            server.kill()
            server.wait()
        shutil.rmtree(folder, ignore_errors=True)


if __name__ == '__main__':
    main()
