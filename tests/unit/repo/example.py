#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""example.py WRITER PAGE [--write]: explains, byte by byte, what WRITER
(write_example) has written, and compares that with the blocks of PAGE.

With --write the blocks of the page are replaced.  The result is TAP.
"""
import os
import subprocess
import sys
import tempfile
from struct import unpack_from

from read_repo import Repository, aead_open, kdf, need

WIDTH = 16
SHOWN = 3  # lines of a long run of bytes


class Dump:
    """Bytes and what they mean, in order."""

    def __init__(self, name, p):
        self.p, self.at = p, 0
        self.lines = [f'{name}: {len(p)} bytes', '']

    def take(self, n, what):
        part = self.p[self.at:self.at + n]
        need(len(part) == n, what)
        rows = [part[i:i + WIDTH] for i in range(0, n, WIDTH)]
        for i, row in enumerate(rows):
            if i == SHOWN and len(rows) > SHOWN + 1:
                self.lines.append(f'       ... {n - SHOWN * WIDTH} more')
                break
            text = f'{self.at + i * WIDTH:6x} {row.hex(" "):{3 * WIDTH}}'
            self.lines.append(text + (' ' + what if i == 0 else ''))
        self.at += n
        return part

    def number(self, n, what):
        value = int.from_bytes(self.p[self.at:self.at + n], 'little')
        self.take(n, f'{what}: {value}')
        return value

    def head(self):
        self.take(8, 'magic ' + self.p[self.at:self.at + 8].decode())
        for n, what in ((2, 'version'), (2, 'domain'), (4, 'incompat')):
            self.number(n, what)

    def sealed(self, n, what):
        """An AEAD: nonce, ciphertext, tag."""
        self.take(12, what + ': nonce')
        self.take(n - 28, 'ciphertext')
        self.take(16, 'tag')

    def end(self):
        need(self.at == len(self.p), 'all of it')
        return '\n'.join(line.rstrip() for line in self.lines)


def config(repo):
    d = Dump('config', repo.get('config'))
    d.head()
    d.take(16, "the repository's id")
    d.number(8, 'made, ns since 1970')
    d.number(4, 'generation')
    d.take(4, 'zero')
    d.take(32, 'SHA-256 of the config before')
    for n, what in ((8, 'ro_compat'), (8, 'gc_compat'), (1, 'naming'),
                    (1, 'chunker'), (2, 'zero'), (4, 'min_writer'), (4, 'L'),
                    (4, 'V'), (4, 'W'), (4, 'G'), (4, 'A')):
        d.number(n, what)
    d.take(32, "the admin's public key")
    for _ in range(d.number(4, 'keys')):
        for n, what in ((1, 'role'), (1, 'flags'), (2, 'domain'),
                        (4, 'number'), (4, 'namespace of a writer')):
            d.number(n, what)
        d.take(32, 'public key')
    d.sealed(d.number(4, 'm'), 'names')
    d.take(64, 'signature')
    return d.end()


def table_of(repo, p):
    t, salt = unpack_from('<I16s', p, 20)
    return aead_open(kdf(repo.k_meta, b'pack table', salt)[:32], p[:40],
                     p[40:40 + t])


def pack(repo, name):
    """The pack as it is, and what its table says."""
    p = repo.get(name)
    d = Dump(name, p)
    d.head()
    for n, what in ((1, 'kind'), (1, 'flags'), (2, 'zero')):
        d.number(n, what)
    t = d.number(4, 't')
    d.take(16, 'salt')
    d.sealed(t, 'table')
    clear = table_of(repo, p)
    inner = Dump('its table, opened', clear)
    n = inner.number(4, 'objects')
    inner.number(4, 'zero')
    for _ in range(n):
        ident = inner.take(32, 'id')
        offset = inner.number(4, 'offset')
        length = inner.number(3, 'length')
        kind = inner.number(1, 'type')
        inner.number(4, 'length of the plaintext')
        inner.take(4, 'XXH3 of it as stored')
        need(offset == d.at, 'offset')
        if kind == 1:
            d.sealed(length, 'leaf')
        else:
            first = int.from_bytes(d.take(4, 'length of part one, masked'),
                                   'little')
            mask = kdf(repo.k_meta, b'node children', ident)
            first ^= int.from_bytes(mask[32:36], 'little')
            d.sealed(first, 'part one')
            d.sealed(length - 4 - first, 'part two')
    return d.end() + '\n\n' + inner.end()


def node(repo, h):
    """The slot that is the root, opened."""
    ident, key = repo.name_of(h)
    p = repo.sealed(ident, 1)
    derived = kdf(repo.k_meta, b'node children', ident)
    n = int.from_bytes(p[:4], 'little') ^ int.from_bytes(derived[32:36],
                                                         'little')
    children = Dump('part one of the node, opened', aead_open(
        derived[:32], n.to_bytes(4, 'little'), p[4:4 + n]))
    for size, what in ((1, 'level'), (1, 'zero'), (2, 'children')):
        children.number(size, what)
    children.take(16, 'gid')
    inner = aead_open(key, bytes([1, 2]), p[4 + n:])
    stored = Dump('part two of the node, opened', inner)
    stored.number(1, 'encoding')
    stored.take(3, 'zero')
    stored.number(4, 'length of the plaintext')
    stored.number(1, 'level')
    stored.number(1, 'zero')
    count = stored.number(2, 'entries')
    stored.number(8, 'bytes of a volume that it covers')
    for _ in range(count):
        kind = stored.number(1, 'type')
        stored.number(3, 'blocks')
        if kind:
            stored.take(32, 'h of the leaf')
    return children.end() + '\n\n' + stored.end()


def segment(repo):
    [name] = repo.names('index/d')
    p = repo.get(name)
    d = Dump(name, p)
    d.head()
    d.take(16, 'salt')
    d.take(16, 'the ID in the name')
    d.number(8, 'length of the segment')
    d.sealed(len(p) - 56, 'segment')
    s = Dump('the segment', aead_open(
        kdf(repo.k_meta, b'index segment', p[16:32])[:32], p[:56], p[56:]))
    s.head()
    packs = s.number(4, 'packs')
    n = s.number(4, 'entries')
    blooms = s.number(4, 'blocks of the Bloom filter')
    bits = s.number(1, 'bits of the fan-out')
    s.take(35, 'zero')
    for _ in range(packs):
        s.take(32, 'name of a pack')
        s.number(4, 'size')
        s.number(1, 'kind')
        s.take(3, 'zero')
    pad(s)
    for _ in range(1 << bits):
        s.number(4, 'fan-out')
    pad(s)
    for _ in range(n):
        s.take(16, 'gid')
        for size, what in ((4, 'pack'), (4, 'offset'), (3, 'length'),
                           (1, 'type')):
            s.number(size, what)
    pad(s)
    s.take(64 * blooms, 'Bloom filter')
    s.take(32, 'SHA-256 of all before it')
    return d.end() + '\n\n' + s.end()


def pad(d):
    if d.at % 64:
        d.take(-d.at % 64, 'up to a multiple of 64')


def ref(repo):
    """Its head and roots; the boxes are random by themselves."""
    [name] = repo.names('refs')
    p = repo.get(name)
    d = Dump(name.rsplit('/', 1)[0] + '/...', p[:124])
    d.lines[0] = name
    d.head()
    d.number(4, 'namespace')
    d.take(8, 'machine')
    d.number(8, 'time of the backup, ns since 1970')
    d.take(16, 'id')
    d.number(4, 'writer')
    d.take(16, 'id of the base')
    d.take(32, 'SHA-256 of the ref before')
    d.number(8, "storage's time of the sync marker")
    r = d.number(4, 'r: bytes of the roots')
    d.number(4, 's: seals')
    m = int.from_bytes(p[120:124], 'little')
    need(m > 0, 'body')
    d.lines.append('       (m: bytes of the body, then roots, seals, body, '
                   'signature)')
    roots = Dump('the roots, opened', aead_open(
        kdf(repo.k_meta, b'backup roots', p[36:52])[:32], p[:124],
        p[124:124 + r]))
    roots.take(16, 'gid of the root')
    roots.number(1, 'level')
    roots.take(7, 'zero')
    return '\n'.join(d.lines) + '\n\n' + roots.end()


def explain(writer):
    with tempfile.TemporaryDirectory() as folder:
        place = os.path.join(folder, 'r')
        subprocess.run([writer, place], check=True)
        repo = Repository(place)
        [name] = repo.names('refs')
        m = repo.manifest(name)
        [v] = m['volumes']
        repo.volume_sum(v)  # all of it can be read
        [data] = repo.names('packs/d')
        [meta] = repo.names('packs/m')
        return [config(repo), pack(repo, data), pack(repo, meta),
                node(repo, bytes.fromhex(v['root'])), segment(repo), ref(repo)]


def main():
    writer, page = sys.argv[1:3]
    with open(page, encoding='ascii') as f:
        parts = f.read().split('```\n')
    blocks = explain(writer)
    need(len(parts) == 2 * len(blocks) + 1, 'blocks in the page')
    if sys.argv[3:] == ['--write']:
        for i, block in enumerate(blocks):
            parts[2 * i + 1] = block + '\n'
        with open(page, 'w', encoding='ascii') as f:
            f.write('```\n'.join(parts))
        return 0
    print(f'1..{len(blocks)}')
    bad = 0
    for i, block in enumerate(blocks):
        same = parts[2 * i + 1] == block + '\n'
        bad += not same
        print('ok' if same else 'not ok', i + 1, '-', block.split(':')[0])
        if not same:
            print('\n'.join('# ' + line for line in block.splitlines()))
    return 1 if bad else 0


sys.exit(main())
