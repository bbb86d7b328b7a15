/** All that is known of one path. */
import type { Database } from '../../metadata/index.ts';
import { parseNarInfo } from '../../nix/index.ts';
import type { Paths } from '../paths/index.ts';
import type { Pins } from '../pins/index.ts';
import { LISTED, LISTED_JOIN, type ListedPath, type ListedRow, listedPath, wordsOf } from './rows.ts';

export interface PathDetails extends ListedPath {
  /** Basenames, sorted. */
  readonly references: readonly string[];
  /** A basename; undefined: nobody has said. */
  readonly deriver: string | undefined;
  readonly ca: string | undefined;
  /** As readers get them: of keys that came later too. */
  readonly signatures: readonly string[];
  readonly narHash: string;
  readonly fileHash: string;
  readonly compression: string;
  /** As a narinfo has it: relative to the cache. */
  readonly narUrl: string;
  /** Names that pin it. */
  readonly pins: readonly string[];
}

interface DetailsRow extends ListedRow {
  readonly refs: string;
  readonly deriver: string | null;
  readonly ca: string | null;
  readonly signatures: string;
  readonly key: string;
  readonly compression: string;
  readonly file_hash: string;
  readonly nar_hash: string;
}

/** Its plan is tested. */
export const DETAILS_QUERY = `SELECT ${LISTED}, p.refs, p.deriver, p.ca, p.signatures, o.key, o.compression, o.file_hash, o.nar_hash
  FROM paths p ${LISTED_JOIN} WHERE p.hash_part = ?`;

export async function findPath(
  { database, paths, pins }: { database: Database; paths: Pick<Paths, 'find'>; pins: Pick<Pins, 'namesOf'> },
  hashPart: string,
): Promise<PathDetails | undefined> {
  const [[row], narinfo, pinnedBy] = await Promise.all([
    database.query<DetailsRow>(DETAILS_QUERY, [hashPart]),
    paths.find(hashPart, 'pusher'),
    pins.namesOf([hashPart]),
  ]);
  if (row === undefined) return undefined;
  return {
    ...listedPath(row),
    references: wordsOf(row.refs),
    deriver: row.deriver ?? undefined,
    ca: row.ca ?? undefined,
    // One whose bytes are lost has no narinfo.
    signatures: narinfo === undefined ? wordsOf(row.signatures) : signaturesOf(narinfo.body),
    narHash: row.nar_hash,
    fileHash: row.file_hash,
    compression: row.compression,
    narUrl: row.key,
    pins: pinnedBy,
  };
}

function signaturesOf(narinfo: Buffer): readonly string[] {
  return parseNarInfo(narinfo.toString('latin1')).signatures;
}
