import assert from 'node:assert/strict';
import type { Server } from 'node:http';
import net, { type AddressInfo } from 'node:net';
import { pino } from 'pino';
import { createDoor, type DoorInit } from '../../../server/wire/index.ts';
import { exchange } from '../../support/socket.ts';

const WEBSOCKET = 'Upgrade: websocket\r\nConnection: Upgrade\r\n';

describe('a door', () => {
  let door: Server | undefined;
  let lines: string[];

  const open = async (init: Omit<DoorInit, 'logger'>): Promise<number> => {
    lines = [];
    const logger = pino({ level: 'info' }, { write: (line: string) => void lines.push(line) });
    const server = createDoor({ ...init, logger });
    door = server;
    await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
    return (server.address() as AddressInfo).port;
  };
  afterEach(() => {
    door?.close();
    door?.closeAllConnections();
  });

  const get = (target = '/x?secret', headers = '') =>
    `GET ${target} HTTP/1.1\r\nHost: x\r\n${headers || 'Connection: close\r\n'}\r\n`;
  const assertLogged = () => {
    assert.equal(lines.length, 1, lines.join(''));
    const { level, path, err } = JSON.parse(lines[0] ?? '');
    assert.deepEqual([level, path, err.message], [50, '/x', 'a bug']);
  };

  const faults: readonly (readonly [what: string, handle: DoorInit['handle']])[] = [
    [
      'that throws',
      () => {
        throw new Error('a bug');
      },
    ],
    ['that rejects', () => Promise.reject(new Error('a bug'))],
    ['that rejects later', () => new Promise((_, reject) => setImmediate(() => reject(new Error('a bug'))))],
  ];
  for (const [what, handle] of faults) {
    it(`answers 500 for a handler ${what}, says nothing of why, and logs it without the query`, async () => {
      const { text, statuses } = await exchange(await open({ handle }), get());
      assert.deepEqual(statuses, [500]);
      assert.match(text, /\r\n\r\ninternal error\n$/);
      assertLogged();
    });

    it(`does the same where the client waits to be asked for its body, for a handler ${what}`, async () => {
      const port = await open({ handle: () => {}, awaitsContinue: handle });
      const { statuses } = await exchange(port, get('/x', 'Expect: 100-continue\r\nConnection: close\r\n'));
      assert.deepEqual(statuses, [500]);
      assertLogged();
    });

    it(`does the same for a request for another protocol, for a handler ${what}`, async () => {
      const port = await open({ handle: () => {}, upgrade: (request, response) => handle(request, response) });
      assert.deepEqual((await exchange(port, get('/x', WEBSOCKET))).statuses, [500]);
      assertLogged();
    });
  }

  it('cuts an answer off whose handler throws after its head', async () => {
    const port = await open({
      handle: (_, response) => {
        response.writeHead(200, { 'Content-Length': 10 });
        response.write('half');
        throw new Error('a bug');
      },
    });
    const { text } = await exchange(port, get());
    assert.doesNotMatch(text, /500|internal error/);
    assertLogged();
  });

  it('closes a connection on which an upgrade overtakes an answer', async () => {
    const upgrades: string[] = [];
    const port = await open({ handle: () => {}, upgrade: ({ url }) => void upgrades.push(url ?? '') });
    const { text } = await exchange(port, get('/slow', 'A: b\r\n') + get('/ws', WEBSOCKET));
    assert.deepEqual([text, upgrades], ['', []]);
  });

  it('answers an upgrade as any other request where it speaks nothing else', async () => {
    const port = await open({ handle: (_, response) => response.end('plain\n') });
    const { text, statuses } = await exchange(port, get('/ws', `Upgrade: x\r\nConnection: Upgrade, close\r\n`));
    assert.deepEqual(statuses, [200]);
    assert.match(text, /plain/);
  });

  it('is no proxy, and says so', async () => {
    const { text, statuses } = await exchange(
      await open({ handle: () => {} }),
      'CONNECT x:1 HTTP/1.1\r\nHost: x\r\n\r\n\x16\x03\x01',
    );
    assert.deepEqual(statuses, [405]);
    assert.match(text, /\r\n\r\nCONNECT is not possible here: this is no proxy\n$/);
  });

  it('says which expectation it knows', async () => {
    const port = await open({ handle: () => {} });
    const { text, statuses } = await exchange(port, get('/', 'Expect: a miracle\r\nConnection: close\r\n'));
    assert.deepEqual(statuses, [417]);
    assert.match(text, /\r\n\r\nExpect: nothing but 100-continue is possible here\n$/);
  });

  it('writes no refusal into an answer that has begun', async () => {
    const port = await open({
      handle: (_, response) => {
        response.writeHead(200, { 'Content-Length': 1000 });
        response.write('half');
      },
    });
    const socket = net.connect(port, '127.0.0.1');
    let text = '';
    const closed = new Promise((resolve) => socket.on('close', resolve));
    socket.setEncoding('latin1').on('data', (piece: string) => {
      text += piece;
      // Once the answer has begun, what no parser takes.
      if (text.endsWith('half')) socket.write('no HTTP at all\r\n\r\n');
    });
    socket.on('error', () => {});
    socket.write(get('/', 'A: b\r\n'));
    await closed;
    assert.match(text, /\r\n\r\nhalf$/);
  });
});
