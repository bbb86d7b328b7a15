/** Runs a program to its end. */
import { spawn } from 'node:child_process';

export interface RunResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

/** What a program says and how it ends; an end with another code than 0 is no error. @param env is all that it gets */
export function runToEnd(
  words: readonly string[],
  init: { env: NodeJS.ProcessEnv; input?: string | undefined },
): Promise<RunResult> {
  const [program = '', ...args] = words;
  const child = spawn(program, args, { stdio: ['pipe', 'pipe', 'pipe'], env: init.env });
  child.stdin.on('error', () => {});
  child.stdin.end(init.input ?? '');
  const output = { stdout: '', stderr: '' };
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    output.stdout += text;
  });
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    output.stderr += text;
  });
  return new Promise((resolve, reject) => {
    child.on('error', reject);
    child.on('close', (code) => resolve({ code, ...output }));
  });
}
