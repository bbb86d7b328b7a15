/**
 * Cachix uploads of which no server keeps anything: begun on one, its parts sent to a second, completed on a third. What is
 * known is in rows, the bytes are in the storage; a part goes straight there where the storage can take it.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import type { Compression } from '../../nix/index.ts';
import { crashPoint, type RemoteUploads } from '../../storage/index.ts';
import { CacheError } from '../errors.ts';
import { withRetries } from '../flow/index.ts';
import type { Body } from '../objects/index.ts';
import type { Placement } from '../storages/index.ts';
import type { IngestInit } from './ingest.ts';
import type { PartInit } from './part-attempt.ts';
import { EMPTY_MD5, etagOf } from './part-claims.ts';
import { mustBeOpen, nameOf, remoteOf } from './shared-upload.ts';
import { uploadOver } from './upload-errors.ts';
import { refusal } from './upload-failures.ts';
import {
  claimPart,
  type FoundUpload,
  type PartRow,
  readUpload,
  type UploadRow,
  uploadStatement,
} from './upload-rows.ts';

export class SharedUploads {
  readonly #init: IngestInit;
  /** Uploads that are being begun at the service. */
  readonly #beginning = new Map<string, Promise<string>>();

  constructor(init: IngestInit) {
    this.#init = init;
  }

  async create(placement: Placement, compression: Compression): Promise<{ id: string; uploadId: string }> {
    const { database, settings } = this.#init;
    const { storage } = placement;
    const remote = remoteOf(this.#init.storages, storage.name);
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
    const remote = remoteOf(this.#init.storages, row.storage);
    // S3 takes an empty part for a mistake; it comes to us and is left out.
    if (!remote.isDirect || md5 === EMPTY_MD5) return undefined;
    return remote.partUrl(nameOf(row), await this.#begun(row, remote), number, base64(md5), row.expires_at);
  }

  /**
   * Takes in one part. Each attempt writes where nobody else does; the first that brings the part in gets the row, and what
   * others have put elsewhere goes. Its ETag: the MD5 in hex. @throws CacheError NotFound, Conflict, Invalid, NoSpace
   */
  async putPart({ row, parts }: FoundUpload, claim: PartInit, body: Body): Promise<string> {
    mustBeOpen(row);
    const { database, intents, settings, storages } = this.#init;
    if (claim.size === 0) {
      if (claim.md5 !== EMPTY_MD5) throw new CacheError('Invalid', `part ${claim.number}: no bytes have another MD5`);
      return EMPTY_MD5;
    }
    const known = parts.find((part) => part.number === claim.number);
    if (known !== undefined) return etagOf(known, claim);
    const remote = remoteOf(this.#init.storages, row.storage);
    const name = remote.joins(claim.size) ? undefined : remote.newName();
    const placement = await storages.hold(row.storage, claim.size);
    let counts: PartRow | undefined;
    try {
      const etag = await this.#send(row, remote, { ...claim, name }, body);
      crashPoint('before-part-row');
      counts = await withRetries(() => claimPart(database, row, { ...claim, etag, name }), settings.transientRetryMs);
      if (counts === undefined) throw uploadOver();
      return etagOf(counts, claim);
    } catch (error) {
      throw refusal(error);
    } finally {
      placement.release();
      if (name !== undefined) {
        if (counts?.name === name) intents.end(row.storage, name);
        else intents.drop(row.storage, name);
      }
    }
  }

  /** Sends a part where it belongs; the service's ETag, if it joins the part. */
  async #send(
    row: UploadRow,
    remote: RemoteUploads,
    { number, size, md5, name }: PartInit & { readonly name: string | undefined },
    body: Body,
  ): Promise<string | undefined> {
    const part = { number, size, md5: base64(md5) };
    if (name === undefined) return remote.putPart(nameOf(row), await this.#begun(row, remote), part, body);
    // While the bytes arrive.
    const begun = this.#init.intents.begin(row.storage, name);
    begun.catch(() => {});
    const noted = async function* () {
      yield* body;
      await begun;
    };
    await remote.putSide(name, part, noted());
    return undefined;
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
}

function base64(md5: string): string {
  return Buffer.from(md5, 'hex').toString('base64');
}
