import assert from 'node:assert/strict';
import { type IncomingMessage, request as open, type Server, type ServerResponse } from 'node:http';
import { type AddressInfo, connect } from 'node:net';
import { pino } from 'pino';
import { type BodyLimits, bodyOf, drain, readWhole } from '../../../server/http/body.ts';
import { asCaller, Budget, type Caller } from '../../../server/shares/index.ts';
import { createDoor } from '../../../server/wire/index.ts';
import { until } from '../../support/server.ts';

/** A door that gives each request to `handle`, in the name of a caller. */
async function listen(handle: (request: IncomingMessage, response: ServerResponse, caller: Caller) => Promise<void>) {
  const server: Server = createDoor({
    logger: pino({ enabled: false }),
    handle: (request, response) => {
      const caller: Caller = { cache: 'main', client: 'x' };
      return asCaller(caller, () => handle(request, response, caller));
    },
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const { port } = server.address() as AddressInfo;
  return { port, close: () => new Promise((resolve) => server.close(resolve)) };
}

function limitsWith(memory: Budget): BodyLimits {
  const pace = { leastRate: 1, overMs: 60_000 };
  return { idleMs: 60_000, encodedMs: 60_000, received: () => {}, pace, memory };
}

describe('the body of a request', () => {
  it('is waited for until it is all here, and not while the server works on it', async () => {
    const seen: (number | undefined)[] = [];
    const door = await listen(async (request, response, caller) => {
      const body = bodyOf(request, response, limitsWith(new Budget({ units: 1 })));
      const iterator = body[Symbol.asyncIterator]();
      await iterator.next();
      const rest = iterator.next();
      await new Promise(setImmediate);
      seen.push(caller.body?.progress());
      pushing.end();
      await rest;
      await drain(body, 1);
      seen.push(caller.body?.progress());
      response.end();
    });
    const pushing = open({ port: door.port, host: '127.0.0.1', method: 'PUT', agent: false });
    pushing.write('half');
    await new Promise((resolve) => pushing.once('response', (answer) => answer.resume().once('end', resolve)));
    assert.deepEqual(seen, [4, undefined]);
    await door.close();
  });

  it('loses no share to others while the server works on it, though its client sends no more', async () => {
    let now = 0;
    const memory = new Budget({ units: 10, stallMs: 1000, leastRate: 1, now: () => now });
    const door = await listen(async (request, response) => {
      await readWhole(request, response, { ...limitsWith(memory), maxBytes: 10 });
      for (let look = 0; look < 3; look++) {
        now += 1000;
        memory.look();
      }
      assert.equal(memory.tryTake({ caller: { cache: 'other', client: 'y' }, units: 10 }), undefined);
      response.end('well');
    });
    const answer = await fetch(`http://127.0.0.1:${door.port}/`, { method: 'PUT', body: '0123456789' });
    assert.equal(await answer.text(), 'well');
    assert.equal(memory.revoked, 0);
    await door.close();
  });

  for (const [what, behind] of [
    ['its client does not take the answer', 0],
    ['its client takes no answer before', 1],
  ] as const)
    it(`loses its share to others where ${what}`, async () => {
      let now = 0;
      const memory = new Budget({ units: 10, stallMs: 1000, leastRate: 1, now: () => now });
      const held = Promise.withResolvers<void>();
      const closed = Promise.withResolvers<void>();
      let answers = 0;
      const door = await listen(async (request, response) => {
        if (answers++ === behind) {
          response.once('close', closed.resolve);
          await readWhole(request, response, { ...limitsWith(memory), maxBytes: 10 });
          held.resolve();
        }
        // More than a connection takes by itself.
        response.end(Buffer.alloc(32 * 2 ** 20));
      });
      const socket = connect(door.port, '127.0.0.1').pause();
      socket.on('error', () => {});
      socket.write('GET / HTTP/1.1\r\nHost: x\r\n\r\n'.repeat(behind));
      socket.write('PUT / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789');
      await held.promise;
      await until('the connection is full', () => {
        now += 1000;
        memory.look();
        return memory.tryTake({ caller: { cache: 'other', client: 'y' }, units: 10 }) !== undefined;
      });
      await closed.promise;
      assert.equal(memory.revoked, 1);
      await door.close();
    });
});
