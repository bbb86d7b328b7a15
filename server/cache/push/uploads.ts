/**
 * Cachix multipart uploads, `open -> done`, or `aborted`, or `expired`. Where the bytes lie decides who does the work:
 * in files of this process alone, or where any server can go on.
 */
import type { Compression } from '../../nix/index.ts';
import { CacheError } from '../errors.ts';
import { type Body, receive } from '../objects/index.ts';
import { mustBeAbleToSign } from '../signing/index.ts';
import type { IngestInit } from './ingest.ts';
import { LocalUploads } from './local-uploads.ts';
import type { PathClaim } from './narinfo-create.ts';
import { EMPTY_MD5, type PartClaim } from './part-claims.ts';
import { SharedCompletions } from './shared-completions.ts';
import { SharedUploads } from './shared-uploads.ts';
import { unknownUpload, uploadOver } from './upload-errors.ts';
import { deleteUploads, openUploads, readUpload, readUploadAndPart, type UploadRow } from './upload-rows.ts';

/** Open uploads in rows are counted this often. */
const COUNT_MS = 5_000;

/** Said of bytes that are missing where a client cannot have left them out. */
const DROPPED = 'a proxy has dropped them';

export interface PartPlace {
  /** Where the client sends the part; undefined: to us. */
  readonly url: string | undefined;
  /** Milliseconds since 1970. */
  readonly expiresAt: number;
}

export class Uploads {
  readonly #init: IngestInit;
  readonly #local: LocalUploads;
  readonly #shared: SharedUploads;
  readonly #completions: SharedCompletions;
  #counted = 0;
  #countedAt = Number.NEGATIVE_INFINITY;

  constructor(init: IngestInit) {
    this.#init = init;
    this.#local = new LocalUploads(init);
    this.#shared = new SharedUploads(init);
    this.#completions = new SharedCompletions(init);
  }

  /** Uploads that are open. */
  get open(): number {
    return this.#local.open + this.#counted;
  }

  /** Uploads that hold a file open. */
  get active(): number {
    return this.#local.active;
  }

  /** Finds the uploads of an earlier process. */
  async resume(): Promise<void> {
    const rows = await openUploads(this.#init.database);
    this.#local.resume(rows.filter((row) => row.name === null));
    await this.#count();
  }

  /** Begins an upload. @throws CacheError NoSpace, Unavailable, TooLarge */
  async create(compression: Compression): Promise<{ id: string; uploadId: string }> {
    const { storages, settings, keys } = this.#init;
    mustBeAbleToSign(keys());
    if (performance.now() - this.#countedAt > COUNT_MS) await this.#count();
    if (this.open >= settings.maxOpenUploads)
      throw new CacheError('TooLarge', `more than ${settings.maxOpenUploads} uploads are open; complete or abort some`);
    const placement = await storages.place(0);
    placement.release();
    return placement.storage.remote === undefined
      ? this.#local.create(placement, compression)
      : this.#shared.create(placement, compression);
  }

  /** Where a part goes, and until when. @param md5 hex @throws CacheError NotFound */
  async grant(id: string, uploadId: string, number: number, md5: string): Promise<PartPlace> {
    const row = await this.#row(id, uploadId);
    if (row.name === null) return { url: undefined, expiresAt: await this.#local.expiry(id, uploadId) };
    return { url: await this.#shared.partUrl(row, number, md5), expiresAt: row.expires_at };
  }

  /**
   * Takes in one part; the same part again is acknowledged again. Its ETag: the MD5 in hex.
   * @param claim its size may be known only once it is here
   * @throws CacheError NotFound, Conflict, Invalid, NoSpace, TooLarge
   */
  async putPart(
    id: string,
    uploadId: string,
    claim: { number: number; size: number | undefined; md5: string },
    body: Body,
  ): Promise<string> {
    const { size } = claim;
    return size === undefined
      ? this.#putUnmeasured(id, uploadId, claim, body)
      : this.#putMeasured(id, uploadId, { ...claim, size }, body);
  }

  /**
   * A part in chunks, as some proxies make them of others: received as a whole first, since what follows it rests on its
   * size. It is written twice, which the usual one is not.
   */
  async #putUnmeasured(
    id: string,
    uploadId: string,
    claim: { number: number; md5: string },
    body: Body,
  ): Promise<string> {
    const { storages, settings } = this.#init;
    // An upload that is over is told before its bytes are taken in.
    await this.#row(id, uploadId);
    const arrived = await receive({ storages, declaredBytes: undefined, maxBytes: settings.maxPartBytes }, body);
    try {
      return await this.#putMeasured(id, uploadId, { ...claim, size: arrived.size }, arrived.read());
    } finally {
      await arrived.close();
    }
  }

  async #putMeasured(
    id: string,
    uploadId: string,
    claim: { number: number; size: number; md5: string },
    body: Body,
  ): Promise<string> {
    const { settings } = this.#init;
    if (claim.size === 0 && claim.md5 !== EMPTY_MD5)
      throw new CacheError('Invalid', `part ${claim.number} is empty and was announced with bytes: ${DROPPED}`);
    if (claim.size > settings.maxPartBytes)
      throw new CacheError('TooLarge', `a part has at most ${settings.maxPartBytes} bytes`);
    const toFile = () => this.#local.putPart(id, uploadId, claim, body);
    if ((await this.#local.find(id)) !== undefined) return toFile();
    const found = await readUploadAndPart(this.#init.database, id, claim.number);
    if (found?.row.upload_id !== uploadId) throw unknownUpload();
    if (found.row.name === null) return toFile();
    if (!this.#init.storages.has(found.row.storage)) throw uploadOver();
    return this.#shared.putPart(found, claim, body);
  }

  /**
   * Checks everything and publishes. Resolves when the path is durable and visible.
   * @throws CacheError NotFound, Invalid
   */
  async complete(id: string, uploadId: string, parts: readonly PartClaim[], claim: PathClaim): Promise<void> {
    await this.#init.blocks.mustTake(claim.hashPart, claim.narHash);
    const isLive = (await this.#local.find(id)) !== undefined;
    if (!isLive && (await this.#completions.complete(id, uploadId, parts, claim))) return;
    await this.#local.complete(id, uploadId, parts, claim).catch(async (error: unknown) => {
      // Another call may have completed it while this one looked for it.
      const now = await readUpload(this.#init.database, id);
      if (now?.state !== 'done' || now.hash_part !== claim.hashPart) throw error;
    });
  }

  /** Best effort and always fine: unknown and finished uploads too. */
  async abort(id: string, uploadId: string): Promise<void> {
    const row = await this.#find(id);
    if (row === undefined || row.upload_id !== uploadId || row.state !== 'open') return;
    if (row.name === null) await this.#local.abort(row);
    else await this.#completions.abort(row, 'aborted');
  }

  /** Drops uploads that were not completed in time. */
  async expire(now = Date.now()): Promise<void> {
    const { database, logger, settings } = this.#init;
    for (const row of [...(await openUploads(database)), ...(await this.#local.unstored())]) {
      if (row.expires_at > now) continue;
      try {
        if (row.name !== null) await this.#completions.abort(row, 'expired');
        else if (!(await this.#local.expire(row))) continue;
        logger.info({ upload: row.id, storage: row.storage }, 'upload expired');
      } catch (error) {
        // One storage that is gone must not keep the bytes of the others.
        logger.warn({ err: error, upload: row.id }, 'an expired upload could not be removed yet');
      }
    }
    await deleteUploads(database, now - settings.uploadExpiryMs);
    await this.#local.rest(now - settings.housekeepingMs);
    await this.#count();
  }

  /** Ends uploads in one storage that were begun before `before`, except those that are being completed. */
  async endIn(storage: string, before: number): Promise<void> {
    for (const row of await openUploads(this.#init.database)) {
      if (row.storage !== storage || row.created_at >= before) continue;
      const about = { upload: row.id, storage };
      try {
        if (row.name === null) await this.#local.abort(row);
        else await this.#completions.abort(row, 'aborted');
        if ((await readUpload(this.#init.database, row.id))?.state === 'open') continue;
        this.#init.logger.info(about, 'gave up an upload in a storage that is being drained');
      } catch (error) {
        // It holds up the end of the drain, not what can be moved now.
        this.#init.logger.warn({ err: error, ...about }, 'an upload that is too old could not be removed yet');
      }
    }
  }

  /** Before a shutdown: waits for completions that run, and keeps the uploads that have no part yet. */
  async idle(): Promise<void> {
    await Promise.all([this.#local.idle(), this.#completions.idle()]);
  }

  /** Of the other servers too; a bound against floods need not be exact. */
  async #count(): Promise<void> {
    this.#countedAt = performance.now();
    const rows = await this.#init.database.query<{ n: number }>(
      `SELECT count(*) AS n FROM uploads WHERE state = 'open' AND name IS NOT NULL`,
    );
    this.#counted = Number(rows[0]?.n ?? 0);
  }

  async #find(id: string): Promise<UploadRow | undefined> {
    return (await this.#local.find(id)) ?? (await readUpload(this.#init.database, id));
  }

  async #row(id: string, uploadId: string): Promise<UploadRow> {
    const row = await this.#find(id);
    if (row === undefined || row.upload_id !== uploadId) throw unknownUpload();
    return row;
  }
}
