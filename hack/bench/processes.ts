/** The servers of a bench run: Narwhal, and the baselines beside it on the same files. */
import { type ChildProcess, spawn } from 'node:child_process';
import { mkdirSync, readFileSync, writeFileSync } from 'node:fs';
import { createServer } from 'node:net';
import path from 'node:path';
import { fileURLToPath } from 'node:url';
import { ensureProgram } from '../components/programs.mjs';

export interface Served {
  readonly name: string;
  readonly url: string;
  readonly pid: number;
  stop(): Promise<void>;
}

/** Starts a process and waits until `ready` finds its address in what it prints. */
async function start(name: string, words: readonly string[], ready: (output: string) => string | undefined): Promise<Served> {
  const [command = '', ...args] = words;
  const child = spawn(command, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  const exit = new Promise<void>((resolve) => child.on('close', () => resolve()));
  const url = await new Promise<string>((resolve, reject) => {
    let output = '';
    // A server that prints nothing has a known address.
    const known = ready('');
    if (known !== undefined) resolve(known);
    const hear = (chunk: Buffer) => {
      output += chunk;
      const found = ready(output);
      if (found !== undefined) resolve(found);
    };
    child.stdout?.on('data', hear);
    child.stderr?.on('data', hear);
    exit.then(() => reject(new Error(`${name} ended:\n${output}`)));
  });
  return { name, url, pid: child.pid ?? 0, stop: () => stop(child, exit) };
}

async function stop(child: ChildProcess, exit: Promise<void>): Promise<void> {
  child.kill('SIGTERM');
  await exit;
}

const MAIN = fileURLToPath(new URL('../../server/main.ts', import.meta.url));
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

/** Narwhal with the defaults that a user gets, at log level info. */
export function startNarwhal(folder: string, nodeArgs: readonly string[] = []): Promise<Served> {
  mkdirSync(folder, { recursive: true });
  const manifest = path.join(folder, 'cache.yaml');
  writeFileSync(manifest, MANIFEST);
  const flags = ['-f', manifest, '--data', path.join(folder, 'data'), '--listen', '127.0.0.1:0', '--admin-listen', '127.0.0.1:0', '--log-format', 'json'];
  return start('narwhal', [process.execPath, ...nodeArgs, MAIN, "serve", ...flags], (output) => {
    const address = /"listen":\["([^"]+)"\].*"msg":"ready"/.exec(output)?.[1];
    return address && `http://${address}`;
  });
}

export function token(folder: string): string {
  return readFileSync(path.join(folder, 'data/main/tokens/push'), 'utf8').trim();
}

/** The platform's limit. */
export function startBareNode(files: string): Promise<Served> {
  const script = fileURLToPath(new URL('bare-node.mjs', import.meta.url));
  return start('bare node', [process.execPath, script, files], (output) => {
    const port = /port (\d+)/.exec(output)?.[1];
    return port && `http://127.0.0.1:${port}`;
  });
}

/** nginx with one worker, sendfile and an open file cache: as good as static files get. */
export async function startNginx(files: string, folder: string): Promise<Served> {
  const nginx = await ensureProgram('nginx');
  const port = await freePort();
  mkdirSync(folder, { recursive: true });
  const paths = ['client_body', 'proxy', 'fastcgi', 'uwsgi', 'scgi'].map((kind) => `${kind}_temp_path ${folder}/${kind};`).join('\n');
  writeFileSync(
    path.join(folder, 'nginx.conf'),
    `user root;\nworker_processes 1;\ndaemon off;\npid ${folder}/pid;\nerror_log ${folder}/error.log;
events { worker_connections 1024; }
http {
  ${paths}
  access_log off; sendfile on; tcp_nopush on; keepalive_requests 100000000; default_type application/octet-stream;
  open_file_cache max=100000 inactive=60s;
  server { listen 127.0.0.1:${port}; root ${files}; }
}\n`,
  );
  const url = `http://127.0.0.1:${port}`;
  const served = await start('nginx', [...nginx, '-e', `${folder}/error.log`, '-c', path.join(folder, 'nginx.conf'), '-p', folder], () => url);
  for (;;) {
    const answer = await fetch(url).catch(() => undefined);
    if (answer !== undefined) return served;
  }
}

async function freePort(): Promise<number> {
  const server = createServer();
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  const address = server.address();
  const port = typeof address === 'object' && address !== null ? address.port : 0;
  await new Promise((resolve) => server.close(resolve));
  return port;
}

/** Resident memory of a process in MB. */
export function rssMb(pid: number): number {
  const status = readFileSync(`/proc/${pid}/status`, 'utf8');
  return Number(/VmRSS:\s+(\d+)/.exec(status)?.[1] ?? 0) / 1024;
}
