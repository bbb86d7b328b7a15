// What builds of images keep: their parts and the archives, each under a key of everything that goes in.
import { createHash } from 'node:crypto';
import fs from 'node:fs';
import path from 'node:path';
import { keepAs } from '../components/kept.mjs';
import { cacheDir, root } from '../lib/places.mjs';

/** Of each kind; each build with other sources adds one. */
const KEPT = 3;
/** What was used a moment ago may still be read. */
const UNTOUCHED_MS = 600_000;

/** The folder of images and of their parts. */
export function imagesFolder() {
  return path.join(cacheDir(), 'images');
}

/**
 * The kept folder of a kind for `inputs`; when it is absent, `fill(draft)` makes its content.
 * Older ones of the kind are removed, but for a few.
 * @param {string} kind
 * @param {unknown} inputs everything that decides about the content, as JSON
 * @param {(draft: string) => Promise<unknown>} fill
 */
export async function imageFolder(kind, inputs, fill) {
  const folder = path.join(imagesFolder(), `${kind}-${digestOf(JSON.stringify(inputs)).slice(0, 16)}`);
  await keepAs(folder, fill);
  const now = new Date();
  fs.utimesSync(folder, now, now);
  removeOld(kind, folder);
  return folder;
}

function removeOld(kind, used) {
  const entries = fs.readdirSync(imagesFolder()).map((name) => {
    const folder = path.join(imagesFolder(), name);
    return { name, folder, usedAt: fs.statSync(folder, { throwIfNoEntry: false })?.mtimeMs ?? 0 };
  });
  const others = entries
    .filter(({ name }) => name.startsWith(`${kind}-`) && /^[0-9a-f]{16}$/.test(name.slice(kind.length + 1)))
    .filter(({ folder }) => folder !== used)
    .sort((a, b) => b.usedAt - a.usedAt);
  // Of builds that were killed, under keys that may never come again.
  const drafts = entries.filter(({ name }) => name.endsWith('.draft'));
  for (const { folder, usedAt } of [...others.slice(KEPT - 1), ...drafts]) {
    if (Date.now() - usedAt > UNTOUCHED_MS) fs.rmSync(folder, { recursive: true, force: true });
  }
}

/**
 * One digest over files and folders of the clone: their paths and contents.
 * @param {string[]} places relative to the clone
 */
export function digestOfSources(places) {
  const hash = createHash('sha256');
  const visit = (relative) => {
    const file = path.join(root, relative);
    if (fs.statSync(file).isDirectory()) {
      for (const name of fs.readdirSync(file).sort()) visit(`${relative}/${name}`);
    } else {
      hash.update(`${relative}\0${digestOf(fs.readFileSync(file))}\n`);
    }
  };
  for (const place of places) visit(place);
  return hash.digest('hex');
}

/** @param {string | Buffer} content */
export function digestOf(content) {
  return createHash('sha256').update(content).digest('hex');
}
