/** Runs narwhal-server to its end, as a person or script would. */
import { built } from './built.ts';
import { type RunResult, runToEnd } from './run.ts';

const MAIN = built('dist/server/main.js');

/** @param env variables beside those of this process */
export function runCli(
  args: readonly string[],
  init: { env?: Readonly<Record<string, string>>; stdin?: string } = {},
): Promise<RunResult> {
  return runToEnd([process.execPath, MAIN, ...args], { env: { ...process.env, ...init.env }, input: init.stdin });
}
