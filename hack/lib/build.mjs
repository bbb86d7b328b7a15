// The built server: JavaScript in dist/, what the image and `bin` run. A third less memory than the sources, whose
// types Node would strip in every thread.
import path from 'node:path';
import { node24, root } from './places.mjs';
import { run } from './run.mjs';

/** Brings dist/ up to date with the sources (half a second when nothing has changed). The file to run. */
export async function buildServer() {
  const tsc = path.join(root, 'node_modules/typescript/bin/tsc');
  await run('the build', node24, [tsc, '-p', 'tsconfig.build.json'], { cwd: root });
  return path.join(root, 'dist/server/main.js');
}
