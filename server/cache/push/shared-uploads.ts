/**
 * Cachix uploads of which no server keeps anything: begun on one, its parts sent to a second, completed on a third. What is
 * known is in rows, the bytes are in the storage; a part goes straight there where the storage can take it. `complete`
 * joins the parts, reads the object once and verifies it, and only then publishes. One server does that at a time, by a
 * lease; who asks meanwhile waits for its outcome. One whose lease was lost may go on beside the next: what either
 * publishes lies under a name to which the other does not write.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { setTimeout as delay } from 'node:timers/promises';
import { type Compression, isCompression } from '../../nix/index.ts';
import {
  crashPoint,
  ObjectMissingError,
  type RemotePart,
  type RemoteUploads,
  StorageUnavailableError,
  UploadGoneError,
} from '../../storage/index.ts';
import type { Lease } from '../database/index.ts';
import { CacheError } from '../errors.ts';
import { withRetries } from '../flow/index.ts';
import type { Body, NewObject } from '../objects/index.ts';
import { dropStatement, endStatement } from '../objects/index.ts';
import type { NarFacts } from '../paths/index.ts';
import type { Placement } from '../storages/index.ts';
import { checkClaim, factsForRow, narKey } from './claim.ts';
import type { IngestInit } from './ingest.ts';
import { isFinal } from './live-upload.ts';
import type { PathClaim } from './narinfo-create.ts';
import type { PartInit } from './part-attempt.ts';
import { claimedParts, EMPTY_MD5, etagOf, knownSize, type PartClaim } from './part-claims.ts';
import { publishUpload, servedAlready } from './publish-upload.ts';
import { receiveNar } from './receive-nar.ts';
import { otherPath, uploadOver } from './upload-errors.ts';
import { failureOf, refusal } from './upload-failures.ts';
import {
  claimPart,
  endStatements,
  finishStatements,
  type PartRow,
  readPart,
  readParts,
  readUpload,
  type UploadRow,
  uploadStatement,
} from './upload-rows.ts';
import { verified, verifyBody } from './verified.ts';

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

  /**
   * Takes in one part. Each attempt writes where nobody else does; the first that brings the part in gets the row, and what
   * others have put elsewhere goes. Its ETag: the MD5 in hex. @throws CacheError NotFound, Conflict, Invalid, NoSpace
   */
  async putPart(row: UploadRow, claim: PartInit, body: Body): Promise<string> {
    mustBeOpen(row);
    const { database, intents, settings, storages } = this.#init;
    if (claim.size === 0) {
      if (claim.md5 !== EMPTY_MD5) throw new CacheError('Invalid', `part ${claim.number}: no bytes have another MD5`);
      return EMPTY_MD5;
    }
    const known = await readPart(database, row.id, claim.number);
    if (known !== undefined) return etagOf(known, claim);
    const remote = this.#remote(row.storage);
    const name = remote.joins(claim.size) ? undefined : remote.newName();
    const placement = await storages.hold(row.storage, claim.size);
    let counts: PartRow | undefined;
    try {
      const etag = await this.#send(row, remote, { ...claim, name }, body);
      crashPoint('before-part-row');
      counts = await withRetries(() => this.#record(row, { ...claim, etag, name }), settings.transientRetryMs);
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

  /** The row of a part that counts; undefined: the upload is over. */
  #record(row: UploadRow, part: Parameters<typeof claimPart>[2]): Promise<PartRow | undefined> {
    return this.#init.database.write(async (sql) => {
      const counts = await claimPart(sql, row.id, part);
      if (part.name !== undefined && counts?.name === part.name) await sql.run([endStatement(row.storage, part.name)]);
      return counts;
    });
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
    try {
      mustBeOpen(row);
      const servable = await servedAlready(this.#init, claim.hashPart);
      if (servable === undefined) await this.#publish(row, parts, claim, lease);
      else {
        logger.info({ storePath: claim.storePath }, 'pushed again; the published path stays');
        await database.script([...finishStatements(row.id, claim.hashPart), dropStatement(row.storage, nameOf(row))]);
        this.#sweep();
      }
    } catch (error) {
      const failure = refusal(error);
      if (isFinal(failure)) await this.end(row, 'aborted', failure);
      throw failure;
    }
  }

  /** Removes what was dropped, in the background. */
  #sweep(): void {
    const { intents, logger } = this.#init;
    intents.sweep().catch((error: unknown) => logger.warn({ err: error }, 'bytes without a row stay for now'));
  }

  async #publish(row: UploadRow, parts: readonly PartClaim[], claim: PathClaim, lease: Lease): Promise<void> {
    const remote = this.#remote(row.storage);
    const list = claimedParts(await readParts(this.#init.database, row.id), parts, remote.isDirect);
    checkSize(claim, knownSize(list));
    const names = list.flatMap(({ at }) => ('name' in at ? [at.name] : []));
    const [only] = names;
    if (names.length === list.length && (names.length > 1 || !remote.keepsOnly))
      return this.#publishTogether(row, list, claim, lease);
    if (names.length === list.length && only !== undefined) return this.#publishObject(row, only, claim, lease);
    await remote.complete({ name: nameOf(row), id: row.remote_id ?? undefined }, list);
    return this.#publishObject(row, nameOf(row), claim, lease);
  }

  /** Publishes an object that lies where it belongs, and to which nobody writes any more: it is read and verified there. */
  async #publishObject(row: UploadRow, name: string, claim: PathClaim, lease: Lease): Promise<void> {
    const { storages, verifier, settings } = this.#init;
    const remote = this.#remote(row.storage);
    crashPoint('during-complete');
    const verify = async () => {
      const { body, size } = await remote.read(name);
      if (size !== claim.fileSize) body.destroy();
      checkSize(claim, size);
      const request = { compression: compressionOf(row), maxNarSize: settings.maxNarBytes };
      return verifyBody(verifier, request, body, { narSize: claim.narSize });
    };
    const facts = factsForRow(await verified(verify, verify, settings.transientRetryMs));
    checkClaim(claim, facts, claim.fileSize);
    mustGoOn(lease);
    storages.count(row.storage, claim.fileSize);
    const object = { key: narKey(facts), storage: row.storage, name, size: claim.fileSize };
    await this.#finish(row, claim, { object, facts });
  }

  /** Puts parts together that the service does not join, as any other body arrives: under a name of its own. */
  async #publishTogether(row: UploadRow, list: readonly RemotePart[], claim: PathClaim, lease: Lease): Promise<void> {
    const bodies: AsyncGenerator<Uint8Array>[] = [];
    const again = () => {
      const body = bytesOf(this.#remote(row.storage), list);
      bodies.push(body);
      return body;
    };
    const { incoming, verdict } = await receiveNar(this.#init, again(), {
      form: { compression: compressionOf(row) },
      declaredBytes: claim.fileSize,
      maxBytes: claim.fileSize,
      again,
    }).finally(() => {
      // One that was left in the middle would hold its source open.
      for (const body of bodies) body.return(undefined).catch(() => {});
    });
    try {
      const facts = factsForRow(await verdict({ narSize: claim.narSize }));
      checkClaim(claim, facts, claim.fileSize);
      mustGoOn(lease);
      crashPoint('during-complete');
      await this.#finish(row, claim, { object: await incoming.commit(narKey(facts)), facts });
    } finally {
      await incoming.close();
    }
  }

  async #finish(row: UploadRow, claim: PathClaim, nar: { object: NewObject; facts: NarFacts }): Promise<void> {
    const { name } = nar.object;
    // What was begun at the service and not used is given up.
    const isUnused = row.remote_id !== null && name !== row.name;
    await publishUpload(this.#init, claim, nar, [
      ...finishStatements(row.id, claim.hashPart, name),
      ...(isUnused ? [dropStatement(row.storage, nameOf(row))] : []),
    ]);
    this.#sweep();
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

function compressionOf({ compression }: UploadRow): Compression | undefined {
  return isCompression(compression) ? compression : undefined;
}

function mustGoOn(lease: Lease): void {
  if (lease.signal.aborted) throw new CacheError('Unavailable', 'another server goes on with this upload');
}

/** The bytes of parts that lie in objects of their own, one after the other. */
async function* bytesOf(remote: RemoteUploads, parts: readonly RemotePart[]): AsyncGenerator<Uint8Array> {
  try {
    for (const { at } of parts) if ('name' in at) yield* (await remote.read(at.name)).body;
  } catch (error) {
    if (error instanceof ObjectMissingError)
      throw new UploadGoneError('a part is not there any more', { cause: error });
    // The storage that they are read from is not the one that they go to.
    if (error instanceof StorageUnavailableError) throw new CacheError('Unavailable', error.message, { cause: error });
    throw error;
  }
}

function nameOf(row: UploadRow): string {
  if (row.name === null) throw uploadOver();
  return row.name;
}

function mustBeOpen(row: UploadRow): void {
  if (row.state !== 'open' || row.expires_at <= Date.now()) throw uploadOver();
}

function checkSize(claim: PathClaim, size: number | undefined): void {
  if (size !== undefined && size !== claim.fileSize)
    throw new CacheError('Invalid', `cFileSize says ${claim.fileSize}, the parts have ${size} bytes`);
}

function base64(md5: string): string {
  return Buffer.from(md5, 'hex').toString('base64');
}
