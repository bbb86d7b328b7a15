// The source files of the project, as the checks see them.
import fs from 'node:fs';
import path from 'node:path';
import { root } from './places.mjs';

const SKIPPED_FOLDERS = new Set(['node_modules', 'dist', 'vectors']);

/** Every .ts and .mjs file: a Map from its path in the clone, with slashes, to its text. */
export function sourceFiles(folder = root) {
  const files = new Map();
  const walk = (relative) => {
    for (const entry of fs.readdirSync(path.join(folder, relative), { withFileTypes: true })) {
      const name = relative === '' ? entry.name : `${relative}/${entry.name}`;
      if (entry.isDirectory() && !SKIPPED_FOLDERS.has(entry.name) && !entry.name.startsWith('.')) walk(name);
      if (entry.isFile() && /\.(ts|mjs)$/.test(entry.name))
        files.set(name, fs.readFileSync(path.join(folder, name), 'utf8'));
    }
  };
  walk('');
  return files;
}
