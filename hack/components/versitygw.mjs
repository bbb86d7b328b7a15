// An S3 server for tests: versitygw over a folder, built once from its Go module.
import path from 'node:path';
import { attempt, run } from '../lib/run.mjs';
import { keep, say } from './kept.mjs';

export const VERSITYGW_VERSION = 'v1.8.0';
const MODULE = 'github.com/versity/versitygw/cmd/versitygw';
/** Raise it when the build makes something else out of the same sources. */
const RECIPE = 1;

/** The words that start versitygw, built if need be. @returns {Promise<string[]>} */
export async function ensureVersitygw() {
  const folder = await keep(`versitygw-${VERSITYGW_VERSION}`, RECIPE, build);
  return [path.join(folder, 'versitygw')];
}

async function build(draft) {
  if (!(await attempt('go', ['version'])).ok) {
    throw new Error(
      `go is not installed, and versitygw, the S3 server of the tests, is built with it. Install Go 1.25 or newer ` +
        `(https://go.dev/dl, or the system's package manager) and put its bin folder on PATH.`,
    );
  }
  say(`building versitygw ${VERSITYGW_VERSION} from its Go module (about three minutes, once)`);
  // Without cgo the program needs no C compiler, and no C library when it runs.
  const env = { ...process.env, GOBIN: draft, CGO_ENABLED: '0' };
  // Not in the clone: there, a go.mod of the project would decide on versions.
  await run('building versitygw', 'go', ['install', '-trimpath', `${MODULE}@${VERSITYGW_VERSION}`], {
    cwd: draft,
    env,
  });
  // Before the folder is kept for good: does it run here?
  await run('versitygw --version', path.join(draft, 'versitygw'), ['--version']);
}
