# SPDX-License-Identifier: Apache-2.0
"""Signed requests to an S3 service, as its administrator's tools send them.

Source: "Signature Calculations for the Authorization Header", Amazon S3 API
Reference.
"""
import base64
import datetime
import hashlib
import hmac
import http.client
import urllib.parse

REGION = 'us-east-1'


def _hmac(key, text):
    return hmac.new(key, text.encode(), hashlib.sha256).digest()


class Client:
    def __init__(self, host, port, key, secret):
        self.host, self.port, self.key, self.secret = host, port, key, secret

    def headers_for(self, method, path, query, body, more):
        now = datetime.datetime.now(datetime.timezone.utc)
        when, day = now.strftime('%Y%m%dT%H%M%SZ'), now.strftime('%Y%m%d')
        digest = hashlib.sha256(body).hexdigest()
        headers = {'host': f'{self.host}:{self.port}',
                   'x-amz-content-sha256': digest, 'x-amz-date': when, **more}
        names = ';'.join(sorted(headers))
        canonical = '\n'.join(
            [method, path, query,
             *(f'{n}:{headers[n]}' for n in sorted(headers)), '', names,
             digest])
        scope = f'{day}/{REGION}/s3/aws4_request'
        text = '\n'.join(['AWS4-HMAC-SHA256', when, scope,
                          hashlib.sha256(canonical.encode()).hexdigest()])
        key = _hmac(_hmac(_hmac(_hmac(('AWS4' + self.secret).encode(), day),
                                REGION), 's3'), 'aws4_request')
        signature = hmac.new(key, text.encode(), hashlib.sha256).hexdigest()
        headers['authorization'] = (
            f'AWS4-HMAC-SHA256 Credential={self.key}/{scope},'
            f'SignedHeaders={names},Signature={signature}')
        return headers

    def request(self, method, path, query=None, body=b'', **more):
        """Status and body.  `query` is a dict; header names with _ for -."""
        if isinstance(body, str):
            body = body.encode()
        path = urllib.parse.quote(path)
        query = urllib.parse.urlencode(sorted((query or {}).items()),
                                       quote_via=urllib.parse.quote)
        more = {k.replace('_', '-').lower(): v for k, v in more.items()}
        if body:
            more['content-md5'] = base64.b64encode(
                hashlib.md5(body).digest()).decode()
        headers = self.headers_for(method, path, query, body, more)
        link = http.client.HTTPConnection(self.host, self.port, timeout=60)
        link.request(method, path + ('?' + query if query else ''), body,
                     headers)
        reply = link.getresponse()
        text = reply.read().decode()
        link.close()
        return reply.status, text
