/** Runs narwhal-server to its end, as a person or script would. */
import { fileURLToPath } from 'node:url';
import { type RunResult, runToEnd } from './run.ts';

const MAIN = fileURLToPath(new URL('../../server/main.ts', import.meta.url));

/** @param env variables beside those of this process */
export function runCli(
  args: readonly string[],
  init: { env?: Readonly<Record<string, string>>; stdin?: string } = {},
): Promise<RunResult> {
  return runToEnd([process.execPath, MAIN, ...args], { env: { ...process.env, ...init.env }, input: init.stdin });
}
