/** Runs a program to its end. */
import { spawn } from 'node:child_process';
import { COMPILED } from './compiled.ts';

export interface RunResult {
  readonly code: number | null;
  readonly stdout: string;
  readonly stderr: string;
}

export interface RunInit {
  /** All that the program gets, beside COMPILED. */
  readonly env: NodeJS.ProcessEnv;
  readonly input?: string | undefined;
  readonly cwd?: string;
}

/** What a program says and how it ends; an end with another code than 0 is no error. */
export function runToEnd(words: readonly string[], { input, env, ...init }: RunInit): Promise<RunResult> {
  const [program = '', ...args] = words;
  const child = spawn(program, args, {
    stdio: ['pipe', 'pipe', 'pipe'],
    env: { ...COMPILED, ...env },
    ...init,
  });
  child.stdin.on('error', () => {});
  child.stdin.end(input ?? '');
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
