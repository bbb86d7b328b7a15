/** The public keys of a self-signed cache, which its owner registers. */
import type { Database } from '../../metadata/index.ts';
import { parsePublicKey } from '../../nix/index.ts';
import { CacheError } from '../errors.ts';
import type { Keys } from './keys.ts';

/**
 * @param publicKey base64 of 32 bytes, without a name
 * @param most keys that a cache may have
 * @throws CacheError Invalid, Conflict
 */
export async function registerKey(database: Database, keys: Keys, publicKey: string, most: number): Promise<void> {
  if (keys.mode !== 'SelfSigned')
    throw new CacheError(
      'Invalid',
      'this cache signs paths itself; set signing.mode to SelfSigned to use your own key',
    );
  const text = `${keys.name}:${publicKey}`;
  try {
    parsePublicKey(text);
  } catch (error) {
    throw new CacheError('Invalid', 'publicKey: expected the base64 of 32 bytes', { cause: error });
  }
  const isRegistered = await database.write(async (sql) => {
    const known = await sql.query<{ public_key: string }>('SELECT public_key FROM registered_keys');
    if (known.some((row) => row.public_key === text)) return true;
    if (known.length >= most) return false;
    await sql.query('INSERT INTO registered_keys (public_key, registered_at) VALUES (?, ?) ON CONFLICT DO NOTHING', [
      text,
      Date.now(),
    ]);
    return true;
  });
  if (!isRegistered)
    throw new CacheError(
      'Conflict',
      `this cache has ${most} registered keys, and takes no more; use one of them, or raise spec.limits.maxRegisteredKeys`,
    );
}
