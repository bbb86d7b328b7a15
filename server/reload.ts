/** The configuration that runs: looked at every now and then, and applied when it has changed. */
import type { Logger } from 'pino';
import type { ServerStatus } from '../crds/index.ts';
import { explained } from './explain.ts';
import { type Configuration, type ConfigurationPlace, readConfiguration } from './manifests.ts';

export interface ReloadInit {
  readonly place: ConfigurationPlace;
  readonly intervalMs: number;
  /** Makes the server run it, in whole or, when it throws, not at all. */
  readonly apply: (configuration: Configuration) => Promise<void>;
  readonly logger: Logger;
}

/** After so many looks what could not be applied is tried again: a bucket that did not answer may do so now. */
const LOOKS_UNTIL_RETRY = 10;

/**
 * Compares bytes. Reading a few small files costs nothing, and works where change events do not: on network disks, and
 * for the swapped links of a mounted ConfigMap.
 */
export class Reload {
  readonly #init: ReloadInit;
  #running: Configuration;
  #error: string | undefined;
  /** What was looked at last, whether it runs or not. */
  #seen: string;
  #looksLeft = 0;
  #look: Promise<void> | undefined;
  #timer: NodeJS.Timeout | undefined;

  /** @param running is applied already */
  constructor(init: ReloadInit, running: Configuration) {
    this.#init = init;
    this.#running = running;
    this.#seen = running.fingerprint;
  }

  get status(): ServerStatus['config'] {
    return { files: this.#running.files, error: this.#error ?? null };
  }

  start(): void {
    this.#timer = setInterval(() => void this.check(), this.#init.intervalMs);
  }

  /** Looks now; one look at a time. */
  check(): Promise<void> {
    this.#look ??= this.#check().finally(() => {
      this.#look = undefined;
    });
    return this.#look;
  }

  async stop(): Promise<void> {
    clearInterval(this.#timer);
    await this.#look;
  }

  async #check(): Promise<void> {
    let next: Configuration;
    try {
      next = await readConfiguration(this.#init.place);
    } catch (error) {
      this.#fail(error, this.#seen !== '', 'the manifests could not be read; the last good ones stay');
      // The same bytes again, once they can be read again, are news then.
      this.#seen = '';
      return;
    }
    const isNew = next.fingerprint !== this.#seen;
    if (!isNew && (this.#error === undefined || --this.#looksLeft > 0)) return;
    this.#seen = next.fingerprint;
    this.#looksLeft = LOOKS_UNTIL_RETRY;
    try {
      await this.#init.apply(next);
    } catch (error) {
      this.#fail(error, isNew, 'the changed manifests are not applied; the last good ones stay');
      return;
    }
    this.#running = next;
    this.#error = undefined;
    this.#init.logger.info('the changed manifests are applied');
  }

  /** @param isNew whether it must be said, although it was said before */
  #fail(error: unknown, isNew: boolean, text: string): void {
    const reason = explained(error) ?? (error instanceof Error ? error.message : String(error));
    if (isNew || reason !== this.#error) this.#init.logger.error({ reason }, text);
    this.#error = reason;
  }
}
