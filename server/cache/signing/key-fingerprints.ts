/**
 * Servers that share a database must have the same keys: one with another root key would refuse the part URLs of the
 * others, one with another signing key would sign what clients do not believe. The database knows their fingerprints.
 */
import { createHash } from 'node:crypto';
import type { Database, Sql } from '../../metadata/index.ts';
import type { SecretKey } from '../../nix/index.ts';
import { settleMeta } from '../database/index.ts';
import { CacheError } from '../errors.ts';

const ROOT = 'root_key';
const SIGNING = 'signing_key:';
/** `{ name: public key }` of generated keys, which a copied database brings along. */
const GENERATED = 'signing_keys';

/** The first 64 bits of the SHA-256, in hex: enough to tell keys apart, and nothing to find one by. */
export function keyFingerprint(key: Uint8Array | string): string {
  return createHash('sha256').update(key).digest('hex').slice(0, 16);
}

/** @throws CacheError Conflict where the database was used with another root key */
export async function checkRootKey(database: Database, root: Buffer): Promise<void> {
  const ours = keyFingerprint(root);
  const known = await settleMeta(database, ROOT, ours);
  if (known !== ours)
    throw new CacheError(
      'Conflict',
      `rootSecretRef holds the key with the fingerprint ${ours}, the database was used with ${known}: ` +
        'all servers of a cache need the same root key',
    );
}

/**
 * Notes new keys beside those that are known. At least one must be known already, unless there is none yet: a server
 * with a set of its own is a mistake, and whoever replaces a key has both for a while.
 * @param isWhole false where some key is missing, perhaps the one that is known: then nothing new is noted
 * @throws CacheError Conflict
 */
export async function checkSigningKeys(
  database: Database,
  signers: readonly SecretKey[],
  isWhole: boolean,
): Promise<void> {
  const ours = new Map(signers.map((key) => [key.name, keyFingerprint(key.publicKey)]));
  await database.write(async (sql) => {
    // The row serves as a lock: of two servers that start at the same moment with different keys, one is refused.
    await sql.query(
      `INSERT INTO meta (key, value) VALUES ('signing_keys_checked', ?)
       ON CONFLICT (key) DO UPDATE SET value = excluded.value`,
      [String(Date.now())],
    );
    const known = await knownKeys(sql);
    for (const [name, fingerprint] of ours) {
      const other = known.get(name);
      if (other !== undefined && other !== fingerprint)
        throw new CacheError(
          'Conflict',
          `the signing key ${name} has the fingerprint ${fingerprint}, the database knows it with ${other}: ` +
            'all servers of a cache need the same keys, and a new key needs a new name',
        );
    }
    if (!isWhole) return;
    if (known.size > 0 && ![...ours.keys()].some((name) => known.has(name)))
      throw new CacheError(
        'Conflict',
        `none of the signing keys ${list(ours)} is known to the database, which knows ${list(known)}: ` +
          'to replace a key, list the new one beside the old one first',
      );
    for (const [name, fingerprint] of ours)
      await sql.query('INSERT INTO meta (key, value) VALUES (?, ?) ON CONFLICT (key) DO NOTHING', [
        `${SIGNING}${name}`,
        fingerprint,
      ]);
  });
}

/** Fingerprints of public keys by the name of the key. */
async function knownKeys(sql: Sql): Promise<Map<string, string>> {
  const rows = await sql.query<{ key: string; value: string }>('SELECT key, value FROM meta');
  const known = new Map<string, string>();
  for (const { key, value } of rows) {
    if (key.startsWith(SIGNING)) known.set(key.slice(SIGNING.length), value);
    if (key !== GENERATED) continue;
    const generated: Record<string, unknown> = JSON.parse(value);
    for (const [name, publicKey] of Object.entries(generated)) known.set(name, keyFingerprint(String(publicKey)));
  }
  return known;
}

function list(keys: ReadonlyMap<string, string>): string {
  return [...keys].map(([name, fingerprint]) => `${name} (${fingerprint})`).join(', ');
}
