/** Rows of uploads and their parts. */
import type { Database, Sql, Statement } from '../../metadata/index.ts';
import type { PartInit } from './part-attempt.ts';
import type { Part } from './upload-file.ts';

export type UploadState = 'open' | 'done' | 'aborted' | 'expired';

export interface UploadRow {
  readonly id: string;
  readonly upload_id: string;
  readonly compression: string;
  readonly storage: string;
  readonly state: UploadState;
  readonly created_at: number;
  readonly expires_at: number;
  /** The path that a finished upload published. */
  readonly hash_part: string | null;
  /** Of an upload whose bytes any server may go on with: the object that it will be, and the service's id of it. */
  readonly name: string | null;
  readonly remote_id: string | null;
  /** Why it was aborted: JSON of code and message. */
  readonly failure: string | null;
}

export interface PartRow {
  readonly number: number;
  readonly start: number | null;
  readonly size: number;
  /** Hex. */
  readonly md5: string;
  /** What the service behind the storage knows it by. */
  readonly etag: string | null;
  /** Of an upload that any server may go on with: the object of its own that it lies in. */
  readonly name: string | null;
}

export function uploadStatement(row: UploadRow): Statement {
  return [
    `INSERT INTO uploads (id, upload_id, compression, storage, state, created_at, expires_at, name, remote_id)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (id) DO NOTHING`,
    row.id,
    row.upload_id,
    row.compression,
    row.storage,
    row.state,
    row.created_at,
    row.expires_at,
    row.name,
    row.remote_id,
  ];
}

/** Named one by one: a later version may add columns while a statement is prepared. */
const COLUMNS =
  'id, upload_id, compression, storage, state, created_at, expires_at, hash_part, name, remote_id, failure';

/** Plans of these are tested. */
export const UPLOAD_QUERY = `SELECT ${COLUMNS} FROM uploads WHERE id = ?`;
export const OPEN_UPLOADS_QUERY = `SELECT ${COLUMNS} FROM uploads WHERE state = 'open' ORDER BY expires_at`;
export const PARTS_QUERY =
  'SELECT number, start, size, md5, etag, name FROM upload_parts WHERE upload = ? ORDER BY number';
const PART_QUERY = 'SELECT number, start, size, md5, etag, name FROM upload_parts WHERE upload = ? AND number = ?';

export function readParts(database: Database, upload: string): Promise<PartRow[]> {
  return database.query<PartRow>(PARTS_QUERY, [upload]);
}

export async function readUpload(database: Database, id: string): Promise<UploadRow | undefined> {
  const rows = await database.query<UploadRow>(UPLOAD_QUERY, [id]);
  return rows[0];
}

export function openUploads(database: Database): Promise<UploadRow[]> {
  return database.query<UploadRow>(OPEN_UPLOADS_QUERY);
}

/** Inserts parts of an upload in a file of this process, or changes where they lie. */
export function partStatements(upload: string, parts: readonly Part[]): Statement[] {
  return parts.map((part) => [
    `INSERT INTO upload_parts (upload, number, start, size, md5) VALUES (?, ?, ?, ?, ?)
     ON CONFLICT (upload, number) DO UPDATE SET start = excluded.start, size = excluded.size, md5 = excluded.md5`,
    upload,
    part.number,
    part.start ?? null,
    part.size,
    part.md5,
  ]);
}

export async function readPart(
  database: Pick<Database, 'query'>,
  upload: string,
  number: number,
): Promise<PartRow | undefined> {
  return (await database.query<PartRow>(PART_QUERY, [upload, number]))[0];
}

/**
 * Notes where the first attempt that brought a part in has put it; later ones change nothing. The row that counts, or
 * undefined: the upload is over.
 */
export async function claimPart(
  sql: Sql,
  upload: string,
  part: PartInit & { readonly etag: string | undefined; readonly name: string | undefined },
): Promise<PartRow | undefined> {
  // Takes the lock of the row: who ends the upload sees this part, or it is seen here that the upload has ended.
  const open = await sql.query(`UPDATE uploads SET state = state WHERE id = ? AND state = 'open' RETURNING id`, [
    upload,
  ]);
  if (open.length === 0) return undefined;
  await sql.query(
    `INSERT INTO upload_parts (upload, number, size, md5, etag, name) VALUES (?, ?, ?, ?, ?, ?)
     ON CONFLICT (upload, number) DO NOTHING`,
    [upload, part.number, part.size, part.md5, part.etag ?? null, part.name ?? null],
  );
  return (await sql.query<PartRow>(PART_QUERY, [upload, part.number]))[0];
}

/**
 * The row stays for a while, so that a repeated `complete` is answered; its parts are of no more use.
 * @param object the name under which the upload was published, if it was
 */
export function finishStatements(id: string, hashPart: string, object = ''): Statement[] {
  return [[`UPDATE uploads SET state = 'done', hash_part = ? WHERE id = ?`, hashPart, id], ...forgetParts(id, object)];
}

/** @param failure why, as JSON, for a server that is asked for the outcome later */
export function endStatements(id: string, state: 'aborted' | 'expired', failure: string | null = null): Statement[] {
  return [
    [`UPDATE uploads SET state = ?, failure = ? WHERE id = ? AND state = 'open'`, state, failure, id],
    ...forgetParts(id, ''),
  ];
}

/** Nobody needs the parts any more: the next sweep removes those that lie in objects of their own, `object` excepted. */
function forgetParts(upload: string, object: string): Statement[] {
  return [
    [
      `INSERT INTO intents (storage, name, expires_at)
       SELECT u.storage, p.name, 0 FROM upload_parts p JOIN uploads u ON u.id = p.upload
       WHERE p.upload = ? AND p.name IS NOT NULL AND p.name <> ?
       ON CONFLICT (storage, name) DO UPDATE SET expires_at = 0`,
      upload,
      object,
    ],
    ['DELETE FROM upload_parts WHERE upload = ?', upload],
  ];
}

/** Forgets finished uploads that began before `before`. */
export async function deleteUploads(database: Database, before: number): Promise<void> {
  await database.write((sql) => sql.query(`DELETE FROM uploads WHERE state <> 'open' AND created_at < ?`, [before]));
}
