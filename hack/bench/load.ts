/** Load by wrk: one thread, keep-alive connections, a list of addresses or hashes that nobody asked for before. */
import { execFile } from 'node:child_process';
import { writeFileSync } from 'node:fs';
import path from 'node:path';
import { promisify } from 'node:util';
import { ensureProgram } from '../components/programs.mjs';
import type { Sample } from './bench.ts';
import { cpuSeconds, type Served } from './processes.ts';
import { number } from './report.ts';

export type Load = Sample & {
  readonly perSecond: number;
  readonly megabytesPerSecond: number;
  readonly p50Ms: number;
  readonly p99Ms: number;
  /** Processor time of the server, for each answer or megabyte. Neighbours on the machine disturb it less than they do speed. */
  readonly cpuUs: number;
};

export interface LoadInit {
  readonly script: string;
  readonly connections: number;
  readonly seconds: number;
  /** Answers are expected to be errors: a load of misses. */
  readonly misses?: boolean;
  /** Answers are big: their number says little, since the last ones are cut off. */
  readonly perMegabyte?: boolean;
}

/** A script that asks for `addresses` one after the other. */
export function listScript(folder: string, addresses: readonly string[]): string {
  const file = path.join(folder, 'list.lua');
  writeFileSync(
    file,
    `local addresses = {${addresses.map((it) => JSON.stringify(it)).join(',')}}
local requests, at = {}, 0
function init() for k, a in ipairs(addresses) do requests[k] = wrk.format("GET", a) end end
function request() at = at % #requests + 1 return requests[at] end
`,
  );
  return file;
}

/** A script that asks for narinfos of hashes that are nowhere, each one new. */
export function missScript(folder: string): string {
  const file = path.join(folder, 'miss.lua');
  writeFileSync(
    file,
    `local digits, prefix, count = "0123456789abcdfghijklmnpqrsvwxyz", "", 0
math.randomseed(os.time())
for _ = 1, 22 do local n = math.random(1, 32) prefix = prefix .. digits:sub(n, n) end
function request()
  count = count + 1
  return wrk.format("GET", "/" .. prefix .. string.format("%010d", count) .. ".narinfo")
end
`,
  );
  return file;
}

/** @throws Error when answers were other than expected: the numbers would mean nothing */
export async function load({ url, pid }: Served, init: LoadInit): Promise<Load> {
  const cpuBefore = cpuSeconds(pid);
  const [command = '', ...prefix] = await ensureProgram('wrk');
  const shape = ['-t1', `-c${init.connections}`, `-d${init.seconds}s`, '--latency', '--timeout', '30s'];
  const { stdout } = await promisify(execFile)(command, [...prefix, ...shape, '-s', init.script, url]);
  const cpu = cpuSeconds(pid) - cpuBefore;
  const answers = Number(/(\d+) requests in/.exec(stdout)?.[1]);
  const errors = Number(/Non-2xx or 3xx responses: (\d+)/.exec(stdout)?.[1] ?? 0);
  const broken = /Socket errors: .*/.exec(stdout)?.[0];
  if (errors !== (init.misses ? answers : 0) || broken !== undefined)
    throw new Error(`${url} answered otherwise than expected:\n${stdout}`);
  const megabytesPerSecond = bytesOf(/Transfer\/sec:\s+([\d.]+)(\w+)/.exec(stdout)) / 1e6;
  return {
    perSecond: Number(/Requests\/sec:\s+([\d.]+)/.exec(stdout)?.[1]),
    megabytesPerSecond,
    p50Ms: milliseconds(/50%\s+([\d.]+)(\w+)/.exec(stdout)),
    p99Ms: milliseconds(/99%\s+([\d.]+)(\w+)/.exec(stdout)),
    cpuUs: (cpu * 1e6) / (init.perMegabyte ? megabytesPerSecond * init.seconds : answers),
  };
}

/** How much processor an answer takes, by what the baseline takes. */
export function cpuNote(ours: Sample, baseline: Sample): string {
  return `processor ${number((ours.cpuUs ?? Number.NaN) / (baseline.cpuUs ?? Number.NaN))} x`;
}

const MILLISECONDS: Readonly<Record<string, number>> = { us: 0.001, ms: 1, s: 1000 };
const BYTES: Readonly<Record<string, number>> = { B: 1, KB: 2 ** 10, MB: 2 ** 20, GB: 2 ** 30 };

function milliseconds(match: RegExpExecArray | null): number {
  return Number(match?.[1]) * (MILLISECONDS[match?.[2] ?? ''] ?? Number.NaN);
}

function bytesOf(match: RegExpExecArray | null): number {
  return Number(match?.[1]) * (BYTES[match?.[2] ?? ''] ?? Number.NaN);
}
