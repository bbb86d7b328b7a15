/** Rows of uploads and their parts. */
import type { Database, Statement } from '../metadata/index.ts';
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
  /** What the service behind the storage knows it by; null: it lies in a file or object of its own. */
  readonly etag: string | null;
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
export const PARTS_QUERY = 'SELECT number, start, size, md5, etag FROM upload_parts WHERE upload = ? ORDER BY number';

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

/** Inserts parts, or changes where they lie. */
export function partStatements(
  upload: string,
  parts: readonly (Pick<Part, 'number' | 'size' | 'md5'> & { start?: number | undefined; etag?: string | undefined })[],
): Statement[] {
  return parts.map((part) => [
    `INSERT INTO upload_parts (upload, number, start, size, md5, etag) VALUES (?, ?, ?, ?, ?, ?)
     ON CONFLICT (upload, number) DO UPDATE
     SET start = excluded.start, size = excluded.size, md5 = excluded.md5, etag = excluded.etag`,
    upload,
    part.number,
    part.start ?? null,
    part.size,
    part.md5,
    part.etag ?? null,
  ]);
}

/** The row stays for a while, so that a repeated `complete` is answered; its parts are of no more use. */
export function finishStatements(id: string, hashPart: string): Statement[] {
  return [
    [`UPDATE uploads SET state = 'done', hash_part = ? WHERE id = ?`, hashPart, id],
    ['DELETE FROM upload_parts WHERE upload = ?', id],
  ];
}

/** @param failure why, as JSON, for a server that is asked for the outcome later */
export function endStatements(id: string, state: 'aborted' | 'expired', failure: string | null = null): Statement[] {
  return [
    [`UPDATE uploads SET state = ?, failure = ? WHERE id = ? AND state = 'open'`, state, failure, id],
    ['DELETE FROM upload_parts WHERE upload = ?', id],
  ];
}

/** Forgets finished uploads that began before `before`. */
export async function deleteUploads(database: Database, before: number): Promise<void> {
  await database.write((sql) => sql.query(`DELETE FROM uploads WHERE state <> 'open' AND created_at < ?`, [before]));
}
