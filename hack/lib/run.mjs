// Child processes for the tools in hack/.
import { spawn } from 'node:child_process';
import os from 'node:os';

const HEAD_LINES = 12;
const TAIL_LINES = 20;

/** A command that could not be run or that failed; the message holds the beginning and the end of what it printed. */
export class CommandError extends Error {
  constructor(what, result) {
    super(`${what} failed (${result.reason})${result.output.trim() ? `:\n${shortened(result.output)}` : ''}`);
    this.name = 'CommandError';
  }
}

/** A text of many lines without its middle: npm tells the cause first, compilers last. */
export function shortened(text) {
  const lines = text.trim().split('\n');
  if (lines.length <= HEAD_LINES + TAIL_LINES) return lines.join('\n');
  const left = lines.length - HEAD_LINES - TAIL_LINES;
  return [...lines.slice(0, HEAD_LINES), `... (${left} lines)`, ...lines.slice(-TAIL_LINES)].join('\n');
}

/**
 * Runs a command to its end without ever throwing: {ok, code, reason, stdout, output}.
 * @param {string} command
 * @param {readonly string[]} args
 * @param {{ cwd?: string, env?: NodeJS.ProcessEnv, timeoutMs?: number, inherit?: boolean, input?: string }} [options]
 *   `inherit` streams the output to ours instead of keeping it
 */
export function attempt(command, args, { cwd, env, timeoutMs, inherit = false, input } = {}) {
  return new Promise((resolve) => {
    const child = spawn(command, args, {
      cwd,
      env: env ?? process.env,
      stdio: [input === undefined ? 'ignore' : 'pipe', inherit ? 'inherit' : 'pipe', inherit ? 'inherit' : 'pipe'],
      // A group of its own, so that a time limit ends the grandchildren too.
      detached: timeoutMs !== undefined,
    });
    let stdout = '';
    let output = '';
    let timedOut = false;
    const timer =
      timeoutMs &&
      setTimeout(() => {
        timedOut = true;
        try {
          process.kill(-child.pid, 'SIGKILL');
        } catch {
          child.kill('SIGKILL');
        }
      }, timeoutMs);
    child.stdout?.on('data', (chunk) => {
      stdout += chunk;
      output += chunk;
    });
    child.stderr?.on('data', (chunk) => {
      output += chunk;
    });
    if (input !== undefined) child.stdin.on('error', () => {}).end(input);
    // Being in another group, the child does not see the terminal's Ctrl-C.
    const stop = (signal) => {
      try {
        process.kill(-child.pid, 'SIGTERM');
      } catch {
        // It is gone already.
      }
      process.exit(128 + os.constants.signals[signal]);
    };
    const passedOn = timeoutMs === undefined ? [] : ['SIGINT', 'SIGTERM', 'SIGHUP'];
    for (const signal of passedOn) process.on(signal, stop);
    const end = (code, reason) => {
      clearTimeout(timer);
      for (const signal of passedOn) process.removeListener(signal, stop);
      resolve({ ok: code === 0, code, reason, stdout, output });
    };
    child.on('error', (error) => end(-1, error.code === 'ENOENT' ? `${command} is not installed` : error.message));
    child.on('close', (code, signal) =>
      end(
        code ?? -1,
        timedOut ? `no end after ${timeoutMs / 1000} s` : signal ? `killed by ${signal}` : `exit code ${code}`,
      ),
    );
  });
}

/** Runs a command to its end and returns its standard output; throws CommandError when it fails. */
export async function run(what, command, args, options) {
  const result = await attempt(command, args, options);
  if (!result.ok) throw new CommandError(what, result);
  return result.stdout;
}
