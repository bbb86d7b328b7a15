// Servers that exist as Go modules only are built once, with the Go and the module settings of the machine.
import { attempt, run } from '../lib/run.mjs';

/** Why `program` cannot be built here, with the remedy, or nothing. */
async function goProblem(program, oldest) {
  if ((await attempt('go', ['version'])).ok) return undefined;
  return (
    `go is not installed, and ${program} is built with it. Install Go ${oldest} or newer ` +
    `(https://go.dev/dl, or the system's package manager) and put its bin folder on PATH.`
  );
}

/** Runs `go` with arguments for `program`. Without cgo: no C compiler is needed, and no C library when it runs. */
export async function runGo(program, { oldest, args, cwd, env = {} }) {
  const problem = await goProblem(program, oldest);
  if (problem) throw new Error(problem);
  await run(`building ${program}`, 'go', args, { cwd, env: { ...process.env, CGO_ENABLED: '0', ...env } });
}
