/** What is pinned in a cache: paths that stay because somebody has given them a name. */
import type { Logger } from 'pino';
import type { PinsStatus } from '../../../crds/index.ts';
import type { Database } from '../../metadata/index.ts';
import { STORE_DIR } from '../../nix/index.ts';
import { CacheError } from '../errors.ts';
import { addHeld } from './hold.ts';
import { ManifestPins } from './manifest-pins.ts';
import type { Pin, Revision } from './pin.ts';
import {
  countNames,
  dropExpired,
  MOST_PINS,
  MOST_REVISIONS,
  missingPins,
  namesOf,
  namesToDrop,
  newestRevisions,
  pinnedHashParts,
  removeName,
  revisionsOf,
} from './rows.ts';

export interface PinsInit {
  readonly database: Database;
  /** Publishes what is retired again, with what it needs; which of them were. */
  readonly revive: (hashParts: readonly string[]) => Promise<string[]>;
  readonly logger: Logger;
}

/** A status is for people: of a thousand they read the first few. */
const MOST_NAMED = 5;

export class Pins {
  readonly #init: PinsInit;
  readonly #manifest: ManifestPins;

  constructor(init: PinsInit) {
    this.#init = init;
    this.#manifest = new ManifestPins(init);
  }

  /**
   * Adds a revision to a name; nothing where the newest one says the same. @param token who asks; null: somebody at the machine
   * @throws CacheError NotFound, Conflict, TooLarge
   */
  async pin(pin: Pin, token: string | null): Promise<void> {
    const { database, revive, logger } = this.#init;
    const by = { origin: 'api', token } as const;
    let added = await addHeld(database, pin, by);
    if (added === 'absent' && (await revive([pin.path.hashPart])).length > 0) added = await addHeld(database, pin, by);
    switch (added) {
      case 'absent':
        throw new CacheError('NotFound', `${storePathOf(pin)} is not published here: push it before it is pinned`);
      case 'owned':
        throw owned(pin.name);
      case 'too many':
        throw new CacheError('TooLarge', `this cache has ${MOST_PINS} pins, which is the most: remove one first`);
      case 'too many revisions':
        throw new CacheError(
          'TooLarge',
          `the pin ${pin.name} has ${MOST_REVISIONS} revisions, which is the most: remove it, or pin it with a rule that keeps fewer`,
        );
      case 'added':
        logger.info({ pin: pin.name, storePath: storePathOf(pin), token }, 'pinned');
    }
  }

  /** Removes a name with all its revisions. @throws CacheError NotFound, Conflict */
  async unpin(name: string): Promise<void> {
    const { database, logger } = this.#init;
    const removed = await database.write((sql) => removeName(sql, name));
    if (removed === 'absent') throw unknownName();
    if (removed === 'owned') throw owned(name);
    logger.info({ pin: name }, 'unpinned');
  }

  /** The newest revision of each name, by pages. */
  list(): AsyncGenerator<Revision[]> {
    return newestRevisions(this.#init.database);
  }

  /** All revisions of a name, the newest first, by pages. @throws CacheError NotFound */
  async *history(name: string): AsyncGenerator<Revision[]> {
    let isKnown = false;
    for await (const page of revisionsOf(this.#init.database, name)) {
      isKnown = true;
      yield page;
    }
    if (!isKnown) throw unknownName();
  }

  /**
   * What must not be collected, with all that it needs: the hash part of each path that a revision pins, published or not,
   * by pages. A pin that is added meanwhile may be missing.
   */
  pinnedHashParts(): AsyncGenerator<string[]> {
    return pinnedHashParts(this.#init.database);
  }

  /** Names that pin one of these paths. */
  namesOf(hashParts: readonly string[]): Promise<string[]> {
    return namesOf(this.#init.database, hashParts);
  }

  /** Takes over what the manifest pins. Never fails: what could not be written is written by a later `settle`. */
  use(pins: readonly Pin[]): Promise<void> {
    return this.#manifest.use(pins);
  }

  /** Writes what of the manifest is not written yet. */
  settle(): Promise<void> {
    return this.#manifest.settle();
  }

  /** What `/status` says of them. */
  async report(): Promise<PinsStatus> {
    const { database } = this.#init;
    const [names, missing] = await Promise.all([countNames(database), missingPins(database)]);
    const firstMissing = missing.slice(0, MOST_NAMED).map((it) => ({ name: it.name, storePath: storePathOf(it) }));
    return { names, missing: missing.length, firstMissing };
  }

  /** Drops revisions that no rule keeps any longer, a few in a transaction. */
  async dropExpired(now = Date.now()): Promise<void> {
    const { database, logger } = this.#init;
    for await (const name of namesToDrop(database, now)) {
      for (;;) {
        const revisions = await database.write((sql) => dropExpired(sql, name, now));
        if (revisions === 0) break;
        logger.info({ pin: name, revisions }, 'dropped revisions that its rule keeps no longer');
      }
    }
  }

  /** Waits for writes that are under way. */
  idle(): Promise<void> {
    return this.#manifest.idle();
  }
}

export function storePathOf({ path }: Pick<Pin, 'path'>): string {
  return `${STORE_DIR}/${path.hashPart}-${path.name}`;
}

function owned(name: string): CacheError {
  return new CacheError('Conflict', `the pin ${name} belongs to the manifest of this cache: change spec.pins`);
}

/** Without the name: a client may have sent anything. */
function unknownName(): CacheError {
  return new CacheError('NotFound', 'no such pin');
}
