/** From the row of a path to the narinfo that clients get. */
import { createHash } from 'node:crypto';
import { fingerprint, parseHash, parseStorePath, renderNarInfo, STORE_DIR } from '../../nix/index.ts';
import type { Keys } from '../signing/index.ts';
import { keyNameOf } from '../signing/index.ts';
import { type NewPath, type PathRow, splitWords } from './publish.ts';

/** A rendered, signed narinfo. */
export interface Narinfo {
  readonly hashPart: string;
  readonly storePath: string;
  readonly body: Buffer;
  readonly etag: string;
  /** Key of the object that holds the NAR. */
  readonly narKey: string;
  /** Whether something of its closure is not here. */
  readonly waits: boolean;
  /** When its use was noted last. */
  touchedAt: number;
}

export interface NarinfoRow extends PathRow {
  key: string;
  size: number;
  compression: string;
  file_hash: string;
  waits: boolean | number;
}

/** What signatures are made of. */
export type Signed = Pick<NewPath, 'hashPart' | 'name' | 'references' | 'narHash' | 'narSize'>;

/** @param keep which of the signatures of the row there is room for */
export function renderRow(
  row: NarinfoRow,
  signers: Keys['signers'],
  keep: (path: Signed, stored: readonly string[]) => readonly string[],
): Narinfo {
  const { path: storePath } = parseStorePath(`${STORE_DIR}/${row.hash_part}-${row.name}`);
  const narHash = parseHash(row.nar_hash);
  const references = splitWords(row.refs);
  const known = {
    ...{ hashPart: row.hash_part, name: row.name, references },
    narHash: row.nar_hash,
    narSize: row.nar_size,
  };
  const stored = keep(known, splitWords(row.signatures));
  // A key that was added after the path was published signs it here, so that rotation needs no rewrite of rows.
  const names = new Set(stored.map(keyNameOf));
  const text = fingerprint({ storePath, narHash, narSize: row.nar_size, references });
  const added = signers.filter((key) => !names.has(key.name)).map((key) => key.sign(text));
  const body = Buffer.from(
    renderNarInfo({
      storePath,
      url: row.key,
      compression: row.compression as 'zstd',
      fileHash: parseHash(row.file_hash),
      fileSize: row.size,
      narHash,
      narSize: row.nar_size,
      references,
      deriver: row.deriver ?? undefined,
      signatures: [...stored, ...added],
      ca: row.ca ?? undefined,
    }),
    'latin1',
  );
  const etag = `"${createHash('sha256').update(body).digest('base64url').slice(0, 27)}"`;
  const { hash_part: hashPart, key: narKey } = row;
  return { hashPart, storePath, body, etag, narKey, waits: Boolean(row.waits), touchedAt: 0 };
}
