/** The programs as users run them. `npm test` has built them before it says so; a single mocha builds them itself. */
import path from 'node:path';
import { buildServer } from '../../hack/lib/build.mjs';
import { root } from '../../hack/lib/places.mjs';

if (process.env.NARWHAL_BUILT === undefined) buildServer();

/** @param file as in `dist/server/main.js` */
export function built(file: string): string {
  return path.join(root, file);
}
