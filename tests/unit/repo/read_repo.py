#!/usr/bin/python3
# SPDX-License-Identifier: Apache-2.0
"""read_repo.py WRITER: reads what WRITER (write_repo) wrote, without vmkeep.

A second implementation of docs/format, for reading: it shares no code with the
first but the libraries (by ctypes) that do the cryptography and zstd.  It checks
every signature, hash and table on the way and compares each volume's SHA-256
with what the writer says.  The result is TAP.
"""
import ctypes
import hashlib
import hmac
import json
import os
import subprocess
import sys
import tempfile
from struct import pack, unpack_from

PASSWORD = b"correct horse"
sodium = ctypes.CDLL("libsodium.so.23")
crypto = ctypes.CDLL("libcrypto.so.3")
zstd = ctypes.CDLL("libzstd.so.1")
xxhash = ctypes.CDLL("libxxhash.so.0")
sodium.sodium_init()
crypto.EVP_aes_256_gcm.restype = ctypes.c_void_p
crypto.EVP_CIPHER_CTX_new.restype = ctypes.c_void_p
zstd.ZSTD_decompress.restype = ctypes.c_size_t
xxhash.XXH3_64bits.restype = ctypes.c_uint64


def need(truth, what):
    if not truth:
        raise ValueError(what)


# ---- repository.md: rules for all structures

def aead_open(key, aad, sealed):
    nonce, text, tag = sealed[:12], sealed[12:-16], sealed[-16:]
    out, n = ctypes.create_string_buffer(len(text) + 16), ctypes.c_int()
    ctx = ctypes.c_void_p(crypto.EVP_CIPHER_CTX_new())
    gcm = ctypes.c_void_p(crypto.EVP_aes_256_gcm())
    crypto.EVP_DecryptInit_ex(ctx, gcm, None, key, nonce)
    crypto.EVP_DecryptUpdate(ctx, None, ctypes.byref(n), aad, len(aad))
    crypto.EVP_DecryptUpdate(ctx, out, ctypes.byref(n), text, len(text))
    crypto.EVP_CIPHER_CTX_ctrl(ctx, 0x11, 16, tag)
    ok = crypto.EVP_DecryptFinal_ex(ctx, None, ctypes.byref(n))
    crypto.EVP_CIPHER_CTX_free(ctx)
    need(ok == 1, "AEAD")
    return out.raw[:len(text)]


def kdf(key, label, context):
    return hashlib.blake2b(label.ljust(16, b"\0") + context, key=key).digest()


def check_head(p, magic):
    need(p[:8] == magic, "magic %r" % p[:8])
    version, domain, incompat = unpack_from("<HHI", p, 8)
    need((version, domain, incompat) == (1, 1, 0), "head")


def signed(public, p):
    need(sodium.crypto_sign_verify_detached(
        p[-64:], p[:-64], ctypes.c_ulonglong(len(p) - 64), public) == 0,
        "signature")


class Repository:
    def __init__(self, folder):
        self.folder = folder
        self.open_keys()
        self.open_config()
        self.index = {}
        for name in self.names("index/d"):
            self.read_segment(name)
        self.packs = {}

    def get(self, name):
        with open(os.path.join(self.folder, name), "rb") as f:
            return f.read()

    def names(self, under):
        for path, _, files in os.walk(os.path.join(self.folder, under)):
            for f in files:
                yield os.path.relpath(os.path.join(path, f), self.folder)

    # ---- keys.md

    def open_keys(self):
        kinds = {}
        for name in self.names("keys"):
            p = self.get(name)
            check_head(p, b"VMKKEYS1")
            need(name == "keys/" + hashlib.sha256(p).hexdigest()[:32],
                 "key name")
            kinds[p[16]] = p
        need(sorted(kinds) == [1, 3], "kinds")
        self.open_password(kinds[1])
        self.open_recovery(kinds[3])
        for p in kinds.values():
            n, _, salt = unpack_from("<Hq16s", p, 18)
            note = aead_open(kdf(self.k_meta, b"key note", salt)[:32],
                             p[:44], p[44:44 + n])
            need(note == pack("<IIB3x", 1, 1, 1), "note")

    def records(self, clear):
        keys, at = {}, 0
        while at < len(clear):
            tag, n, number = unpack_from("<HHI", clear, at)
            keys[tag] = clear[at + 8:at + 8 + n]
            at += 8 + n
        return keys

    # What a recovery key opens, found as an admin finds it.
    def open_recovery(self, p):
        _, role, n, _, salt = unpack_from("<BBHq16s", p, 16)
        need(role == 5, "role")
        at = 44 + n
        secret = kdf(self.keys[3], b"recovery escrow", self.keys[1])[:32]
        public = ctypes.create_string_buffer(32)
        sodium.crypto_scalarmult_base(public, secret)
        code = ctypes.create_string_buffer(32)
        need(sodium.crypto_box_seal_open(
            code, p[at:at + 80], ctypes.c_ulonglong(80), public.raw,
            secret) == 0, "recovery box")
        [m] = unpack_from("<I", p, at + 80)
        need(len(p) == at + 84 + m, "bundle length")
        clear = aead_open(kdf(code.raw, b"recovery key", salt)[:32],
                          p[:at + 84], p[at + 84:])
        need(self.records(clear) == self.keys, "recovery")

    def open_password(self, p):
        _, role, n, _, salt = unpack_from("<BBHq16s", p, 16)
        need(role == 1, "role")
        at = 44 + n
        passes, kib, m = unpack_from("<III", p, at)
        key = ctypes.create_string_buffer(32)
        need(sodium.crypto_pwhash(
            key, ctypes.c_ulonglong(32), PASSWORD,
            ctypes.c_ulonglong(len(PASSWORD)), salt,
            ctypes.c_ulonglong(passes), ctypes.c_size_t(kib * 1024), 2) == 0,
            "Argon2id")
        need(len(p) == at + 12 + m, "bundle length")
        self.keys = self.records(
            aead_open(key.raw, p[:at + 12], p[at + 12:]))
        self.k_id, self.k_meta = self.keys[4], self.keys[10]
        need(kdf(self.keys[5], b"namespace key", pack("<I", 1))[:32] ==
             self.keys[6], "namespace secret")

    # ---- repository.md: config

    def open_config(self):
        p = self.get("config")
        check_head(p, b"VMKCONFG")
        signed(self.keys[2], p)
        need(p[16:32] == self.keys[1], "repository id")
        need(hashlib.sha256(p).digest() == self.keys[9], "pin")
        need(p[40:80] == bytes(40), "generation")
        need(p[96] == 1, "hash")
        self.writers = {}
        [n] = unpack_from("<I", p, 156)
        at = 160 + 44 * n
        [m] = unpack_from("<I", p, at)
        need(len(p) == at + 4 + m + 64, "config length")
        for i in range(n):
            role, _, _, number, ns, public = unpack_from("<BBHII32s", p,
                                                         160 + 44 * i)
            if role == 4:
                self.writers[number] = (ns, public)
        names = aead_open(
            kdf(self.k_meta, b"config names", p[16:32] + p[40:44])[:32],
            p[:at + 4], p[at + 4:at + 4 + m])
        need(names == pack("<IB", 1, 7) + b"default", "names")

    # ---- index.md

    def read_segment(self, name):
        p = self.get(name)
        check_head(p, b"VMKINDEX")
        salt, ident, length = unpack_from("<16s16sQ", p, 16)
        need(name.endswith("-" + ident.hex()), "segment name")
        s = aead_open(kdf(self.k_meta, b"index segment", salt)[:32], p[:56],
                      p[56:])
        need(len(s) == length, "segment length")
        check_head(s, b"VMKSEGMT")
        need(hashlib.sha256(s[:-32]).digest() == s[-32:], "segment sum")
        packs, n, blooms, bits = unpack_from("<IIIB", s, 16)

        def up(v):
            return (v + 63) // 64 * 64
        fanout = up(64 + 40 * packs)
        entries = up(fanout + (4 << bits))
        bloom = up(entries + 28 * n)
        need(bloom + 64 * blooms + 32 == len(s), "segment layout")
        gids = []
        for i in range(n):
            at = entries + 28 * i
            gid, pack, offset, word = unpack_from("<16sIII", s, at)
            gids.append(gid)
            name, size, kind = unpack_from("<32sIB", s, 64 + 40 * pack)
            self.index[gid] = (name, size, kind, offset, word & 0xffffff,
                               word >> 24)
            self.check_bloom(s, bloom, blooms, gid)
        need(gids == sorted(gids), "order")
        for i in range(1 << bits):
            want = sum(int.from_bytes(g[:4], "big") >> (32 - bits) <= i
                       for g in gids) if bits else n
            need(unpack_from("<I", s, fanout + 4 * i)[0] == want, "fan-out")

    def check_bloom(self, s, bloom, blooms, gid):
        low, mid = unpack_from("<QI", gid, 0)
        at = bloom + 64 * (mid * blooms >> 32)
        for i in range(6):
            bit = low >> 9 * i & 511
            need(s[at + bit // 8] >> bit % 8 & 1, "Bloom filter")

    # ---- pack.md

    def pack(self, name, size, kind):
        if name not in self.packs:
            p = self.get("packs/%s/%s/%s" % ("dm"[kind], name.hex()[:2],
                                             name.hex()))
            need(len(p) == size and hashlib.sha256(p).digest() == name,
                 "pack")
            check_head(p, b"VMKPACK1")
            k, flags, _, t, salt = unpack_from("<BBHI16s", p, 16)
            need((k, flags) == (kind, 0), "pack kind")
            table = aead_open(kdf(self.k_meta, b"pack table", salt)[:32],
                              p[:40], p[40:40 + t])
            n, reserved = unpack_from("<II", table)
            need(reserved == 0 and len(table) == 8 + 48 * n, "table")
            at, ids = 40 + t, {}
            for i in range(n):
                ident, offset, word, _, check = unpack_from(
                    "<32sIIII", table, 8 + 48 * i)
                length = word & 0xffffff
                need(offset == at, "offset")
                need(xxhash.XXH3_64bits(p[at:at + length],
                                        ctypes.c_size_t(length))
                     & 0xffffffff == check, "check")
                ids[offset] = ident
                at += length
            need(at == len(p), "pack length")
            self.packs[name] = p, ids
        return self.packs[name]

    # ---- tree.md

    def sealed(self, ident, kind):
        name, size, k, offset, length, typ = self.index[ident[:16]]
        p, ids = self.pack(name, size, k)
        need(k == kind and typ == kind + 1 and ids[offset] == ident, "entry")
        return p[offset:offset + length]

    def plain(self, h, key, typ, sealed):
        inner = aead_open(key, bytes([1, typ]), sealed)
        encoding, n = inner[0], unpack_from("<I", inner, 4)[0]
        if encoding == 1:
            out = ctypes.create_string_buffer(n)
            need(zstd.ZSTD_decompress(
                out, ctypes.c_size_t(n), inner[8:],
                ctypes.c_size_t(len(inner) - 8)) == n, "zstd")
            plain = out.raw
        else:
            need(encoding == 0, "encoding")
            plain = inner[8:]
        need(len(plain) == n, "length")
        need(hmac.new(self.k_id, bytes([typ]) + plain, "sha256").digest() == h,
             "h")
        return plain

    @staticmethod
    def name_of(h):
        both = hashlib.blake2b(b"vmkeep object 1", key=h).digest()
        return both[:32], both[32:]

    def leaf(self, h):
        ident, key = self.name_of(h)
        return self.plain(h, key, 1, self.sealed(ident, 0))

    def node(self, h, level):
        """The entries of a node as (blocks, h) or h."""
        ident, key = self.name_of(h)
        p = self.sealed(ident, 1)
        derived = kdf(self.k_meta, b"node children", ident)
        n = unpack_from("<I", p)[0] ^ unpack_from("<I", derived, 32)[0]
        children = aead_open(derived[:32], n.to_bytes(4, "little"),
                             p[4:4 + n])
        plain = self.plain(h, key, 2, p[4 + n:])
        lev, _, count, span = unpack_from("<BBHQ", plain)
        need(lev == level and span == 8 << 20 << 7 * level, "node head")
        at, entries, leaves = 12, [], []
        for _ in range(count):
            if level == 0:
                at, entry = self.slot_entry(plain, at, leaves)
                entries.append(entry)
            else:
                child = plain[at:at + 32]
                entries.append(child if any(child) else None)
                at += 32
        need(at == len(plain), "node length")
        gids = b"".join(self.name_of(e)[0][:16] for e in
                        ([x for x, _ in leaves] if level == 0 else entries)
                        if e)
        need(children == bytes([level, 0]) +
             (len(gids) // 16).to_bytes(2, "little") + gids, "children")
        return entries

    @staticmethod
    def slot_entry(plain, at, leaves):
        """(blocks, h, first, blocks of the leaf); h is None for a hole."""
        [word] = unpack_from("<I", plain, at)
        typ, blocks, at = word & 0xff, word >> 8, at + 4
        if typ == 0:
            return at, (blocks, None, 0, 0)
        if typ == 1:
            leaves.append((plain[at:at + 32], blocks))
            return at + 32, (blocks, plain[at:at + 32], 0, blocks)
        if typ == 2:
            h, first, whole = unpack_from("<32sBB", plain, at)
            leaves.append((h, whole))
            return at + 34, (blocks, h, first, whole)
        need(typ == 3, "type of an entry")
        number, first = unpack_from("<HB", plain, at)
        h, whole = leaves[number]
        return at + 3, (blocks, h, first, whole)

    def slots(self, h, level, first):
        """(index, h) of the slots that are not null, in order."""
        if level == 0:
            yield first, h
            return
        for i, child in enumerate(self.node(h, level)):
            if child:
                yield from self.slots(child, level - 1,
                                      first + (i << 7 * (level - 1)))

    def volume_sum(self, v):
        h, size = bytes.fromhex(v["root"]), v["size_bytes"]
        total, at = hashlib.sha256(), 0

        def zeros(upto):
            nonlocal at
            while at < upto:
                n = min(upto - at, 1 << 20)
                total.update(bytes(n))
                at += n
        for index, slot in self.slots(h, v["levels"], 0) if any(h) else ():
            zeros(index * (8 << 20))
            for blocks, leaf, first, whole in self.node(slot, 0):
                if leaf:
                    data = self.leaf(leaf)
                    need(len(data) == whole * 4096, "leaf length")
                    data = data[first * 4096:(first + blocks) * 4096]
                    need(len(data) == blocks * 4096, "part of a leaf")
                    data = data[:size - at]
                    total.update(data)
                    at += len(data)
                else:
                    zeros(min(at + blocks * 4096, size))
        zeros(size)
        return total.hexdigest()

    # ---- manifest.md

    def manifest(self, name):
        p = self.get(name)
        check_head(p, b"VMKREF01")
        (ns, machine, time_ns, ident, writer, _, _, _, r, s,
         m) = unpack_from("<I8sq16sI16s32sqIII", p, 16)
        need(self.writers[writer][0] == ns, "namespace of the writer")
        signed(self.writers[writer][1], p)
        need(name.startswith("refs/%08x/%s/" % (ns, machine.hex())) and
             name.endswith("-" + ident.hex()), "ref name")
        seals, body = 124 + r, 124 + r + 88 * s
        need(len(p) == body + m + 64, "ref length")
        roots = aead_open(kdf(self.k_meta, b"backup roots", ident)[:32],
                          p[:124], p[124:seals])
        secret, key = self.keys[5], None
        public = ctypes.create_string_buffer(32)
        sodium.crypto_scalarmult_base(public, secret)
        for i in range(s):
            role, box = unpack_from("<B7x80s", p, seals + 88 * i)
            if role == 1:
                key = ctypes.create_string_buffer(32)
                need(sodium.crypto_box_seal_open(
                    key, box, ctypes.c_ulonglong(80), public.raw,
                    secret) == 0, "seal")
        inner = aead_open(key.raw, p[:124], p[body:body + m])
        n = unpack_from("<I", inner, 4)[0]
        plain = inner[8:]
        if inner[0] == 1:
            out = ctypes.create_string_buffer(n)
            need(zstd.ZSTD_decompress(
                out, ctypes.c_size_t(n), inner[8:],
                ctypes.c_size_t(len(inner) - 8)) == n, "zstd")
            plain = out.raw
        j = json.loads(plain)
        need(j["id"] == ident.hex() and j["time_ns"] == time_ns, "manifest")
        want = b"".join(
            self.name_of(bytes.fromhex(v["root"]))[0][:16] +
            bytes([v["levels"]]) + bytes(7)
            for v in j["volumes"] if any(bytes.fromhex(v["root"])))
        need(roots == want, "roots")
        return j


def main():
    with tempfile.TemporaryDirectory() as folder:
        place = os.path.join(folder, "r")
        want = subprocess.run([sys.argv[1], place], check=True, text=True,
                              stdout=subprocess.PIPE).stdout.splitlines()
        repo, got = Repository(place), []
        for name in repo.names("refs"):
            m = repo.manifest(name)
            for v in m["volumes"]:
                got.append("%s %s %d %s" % (m["id"], v["name"],
                                            v["size_bytes"],
                                            repo.volume_sum(v)))
    print("1..%d" % len(want))
    for i, line in enumerate(want):
        print("%s %d - %s" % ("ok" if line in got else "not ok", i + 1, line))
    return 0 if len(got) == len(want) else 1


if __name__ == "__main__":
    sys.exit(main())
