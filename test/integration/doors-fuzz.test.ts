// Every door of every process is tried with requests that are put together and broken at random. Seconds of it; a minute with
// NARWHAL_LONG=1, from another seed each time. NARWHAL_FUZZ_SEED brings a run back.
import assert from 'node:assert/strict';
import { randomInt } from 'node:crypto';
import { mkdtemp, rm, writeFile } from 'node:fs/promises';
import net, { type AddressInfo } from 'node:net';
import os from 'node:os';
import path from 'node:path';
import { built } from '../support/built.ts';
import { Fuzzer, poke } from '../support/fuzz.ts';
import { TestGateway } from '../support/gateway.ts';
import { TestServer } from '../support/server.ts';
import { logFile, onFreePort, ServerProcess } from '../support/server-process.ts';
import { ANSWERS, PIECES, REQUESTS, TOKEN } from '../tables/door-requests.ts';

const OPERATOR = built('dist/operator/main.js');
const isLong = process.env.NARWHAL_LONG === '1';
const SEED = Number(process.env.NARWHAL_FUZZ_SEED ?? (isLong ? randomInt(2 ** 31) : 12));
const BATCH = 50;
const BATCHES = 12;
const LONG_MS = 60_000;

interface Door {
  readonly name: string;
  readonly port: number;
  /** Where the process says that it lives. */
  readonly livez: string;
  readonly pid: number;
}

const portOf = (url: string) => Number(new URL(url).port);

/** An operator whose API server is away: its probes answer all the same. */
async function startOperator(folder: string): Promise<{ process: ServerProcess; url: string }> {
  const kubeconfig = path.join(folder, 'kubeconfig');
  const cluster = { server: 'https://127.0.0.1:1' };
  const context = { cluster: 'c', user: 'u' };
  await writeFile(
    kubeconfig,
    JSON.stringify({
      ...{ apiVersion: 'v1', kind: 'Config', 'current-context': 'c' },
      clusters: [{ name: 'c', cluster }],
      users: [{ name: 'u', user: { token: 'none' } }],
      contexts: [{ name: 'c', context }],
    }),
  );
  return onFreePort(async (port) => {
    const words = ['--namespace', 'fuzz', '--image', 'narwhal:test', '--listen', `127.0.0.1:${port}`];
    const operator = new ServerProcess({
      words: [process.execPath, OPERATOR, 'run', ...words],
      env: { PATH: process.env.PATH, HOME: folder, KUBECONFIG: kubeconfig },
      log: logFile(folder, 'operator'),
    });
    const url = `http://127.0.0.1:${port}`;
    await operator.untilReady(() => fetch(`${url}/livez`));
    return { process: operator, url };
  });
}

describe('no input ends a process', function () {
  this.timeout(isLong ? 5 * LONG_MS : 120_000);
  let folder: string;
  let server: TestServer;
  let gateway: TestGateway;
  let operator: ServerProcess;
  let doors: Door[];
  let token: string;

  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-fuzz-'));
    // A line for each request at level debug could hold a token that a broken request has in its address.
    const args = ['--log-level', 'info', '--trusted-proxies', '127.0.0.0/8,fe80::/10'];
    server = await TestServer.start({ args });
    gateway = await TestGateway.start({ table: { caches: { main: { url: server.url } } }, args });
    const started = await startOperator(folder);
    operator = started.process;
    token = await server.token();
    const ofServer = { livez: `${server.adminUrl}/livez`, pid: server.pid };
    const ofGateway = { livez: `${gateway.adminUrl}/livez`, pid: gateway.pid };
    doors = [
      { name: "the server's", port: server.port, ...ofServer },
      { name: "the server's admin port", port: portOf(server.adminUrl), ...ofServer },
      { name: "the gateway's", port: gateway.port, ...ofGateway },
      { name: "the gateway's admin port", port: portOf(gateway.adminUrl), ...ofGateway },
      { name: "the operator's probes", port: portOf(started.url), livez: `${started.url}/livez`, pid: operator.pid },
    ];
  });
  after(async () => {
    await Promise.all([gateway?.remove(), server?.remove(), operator?.stop('SIGKILL')]);
    await rm(folder, { recursive: true, force: true });
  });

  async function batch(door: Door, fuzzer: Fuzzer): Promise<void> {
    const inputs = Array.from({ length: BATCH }, () => fuzzer.next());
    const answers = await Promise.all(inputs.map((input) => poke(door.port, input.replaceAll(TOKEN, token))));
    const said = `NARWHAL_FUZZ_SEED=${SEED}; one of these at the door of ${door.name}:\n${inputs.map((input) => JSON.stringify(input)).join('\n')}`;
    const livez = await fetch(door.livez).then(
      ({ status }) => status,
      (error: unknown) => error,
    );
    // An operator on a machine that is busy says that it is late: it answers, which is what counts here.
    assert.ok(livez === 200 || livez === 503, `${livez} ${said}`);
    assert.ok(process.kill(door.pid, 0), said);
    for (const [index, answer] of answers.entries()) {
      const input = inputs[index] ?? '';
      // A fault that was caught is a fault all the same.
      assert.doesNotMatch(answer, /^HTTP\/1\.1 500 /m, `NARWHAL_FUZZ_SEED=${SEED}: ${JSON.stringify(input)}`);
      fuzzer.learn(door.name, input, answer);
    }
  }

  it('at any door, and none is a fault of the server', async () => {
    const until = performance.now() + LONG_MS;
    await Promise.all(
      doors.map(async (door, index) => {
        const fuzzer = new Fuzzer(SEED + index, REQUESTS, PIECES);
        for (let round = 0; isLong ? performance.now() < until : round < BATCHES; round++) await batch(door, fuzzer);
      }),
    );
    assert.equal((await fetch(`${gateway.url}/api/v1/cache/main/nix-cache-info`)).status, 200);
  });

  it('nor does any answer of a server that a gateway has behind it', async () => {
    const fuzzer = new Fuzzer(SEED, ANSWERS);
    let said: string[] = [];
    const bad = net.createServer((socket) => {
      socket.on('error', () => {});
      socket.once('data', () => {
        const answer = fuzzer.next();
        said.push(answer);
        socket.end(answer, 'latin1');
      });
    });
    await new Promise<void>((resolve) => bad.listen(0, '127.0.0.1', resolve));
    const { port } = bad.address() as AddressInfo;
    await gateway.useTable({ caches: { bad: { url: `http://127.0.0.1:${port}` }, main: { url: server.url } } });
    const head = 'Host: x\r\nConnection: close\r\n';
    const requests = [
      `GET /api/v1/cache/bad/x HTTP/1.1\r\n${head}\r\n`,
      `HEAD /api/v1/cache/bad/x HTTP/1.1\r\n${head}\r\n`,
      `GET /api/v1/cache/bad/x HTTP/1.0\r\n\r\n`,
      `PUT /api/v1/cache/bad/x HTTP/1.1\r\n${head}Content-Length: 5\r\n\r\nhello`,
      `PUT /api/v1/cache/bad/x HTTP/1.1\r\n${head}Content-Length: 5\r\nExpect: 100-continue\r\n\r\n`,
      'GET /api/v1/cache/bad/ws HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n\r\n',
    ];
    const until = performance.now() + LONG_MS;
    try {
      for (let round = 0; isLong ? performance.now() < until : round < BATCHES; round++) {
        said = [];
        await Promise.all(Array.from({ length: BATCH }, () => poke(gateway.port, fuzzer.choose(requests))));
        const { status } = await fetch(`${gateway.adminUrl}/livez`).catch((error: unknown) => ({ status: error }));
        assert.equal(
          status,
          200,
          `NARWHAL_FUZZ_SEED=${SEED}; ${gateway.output.slice(-1500)} one of these answers:\n${said.map((it) => JSON.stringify(it)).join('\n')}`,
        );
        assert.doesNotMatch(gateway.output, /met a fault/);
      }
    } finally {
      await new Promise((resolve) => bad.close(resolve));
    }
    assert.equal((await fetch(`${gateway.url}/api/v1/cache/main/nix-cache-info`)).status, 200);
  });
});
