/**
 * Cachix uploads in files of this process alone; a completion that a crash interrupts is open again. The row and its parts survive a restart; what is in memory only makes things faster. Verification runs behind
 * the parts as they arrive, so that `complete` has the tail to do; a second `complete` joins the first, and a client
 * that hangs up cancels nothing.
 */
import { randomBytes, randomUUID } from 'node:crypto';
import { stat } from 'node:fs/promises';
import { type Compression, isCompression } from '../../nix/index.ts';
import { crashPoint, LocalStorage } from '../../storage/index.ts';
import { CacheError } from '../errors.ts';
import { withRetries } from '../flow/index.ts';
import type { Body } from '../objects/index.ts';
import { isFull, type Placement } from '../storages/index.ts';
import type { Verification } from '../verify/index.ts';
import { checkClaim, factsForRow, narKey } from './claim.ts';
import type { IngestInit } from './ingest.ts';
import { isFinal, isMissing, type LiveUpload } from './live-upload.ts';
import type { PathClaim } from './narinfo-create.ts';
import type { PartInit } from './part-attempt.ts';
import { checkParts, type PartClaim } from './part-claims.ts';
import { publishUpload, servedAlready, signedPath } from './publish-upload.ts';
import { otherPath, uploadOver } from './upload-errors.ts';
import { type Part, UploadFile } from './upload-file.ts';
import {
  endStatements,
  finishStatements,
  partStatements,
  readParts,
  readUpload,
  type UploadRow,
  uploadStatement,
} from './upload-rows.ts';
import { verified } from './verified.ts';

export class LocalUploads {
  readonly #init: IngestInit;
  readonly #live = new Map<string, Promise<LiveUpload>>();
  /** Ids of open uploads that are not in memory: begun before a restart, or idle for long. */
  #asleep = new Set<string>();
  #resting: Promise<void> | undefined;

  constructor(init: IngestInit) {
    this.#init = init;
  }

  /** Uploads that are open. */
  get open(): number {
    return this.#live.size + this.#asleep.size;
  }

  /** Uploads that hold a file open. */
  get active(): number {
    return this.#live.size;
  }

  /** Takes note of the uploads of an earlier process. */
  resume(rows: readonly UploadRow[]): void {
    this.#asleep = new Set(rows.map((row) => row.id));
  }

  /** The row from memory. One that cannot be brought back there is as its row in the database says. */
  async find(id: string): Promise<UploadRow | undefined> {
    return (await this.#live.get(id)?.catch(() => undefined))?.row;
  }

  async create(placement: Placement, compression: Compression): Promise<{ id: string; uploadId: string }> {
    const { settings } = this.#init;
    const now = Date.now();
    const row: UploadRow = {
      id: randomUUID(),
      upload_id: randomBytes(16).toString('hex'),
      compression,
      storage: placement.storage.name,
      state: 'open',
      created_at: now,
      expires_at: now + settings.uploadExpiryMs,
      hash_part: null,
      name: null,
      remote_id: null,
      failure: null,
    };
    // Its row is written with its first part: until then there is nothing that a restart could keep.
    const live = this.#liven(row, []);
    live.isStored = false;
    this.#live.set(row.id, Promise.resolve(live));
    return { id: row.id, uploadId: row.upload_id };
  }

  /** When the URLs of an upload's parts stop working. @throws CacheError NotFound */
  expiry(id: string, uploadId: string): Promise<number> {
    return this.#with(id, uploadId, async (live) => live.row.expires_at);
  }

  /**
   * Takes in one part; the same part again is acknowledged again. Its ETag: the MD5 in hex.
   * @throws CacheError NotFound, Conflict, Invalid, NoSpace
   */
  putPart(id: string, uploadId: string, claim: PartInit, body: Body): Promise<string> {
    const { settings, storages, verifier } = this.#init;
    return this.#with(id, uploadId, async (live) => {
      const known = live.file.known(claim);
      if (known !== undefined) return known.md5;
      const placement = await storages.hold(live.storage.name, claim.size);
      try {
        await live.file.write(claim, body, (file, start, size) => verifier.md5(file, start, size));
        crashPoint('before-part-row');
        await withRetries(() => live.file.settle((parts) => this.#record(live, parts)), settings.transientRetryMs);
      } catch (error) {
        if (isFull(error)) {
          storages.reportFull(live.storage.name);
          live.doomed = true;
        }
        throw error;
      } finally {
        placement.release();
      }
      if (live.completing === undefined) this.#follow(live);
      this.#makeRoom();
      return claim.md5;
    });
  }

  /** Not published yet: after a loss of power the client begins anew, so nobody waits for the disk here. */
  async #record(live: LiveUpload, parts: readonly Part[]): Promise<void> {
    if (parts.length > 1) crashPoint('after-part-move');
    const rows = [...(live.isStored ? [] : [uploadStatement(live.row)]), ...partStatements(live.row.id, parts)];
    await this.#init.database.script(rows, 'process');
    live.isStored = true;
  }

  /** Keeps uploads from taking the descriptors that reads need. */
  #makeRoom(): void {
    const { maxAwakeUploads, minAwakeMs } = this.#init.settings;
    if (this.#live.size <= maxAwakeUploads) return;
    this.#resting ??= this.rest(Date.now() - minAwakeMs, maxAwakeUploads)
      .catch((error: unknown) => this.#init.logger.warn({ err: error }, 'idle uploads could not be put aside'))
      .finally(() => {
        this.#resting = undefined;
      });
  }

  /** Lets the verifier run behind the part of the file that is complete. */
  #follow(live: LiveUpload): void {
    const complete = live.file.keep();
    if (complete === 0) return;
    live.verification ??= this.#verify(live);
    live.verification.grow(complete);
  }

  #verify({ row, file }: LiveUpload): Verification {
    const compression = isCompression(row.compression) ? row.compression : undefined;
    const maxNarSize = this.#init.settings.maxNarBytes;
    return this.#init.verifier.open({ file: file.base.file, compression, maxNarSize, aheadOfClaim: true });
  }

  /**
   * Checks everything and publishes. Resolves when the path is durable and visible.
   * @throws CacheError NotFound, Invalid
   */
  complete(id: string, uploadId: string, parts: readonly PartClaim[], claim: PathClaim): Promise<void> {
    return this.#with(id, uploadId, async (live) => {
      // Joins a running completion: the client that repeats the call wants its outcome, not a second one.
      live.completing ??= {
        hashPart: claim.hashPart,
        outcome: this.#complete(live, parts, claim).finally(this.#init.storages.use(live.storage.name)),
      };
      const { hashPart, outcome } = live.completing;
      if (hashPart !== claim.hashPart) throw otherPath();
      await outcome;
    });
  }

  async #complete(live: LiveUpload, parts: readonly PartClaim[], claim: PathClaim): Promise<void> {
    const { database, logger } = this.#init;
    try {
      const servable = await servedAlready(this.#init, claim.hashPart);
      if (servable === undefined) await this.#publish(live, parts, claim);
      else {
        logger.info(
          { storePath: claim.storePath, differs: !servable.body.includes(claim.narHash) },
          'pushed again; the published path stays',
        );
        await database.script(finishStatements(live.row.id, claim.hashPart));
        await this.#discard(live);
      }
      this.#live.delete(live.row.id);
    } catch (error) {
      // Wrong bytes stay wrong, a full disk stays full: the client begins again with a new upload, and never sends an abort.
      if (isFinal(error) || live.committed) {
        await this.#drop(live, 'aborted').catch((it: unknown) => {
          logger.error({ err: it, upload: live.row.id }, 'an upload that failed could not be ended');
          // Without its file it cannot be read again, which tells the client the same.
          if (live.committed) this.#live.delete(live.row.id);
        });
      }
      await live.verification?.cancel();
      live.verification = undefined;
      live.completing = undefined;
      throw error;
    }
  }

  async #publish(live: LiveUpload, parts: readonly PartClaim[], claim: PathClaim): Promise<void> {
    const { storages, settings } = this.#init;
    await live.file.seal(new CacheError('Conflict', 'this upload is being completed; start a new one'));
    const size = checkParts(live.file, parts);
    // Before the bytes are decoded: a wrong size needs no look at them.
    if (size !== claim.fileSize)
      throw new CacheError('Invalid', `cFileSize says ${claim.fileSize}, the parts have ${size} bytes`);
    await live.file.settle((changed) => this.#record(live, changed));
    this.#follow(live);
    const { verification } = live;
    if (verification === undefined) throw new CacheError('Invalid', 'the upload is empty');
    const whole = { fileSize: size, narSize: claim.narSize };
    const facts = factsForRow(
      await verified(
        () => verification.finish(whole),
        () => this.#verify(live).finish(whole),
        settings.transientRetryMs,
      ),
    );
    live.verification = undefined;
    checkClaim(claim, facts, size);
    // Before the file moves: a false signature must leave the upload as it is.
    const path = signedPath(this.#init, claim, facts);
    crashPoint('during-complete');
    let name: string;
    const joined = storages.join(size);
    try {
      // Attempts that broke off may have written beyond the last part.
      name = await withRetries(() => live.file.base.commit(size), settings.transientRetryMs);
    } catch (error) {
      if (isFull(error)) storages.reportFull(live.storage.name);
      throw error;
    } finally {
      joined();
    }
    live.committed = true;
    storages.count(live.storage.name, size);
    await live.file.close();
    const object = { key: narKey(facts), storage: live.storage.name, name, size };
    await publishUpload(this.#init, claim, { object, facts }, finishStatements(live.row.id, claim.hashPart), path);
  }

  async abort(row: UploadRow): Promise<void> {
    await this.#end(row, 'aborted');
  }

  /** Rows of uploads that are in no table yet. */
  async unstored(): Promise<UploadRow[]> {
    return (await this.#loaded()).filter((live) => !live.isStored).map((live) => live.row);
  }

  /** Whether the upload was dropped; one that is being completed is not. */
  expire(row: UploadRow): Promise<boolean> {
    return this.#end(row, 'expired');
  }

  async #end(row: UploadRow, state: 'aborted' | 'expired'): Promise<boolean> {
    const live = await this.#hold(row).catch(unlessOver);
    if (live === undefined) return false;
    try {
      if (live.completing !== undefined) return false;
      await this.#drop(live, state);
      return true;
    } finally {
      live.users--;
    }
  }

  /** Lets go of the files of uploads that nobody asked for since `before`, until no more than `most` are left. */
  async rest(before: number, most = 0): Promise<void> {
    for (const [id, pending] of this.#live) {
      if (this.#live.size <= most) return;
      const live = await pending;
      // Looked at in one go: who comes next loads it anew, and then nobody may be at work here.
      if (live.users > 0 || live.completing !== undefined || !live.isStored || live.usedAt > before) continue;
      this.#live.delete(id);
      this.#asleep.add(id);
      await live.verification?.cancel();
      await live.file.base.close();
    }
  }

  /** Before a shutdown: waits for completions that run, and keeps the uploads that have no part yet. */
  async idle(): Promise<void> {
    const all = await this.#loaded();
    await this.#init.database.script(all.filter((live) => !live.isStored).map((live) => uploadStatement(live.row)));
    await Promise.allSettled(all.map((live) => live.completing?.outcome));
    const stopping = new CacheError('Unavailable', 'the server is stopping');
    await Promise.allSettled(all.map((live) => live.file.seal(stopping).then(() => live.file.base.close())));
  }

  /** The uploads in hand; one that cannot be loaded now stops none of the others. */
  async #loaded(): Promise<LiveUpload[]> {
    const settled = await Promise.allSettled(this.#live.values());
    return settled.flatMap((one) => (one.status === 'fulfilled' ? [one.value] : []));
  }

  async #drop(live: LiveUpload, state: 'aborted' | 'expired'): Promise<void> {
    await this.#init.database.script(endStatements(live.row.id, state));
    this.#live.delete(live.row.id);
    await this.#discard(live);
  }

  async #discard(live: LiveUpload): Promise<void> {
    await live.verification?.cancel();
    live.verification = undefined;
    await live.file.discard();
  }

  async #row(id: string, uploadId: string): Promise<UploadRow> {
    const row = (await this.find(id)) ?? (await readUpload(this.#init.database, id));
    if (row === undefined || row.upload_id !== uploadId) throw new CacheError('NotFound', 'no such upload');
    return row;
  }

  /** Works with an open upload, which stays in memory meanwhile. @throws CacheError NotFound */
  async #with<T>(id: string, uploadId: string, work: (live: LiveUpload) => Promise<T>): Promise<T> {
    const row = await this.#row(id, uploadId);
    if (row.state !== 'open' || row.expires_at <= Date.now()) throw uploadOver();
    const live = await this.#hold(row);
    try {
      live.usedAt = Date.now();
      // Its storage has left the manifest, and its row with it.
      if (!this.#init.storages.has(row.storage)) {
        await this.#drop(live, 'aborted');
        throw uploadOver();
      }
      return await work(live);
    } finally {
      // The client takes 413 for an end and sends no abort; its bytes would fill the disk until the upload expires.
      if (--live.users === 0 && live.doomed) await this.#drop(live, 'aborted');
    }
  }

  /** Loads an upload and keeps it in memory until its `users` are one fewer. */
  async #hold(row: UploadRow): Promise<LiveUpload> {
    for (;;) {
      const loading = this.#load(row);
      const live = await loading;
      // It may have been put aside or dropped meanwhile: two of one upload would write past each other.
      if (this.#live.get(row.id) !== loading) continue;
      live.users++;
      return live;
    }
  }

  #load(row: UploadRow): Promise<LiveUpload> {
    let live = this.#live.get(row.id);
    if (live === undefined) {
      live = this.#reload(row);
      this.#live.set(row.id, live);
      this.#asleep.delete(row.id);
      live.catch(() => this.#live.delete(row.id));
    }
    return live;
  }

  /** After a restart: the parts are known from their rows, the bytes are where they were. */
  async #reload(row: UploadRow): Promise<LiveUpload> {
    const { database } = this.#init;
    // It may have been ended since it was looked for.
    if ((await readUpload(database, row.id))?.state !== 'open') throw uploadOver();
    const rows = await readParts(database, row.id);
    const live = this.#liven(
      row,
      rows.map(({ number, size, md5, start }) => ({ number, size, md5, start: start ?? undefined })),
    );
    // A completion that failed between the file and its row could not even say so: it is over now.
    const isThere = live.file.prefix === 0 || (await stat(live.file.base.file).catch(isMissing)) !== undefined;
    if (isThere) return live;
    await database.script(endStatements(row.id, 'aborted'));
    throw uploadOver();
  }

  #liven(row: UploadRow, parts: readonly Part[]): LiveUpload {
    const storage = this.#init.storages.get(row.storage);
    if (!(storage instanceof LocalStorage)) throw uploadOver();
    return {
      row,
      storage,
      file: new UploadFile(storage, row.id, parts),
      verification: undefined,
      completing: undefined,
      users: 0,
      usedAt: Date.now(),
      isStored: true,
      doomed: false,
      committed: false,
    };
  }
}

/** For a `catch`: undefined for an upload that somebody else has ended. */
function unlessOver(error: unknown): undefined {
  if (!(error instanceof CacheError && error.code === 'NotFound')) throw error;
}
