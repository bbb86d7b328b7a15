/**
 * Cachix uploads of which no server keeps anything: begun on one, its parts sent to a second, completed on a third. What is
 * known is in rows, the bytes are in the storage; a part goes straight there where the storage can take it. `complete`
 * joins the parts, reads the object once and verifies it, and only then publishes. One server does that at a time, by a
 * lease; who asks meanwhile waits for its outcome.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { type Compression, isCompression } from '../nix/index.ts';
import { crashPoint, PartsError, type RemotePart, type RemoteUploads, UploadGoneError } from '../storage/index.ts';
import { checkClaim, factsForRow, narKey } from './claim.ts';
import { CacheError, isErrorCode } from './errors.ts';
import type { Body } from './incoming.ts';
import type { IngestInit } from './ingest.ts';
import { dropStatement } from './intents.ts';
import type { Lease } from './leases.ts';
import { isFinal, otherPath, uploadOver } from './live-upload.ts';
import type { PathClaim } from './narinfo-create.ts';
import { claimedParts, EMPTY_MD5, type PartClaim, textOfPartsError } from './part-claims.ts';
import { patiently } from './patience.ts';
import { publishUpload, servedAlready } from './publish-upload.ts';
import type { Placement } from './storages.ts';
import {
  endStatements,
  finishStatements,
  partStatements,
  readParts,
  readUpload,
  type UploadRow,
  uploadStatement,
} from './upload-rows.ts';
import { verified, verifyBody } from './verified.ts';
import { VerifyError } from './verify/index.ts';

const POLL_MS = 250;

export class SharedUploads {
  readonly #init: IngestInit;
  /** Completions that run here. */
  readonly #completing = new Map<string, { hashPart: string; outcome: Promise<void> }>();
  /** Uploads that are being begun at the service. */
  readonly #beginning = new Map<string, Promise<string>>();

  constructor(init: IngestInit) {
    this.#init = init;
  }

  async create(placement: Placement, compression: Compression): Promise<{ id: string; uploadId: string }> {
    const { database, settings } = this.#init;
    const { storage } = placement;
    const remote = this.#remote(storage.name);
    const name = remote.newName();
    const now = Date.now();
    const row: UploadRow = {
      id: randomUUID(),
      upload_id: randomBytes(16).toString('hex'),
      compression,
      storage: storage.name,
      state: 'open',
      created_at: now,
      expires_at: now + settings.uploadExpiryMs,
      hash_part: null,
      name,
      remote_id: remote.isDirect ? await remote.begin(name) : null,
      failure: null,
    };
    // To the disk, as its parts: what a crash of the database server loses, no client could mend.
    await database.script([uploadStatement(row)]);
    return { id: row.id, uploadId: row.upload_id };
  }

  /** Where a part goes: a URL of the service, or (undefined) to us. @param md5 hex */
  async partUrl(row: UploadRow, number: number, md5: string): Promise<string | undefined> {
    mustBeOpen(row);
    const remote = this.#remote(row.storage);
    // S3 takes an empty part for a mistake; it comes to us and is left out.
    if (!remote.isDirect || md5 === EMPTY_MD5) return undefined;
    return remote.partUrl(nameOf(row), await this.#begun(row, remote), number, base64(md5), row.expires_at);
  }

  /** Its ETag: the MD5 in hex. */
  async putPart(row: UploadRow, claim: { number: number; size: number; md5: string }, body: Body): Promise<string> {
    mustBeOpen(row);
    const { database, settings, storages } = this.#init;
    if (claim.size === 0) {
      if (claim.md5 !== EMPTY_MD5) throw new CacheError('Invalid', `part ${claim.number}: no bytes have another MD5`);
      return EMPTY_MD5;
    }
    const remote = this.#remote(row.storage);
    const placement = await storages.hold(row.storage, claim.size);
    const part = { ...claim, md5: base64(claim.md5) };
    let etag: string | undefined;
    try {
      if (remote.joins(claim.size))
        etag = await remote.putPart(nameOf(row), await this.#begun(row, remote), part, body);
      else await remote.putSide(nameOf(row), part, body);
    } catch (error) {
      throw refusal(error);
    } finally {
      placement.release();
    }
    crashPoint('before-part-row');
    const statements = partStatements(row.id, [{ ...claim, etag }]);
    await patiently(() => database.script(statements), settings.transientRetryMs);
    return claim.md5;
  }

  /** The service's id of an upload, begun there at most once whoever asks. */
  #begun(row: UploadRow, remote: RemoteUploads): Promise<string> {
    if (row.remote_id !== null) return Promise.resolve(row.remote_id);
    let beginning = this.#beginning.get(row.id);
    if (beginning === undefined) {
      beginning = this.#begin(row, remote).finally(() => this.#beginning.delete(row.id));
      this.#beginning.set(row.id, beginning);
    }
    return beginning;
  }

  async #begin(row: UploadRow, remote: RemoteUploads): Promise<string> {
    const { database } = this.#init;
    const known = (await readUpload(database, row.id))?.remote_id;
    if (known) return known;
    const id = await remote.begin(nameOf(row));
    await database.script([['UPDATE uploads SET remote_id = ? WHERE id = ? AND remote_id IS NULL', id, row.id]]);
    // Another server may have been faster: what was begun here then ends with the upload.
    return (await readUpload(database, row.id))?.remote_id ?? id;
  }

  /** @throws CacheError NotFound, Invalid, Conflict, Unavailable */
  async complete(row: UploadRow, parts: readonly PartClaim[], claim: PathClaim): Promise<void> {
    const running = this.#completing.get(row.id);
    if (running !== undefined) {
      if (running.hashPart !== claim.hashPart) throw otherPath();
      return running.outcome;
    }
    const outcome = this.#completeOrJoin(row, parts, claim).finally(() => this.#completing.delete(row.id));
    this.#completing.set(row.id, { hashPart: claim.hashPart, outcome });
    return outcome;
  }

  async #completeOrJoin(first: UploadRow, parts: readonly PartClaim[], claim: PathClaim): Promise<void> {
    const { database, leases, settings, storages } = this.#init;
    const deadline = Date.now() + settings.uploadExpiryMs;
    for (let row = first; ; await delay(POLL_MS)) {
      if (row.state === 'done') {
        if (row.hash_part !== claim.hashPart) throw otherPath();
        return;
      }
      if (row.state !== 'open') throw failureOf(row);
      if (Date.now() > deadline) throw new CacheError('Unavailable', 'another server has not completed this upload');
      const lease = await leases.acquire(`upload/${row.id}`);
      // The row may have changed while another server had the lease.
      row = (await readUpload(database, row.id)) ?? first;
      if (lease === undefined) continue;
      try {
        if (row.state !== 'open') continue;
        const done = storages.use(row.storage);
        await this.#complete(row, parts, claim, lease).finally(done);
        return;
      } finally {
        await lease.release();
      }
    }
  }

  async #complete(row: UploadRow, parts: readonly PartClaim[], claim: PathClaim, lease: Lease): Promise<void> {
    const { database, logger } = this.#init;
    let isAllUsed = false;
    try {
      mustBeOpen(row);
      const servable = await servedAlready(this.#init, claim.hashPart);
      if (servable === undefined) isAllUsed = await this.#publish(row, parts, claim, lease);
      else {
        logger.info({ storePath: claim.storePath }, 'pushed again; the published path stays');
        await database.script([...finishStatements(row.id, claim.hashPart), dropStatement(row.storage, nameOf(row))]);
      }
    } catch (error) {
      const failure = refusal(error);
      if (isFinal(failure)) await this.end(row, 'aborted', failure);
      throw failure;
    }
    if (!isAllUsed) this.#sweep();
  }

  /** Removes what was dropped, in the background. */
  #sweep(): void {
    const { intents, logger } = this.#init;
    intents.sweep().catch((error: unknown) => logger.warn({ err: error }, 'bytes without a row stay for now'));
  }

  /** Whether every part became part of the object. */
  async #publish(row: UploadRow, parts: readonly PartClaim[], claim: PathClaim, lease: Lease): Promise<boolean> {
    const { database, storages, verifier, settings } = this.#init;
    const remote = this.#remote(row.storage);
    const name = nameOf(row);
    const list = claimedParts(await readParts(database, row.id), parts, remote.isDirect);
    checkSize(claim, knownSize(list));
    const hasSides = list.some((part) => part.etag === undefined && !(remote.keepsFirst && part.number === 1));
    await remote.complete({ name, id: row.remote_id ?? undefined }, list);
    crashPoint('during-complete');
    const compression = isCompression(row.compression) ? row.compression : undefined;
    const verify = async () => {
      const { body, size } = await remote.read(name);
      if (size !== claim.fileSize) body.destroy();
      checkSize(claim, size);
      return verifyBody(verifier, { compression, maxNarSize: settings.maxNarBytes }, body, { narSize: claim.narSize });
    };
    const facts = factsForRow(await verified(verify, verify));
    checkClaim(claim, facts, claim.fileSize);
    if (lease.signal.aborted) throw new CacheError('Unavailable', 'another server goes on with this upload');
    storages.count(row.storage, claim.fileSize);
    const object = { key: narKey(facts), storage: row.storage, name, size: claim.fileSize };
    await publishUpload(this.#init, claim, { object, facts }, [
      ...finishStatements(row.id, claim.hashPart),
      ...(hasSides ? [dropStatement(row.storage, name)] : []),
    ]);
    return !hasSides;
  }

  /** Ends an upload unless it is being completed. */
  async abort(row: UploadRow, state: 'aborted' | 'expired'): Promise<void> {
    if (this.#completing.has(row.id)) return;
    const lease = await this.#init.leases.acquire(`upload/${row.id}`);
    if (lease === undefined) return;
    try {
      const now = await readUpload(this.#init.database, row.id);
      if (now?.state === 'open') await this.end(now, state);
    } finally {
      await lease.release();
    }
  }

  async end(row: UploadRow, state: 'aborted' | 'expired', failure?: unknown): Promise<void> {
    const { database } = this.#init;
    const text =
      failure instanceof CacheError ? JSON.stringify({ code: failure.code, message: failure.message }) : null;
    await database.script([...endStatements(row.id, state, text), dropStatement(row.storage, nameOf(row))]);
    this.#sweep();
  }

  async idle(): Promise<void> {
    await Promise.allSettled([...this.#completing.values()].map((it) => it.outcome));
  }

  #remote(storage: string): RemoteUploads {
    const place = this.#init.storages.get(storage);
    const { remote } = place;
    if (place.health().state !== 'Ready') throw new CacheError('Unavailable', `storage ${storage} is not available`);
    if (remote === undefined) throw new CacheError('Unavailable', `storage ${storage} takes no uploads of this kind`);
    return remote;
  }
}

function nameOf(row: UploadRow): string {
  if (row.name === null) throw uploadOver();
  return row.name;
}

function mustBeOpen(row: UploadRow): void {
  if (row.state !== 'open' || row.expires_at <= Date.now()) throw uploadOver();
}

/** What the server that completed the upload found. */
function failureOf(row: UploadRow): CacheError {
  if (row.failure === null) return uploadOver();
  const failure: unknown = JSON.parse(row.failure);
  const { code, message } = typeof failure === 'object' && failure !== null ? (failure as Record<string, unknown>) : {};
  return isErrorCode(code) && typeof message === 'string' ? new CacheError(code, message) : uploadOver();
}

/** Sum of the sizes; undefined where a part went straight to the service. */
function knownSize(parts: readonly RemotePart[]): number | undefined {
  return parts.some((part) => Number.isNaN(part.size)) ? undefined : parts.reduce((sum, part) => sum + part.size, 0);
}

function checkSize(claim: PathClaim, size: number | undefined): void {
  if (size !== undefined && size !== claim.fileSize)
    throw new CacheError('Invalid', `cFileSize says ${claim.fileSize}, the parts have ${size} bytes`);
}

const VERDICTS = { corrupt: 'Invalid', 'too-large': 'TooLarge', unsupported: 'Unsupported' } as const;

/** What storage and verifier say of the bytes, in the form that another server can repeat. */
function refusal(error: unknown): unknown {
  const cause = { cause: error };
  if (error instanceof UploadGoneError) return uploadOver();
  if (error instanceof PartsError) return new CacheError('Invalid', textOfPartsError(error), cause);
  return error instanceof VerifyError ? new CacheError(VERDICTS[error.code], error.message, cause) : error;
}

function base64(md5: string): string {
  return Buffer.from(md5, 'hex').toString('base64');
}
