// values.yaml of the chart as data: every value with its place, its default and the `# --` comment above it.
import { parse } from 'yaml';

/**
 * @typedef {object} Value
 * @property {string[]} path as in ['gateway', 'apiUrl']
 * @property {unknown} initial what the chart says when nobody else does
 * @property {string} description
 */

/** The documented values in the order of the file. @returns {Value[]} */
export function readValues(text) {
  const all = parse(text);
  const values = [];
  const path = [];
  let comment;
  for (const line of text.split('\n')) {
    const note = /^ *# (-- )?(.*)$/.exec(line);
    if (note) {
      if (note[1]) comment = [note[2]];
      else comment?.push(note[2]);
      continue;
    }
    const key = /^( *)(\w+):/.exec(line);
    if (!key) continue;
    path.length = key[1].length / 2;
    path.push(key[2]);
    if (comment) values.push({ path: [...path], initial: at(all, path), description: comment.join(' ') });
    comment = undefined;
  }
  return values;
}

function at(tree, path) {
  return path.reduce((inner, key) => inner[key], tree);
}
