/**
 * Hears the changes of all servers by LISTEN, on a connection of its own that is asked every second whether it still
 * lives. PostgreSQL delivers in the order of the commits and loses nothing on a connection that lives; what one that
 * died may have lost is nobody's guess, so whoever listens then forgets everything.
 */
import { setTimeout as delay } from 'node:timers/promises';
import pg from 'pg';
import type { ChangeListener } from '../database.ts';
import { Pauses } from '../retry.ts';
import { CONNECT_MS, clientConfig, limited, type SessionInit } from './connection.ts';
import { atMost, Sockets } from './sockets.ts';
import { quoteName } from './text.ts';

export interface ListenerInit extends SessionInit {
  readonly channel: string;
  /** Between two questions, and the longest wait for the answer. Default 1 s. */
  readonly checkMs?: number;
  /** Hears of a connection that was lost, and of one that is there again. */
  readonly onState: (state: 'lost' | 'live', reason?: unknown) => void;
}

const CHECK_MS = 1_000;
const CLOSE_MS = 1_000;

export class Listener {
  readonly #init: ListenerInit;
  readonly #watchers = new Set<ChangeListener>();
  readonly #stopping = new AbortController();
  readonly #sockets = new Sockets();
  #running: Promise<void> | undefined;
  #live = false;

  constructor(init: ListenerInit) {
    this.#init = init;
  }

  /** Adds a watcher; the function that it returns takes it away. */
  add(watcher: ChangeListener): () => void {
    this.#watchers.add(watcher);
    if (this.#live) watcher.onLive();
    this.#running ??= this.#run();
    return () => {
      this.#watchers.delete(watcher);
    };
  }

  async close(): Promise<void> {
    this.#stopping.abort();
    await atMost(this.#running ?? Promise.resolve(), CLOSE_MS);
    this.#sockets.destroy();
  }

  async #run(): Promise<void> {
    const { signal } = this.#stopping;
    let pauses = new Pauses();
    while (!signal.aborted) {
      const reason = await this.#listen(signal, () => {
        pauses = new Pauses();
      });
      if (this.#live) {
        this.#live = false;
        for (const watcher of this.#watchers) watcher.onGap();
        if (!signal.aborted) this.#init.onState('lost', reason);
      }
      if (!signal.aborted) await pauses.pause(signal);
    }
  }

  /** Listens until the connection is lost; why it was. Never rejects. */
  async #listen(signal: AbortSignal, onLive: () => void): Promise<unknown> {
    const { channel, checkMs = CHECK_MS, onState } = this.#init;
    const client = new pg.Client({ ...clientConfig(this.#init), stream: this.#sockets.make });
    const lost = new AbortController();
    client.on('error', (error) => lost.abort(error));
    client.on('end', () => lost.abort());
    client.on('notification', ({ payload = '' }) => {
      for (const hashPart of payload.split(' ')) for (const watcher of this.#watchers) watcher.onChange(hashPart);
    });
    try {
      await client.connect();
      await client.query(limited(`LISTEN ${quoteName(channel)}`, CONNECT_MS));
      this.#live = true;
      onLive();
      for (const watcher of this.#watchers) watcher.onLive();
      onState('live');
      const either = AbortSignal.any([signal, lost.signal]);
      while (!either.aborted) {
        await client.query(limited('SELECT 1', checkMs));
        await delay(checkMs, undefined, { signal: either }).catch(() => {});
      }
      return lost.signal.reason;
    } catch (error) {
      return error;
    } finally {
      // Not waited for: the watchers must hear of it first, and a silent server would never agree.
      client.end().catch(() => {});
    }
  }
}
