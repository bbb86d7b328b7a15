// An S3 server for tests: versitygw over a folder, built once from its Go module.
import path from 'node:path';
import { run } from '../lib/run.mjs';
import { runGo } from './go.mjs';
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
  say(`building versitygw ${VERSITYGW_VERSION} from its Go module (about three minutes, once)`);
  await runGo('versitygw, the S3 server of the tests,', {
    oldest: '1.25',
    args: ['install', '-trimpath', `${MODULE}@${VERSITYGW_VERSION}`],
    // Not in the clone: there, a go.mod of the project would decide on versions.
    cwd: draft,
    env: { GOBIN: draft },
  });
  // Before the folder is kept for good: does it run here?
  await run('versitygw --version', path.join(draft, 'versitygw'), ['--version']);
}
