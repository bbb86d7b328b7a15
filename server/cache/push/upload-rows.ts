/** Rows of uploads and their parts. */
import type { Database, Statement } from '../../metadata/index.ts';
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
const FOUND = `${COLUMNS.replaceAll(/\w+/g, 'u.$&')}, p.number, p.start, p.size, p.md5, p.etag, p.name AS part_name`;
/** An upload, all its parts, and whether a path is there. */
export const COMPLETION_QUERY = `SELECT ${FOUND}, EXISTS (SELECT 1 FROM paths WHERE hash_part = ?) AS is_known
  FROM uploads u LEFT JOIN upload_parts p ON p.upload = u.id WHERE u.id = ? ORDER BY p.number`;
/** An upload and one part. */
export const PART_QUERY = `SELECT ${FOUND} FROM uploads u LEFT JOIN upload_parts p ON p.upload = u.id AND p.number = ? WHERE u.id = ?`;
export const PARTS_QUERY =
  'SELECT number, start, size, md5, etag, name FROM upload_parts WHERE upload = ? ORDER BY number';
export function readParts(database: Database, upload: string): Promise<PartRow[]> {
  return database.query<PartRow>(PARTS_QUERY, [upload]);
}

export async function readUpload(database: Database, id: string): Promise<UploadRow | undefined> {
  const rows = await database.query<UploadRow>(UPLOAD_QUERY, [id]);
  return rows[0];
}

/** An upload with parts of it, as of one moment. */
export interface FoundUpload {
  readonly row: UploadRow;
  readonly parts: readonly PartRow[];
}

/** One for each part, or one without. */
export type FoundRow = UploadRow & { readonly part_name: string | null } & (
    | Omit<PartRow, 'name'>
    | { readonly number: null }
  );
export type CompletionRow = FoundRow & { readonly is_known: boolean | number };

/** Holds for an upload that any server may go on with: only such a one needs a lease. */
export function openCondition(id: string, uploadId: string): Statement {
  return [
    `EXISTS (SELECT 1 FROM uploads WHERE id = ? AND upload_id = ? AND state = 'open' AND name IS NOT NULL)`,
    id,
    uploadId,
  ];
}

export function foundUpload(rows: readonly FoundRow[]): FoundUpload | undefined {
  const [row] = rows;
  if (row === undefined) return undefined;
  const parts = rows.flatMap((it) => {
    if (it.number === null) return [];
    const { number, start, size, md5, etag, part_name: name } = it;
    return [{ number, start, size, md5, etag, name }];
  });
  return { row, parts };
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

/** An upload, with the part of this number if that is there. */
export async function readUploadAndPart(
  database: Pick<Database, 'query'>,
  id: string,
  number: number,
): Promise<FoundUpload | undefined> {
  return foundUpload(await database.query<FoundRow>(PART_QUERY, [number, id]));
}

/**
 * Notes where the first attempt that brought a part in has put it, in place of its intent; later ones change nothing. The
 * row that counts, or undefined: the upload is over.
 */
export async function claimPart(
  database: Pick<Database, 'together'>,
  { id, storage }: UploadRow,
  {
    number,
    size,
    md5,
    etag,
    name,
  }: PartInit & { readonly etag: string | undefined; readonly name: string | undefined },
): Promise<PartRow | undefined> {
  const rows = await database.together<FoundRow>([
    // Takes the lock of the row: who ends the upload sees this part, or it is seen below that the upload has ended.
    [`UPDATE uploads SET state = state WHERE id = ? AND state = 'open'`, id],
    [
      `INSERT INTO upload_parts (upload, number, size, md5, etag, name)
       SELECT id, ?, ?, ?, ?, ? FROM uploads WHERE id = ? AND state = 'open' ON CONFLICT (upload, number) DO NOTHING`,
      ...[number, size, md5, etag ?? null, name ?? null, id],
    ],
    ...(name === undefined ? [] : [takenStatement(storage, name, id)]),
    [PART_QUERY, number, id],
  ]);
  const found = foundUpload(rows.at(-1) ?? []);
  return found?.row.state === 'open' ? found.parts[0] : undefined;
}

/** Ends the intent of a name that a part has taken. */
function takenStatement(storage: string, name: string, upload: string): Statement {
  return [
    `DELETE FROM intents WHERE storage = ? AND name = ?
     AND EXISTS (SELECT 1 FROM upload_parts p WHERE p.upload = ? AND p.name = intents.name)`,
    storage,
    name,
    upload,
  ];
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
