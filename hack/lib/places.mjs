// Where things are: the clone, its Node 24, and the folder that keeps what is costly to fetch or build.
import os from 'node:os';
import path from 'node:path';
import { fileURLToPath } from 'node:url';

/** The root of this clone. */
export const root = path.resolve(path.dirname(fileURLToPath(import.meta.url)), '../..');

/** The Node 24 that the npm package `node` installs. The file itself, because `.bin` comes and goes with npm's runs. */
export const node24 = path.join(root, 'node_modules/node/bin', process.platform === 'win32' ? 'node.exe' : 'node');

/** The folder that outlives clones: `NARWHAL_CACHE`, or `narwhal` in the user's cache folder. */
export function cacheDir() {
  const { NARWHAL_CACHE, XDG_CACHE_HOME } = process.env;
  if (NARWHAL_CACHE) return path.resolve(NARWHAL_CACHE);
  // The XDG specification says that a relative path is to be ignored.
  const base = XDG_CACHE_HOME && path.isAbsolute(XDG_CACHE_HOME) ? XDG_CACHE_HOME : path.join(os.homedir(), '.cache');
  return path.join(base, 'narwhal');
}
