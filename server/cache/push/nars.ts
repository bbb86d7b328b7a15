import { LRUCache } from 'lru-cache';
import {
  type Compression,
  checkContentAddress,
  FormatError,
  fingerprint,
  formatHash,
  type NarInfo,
  narFileOfUrl,
  parseHash,
  parseNarInfo,
  parseStorePath,
  sha256FromHex,
} from '../../nix/index.ts';
import { crashPoint } from '../../storage/index.ts';
import { CacheError } from '../errors.ts';
import { withRetries } from '../flow/index.ts';
import { type Body, type Incoming, keepNar } from '../objects/index.ts';
import type { NarFacts, NewPath } from '../paths/index.ts';
import { differs } from '../paths/index.ts';
import { mustBeAbleToSign, namedSignatures, signaturesFor } from '../signing/index.ts';
import type { VerifyRequest } from '../verify/index.ts';
import { checkClaim, factsForRow, narKey } from './claim.ts';
import type { IngestInit } from './ingest.ts';
import type { PathClaim } from './narinfo-create.ts';
import { receiveNar } from './receive-nar.ts';

/** `<hash>.nar[.suffix]`: the SHA-256 of the file in nix32, or in hex as some clients write it. */
const NAR_FILE = /^(?:([0-9a-df-np-sv-z]{52})|([0-9a-f]{64}))\.nar(\.[a-z0-9]+)?$/;

/** NARs whose facts are remembered until their narinfos come, which is the next that their clients send. */
const RECENT_NARS = 1000;
const RECENT_MS = 60_000;

export class Nars {
  readonly #init: IngestInit;
  /** By key, which has the hash of the file: it stays true whatever becomes of the row. */
  readonly #recent = new LRUCache<string, FoundNar>({ max: RECENT_NARS, ttl: RECENT_MS });

  constructor(init: IngestInit) {
    this.#init = init;
  }

  /** Checks a NAR's name; anything else is refused before its body. @throws CacheError Invalid */
  parseFile(file: string): { fileHash: string; suffix: string } {
    const match = NAR_FILE.exec(file);
    const [, nix32, hex, suffix = ''] = match ?? [];
    if (nix32 !== undefined) return { fileHash: `sha256:${nix32}`, suffix };
    if (hex !== undefined) return { fileHash: formatHash(sha256FromHex(hex)), suffix };
    throw new CacheError(
      'Invalid',
      'a NAR is called nar/<SHA-256 of the file in nix32>.nar, with the ending of its compression',
    );
  }

  /**
   * Takes in a NAR under the name that it was given. The same name again keeps the first bytes, as long as they are there.
   * @throws CacheError Invalid, TooLarge, NoSpace, Incomplete
   */
  async put(file: string, body: Body, declaredBytes: number | undefined): Promise<void> {
    const { fileHash, suffix } = this.parseFile(file);
    mustBeAbleToSign(this.#init.keys());
    const key = `nar/${file}`;
    const known = await this.#init.objects.findAgain(key);
    if (known !== undefined && (await this.#init.objects.isThere(known)) && (await this.keep(known.id))) {
      this.#init.uses.touchNar(known.id);
      return;
    }
    const { facts, size } = await this.#receive(body, declaredBytes, {
      form: { suffix },
      key: () => key,
      check: (found) => checkFileHash(found, fileHash),
    });
    this.#init.logger.debug({ key, bytes: size, narSize: facts.narSize }, 'NAR stored');
  }

  /** Somebody who may push was told that a NAR is here: it waits for its narinfo. False: it is being removed just now. */
  keep(objectId: number): Promise<boolean> {
    return this.#init.database.write((sql) => keepNar(sql, objectId, Date.now()));
  }

  /** Legacy Cachix upload: the name is found while the bytes arrive. The file's hash, in hex. */
  async putUnnamed(body: Body, compression: Compression, declaredBytes: number | undefined): Promise<string> {
    mustBeAbleToSign(this.#init.keys());
    const { facts } = await this.#receive(body, declaredBytes, {
      // As declared: other bytes are no NAR, whatever else they may be.
      form: { compression },
      key: (found) => narKey(found),
      check: () => {},
    });
    return facts.fileHash;
  }

  async #receive(
    body: Body,
    declaredBytes: number | undefined,
    rules: {
      form: Pick<VerifyRequest, 'suffix' | 'compression'>;
      key: (facts: NarFacts) => string;
      check: (facts: NarFacts) => void;
    },
  ): Promise<{ facts: NarFacts; size: number }> {
    const { settings } = this.#init;
    const { incoming, verdict } = await receiveNar(this.#init, body, {
      form: rules.form,
      declaredBytes,
      maxBytes: settings.maxNarBytes,
    });
    try {
      const facts = factsForRow(await verdict());
      rules.check(facts);
      await this.#init.blocks.mustTake(undefined, facts.narHash);
      const key = rules.key(facts);
      const isNew = await this.#store(incoming, key, facts);
      if (isNew) this.#recent.set(key, { ...facts, key, size: incoming.size });
      crashPoint('after-nar-row');
      if (!isNew) await this.#foundAgain(key);
      return { facts, size: incoming.size };
    } finally {
      await incoming.close();
    }
  }

  /** A NAR was here already: its paths are used, and the bytes that came go. */
  async #foundAgain(key: string): Promise<void> {
    const { objects, uses } = this.#init;
    objects.collect();
    const object = await objects.find(key);
    if (object !== undefined) uses.touchNar(object.id);
  }

  /**
   * Gives a NAR its row. It waits for the disk, and no path points at it yet; so its client need not wait too, where the
   * only one who could publish it is this process.
   */
  async #store(incoming: Incoming, key: string, facts: NarFacts): Promise<boolean> {
    const { database, objects, paths, unsynced } = this.#init;
    if (database.isShared) {
      const object = await incoming.commit(key);
      return objects.record(object, () => paths.store(object, facts));
    }
    const { object, sync } = await incoming.place(key);
    if (sync === undefined) return objects.record(object, () => paths.store(object, facts));
    return unsynced.record(object, sync(), (synced) =>
      objects.record(object, () => paths.store(object, facts, synced)),
    );
  }

  /**
   * Publishes a path from the text of a narinfo.
   * @param hashPart the one in the request's URL
   * @returns signatures that found no room
   * @throws CacheError Invalid, Conflict
   */
  async publishNarinfo(hashPart: string, text: string): Promise<readonly string[]> {
    const info = readNarinfo(text);
    const { hashPart: named, name } = parseStorePath(info.storePath);
    if (named !== hashPart)
      throw new CacheError('Invalid', `StorePath: its hash part is ${named}, the request is for ${hashPart}`);
    const nar = await this.#narOf(info, hashPart);
    if (info.ca !== undefined) {
      const verdict = checkContentAddress({
        ca: info.ca,
        storePath: info.storePath,
        references: info.references,
        narHash: info.narHash,
      });
      if (!verdict.ok) throw new CacheError('Invalid', verdict.reason);
    }
    return this.#publish(
      {
        hashPart,
        name,
        references: info.references,
        deriver: info.deriver,
        ca: info.ca,
        narHash: formatHash(info.narHash),
        narSize: info.narSize,
        signatures: signaturesFor(this.#init.keys(), fingerprint(info), info.signatures),
      },
      nar,
    );
  }

  /** Legacy Cachix upload, second half: the claims of a path whose NAR came before. @throws CacheError Invalid */
  async publishClaim(claim: PathClaim): Promise<void> {
    const { keys, paths, uses } = this.#init;
    // An earlier push of the path stays, whatever this one claims.
    if (await paths.isPublished(claim.hashPart)) {
      uses.touch(claim.hashPart);
      return;
    }
    const file = claim.fileHash.slice('sha256:'.length);
    const nar = await this.#find(`${NAR_QUERY} WHERE o.key IN (?, ?) AND o.state = 'verified'`, [
      `nar/${file}.nar.zst`,
      `nar/${file}.nar.xz`,
    ]);
    if (nar === undefined)
      throw new CacheError('Invalid', 'cFileHash: no such NAR is here; send the NAR before its narinfo');
    checkClaim(claim, nar, nar.size);
    const text = fingerprint({
      storePath: claim.storePath,
      narHash: parseHash(claim.narHash),
      narSize: claim.narSize,
      references: claim.references,
    });
    const signatures = signaturesFor(keys(), text, namedSignatures(keys(), text, claim.signature));
    await this.#publish({ ...claim, ca: undefined, signatures }, nar);
  }

  async #publish(path: NewPath, nar: FoundNar): Promise<readonly string[]> {
    const { paths, settings } = this.#init;
    const outcome = await withRetries(() => paths.publish(path, { key: nar.key }), settings.transientRetryMs);
    switch (outcome.kind) {
      case 'published':
        this.#init.onPublished(path);
        return outcome.leftOut ?? [];
      case 'present':
        return outcome.leftOut ?? [];
      case 'healed':
        this.#init.logger.info({ storePath: `${path.hashPart}-${path.name}` }, 'healed: its lost NAR is here again');
        return outcome.leftOut ?? [];
      case 'differs':
        throw differs(outcome.narHash);
      case 'no-nar':
        throw new CacheError('Invalid', `URL: ${nar.key} is not here; send the NAR before its narinfo`);
    }
  }

  /** The NAR that a narinfo describes, compared with it. @throws CacheError Invalid, Conflict */
  async #narOf(info: NarInfo, hashPart: string): Promise<FoundNar> {
    const published = (await this.#init.paths.isPublished(hashPart))
      ? await this.#find(`${NAR_QUERY} JOIN paths p ON p.object_id = o.id WHERE p.hash_part = ?`, [hashPart])
      : undefined;
    if (published !== undefined) {
      const isSame = formatHash(info.narHash) === published.narHash && info.narSize === published.narSize;
      if (!isSame) throw differs(published.narHash);
    }
    const key = `nar/${narFileOfUrl(info.url)}`;
    const recent = this.#recent.get(key);
    // Whether it is still there is for the transaction to find out.
    this.#recent.delete(key);
    const nar = recent ?? (await this.#find(`${NAR_QUERY} WHERE o.key = ? AND o.state = 'verified'`, [key]));
    if (nar !== undefined) {
      checkAgainstNar(info, nar);
      return nar;
    }
    // A client that adds a signature sends the narinfo that it remembers; its NAR lost a race once and may be gone.
    if (published !== undefined) return published;
    throw new CacheError('Invalid', `URL: ${key} is not here; send the NAR before its narinfo`);
  }

  async #find(query: string, values: readonly string[]): Promise<FoundNar | undefined> {
    const [row] = await this.#init.database.query<NarRow>(query, values);
    return row && narOf(row);
  }
}

interface NarRow {
  readonly key: string;
  readonly size: number;
  readonly compression: string;
  readonly file_hash: string;
  readonly nar_hash: string;
  readonly nar_size: number;
}

type FoundNar = NarFacts & { readonly key: string; readonly size: number };

const NAR_QUERY = 'SELECT o.key, o.size, o.compression, o.file_hash, o.nar_hash, o.nar_size FROM objects o';

function narOf(row: NarRow): FoundNar {
  return {
    key: row.key,
    size: row.size,
    compression: row.compression,
    fileHash: row.file_hash,
    narHash: row.nar_hash,
    narSize: row.nar_size,
  };
}

function readNarinfo(text: string): NarInfo {
  try {
    const info = parseNarInfo(text);
    narFileOfUrl(info.url);
    return info;
  } catch (error) {
    throw error instanceof FormatError ? new CacheError('Invalid', error.message) : error;
  }
}

function checkFileHash(facts: NarFacts, expected: string): void {
  if (facts.fileHash !== expected) {
    throw new CacheError(
      'Invalid',
      `the SHA-256 of the received bytes is ${facts.fileHash}, the name says ${expected}`,
    );
  }
}

/** Each claim of a narinfo beside what was found in the bytes. */
function checkAgainstNar(info: NarInfo, nar: NarFacts & { size: number }): void {
  const claims: [string, string | number | undefined, string | number][] = [
    ['Compression', info.compression, nar.compression],
    ['FileHash', info.fileHash && formatHash(info.fileHash), nar.fileHash],
    ['FileSize', info.fileSize, nar.size],
    ['NarHash', formatHash(info.narHash), formatHash(parseHash(nar.narHash))],
    ['NarSize', info.narSize, nar.narSize],
  ];
  for (const [field, claimed, found] of claims) {
    if (claimed !== undefined && claimed !== found)
      throw new CacheError('Invalid', `${field}: the narinfo says ${claimed}, the NAR has ${found}`);
  }
}
