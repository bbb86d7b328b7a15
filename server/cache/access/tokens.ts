/**
 * Tokens: random, listed in the manifest, known to the server by their SHA-256 only. A token that is not listed does
 * not exist, so rotation is an edit. Nothing in here ever returns or logs a token, save the file that hands it over.
 */
import { createHash, timingSafeEqual } from 'node:crypto';
import { mkdir, readdir, rm } from 'node:fs/promises';
import path from 'node:path';
import { generateToken, tokenValue } from '../../../crds/index.ts';
import { CacheError } from '../errors.ts';
import { createSecretFile, readSecretFile } from './secret-file.ts';

/** Admin implies Write implies Read. */
export type Permission = 'Read' | 'Write' | 'Admin';

const RANK: Readonly<Record<Permission, number>> = { Read: 1, Write: 2, Admin: 3 };

/** A token as the manifest lists it; with neither `sha256` nor `secret` one is generated. */
export interface ResolvedToken {
  readonly name: string;
  readonly permissions: readonly Permission[];
  readonly expiresAt?: Date;
  /** Hex SHA-256 of the token. */
  readonly sha256?: string;
  /** The token itself, out of a Secret. */
  readonly secret?: string;
}

interface Known {
  readonly name: string;
  readonly digest: Buffer;
  readonly rank: number;
  readonly expiresAt: Date | undefined;
}

/** Who a credential is, or why it is refused. */
export type Identity =
  | { readonly kind: 'anonymous' }
  | { readonly kind: 'token'; readonly name: string; readonly permission: Permission }
  /** A credential that is no token of this cache: perhaps one of another. */
  | { readonly kind: 'unknown' }
  /** A token of this cache that no longer opens it. */
  | { readonly kind: 'refused'; readonly reason: string };

export class Tokens {
  /** Of a cache that does not exist. */
  static readonly none = new Tokens([]);
  readonly #known: ReadonlyMap<string, Known>;

  private constructor(known: readonly Known[]) {
    this.#known = new Map(known.map((token) => [token.digest.toString('hex'), token]));
  }

  /**
   * Reads or makes the tokens of a cache. `folder` holds the generated ones, mode 0600, one file a name; undefined:
   * none may be made. @throws CacheError Invalid
   */
  static async load(specs: readonly ResolvedToken[], folder: string | undefined): Promise<Tokens> {
    return new Tokens(
      await Promise.all(
        specs.map(async (spec) => ({
          name: spec.name,
          digest:
            spec.sha256 !== undefined
              ? Buffer.from(spec.sha256, 'hex')
              : digestOf(spec.secret ?? (await generated(folder, spec.name))),
          rank: Math.max(0, ...spec.permissions.map((permission) => RANK[permission])),
          expiresAt: spec.expiresAt,
        })),
      ),
    );
  }

  /** @param token as found in the request; undefined: no credential; empty: one without a token in it */
  identify(token: string | undefined, now = new Date()): Identity {
    if (token === undefined) return { kind: 'anonymous' };
    const digest = digestOf(token);
    const known = this.#known.get(digest.toString('hex'));
    if (known === undefined || !timingSafeEqual(known.digest, digest)) return { kind: 'unknown' };
    if (known.expiresAt !== undefined && known.expiresAt <= now) {
      return { kind: 'refused', reason: `token ${known.name} expired on ${known.expiresAt.toISOString()}` };
    }
    const permission = (['Admin', 'Write', 'Read'] as const).find((it) => known.rank >= RANK[it]);
    if (permission === undefined) return { kind: 'refused', reason: `token ${known.name} has no permission` };
    return { kind: 'token', name: known.name, permission };
  }
}

/** Whether `permission` includes `needed`. */
export function includes(permission: Permission, needed: Permission): boolean {
  return RANK[permission] >= RANK[needed];
}

function digestOf(token: string): Buffer {
  return createHash('sha256').update(token).digest();
}

/** The token in `<folder>/<name>`, made once. */
async function generated(folder: string | undefined, name: string): Promise<string> {
  if (folder === undefined)
    throw new CacheError(
      'Invalid',
      `token ${name} needs sha256 or secretRef: with a shared database none is generated`,
    );
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const file = path.join(folder, name);
  await createSecretFile(file, () => `${generateToken()}\n`);
  const remedy = 'put it back from a backup, or remove it, and another token is made';
  const token = await readSecretFile(file, tokenValue, remedy);
  if (token === undefined) throw new CacheError('Invalid', `${file} was removed while it was read; try again`);
  return token;
}

/** Names of tokens are DNS labels: what else lies in their folder is somebody's own. */
const TOKEN_FILE = /^[a-z0-9](?:[-a-z0-9]*[a-z0-9])?$/;

/**
 * Removes the files of tokens that are no longer generated, because they left the manifest or are given there: a name that
 * is listed again later must not bring an old token back.
 */
export async function removeOldTokens(specs: readonly ResolvedToken[], folder: string): Promise<void> {
  const kept = new Set(
    specs.filter((spec) => spec.sha256 === undefined && spec.secret === undefined).map((spec) => spec.name),
  );
  for (const entry of await readdir(folder, { withFileTypes: true }).catch(noFolder)) {
    if (entry.isFile() && TOKEN_FILE.test(entry.name) && !kept.has(entry.name))
      await rm(path.join(folder, entry.name), { force: true });
  }
}

function noFolder(error: unknown): [] {
  if (error instanceof Error && 'code' in error && error.code === 'ENOENT') return [];
  throw error;
}
