/** Load by wrk: one thread, keep-alive connections, a list of paths or a Lua script. */
import { spawn } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { ensureProgram } from '../components/programs.mjs';

export interface Load {
  readonly perSecond: number;
  readonly megabytesPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Answers that were not 2xx or 3xx. */
  readonly errors: number;
}

/** A script that asks for `paths` one after the other. */
export function listScript(folder: string, paths: readonly string[]): string {
  const file = path.join(folder, 'list.lua');
  const list = paths.map((it) => JSON.stringify(it)).join(',');
  writeFileSync(file, `local paths = {${list}}\nlocal i = 0\nlocal requests = {}\nfunction init() for k, p in ipairs(paths) do requests[k] = wrk.format("GET", p) end end\nfunction request() i = i % #requests + 1 return requests[i] end\n`);
  return file;
}

/** A script that asks for a hash that nobody has asked for before. */
export function missScript(folder: string): string {
  const file = path.join(folder, 'miss.lua');
  writeFileSync(
    file,
    `local digits = "0123456789abcdfghijklmnpqrsvwxyz"\nmath.randomseed(os.time())\nlocal prefix = ""\nfor _ = 1, 22 do local n = math.random(1, 32) prefix = prefix .. digits:sub(n, n) end\nlocal count = 0\nfunction request() count = count + 1 return wrk.format("GET", "/" .. prefix .. string.format("%010d", count) .. ".narinfo") end\n`,
  );
  return file;
}

export async function wrk(url: string, options: { script: string; connections: number; seconds: number }): Promise<Load> {
  const program = await ensureProgram('wrk');
  const args = ['-t1', `-c${options.connections}`, `-d${options.seconds}s`, '--latency', '--timeout', '30s', '-s', options.script, url];
  const [command = '', ...prefix] = program;
  const output = await new Promise<string>((resolve, reject) => {
    const child = spawn(command, [...prefix, ...args], { stdio: ['ignore', 'pipe', 'inherit'] });
    let text = '';
    child.stdout.on('data', (chunk: Buffer) => {
      text += chunk;
    });
    child.on('close', (code) => (code === 0 ? resolve(text) : reject(new Error(`wrk ended with ${code}:\n${text}`))));
  });
  return {
    perSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(output)?.[1] ?? 0),
    megabytesPerSecond: bytesOf(/Transfer\/sec:\s+([\d.]+)(\w+)/.exec(output)) / 1e6,
    p50Ms: milliseconds(/50%\s+([\d.]+)(\w+)/.exec(output)),
    p99Ms: milliseconds(/99%\s+([\d.]+)(\w+)/.exec(output)),
    errors: Number(/Non-2xx or 3xx responses: (\d+)/.exec(output)?.[1] ?? 0),
  };
}

const MILLISECONDS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000 };
const BYTES: Readonly<Record<string, number>> = { B: 1, KB: 1024, MB: 2 ** 20, GB: 2 ** 30 };

function milliseconds(match: RegExpExecArray | null): number {
  return Number(match?.[1] ?? Number.NaN) * (MILLISECONDS[match?.[2] ?? ''] ?? Number.NaN);
}

function bytesOf(match: RegExpExecArray | null): number {
  return Number(match?.[1] ?? Number.NaN) * (BYTES[match?.[2] ?? ''] ?? Number.NaN);
}
