#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""An S3 server in memory, which behaves, or misbehaves as a bucket's name says.

usage: s3server.py [--tls FOLDER] [--rounds FILE]

Says "ready PORT" and serves until its standard input ends.  --tls: https with a
new certificate for 127.0.0.1, FOLDER/cert.pem.  --rounds: what is asked is done
once nothing more has been asked for a moment, so what a client asks without
waiting is of the same round; a line for each in FILE: round, method, name.  The
key is AKTEST, its secret SKTEST.  The signature of every request is checked here by a second hand: from
"Signature Calculations for the Authorization Header", Amazon S3 API Reference.

Bucket "fine" behaves.  Bucket "NAME" or "NAME-xN" has the objects a/one (1000
bytes) and a/two, and what is in MISBEHAVIOURS under NAME goes wrong for ever,
or the first N times.  Buckets named "none..." do not exist until they are made.
Listings of "" are never touched, but by names that start with "open-".
"""
import datetime
import email.utils
import hashlib
import hmac
import http.server
import os
import re
import socket
import ssl
import struct
import subprocess
import sys
import threading
import time
import urllib.parse
from xml.sax.saxutils import escape

KEY, SECRET = 'AKTEST', 'SKTEST'
ONE = bytes((i * 7 + i // 256) % 256 for i in range(1000))
PATIENCE_S = 20


def stored(body, headers=()):
    """An object: its bytes, when it came, and what is said of it."""
    said = {n: v for n, v in dict(headers).items()
            if n.lower().startswith('x-amz-meta-')}
    said['ETag'] = '"%s"' % hashlib.md5(body).hexdigest()
    return body, time.time(), said


class Bucket:
    def __init__(self, name):
        self.name, self.lock = name, threading.Lock()
        match = re.fullmatch(r'(.*?)(?:-x(\d+))?', name)
        self.kind, times = match[1], match[2]
        self.left = int(times) if times else None
        self.objects = {}
        if self.kind != 'fine' and not name.startswith('none'):
            self.objects['a/one'] = stored(ONE)
            self.objects['a/two'] = stored(b'two')
            for i in range(3):
                self.objects[f'b/{i}'] = stored(b'x' * i)

    def misbehaves(self):
        with self.lock:
            if self.left is None:
                return True
            self.left -= 1
            return self.left >= 0


BUCKETS, LOCK = {}, threading.Lock()


class Rounds:
    """Requests that wait for each other, and so for no answer."""
    MOMENT_S = .1

    def __init__(self, path):
        self.file = open(path, 'a', encoding='utf-8')
        self.changed = threading.Condition()
        self.number = self.asked = 0

    def join(self, what):
        with self.changed:
            own = self.number
            self.asked += 1
            self.file.write(f'{own} {what}\n')
            self.file.flush()
            self.changed.notify_all()
            while self.number == own:
                asked = self.asked
                if not self.changed.wait_for(
                        lambda: self.number != own or self.asked != asked,
                        self.MOMENT_S):
                    self.number += 1
                    self.changed.notify_all()


ROUNDS = None


def bucket_of(name, make=False):
    with LOCK:
        if name not in BUCKETS and (make or not name.startswith('none')):
            BUCKETS[name] = Bucket(name)
        return BUCKETS.get(name)


def error(code, message='no', more=''):
    return (f'<?xml version="1.0"?><Error><Code>{code}</Code><Message>'
            f'{message}</Message>{more}</Error>').encode()


def mac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = 'HTTP/1.1'
    timeout = PATIENCE_S
    disable_nagle_algorithm = True

    def log_message(self, *_):
        pass

    # ---- replies

    def reply(self, status, body=b'', head=None, length=None):
        self.send_response_only(status)
        for name, value in (head or {}).items():
            if value is not None:
                self.send_header(name, value)
        if length != 'none':
            self.send_header('Content-Length',
                             len(body) if length is None else length)
        self.end_headers()
        if self.command != 'HEAD':
            self.wfile.write(body)

    def raw(self, data, close=True):
        self.wfile.write(data)
        self.wfile.flush()
        self.close_connection = close

    def stall(self):
        """Until the other side has had enough."""
        self.connection.settimeout(PATIENCE_S)
        try:
            self.connection.recv(1)
        except OSError:
            pass
        self.close_connection = True

    def abort(self):
        """RST in place of an answer."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER,
                                   struct.pack('ii', 1, 0))
        self.close_connection = True
        self.connection.close()

    # ---- the signature

    def signed(self, path, query, body):
        auth = self.headers.get('Authorization', '')
        m = re.fullmatch(r'AWS4-HMAC-SHA256 Credential=([^/]+)/(\d{8})/([^/]+)'
                         r'/s3/aws4_request, SignedHeaders=([^,]+), '
                         r'Signature=([0-9a-f]{64})', auth)
        if not m:
            return error('AccessDenied', 'not signed')
        key, day, region, names, signature = m.groups()
        if key != KEY:
            return error('InvalidAccessKeyId')
        pairs = sorted(query.split('&')) if query else []
        names_list = names.split(';')
        needed = {'host', 'x-amz-content-sha256', 'x-amz-date'}
        if names_list != sorted(names_list) or not needed <= set(names_list):
            return error('AccessDenied', 'not all is signed')
        canonical = '\n'.join(
            [self.command, path, '&'.join(pairs),
             *(f'{n}:{" ".join(self.headers[n].split())}' for n in names_list),
             '', names, self.headers['x-amz-content-sha256']])
        scope = f'{day}/{region}/s3/aws4_request'
        text = '\n'.join(['AWS4-HMAC-SHA256', self.headers['x-amz-date'], scope,
                          hashlib.sha256(canonical.encode()).hexdigest()])
        k = b'AWS4' + SECRET.encode()
        for part in (day, region, 's3', 'aws4_request'):
            k = mac(k, part)
        if mac(k, text).hex() != signature:
            return error('SignatureDoesNotMatch')
        if hashlib.sha256(body).hexdigest() != \
                self.headers['x-amz-content-sha256']:
            return error('XAmzContentSHA256Mismatch')
        return None

    # ---- a server that behaves

    def answer(self):
        path, _, query = self.path.partition('?')
        parts = path.split('/', 2)
        self.bucket = bucket_of(parts[1])
        self.key = urllib.parse.unquote(parts[2]) if len(parts) > 2 else ''
        self.query = dict(urllib.parse.parse_qsl(query, keep_blank_values=True))
        length = int(self.headers.get('Content-Length') or 0)
        body = self.rfile.read(length)
        if ROUNDS:
            ROUNDS.join(f'{self.command} {self.key or self.query}')
        bad = self.signed(path, query, body)
        if bad:
            self.reply(400 if b'XAmz' in bad else 403, bad)
            return
        if not self.key and self.command == 'PUT':
            bucket_of(parts[1], make=True)
            self.reply(200)
            return
        if not self.bucket:
            self.reply(404, error('NoSuchBucket'))
            return
        op = {'GET': 'get' if self.key else 'list'}.get(self.command,
                                                        self.command.lower())
        kind = self.bucket.kind
        wrong, act = MISBEHAVIOURS.get(kind, (None, None))
        is_probe = op == 'list' and not self.query.get('prefix')
        if op == wrong and is_probe == kind.startswith('open-') \
                and self.bucket.misbehaves():
            act(self, body)
        else:
            getattr(self, 'do_' + op)(body)

    do_GET = do_HEAD = do_PUT = do_DELETE = answer

    def head_of(self, key):
        _, when, said = self.bucket.objects[key]
        return {'Last-Modified': email.utils.formatdate(when, usegmt=True),
                'Accept-Ranges': 'bytes', **said}

    def do_head(self, _):
        if self.key not in self.bucket.objects:
            self.reply(404)
            return
        self.reply(200, head=self.head_of(self.key),
                   length=len(self.bucket.objects[self.key][0]))

    def do_get(self, _):
        if self.key not in self.bucket.objects:
            self.reply(404, error('NoSuchKey'))
            return
        data = self.bucket.objects[self.key][0]
        head = self.head_of(self.key)
        m = re.fullmatch(r'bytes=(\d+)-(\d+)', self.headers.get('Range', ''))
        if not m:
            self.reply(200, data, head)
        elif int(m[1]) >= len(data):
            self.reply(416, error('InvalidRange'),
                       {'Content-Range': f'bytes */{len(data)}'})
        else:
            part = data[int(m[1]):int(m[2]) + 1]
            end = int(m[1]) + len(part) - 1
            self.reply(206, part, {**head, 'Content-Range':
                                   f'bytes {m[1]}-{end}/{len(data)}'})

    def do_put(self, body):
        with self.bucket.lock:
            if self.headers.get('If-None-Match') == '*' and \
                    self.key in self.bucket.objects:
                status, text = 412, error('PreconditionFailed')
            else:
                self.bucket.objects[self.key] = stored(body, self.headers)
                status, text = 200, b''
        self.reply(status, text)

    def do_delete(self, _):
        self.bucket.objects.pop(self.key, None)
        self.reply(204)

    def page(self, limit=1000, token='NextContinuationToken'):
        """A page's elements: (contents, truncated, the rest)."""
        prefix = self.query.get('prefix', '')
        after = self.query.get('continuation-token', '')
        keys = sorted(k for k in list(self.bucket.objects)
                      if k.startswith(prefix) and k > after)
        keys, more = keys[:limit], len(keys) > limit
        out = []
        for k in keys:
            data, when, _ = self.bucket.objects[k]
            iso = datetime.datetime.fromtimestamp(
                when, datetime.timezone.utc).strftime('%Y-%m-%dT%H:%M:%S.%f')
            out.append(f'<Contents><Key>{urllib.parse.quote(k)}</Key>'
                       f'<LastModified>{iso[:-3]}Z</LastModified>'
                       f'<Size>{len(data)}</Size></Contents>')
        tail = f'<{token}>{escape(keys[-1])}</{token}>' if more else ''
        return out, more, tail

    def listing(self, contents, more, tail='', count=None, extra='',
                encoding='url'):
        text = ''.join(contents)
        return ('<?xml version="1.0" encoding="UTF-8"?>' + extra +
                '<ListBucketResult xmlns="http://s3.amazonaws.com/doc/'
                '2006-03-01/"><Name>x</Name>'
                f'<EncodingType>{encoding}</EncodingType>'
                f'<KeyCount>{len(contents) if count is None else count}'
                f'</KeyCount><IsTruncated>{str(more).lower()}</IsTruncated>'
                f'{tail}{text}</ListBucketResult>').encode()

    def do_list(self, _):
        if 'versioning' in self.query or 'object-lock' in self.query:
            self.about('versioning' in self.query)
            return
        limit = min(int(self.query.get('max-keys', 1000)), 1000)
        self.reply(200, self.listing(*self.page(limit)))


    def about(self, versions):
        """The bucket "fine-versioned" keeps versions; none has a lock."""
        if not versions:
            self.reply(404, error('ObjectLockConfigurationNotFoundError'))
            return
        status_of = ('<Status>Enabled</Status>'
                     if self.bucket.name == 'fine-versioned' else '')
        self.reply(200, ('<VersioningConfiguration xmlns="http://s3.amazonaws'
                         f'.com/doc/2006-03-01/">{status_of}'
                         '</VersioningConfiguration>').encode())


# ---- how it goes wrong ------------------------------------------------------

def status(code, body=b'', **head):
    head = {k.replace('_', '-'): v for k, v in head.items()}
    return lambda h, _: h.reply(code, body, head)


def s3_error(code, name, **head):
    return status(code, error(name), **head)


def raw(data):
    return lambda h, _: h.raw(data)


def closes(h, _):
    h.close_connection = True


def half_then_close(h, _):
    h.raw(b'HTTP/1.1 206 OK\r\nContent-Length: 100\r\n'
          b'Content-Range: bytes 0-99/1000\r\n\r\n' + ONE[:50])


def half_then_stall(h, _):
    h.raw(b'HTTP/1.1 206 OK\r\nContent-Length: 100\r\n'
          b'Content-Range: bytes 0-99/1000\r\n\r\n' + ONE[:50], False)
    h.stall()


def drips(h, _):
    """A byte of the head now and then."""
    try:
        h.raw(b'HTTP/1.1 200 OK\r\nX-Slow: ', False)
        for _ in range(PATIENCE_S * 10):
            h.raw(b'x', False)
            time.sleep(.1)
    except OSError:
        pass
    h.close_connection = True


def endless(first, more):
    def act(h, _):
        try:
            h.raw(first)
            for _ in range(4000):
                h.raw(more)
        except OSError:
            pass
    return act


def part(first, last, size, data, code=206, length=None):
    def act(h, _):
        h.reply(code, data, {'Content-Range': f'bytes {first}-{last}/{size}'},
                length)
    return act


def lost(h, body):
    """Done, but nobody is told."""
    h.bucket.objects[h.key] = stored(body, h.headers)
    h.abort()


def lost_half(h, body):
    h.bucket.objects[h.key] = stored(body[:len(body) // 2], h.headers)
    h.abort()


def overtaken(h, body):
    """Another host's object of this name comes first."""
    h.bucket.objects[h.key] = stored(b'other')
    h.reply(412, error('PreconditionFailed'))


def unconditional(h, body):
    if 'If-None-Match' in h.headers:
        h.reply(501, error('NotImplemented'))
    else:
        h.do_put(body)


def redirect(code, to=None):
    def act(h, _):
        where = to or f'http://{h.headers["Host"]}/fine/'
        h.reply(code, error('PermanentRedirect',
                            more='<Endpoint>elsewhere</Endpoint>'),
                {'Location': where, 'x-amz-bucket-region': 'eu-west-3'})
    return act


def listed(change):
    """A listing changed by change(contents, more, tail) -> arguments."""
    return lambda h, _: h.reply(200, h.listing(*change(*h.page())))


def entry(key='a/one', size='1', when='2026-01-01T00:00:00.000Z'):
    return (f'<Contents><Key>{key}</Key><LastModified>{when}</LastModified>'
            f'<Size>{size}</Size></Contents>')


def pages(limit):
    return lambda h, _: h.reply(200, h.listing(*h.page(limit)))


def same_page_again(h, _):
    h.reply(200, h.listing([entry()], True,
                           '<NextContinuationToken>again'
                           '</NextContinuationToken>'))


def empty_pages(h, _):
    n = int(h.query.get('continuation-token', '0')) + 1
    h.reply(200, h.listing([], True, f'<NextContinuationToken>{n}'
                                     '</NextContinuationToken>'))


def cut_listing(h, _):
    h.reply(200, h.listing(*h.page())[:-30])


BOMB = ('<!DOCTYPE l [<!ENTITY a "aaaaaaaaaa">' + ''.join(
    f'<!ENTITY {chr(98 + i)} "{f"&{chr(97 + i)};" * 10}">'
    for i in range(9)) + ']>')


def bomb(h, _):
    h.reply(200, h.listing([entry('&j;')], False, extra=BOMB))


def outside_entity(h, _):
    h.reply(200, h.listing([entry('&x;')], False, extra='<!DOCTYPE l [<!ENTITY '
                           'x SYSTEM "file:///etc/passwd">]>'))


def nested(h, _):
    h.reply(200, b'<ListBucketResult>' + b'<a>' * 100000)


MISBEHAVIOURS = {
    # connections
    'get-closes': ('get', closes),
    'get-resets': ('get', lambda h, _: h.abort()),
    'get-stalls': ('get', lambda h, _: h.stall()),
    'get-half-then-close': ('get', half_then_close),
    'get-half-then-stall': ('get', half_then_stall),
    'get-drips': ('get', drips),
    # statuses
    'get-500': ('get', s3_error(500, 'InternalError')),
    'get-502-html': ('get', status(502, b'<html>Bad Gateway</html>')),
    'get-503': ('get', s3_error(503, 'SlowDown', Retry_After='0')),
    'get-429': ('get', status(429, b'', Retry_After='1')),
    'get-retry-after-silly': ('get', status(503, b'', Retry_After='9' * 30)),
    'get-403': ('get', s3_error(403, 'AccessDenied')),
    'get-418': ('get', status(418, b'short and stout')),
    'get-bucket-gone': ('get', s3_error(404, 'NoSuchBucket')),
    'get-200-error': ('get', status(200, error('InternalError'))),
    'get-200-html': ('get', status(200, b'<html>Log in, please</html>')),
    'get-204': ('get', status(204)),
    'get-redirect': ('get', redirect(307)),
    'get-redirect-file': ('get', redirect(301, 'file:///etc/passwd')),
    'get-unknown-status': ('get', raw(b'HTTP/1.1 999 What\r\n'
                                      b'Content-Length: 0\r\n\r\n')),
    # what is no HTTP
    'get-garbage': ('get', raw(b'\x00\xff\x16\x03 hello\r\n\r\n')),
    'get-http09': ('get', raw(b'hello')),
    'get-head-endless': ('get', endless(b'HTTP/1.1 200 OK\r\n',
                                        b'X-A: ' + b'a' * 8000 + b'\r\n')),
    'get-head-line-endless': ('get', endless(b'HTTP/1.1 200 OK\r\nX-A: ',
                                             b'a' * 65536)),
    'get-continue-endless': ('get', endless(b'', b'HTTP/1.1 100 Continue'
                                                 b'\r\n\r\n' * 100)),
    # lengths and ranges
    'get-body-endless': ('get', endless(
        b'HTTP/1.1 206 OK\r\nContent-Range: bytes 0-99/1000\r\n\r\n',
        b'a' * 65536)),
    'get-too-long': ('get', part(0, 99, 1000, ONE[:200])),
    'get-too-short': ('get', part(0, 49, 1000, ONE[:50])),
    'get-other-part': ('get', part(100, 199, 1000, ONE[100:200])),
    'get-lies-about-length': ('get', part(0, 99, 1000, ONE[:50])),
    'get-range-overflow': ('get', part(0, 2**64, 2**64 + 1, ONE[:100])),
    'get-range-backwards': ('get', part(99, 0, 1000, ONE[:100])),
    'get-range-behind-size': ('get', part(0, 99, 10, ONE[:100])),
    'get-no-range': ('get', status(206, ONE[:100])),
    'get-ignores-range': ('get', status(200, ONE)),
    'get-416': ('get', s3_error(416, 'InvalidRange')),
    'get-negative-length': ('get', raw(b'HTTP/1.1 206 OK\r\nContent-Length: -1'
                                       b'\r\nContent-Range: bytes 0-99/1000'
                                       b'\r\n\r\n' + ONE[:100])),
    'get-huge-length': ('get', raw(b'HTTP/1.1 206 OK\r\nContent-Length: ' +
                                   b'9' * 30 + b'\r\nContent-Range: bytes '
                                   b'0-99/1000\r\n\r\n' + ONE[:100])),
    'all-huge': ('get', raw(b'HTTP/1.1 200 OK\r\nContent-Length: '
                            b'9000000000000000000\r\n\r\n' + ONE)),
    'all-chunked': ('get', raw(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked'
                               b'\r\n\r\n5\r\nhello\r\n0\r\n\r\n')),
    'all-chunk-cut': ('get', raw(b'HTTP/1.1 200 OK\r\nTransfer-Encoding: '
                                 b'chunked\r\n\r\nffffffff\r\nhello')),
    'all-206': ('get', part(0, 9, 1000, ONE[:10])),
    # heads
    'head-no-length': ('head', raw(b'HTTP/1.1 200 OK\r\nLast-Modified: Mon, 23 '
                                   b'Nov 2026 00:00:00 GMT\r\n\r\n')),
    'head-no-time': ('head', status(200)),
    'head-bad-time': ('head', status(200, Last_Modified='yesterday')),
    'head-403': ('head', status(403)),
    'head-500': ('head', status(500)),
    'head-301': ('head', redirect(301)),
    # writing
    'put-500': ('put', s3_error(500, 'InternalError')),
    'put-503': ('put', s3_error(503, 'SlowDown')),
    'put-lost-reply': ('put', lost),
    'put-lost-half': ('put', lost_half),
    'put-overtaken': ('put', overtaken),
    'put-unconditional': ('put', unconditional),
    'put-409': ('put', s3_error(409, 'ConditionalRequestConflict')),
    'put-412-for-ever': ('put', s3_error(412, 'PreconditionFailed')),
    'put-denied': ('put', s3_error(403, 'AccessDenied')),
    'put-quota': ('put', s3_error(403, 'QuotaExceeded')),
    'put-200-error': ('put', status(200, error('InternalError'))),
    'put-bad-digest': ('put', s3_error(400, 'BadDigest')),
    'put-closes': ('put', closes),
    # removing
    'delete-denied': ('delete', s3_error(403, 'AccessDenied')),
    'delete-500': ('delete', s3_error(500, 'InternalError')),
    'delete-404': ('delete', s3_error(404, 'NoSuchKey')),
    # listing
    'list-pages-of-one': ('list', pages(1)),
    'list-circles': ('list', same_page_again),
    'list-empty-pages': ('list', empty_pages),
    'list-no-token': ('list', listed(lambda c, m, t: (c, True))),
    'list-no-truncated': ('list', status(200, b'<ListBucketResult>'
                                              b'</ListBucketResult>')),
    'list-cut': ('list', cut_listing),
    'list-empty-body': ('list', status(200)),
    'list-html': ('list', status(200, b'<html><body>Hello</body></html>')),
    'list-json': ('list', status(200, b'{"Contents": []}')),
    'list-200-error': ('list', status(200, error('InternalError'))),
    'list-bomb': ('list', bomb),
    'list-outside-entity': ('list', outside_entity),
    'list-nested': ('list', nested),
    'list-endless': ('list', endless(b'HTTP/1.1 200 OK\r\n\r\n'
                                     b'<ListBucketResult>', entry().encode() *
                                     500)),
    'list-wrong-count': ('list', listed(lambda c, m, t: (c[:1], m, t, 2))),
    'list-too-many': ('list', listed(lambda c, m, t: (
        [entry(f'a/{i:05}') for i in range(1001)], m, t))),
    'list-other-prefix': ('list', listed(lambda c, m, t: ([entry('z/x')], m,
                                                          t))),
    'list-backwards': ('list', listed(lambda c, m, t: (c[::-1], m, t))),
    'list-twice': ('list', listed(lambda c, m, t: (c + c[-1:], m, t))),
    'list-bad-size': ('list', listed(lambda c, m, t: ([entry(size='-1')], m,
                                                      t))),
    'list-huge-size': ('list', listed(lambda c, m, t: ([entry(size='9' * 25)],
                                                       m, t))),
    'list-bad-time': ('list', listed(lambda c, m, t: ([entry(when='now')], m,
                                                      t))),
    'list-no-key': ('list', listed(lambda c, m, t: ([entry(key='')], m, t))),
    'list-long-key': ('list', listed(lambda c, m, t: ([entry('a' * 5000)], m,
                                                      t))),
    'list-bad-utf8': ('list', lambda h, _: h.reply(
        200, h.listing([entry('a/Q')], False).replace(b'Q', b'\xff\xfe'))),
    'list-not-ours': ('list', listed(lambda c, m, t: (
        [entry('a/%2E%2E/x'), entry('a/A%20b'), entry('a/b%00c'),
         entry('a/one'), entry('a/z%F0')], m, t))),
    'list-folders': ('list', listed(lambda c, m, t: (
        c + ['<CommonPrefixes><Prefix>a/</Prefix></CommonPrefixes>'], m, t))),
    'list-denied': ('list', s3_error(403, 'AccessDenied')),
    'list-500': ('list', s3_error(500, 'InternalError')),
    # opening
    'open-skew': ('list', s3_error(403, 'RequestTimeTooSkewed',
                                   Date='Mon, 23 Nov 2020 10:00:00 GMT')),
    'open-expired-token': ('list', s3_error(400, 'ExpiredToken')),
    'open-region': ('list', lambda h, _: h.reply(400, error(
        'AuthorizationHeaderMalformed', more='<Region>eu-west-3</Region>'))),
    'open-redirect': ('list', redirect(301)),
    'open-denied': ('list', s3_error(403, 'AccessDenied')),
    'open-500': ('list', s3_error(500, 'InternalError')),
    'open-website': ('list', status(200, b'<!DOCTYPE html><html></html>')),
    'open-control-characters': ('list', lambda h, _: h.reply(400, error(
        'InvalidRequest', 'bell \x1b[31m and more'.replace('\x1b',
                                                           '&#x9b;')))),
}


class Server(http.server.ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def handle_error(self, *_):
        pass  # the other side may end any connection


def certificate(folder):
    subprocess.run(['openssl', 'req', '-x509', '-newkey', 'ec', '-pkeyopt',
                    'ec_paramgen_curve:prime256v1', '-nodes', '-days', '2',
                    '-subj', '/CN=test', '-addext',
                    'subjectAltName=IP:127.0.0.1', '-keyout',
                    os.path.join(folder, 'key.pem'), '-out',
                    os.path.join(folder, 'cert.pem')],
                   check=True, capture_output=True)


def main():
    global ROUNDS
    server = Server(('127.0.0.1', 0), Handler)
    options = dict(zip(sys.argv[1::2], sys.argv[2::2]))
    if '--rounds' in options:
        ROUNDS = Rounds(options['--rounds'])
    if '--tls' in options:
        certificate(options['--tls'])
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(os.path.join(options['--tls'], 'cert.pem'),
                                os.path.join(options['--tls'], 'key.pem'))
        server.socket = context.wrap_socket(server.socket, server_side=True,
                                            do_handshake_on_connect=False)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    print(f'ready {server.server_address[1]}', flush=True)
    sys.stdin.read()
    os._exit(0)


if __name__ == '__main__':
    main()
