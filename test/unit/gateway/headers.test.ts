import assert from 'node:assert/strict';
import type { IncomingMessage } from 'node:http';
import fc from 'fast-check';
import { answerHeaders, requestHeaders } from '../../../server/gateway/headers.ts';
import { TrustedProxies } from '../../../server/wire/index.ts';

/** A message with these headers, as Node's parser makes it. */
function message(raw: readonly string[], remoteAddress = '192.0.2.1'): IncomingMessage {
  const headers: Record<string, string> = {};
  for (let at = 0; at < raw.length; at += 2) headers[(raw[at] ?? '').toLowerCase()] ??= raw[at + 1] ?? '';
  return { rawHeaders: raw, headers, socket: { remoteAddress } } as unknown as IncomingMessage;
}

describe('the headers of a request', () => {
  const init = { proxies: new TrustedProxies(['10.0.0.0/8']), requestId: 'id', host: 'cache.test', isUpgrade: false };
  const added = [
    'X-Forwarded-For',
    '192.0.2.1',
    'X-Forwarded-Proto',
    'http',
    'X-Forwarded-Host',
    'h',
    'X-Request-Id',
    'id',
  ];
  const onward = (raw: readonly string[], more = {}) => requestHeaders(message(raw), { ...init, ...more });

  it('get a Host where the client named none', () => {
    assert.deepEqual(onward([]).slice(0, 2), ['Host', 'cache.test']);
    assert.deepEqual(onward(['Host', 'h']), ['Host', 'h', ...added]);
  });

  it('say anew that the body comes in chunks, and ask for a WebSocket where one is wanted', () => {
    const chunked = onward(['Host', 'h', 'transfer-encoding', 'Chunked']);
    assert.deepEqual(chunked, ['Host', 'h', 'Transfer-Encoding', 'chunked', ...added]);
    const upgrade = onward(['Host', 'h', 'Upgrade', 'x', 'Connection', 'upgrade'], { isUpgrade: true });
    assert.deepEqual(upgrade, ['Host', 'h', ...added, 'Connection', 'Upgrade', 'Upgrade', 'websocket']);
  });

  it('name an IPv4 client as IPv4, also on a socket of both families', () => {
    const both = requestHeaders(message(['Host', 'h', 'X-Forwarded-For', 'a'], '::ffff:10.1.2.3'), init);
    assert.equal(both[both.indexOf('X-Forwarded-For') + 1], 'a, 10.1.2.3');
  });

  it('never ask for places instead of bytes, which only a proxy may that sends files by itself', () => {
    assert.deepEqual(onward(['Host', 'h', 'X-Sendfile-Type', 'X-Accel-Redirect']), ['Host', 'h', ...added]);
  });

  it('never hold what belongs to one connection, however it is spelt', () => {
    const name = fc.constantFrom('Connection', 'keep-alive', 'TE', 'upgrade', 'Proxy-Connection', 'X-A', 'X-B', 'Host');
    const value = fc.constantFrom('x-a', 'X-B, close', 'host', 'content-length', '', 'x-forwarded-for');
    fc.assert(
      fc.property(fc.array(fc.tuple(name, value)), (pairs) => {
        const names = onward(['Content-Length', '1', ...pairs.flat()]).filter((_, index) => index % 2 === 0);
        for (const it of names) assert.doesNotMatch(it, /^(connection|keep-alive|te|upgrade|proxy-connection)$/i);
        assert.equal(names.filter((it) => it === 'Content-Length').length, 1);
        assert.equal(names.filter((it) => it === 'X-Forwarded-For').length, 1);
      }),
    );
  });
});

describe('the headers of an answer', () => {
  it('lose those of the connection, and keep the rest in order', () => {
    const raw = ['Date', 'd', 'Connection', 'x-a', 'X-A', '1', 'Set-Cookie', 'a', 'set-cookie', 'b', 'Keep-Alive', '5'];
    assert.deepEqual(answerHeaders(message(raw), 'id', true), [
      'X-Request-Id',
      'id',
      'Date',
      'd',
      'Set-Cookie',
      'a',
      'set-cookie',
      'b',
    ]);
  });

  it('say that the body comes in chunks only to who understands it', () => {
    const raw = ['Transfer-Encoding', 'chunked'];
    assert.deepEqual(answerHeaders(message(raw), 'id', true), ['X-Request-Id', 'id', ...raw]);
    assert.deepEqual(answerHeaders(message(raw), 'id', false), ['X-Request-Id', 'id']);
  });
});
