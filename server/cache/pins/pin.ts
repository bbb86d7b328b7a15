/** What a pin is, and how clients ask for one: `cachix pin` and whoever speaks like it. */
import { isPinName, mostKept } from '../../../crds/index.ts';
import { FormatError, parseStorePath } from '../../nix/index.ts';
import { CacheError } from '../errors.ts';
import type { Keep } from './keep.ts';

/** A name for a path. Whoever pins the same name again adds a revision. */
export interface Pin {
  readonly name: string;
  readonly path: { readonly hashPart: string; readonly name: string };
  /** Files of the path that are meant, relative to it. They are kept as data. */
  readonly artifacts: readonly string[];
  readonly keep: Keep;
}

/** The manifest owns its names: no token changes what it says. */
export type Origin = 'api' | 'manifest';

export interface Revision extends Pin {
  /** Counts up from 1 for each name. */
  readonly revision: number;
  /** Milliseconds. */
  readonly createdAt: number;
  readonly origin: Origin;
  /** Name of the token that pinned it; null: the manifest, or somebody at the machine. */
  readonly token: string | null;
  /** Whether the path is published here: what a manifest pins may come later. */
  readonly isPresent: boolean;
}

const MOST_ARTIFACTS = 100;
/** Of all together: lists of pins are read by pages, and every revision is kept with its own. */
const MOST_ARTIFACTS_BYTES = 16 * 1024;
/** Linux takes no longer path. */
const MOST_ARTIFACT_BYTES = 4096;

/** Reads the JSON of `cachix pin`. @throws CacheError Invalid, naming the field */
export function parsePin(value: unknown): Pin {
  if (typeof value !== 'object' || value === null || Array.isArray(value))
    throw new CacheError('Invalid', 'expected a JSON object');
  const { name, storePath, artifacts, keep } = value as Readonly<Record<string, unknown>>;
  return {
    name: parseName(name),
    path: parsePath(storePath),
    artifacts: parseArtifacts(artifacts ?? []),
    keep: parseKeep(keep ?? null),
  };
}

/** @throws CacheError Invalid */
export function parseName(name: unknown): string {
  if (typeof name !== 'string' || !isPinName(name))
    throw invalid(
      'name',
      'expected 1 to 200 characters without control characters and backslashes, that a URL can end with',
    );
  return name;
}

function parsePath(storePath: unknown): Pin['path'] {
  if (typeof storePath !== 'string') throw invalid('storePath', 'expected text');
  try {
    return parseStorePath(storePath, 'storePath');
  } catch (error) {
    throw error instanceof FormatError ? new CacheError('Invalid', error.message) : error;
  }
}

/** The client sends them as they were typed, perhaps with a slash in front. */
function parseArtifacts(artifacts: unknown): string[] {
  if (!Array.isArray(artifacts)) throw invalid('artifacts', 'expected a list of paths');
  if (artifacts.length > MOST_ARTIFACTS) throw invalid('artifacts', `expected at most ${MOST_ARTIFACTS} paths`);
  const paths = [...new Set(artifacts.map(parseArtifact))];
  if (Buffer.byteLength(JSON.stringify(paths)) > MOST_ARTIFACTS_BYTES)
    throw invalid('artifacts', `expected at most ${MOST_ARTIFACTS_BYTES} bytes together`);
  return paths;
}

function parseArtifact(artifact: unknown): string {
  if (typeof artifact !== 'string' || artifact.includes('\0') || !artifact.isWellFormed())
    throw invalid('artifacts', 'expected a list of paths');
  const segments = artifact.split('/').filter((segment) => segment !== '' && segment !== '.');
  const path = segments.join('/');
  if (path === '' || segments.includes('..'))
    throw invalid('artifacts', 'expected paths of files inside the store path');
  if (Buffer.byteLength(path) > MOST_ARTIFACT_BYTES)
    throw invalid('artifacts', `expected paths of at most ${MOST_ARTIFACT_BYTES} bytes`);
  return path;
}

function parseKeep(keep: unknown): Keep {
  if (keep === null) return null;
  const { tag, contents } = typeof keep === 'object' ? (keep as { tag?: unknown; contents?: unknown }) : {};
  if (tag === 'Forever') return { tag };
  if (tag !== 'Days' && tag !== 'Revisions') throw invalid('keep', 'expected null, Days, Revisions or Forever');
  const most = mostKept[tag];
  if (typeof contents !== 'number' || !Number.isInteger(contents) || contents < 1 || contents > most)
    throw invalid('keep', `${tag} expects a whole number from 1 to ${most}`);
  return { tag, contents };
}

function invalid(field: string, what: string): CacheError {
  return new CacheError('Invalid', `${field}: ${what}`);
}
