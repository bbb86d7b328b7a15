/** The servers of a bench run: Narwhal, and the baselines beside it on the same files. */
import { type ChildProcess, spawn } from 'node:child_process';
import { closeSync, mkdirSync, openSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { setTimeout as wait } from 'node:timers/promises';
import { fileURLToPath } from 'node:url';
import { ensureProgram } from '../components/programs.mjs';
import { buildServer } from '../lib/build.mjs';
import { nodeFlags } from '../lib/launch.mjs';

export interface Served {
  readonly url: string;
  readonly pid: number;
  stop(): Promise<void>;
}

export interface Narwhal extends Served {
  readonly adminUrl: string;
  /** Token `push`. */
  readonly token: string;
  /** From the start of the process until `/readyz` said yes. */
  readonly readyMs: number;
}

export interface NarwhalInit {
  /** Default: a public cache with one local storage. */
  readonly manifest?: string;
  /** Text of the token `push` where a Secret of the manifest has it. */
  readonly token?: string;
  /** More flags of `serve`. */
  readonly args?: readonly string[];
}

const START_MS = 120_000;
const POLL_MS = 5;
/** Shown when a server does not start. */
const TAIL_CHARACTERS = 3000;
const MANIFEST = `apiVersion: narwhal.dev/v1alpha1
kind: BinaryCache
metadata:
  name: main
spec:
  storages:
    - name: disk
      local: {}
  tokens:
    - {name: push, permissions: [Write]}
`;

/**
 * Starts a process and waits until `ready` finds in its output what it looks for. The output goes to a file, as it does
 * under a service manager: reading it here would be work for the clients' process.
 */
async function start<T>(
  log: string,
  words: readonly string[],
  ready: (output: string) => T | undefined | Promise<T | undefined>,
): Promise<{ found: T; child: ChildProcess; stop: () => Promise<void> }> {
  const [command = '', ...args] = words;
  const file = openSync(log, 'w');
  const child = spawn(command, args, { stdio: ['ignore', file, file] });
  closeSync(file);
  let ended: string | undefined;
  const exit = new Promise<void>((resolve) => {
    child.on('error', (error) => {
      ended = error.message;
      resolve();
    });
    child.on('exit', (code, signal) => {
      ended ??= `it ended with ${code ?? signal}`;
      resolve();
    });
  });
  const stop = async () => {
    child.kill('SIGTERM');
    await exit;
  };
  const deadline = performance.now() + START_MS;
  for (;;) {
    const found = await ready(readFileSync(log, 'utf8'));
    if (found !== undefined) return { found, child, stop };
    if (ended === undefined && performance.now() > deadline) {
      await stop();
      ended = 'it took too long';
    }
    if (ended !== undefined)
      throw new Error(`${command} did not start: ${ended}\n${readFileSync(log, 'utf8').slice(-TAIL_CHARACTERS)}`);
    await wait(POLL_MS);
  }
}

let built: string | undefined;

/** Narwhal as `npm start` runs it, with the defaults that a user gets, on what `folder` holds. */
export async function startNarwhal(
  folder: string,
  nodeArgs: readonly string[] = [],
  init: NarwhalInit = {},
): Promise<Narwhal> {
  built ??= buildServer();
  mkdirSync(folder, { recursive: true });
  const [manifest, data] = [path.join(folder, 'cache.yaml'), path.join(folder, 'data')];
  writeFileSync(manifest, init.manifest ?? MANIFEST);
  const listen = ['--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0', '--log-format', 'json'];
  const serve = ['serve', '-f', manifest, '--data', data, ...listen, ...(init.args ?? [])];
  const words = [process.execPath, ...nodeFlags, ...nodeArgs, built, ...serve];
  const startedAt = performance.now();
  const { found, child, stop } = await start(path.join(folder, 'log'), words, async (output) => {
    const { listen: addresses, admin } = readyIn(output) ?? {};
    if (admin === undefined) return undefined;
    const answer = await fetch(`http://${admin}/readyz`).catch(() => undefined);
    await answer?.text();
    return answer?.ok ? { url: `http://${addresses?.[0]}`, adminUrl: `http://${admin}` } : undefined;
  });
  const readyMs = performance.now() - startedAt;
  const token = init.token ?? readFileSync(path.join(data, 'main/tokens/push'), 'utf8').trim();
  return { ...found, token, readyMs, pid: child.pid ?? 0, stop };
}

/** A gateway in front of one cache `main`. */
export async function startGateway(main: Served, folder: string, nodeArgs: readonly string[] = []): Promise<Served> {
  built ??= buildServer();
  const routes = path.join(folder, 'routes.json');
  writeFileSync(routes, JSON.stringify({ apiUrl: 'http://cache.test', caches: { main: { url: main.url } } }));
  const listen = ['--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0', '--log-format', 'json'];
  const gateway = ['gateway', '--routes', `file:${routes}`, '--shutdown-delay', '0', ...listen];
  const words = [process.execPath, ...nodeFlags, ...nodeArgs, built, ...gateway];
  const { found, child, stop } = await start(path.join(folder, 'gateway.log'), words, async (output) => {
    const { listen: addresses, admin } = readyIn(output) ?? {};
    const answer = admin === undefined ? undefined : await fetch(`http://${admin}/readyz`).catch(() => undefined);
    return answer?.ok ? `http://${addresses?.[0]}` : undefined;
  });
  return { url: found, pid: child.pid ?? 0, stop };
}

/** What a program of ours logs once it listens. */
function readyIn(output: string): { listen: string[]; admin: string } | undefined {
  const line = output.split('\n').find((it) => it.includes('"msg":"ready"') && it.endsWith('}'));
  return line === undefined ? undefined : JSON.parse(line);
}

/** A proxy in front of `target` that holds each request up, in a process of its own. */
export async function startLatencyProxy(target: string, latencyMs: number, folder: string): Promise<Served> {
  const script = fileURLToPath(new URL('latency-proxy.ts', import.meta.url));
  const words = [process.execPath, script, target, String(latencyMs)];
  const { found, child, stop } = await start(path.join(folder, 'latency-proxy.log'), words, portIn);
  return { url: found, pid: child.pid ?? 0, stop };
}

function portIn(output: string): string | undefined {
  const port = /port (\d+)\n/.exec(output)?.[1];
  return port && `http://127.0.0.1:${port}`;
}

/** The platform's limit. */
export async function startBareNode(files: string, folder: string): Promise<Served> {
  const script = fileURLToPath(new URL('bare-node.mjs', import.meta.url));
  const log = path.join(folder, 'bare-node.log');
  const { found, child, stop } = await start(log, [process.execPath, script, files], portIn);
  return { url: found, pid: child.pid ?? 0, stop };
}

/** The platform's limit of whatever stands between a client and a service. */
export async function startBareProxy(target: string, folder: string): Promise<Served> {
  const script = fileURLToPath(new URL('bare-proxy.mjs', import.meta.url));
  const { found, child, stop } = await start(
    path.join(folder, 'bare-proxy.log'),
    [process.execPath, script, target],
    portIn,
  );
  return { url: found, pid: child.pid ?? 0, stop };
}

/** nginx with one worker, sendfile and an open file cache: as good as static files get. */
export async function startNginx(files: string, folder: string): Promise<Served> {
  const nginx = await ensureProgram('nginx');
  const port = await freePort();
  const config = path.join(folder, 'nginx.conf');
  const kinds = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'];
  const lines = [
    // Its worker would drop to another user, who cannot read the bench's folder. Others than root cannot change users.
    ...(process.getuid?.() === 0 ? ['user root;'] : []),
    'worker_processes 1;',
    'daemon off;',
    `pid ${folder}/nginx.pid;`,
    `error_log ${folder}/nginx-error.log;`,
    'events { worker_connections 1024; }',
    'http {',
    ...kinds.map((kind) => `  ${kind}_temp_path ${folder}/${kind};`),
    '  access_log off;',
    '  sendfile on;',
    '  tcp_nopush on;',
    '  keepalive_requests 100000000;',
    '  default_type application/octet-stream;',
    '  open_file_cache max=100000 inactive=60s;',
    `  server { listen 127.0.0.1:${port}; root ${files}; }`,
    '}',
  ];
  writeFileSync(config, `${lines.join('\n')}\n`);
  const url = `http://127.0.0.1:${port}`;
  const words = [...nginx, '-e', `${folder}/nginx-error.log`, '-c', config, '-p', folder];
  const { child, stop } = await start(path.join(folder, 'nginx.log'), words, async () => {
    const answer = await fetch(url).catch(() => undefined);
    await answer?.text();
    return answer && true;
  });
  return { url, pid: child.pid ?? 0, stop };
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** The value of a metric of one cache. */
export async function metric(served: Narwhal, name: string): Promise<number> {
  const text = await (await fetch(`${served.adminUrl}/metrics`)).text();
  return Number(new RegExp(`^${name}(?:\\{[^}]*\\})? (\\S+)$`, 'm').exec(text)?.[1]);
}

/** Resident memory of a process in MB: now, and the most that it ever was. */
export function memoryOf(pid: number): { rssMb: number; peakMb: number } {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  const kilobytes = (name: string) => Number(new RegExp(`^${name}:\\s+(\\d+)`, 'm').exec(status)?.[1]);
  return { rssMb: kilobytes('VmRSS') / 1024, peakMb: kilobytes('VmHWM') / 1024 };
}

/** Processor seconds of a process and its children so far, all threads. nginx works in a child. */
export function cpuSeconds(pid: number): number {
  // After the name in parentheses: state is field 3, user and system time are 14 and 15, in ticks of 10 ms.
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]?.split(' ') ?? [];
  const children = readFileSync(`/proc/${pid}/task/${pid}/children`, 'utf8').split(' ').filter(Boolean);
  return (
    (Number(fields[11]) + Number(fields[12])) / 100 + children.reduce((sum, it) => sum + cpuSeconds(Number(it)), 0)
  );
}
