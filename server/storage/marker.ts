/**
 * The marker `.narwhal` in a storage's root says whose bytes these are. A disk that is not mounted has no marker, so a
 * cache never mistakes an empty mount point for its storage and never "repairs" rows away.
 */
import { randomUUID } from 'node:crypto';
import { mkdir, open, readFile, rename } from 'node:fs/promises';
import path from 'node:path';
import { crashPoint } from './crash-point.ts';
import { errnoOf } from './errors.ts';

export const MARKER_FILE = '.narwhal';
/** What a crash may leave in a storage that has no marker yet: files whose names begin so. */
export const MARKER_DRAFT = '.narwhal.new';

export interface Marker {
  readonly cacheId: string;
  /** The cache's name, so that a person who finds a foreign marker knows whose it is. */
  readonly cache?: string | undefined;
  readonly storage: string;
}

/** Whether a marker that was found is the one that we would write. */
export function isOwn(found: Marker | 'foreign', own: Marker): boolean {
  return found !== 'foreign' && found.cacheId === own.cacheId && found.storage === own.storage;
}

/** Why a storage whose marker is not ours cannot be used. @param file where the marker lies */
export function foreignText(place: string, file: string, found: Marker | 'foreign', own: Marker): string {
  if (found !== 'foreign') return `${place} belongs to ${ownerOf(found)} (see ${file})`;
  const line = JSON.stringify(own);
  return `${file} is no marker of a storage: damaged, or another program's; if the bytes beside it are this cache's, write this into it: ${line}`;
}

/** Whose it is, in words. */
function ownerOf(found: Marker): string {
  return `another cache or storage: cache ${found.cache ?? 'unnamed'} (id ${found.cacheId}), storage ${found.storage}`;
}

/** The marker in `root`; undefined when there is none. */
export async function readMarker(root: string): Promise<Marker | 'foreign' | undefined> {
  let text: string;
  try {
    text = await readFile(path.join(root, MARKER_FILE), 'utf8');
  } catch (error) {
    if (errnoOf(error) === 'ENOENT') return undefined;
    // The system names no file here.
    if (errnoOf(error) === 'EISDIR' && error instanceof Error)
      error.message = `${path.join(root, MARKER_FILE)}: ${error.message}`;
    throw error;
  }
  return parseMarker(text);
}

/** What cannot be read as a marker counts as foreign. */
export function parseMarker(text: string): Marker | 'foreign' {
  try {
    const value: unknown = JSON.parse(text);
    if (typeof value !== 'object' || value === null) return 'foreign';
    const { cacheId, storage, cache } = value as Record<string, unknown>;
    if (typeof cacheId !== 'string' || typeof storage !== 'string') return 'foreign';
    return { cacheId, storage, ...(typeof cache === 'string' && { cache }) };
  } catch {
    return 'foreign';
  }
}

/**
 * Creates `root` and its marker, durably and whole: half a marker would look like a foreign one.
 * @param isShared another server may be doing the same
 */
export async function writeMarker(root: string, marker: Marker, isShared: boolean): Promise<void> {
  await mkdir(root, { recursive: true });
  const draft = path.join(root, isShared ? `${MARKER_DRAFT}.${randomUUID()}` : MARKER_DRAFT);
  const file = await open(draft, 'w');
  try {
    await file.writeFile(`${JSON.stringify(marker)}\n`);
    await file.sync();
  } finally {
    await file.close();
  }
  crashPoint('before-marker');
  await rename(draft, path.join(root, MARKER_FILE));
  const folder = await open(root, 'r');
  try {
    await folder.sync();
  } finally {
    await folder.close();
  }
}
