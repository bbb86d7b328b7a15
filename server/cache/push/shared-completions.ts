/**
 * The ends of uploads of which no server keeps anything. `complete` joins the parts, reads the object once and verifies it,
 * and only then publishes. One server does that at a time, by a lease; who asks meanwhile waits for its outcome. One whose
 * lease was lost may go on beside the next: what either publishes lies under a name to which the other does not write.
 *
 * Two trips to the database, each of which may cross a network: the lease, and under it what there is to know; then all that
 * is new, with the lease's end.
 */
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
import type { NewObject } from '../objects/index.ts';
import { dropStatement } from '../objects/index.ts';
import type { NarFacts } from '../paths/index.ts';
import { checkClaim, factsForRow, narKey } from './claim.ts';
import type { IngestInit } from './ingest.ts';
import { isFinal } from './live-upload.ts';
import type { PathClaim } from './narinfo-create.ts';
import { claimedParts, knownSize, type PartClaim } from './part-claims.ts';
import { publishUpload, servedAlready } from './publish-upload.ts';
import { receiveNar } from './receive-nar.ts';
import { mustBeOpen, nameOf, remoteOf } from './shared-upload.ts';
import { otherPath, unknownUpload, uploadOver } from './upload-errors.ts';
import { failureOf, refusal } from './upload-failures.ts';
import {
  COMPLETION_QUERY,
  type CompletionRow,
  endStatements,
  type FoundUpload,
  finishStatements,
  foundUpload,
  openCondition,
  UPLOAD_QUERY,
  type UploadRow,
} from './upload-rows.ts';
import { verified, verifyBody } from './verified.ts';

const POLL_MS = 250;

/** An upload that this server alone completes. */
interface Completion extends FoundUpload {
  /** Whether the database has its path, which need not be servable. */
  readonly isKnown: boolean;
  readonly lease: Lease;
}

export class SharedCompletions {
  readonly #init: IngestInit;
  /** Those that run here. */
  readonly #completing = new Map<string, { hashPart: string; outcome: Promise<boolean> }>();

  constructor(init: IngestInit) {
    this.#init = init;
  }

  /**
   * Publishes the path of an upload. False: its bytes are in files of one process.
   * @throws CacheError NotFound, Invalid, Conflict, Unavailable
   */
  async complete(id: string, uploadId: string, parts: readonly PartClaim[], claim: PathClaim): Promise<boolean> {
    const key = keyOf(id, uploadId);
    const running = this.#completing.get(key);
    if (running !== undefined) {
      if (running.hashPart !== claim.hashPart) throw otherPath();
      return running.outcome;
    }
    const outcome = this.#completeOrJoin(id, uploadId, parts, claim).finally(() => this.#completing.delete(key));
    this.#completing.set(key, { hashPart: claim.hashPart, outcome });
    return outcome;
  }

  async #completeOrJoin(id: string, uploadId: string, parts: readonly PartClaim[], claim: PathClaim): Promise<boolean> {
    const { leases, settings, storages } = this.#init;
    const deadline = Date.now() + settings.uploadExpiryMs;
    for (; ; await delay(POLL_MS)) {
      const { lease, rows } = await leases.acquireAndLook<CompletionRow>(`upload/${id}`, {
        where: openCondition(id, uploadId),
        read: [COMPLETION_QUERY, claim.hashPart, id],
      });
      try {
        const found = foundUpload(rows);
        if (found?.row.upload_id !== uploadId) throw unknownUpload();
        const { row } = found;
        if (row.state === 'done') {
          if (row.hash_part !== claim.hashPart) throw otherPath();
          return true;
        }
        if (row.name === null) return false;
        if (!storages.has(row.storage)) throw uploadOver();
        if (row.state !== 'open') throw failureOf(row);
        if (lease !== undefined) {
          const done = storages.use(row.storage);
          const isKnown = Boolean(rows[0]?.is_known);
          await this.#complete({ ...found, isKnown, lease }, parts, claim).finally(done);
          return true;
        }
        if (Date.now() > deadline) throw new CacheError('Unavailable', 'another server has not completed this upload');
      } finally {
        await lease?.release();
      }
    }
  }

  async #complete(it: Completion, parts: readonly PartClaim[], claim: PathClaim): Promise<void> {
    const { database, logger } = this.#init;
    const { row, lease } = it;
    try {
      mustBeOpen(row);
      const servable = it.isKnown ? await servedAlready(this.#init, claim.hashPart) : undefined;
      if (servable === undefined) await this.#publish(it, parts, claim);
      else {
        logger.info({ storePath: claim.storePath }, 'pushed again; the published path stays');
        const drop = dropStatement(row.storage, nameOf(row));
        await database.script([...finishStatements(row.id, claim.hashPart), drop, ...lease.end()]);
        lease.ended();
        this.#sweep();
      }
    } catch (error) {
      const failure = refusal(error);
      if (isFinal(failure)) await this.#end(row, 'aborted', lease, failure);
      throw failure;
    }
  }

  /** Removes what was dropped, in the background. */
  #sweep(): void {
    const { intents, logger } = this.#init;
    intents.sweep().catch((error: unknown) => logger.warn({ err: error }, 'bytes without a row stay for now'));
  }

  async #publish(it: Completion, parts: readonly PartClaim[], claim: PathClaim): Promise<void> {
    const { row } = it;
    const remote = remoteOf(this.#init.storages, row.storage);
    const list = claimedParts(it.parts, parts, remote.isDirect);
    checkSize(claim, knownSize(list));
    const names = list.flatMap(({ at }) => ('name' in at ? [at.name] : []));
    const [only] = names;
    if (names.length === list.length && (names.length > 1 || !remote.keepsOnly))
      return this.#publishTogether(it, list, claim);
    const joined = this.#init.storages.join(claim.fileSize);
    try {
      if (names.length === list.length && only !== undefined) return await this.#publishObject(it, only, claim, joined);
      await remote.complete({ name: nameOf(row), id: row.remote_id ?? undefined }, list);
      return await this.#publishObject(it, nameOf(row), claim, joined);
    } finally {
      joined();
    }
  }

  /** Publishes an object that lies where it belongs, and to which nobody writes any more: it is read and verified there. */
  async #publishObject(it: Completion, name: string, claim: PathClaim, joined: () => void): Promise<void> {
    const { storages, verifier, settings } = this.#init;
    const { row, lease } = it;
    const remote = remoteOf(storages, row.storage);
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
    joined();
    const object = { key: narKey(facts), storage: row.storage, name, size: claim.fileSize };
    await this.#finish(it, claim, { object, facts });
  }

  /** Puts parts together that the service does not join, as any other body arrives: under a name of its own. */
  async #publishTogether(it: Completion, list: readonly RemotePart[], claim: PathClaim): Promise<void> {
    const { row, lease } = it;
    const bodies: AsyncGenerator<Uint8Array>[] = [];
    const again = () => {
      const body = bytesOf(remoteOf(this.#init.storages, row.storage), list);
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
      await this.#finish(it, claim, { object: await incoming.commit(narKey(facts)), facts });
    } finally {
      await incoming.close();
    }
  }

  async #finish(
    { row, parts, lease }: Completion,
    claim: PathClaim,
    nar: { object: NewObject; facts: NarFacts },
  ): Promise<void> {
    const { name } = nar.object;
    // What was begun at the service and not used is given up.
    const isUnused = row.remote_id !== null && name !== row.name;
    await publishUpload(this.#init, claim, nar, [
      ...finishStatements(row.id, claim.hashPart, name),
      ...(isUnused ? [dropStatement(row.storage, nameOf(row))] : []),
      ...lease.end(),
    ]);
    lease.ended();
    // The usual push leaves nothing behind; a part that came meanwhile waits for the next sweep.
    if (isUnused || parts.some((part) => part.name !== null && part.name !== name)) this.#sweep();
  }

  /** Ends an upload unless it is being completed. */
  async abort(row: UploadRow, state: 'aborted' | 'expired'): Promise<void> {
    if (this.#completing.has(keyOf(row.id, row.upload_id))) return;
    const { lease, rows } = await this.#init.leases.acquireAndLook<UploadRow>(`upload/${row.id}`, {
      where: openCondition(row.id, row.upload_id),
      read: [UPLOAD_QUERY, row.id],
    });
    if (lease === undefined) return;
    try {
      const [now] = rows;
      if (now?.state === 'open') await this.#end(now, state, lease);
    } finally {
      await lease.release();
    }
  }

  async #end(row: UploadRow, state: 'aborted' | 'expired', lease: Lease, failure?: unknown): Promise<void> {
    const { database } = this.#init;
    const text =
      failure instanceof CacheError ? JSON.stringify({ code: failure.code, message: failure.message }) : null;
    const drop = dropStatement(row.storage, nameOf(row));
    await database.script([...endStatements(row.id, state, text), drop, ...lease.end()]);
    lease.ended();
    this.#sweep();
  }

  /** Resolves when none runs. */
  async idle(): Promise<void> {
    await Promise.allSettled([...this.#completing.values()].map((it) => it.outcome));
  }
}

function keyOf(id: string, uploadId: string): string {
  return `${id} ${uploadId}`;
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

function checkSize(claim: PathClaim, size: number | undefined): void {
  if (size !== undefined && size !== claim.fileSize)
    throw new CacheError('Invalid', `cFileSize says ${claim.fileSize}, the parts have ${size} bytes`);
}
