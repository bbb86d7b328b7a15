/**
 * The pins of the manifest, as rows like all others, so that every server refuses to change them and whoever collects
 * garbage sees one table. Where servers share a database each writes what its own manifest says when it takes it over: while
 * a change is on its way to all of them, one that starts with the old manifest may undo it until it has heard, and the last
 * to hear agrees with all others.
 */
import type { Logger } from 'pino';
import type { Database } from '../../metadata/index.ts';
import { addHeld } from './hold.ts';
import type { Pin } from './pin.ts';
import { isSame, manifestRevisions, releaseName } from './rows.ts';

export interface ManifestPinsInit {
  readonly database: Database;
  readonly revive: (hashParts: readonly string[]) => Promise<string[]>;
  readonly logger: Logger;
}

export class ManifestPins {
  readonly #init: ManifestPinsInit;
  /** What is to be written; undefined: all is. */
  #wanted: readonly Pin[] | undefined;
  #writing: Promise<void> | undefined;

  constructor(init: ManifestPinsInit) {
    this.#init = init;
  }

  use(pins: readonly Pin[]): Promise<void> {
    this.#wanted = pins;
    return this.settle();
  }

  /** Writes until nothing is wanted any more, or a write fails. Never rejects. */
  async settle(): Promise<void> {
    if (this.#wanted !== undefined) this.#writing ??= this.#settle();
    await this.#writing;
  }

  async idle(): Promise<void> {
    await this.#writing;
  }

  async #settle(): Promise<void> {
    try {
      // Another manifest may come while this one is written.
      for (let pins = this.#wanted; pins !== undefined; pins = this.#wanted) {
        await this.#write(pins);
        if (this.#wanted === pins) this.#wanted = undefined;
      }
    } catch (error) {
      this.#init.logger.error({ err: error }, 'the pins of the manifest could not be written; it will be tried again');
    } finally {
      // In the same tick as the last look: what is wanted after that is written by the next one.
      this.#writing = undefined;
    }
  }

  async #write(pins: readonly Pin[]): Promise<void> {
    const { database, revive, logger } = this.#init;
    const written = new Map((await manifestRevisions(database)).map((revision) => [revision.name, revision]));
    const wanted = new Set(pins.map(({ name }) => name));
    const changed = pins.filter((pin) => {
      const revision = written.get(pin.name);
      return revision === undefined || !isSame(revision, pin);
    });
    const gone = [...written.keys()].filter((name) => !wanted.has(name));
    const by = { origin: 'manifest', token: null } as const;
    await Promise.all([
      ...changed.map((pin) => addHeld(database, pin, by)),
      ...gone.map((name) => database.write((sql) => releaseName(sql, name))),
    ]);
    if (changed.length > 0) await revive(changed.map((pin) => pin.path.hashPart));
    for (const { name } of changed) logger.info({ pin: name }, 'pinned by the manifest');
    for (const name of gone) logger.info({ pin: name }, 'unpinned: it has left the manifest');
  }
}
