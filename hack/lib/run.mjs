// Child processes for the tools in hack/.
import { spawn } from 'node:child_process';

/** A command that could not be run or that failed; the message ends with what it printed last. */
export class CommandError extends Error {
  constructor(what, result) {
    const tail = result.output.trim().split('\n').slice(-25).join('\n');
    super(`${what} failed (${result.reason})${tail ? `:\n${tail}` : ''}`);
    this.name = 'CommandError';
    this.result = result;
  }
}

/**
 * Runs a command to its end without ever throwing: {ok, code, reason, stdout, output}.
 * `inherit` streams the output to ours instead of keeping it.
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
    const end = (code, reason) => {
      clearTimeout(timer);
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
