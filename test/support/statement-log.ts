/**
 * A proxy in front of PostgreSQL that reads along: what each side says tells which statements ran, and how often somebody
 * waited for them. Exact, without an extension of PostgreSQL and without a word in the server that is looked at.
 */
import net from 'node:net';

/** What somebody waited for: one or more statements, sent together. */
export interface Trip {
  /** Those that were carried out, with `?` for values. */
  readonly statements: readonly string[];
  /** Whether it ended a transaction that has changed rows. */
  readonly isCommit: boolean;
}

export interface StatementCounts {
  readonly trips: number;
  /** BEGIN, SET and COMMIT too. */
  readonly statements: number;
  readonly commits: number;
  /** Notifications that reached listeners. */
  readonly notifications: number;
}

type Listen = (kind: string, message: Buffer) => void;

export class StatementLog {
  /** Since the last reset, in the order of their ends. */
  trips: Trip[] = [];
  #notifications = 0;
  readonly #server: net.Server;
  readonly #sockets = new Set<net.Socket>();

  private constructor(host: string, port: number) {
    this.#server = net.createServer({ noDelay: true }, (near) => {
      const far = net.connect({ host, port, noDelay: true });
      const session = new Session();
      // What a client says first has no letter.
      near.on(
        'data',
        messages((kind, message) => session.asked(kind, message), 0),
      );
      far.on(
        'data',
        messages((kind, message) => {
          if (kind === 'A') this.#notifications++;
          const trip = session.answered(kind, message);
          if (trip !== undefined) this.trips.push(trip);
        }, 1),
      );
      near.pipe(far).pipe(near);
      near.on('error', () => far.destroy());
      far.on('error', () => near.destroy());
      for (const socket of [near, far]) {
        this.#sockets.add(socket);
        socket.on('close', () => this.#sockets.delete(socket));
      }
    });
  }

  static async start(host: string, port: number): Promise<StatementLog> {
    const log = new StatementLog(host, port);
    await new Promise<void>((resolve) => log.#server.listen(0, '127.0.0.1', resolve));
    return log;
  }

  /** A URL of PostgreSQL, led through this proxy. */
  through(url: string): string {
    const address = this.#server.address();
    const proxied = new URL(url);
    if (typeof address === 'object' && address !== null) proxied.host = `127.0.0.1:${address.port}`;
    return proxied.href;
  }

  get counts(): StatementCounts {
    return {
      trips: this.trips.length,
      statements: this.trips.reduce((sum, trip) => sum + trip.statements.length, 0),
      commits: this.trips.filter((trip) => trip.isCommit).length,
      notifications: this.#notifications,
    };
  }

  reset(): void {
    this.trips = [];
    this.#notifications = 0;
  }

  async close(): Promise<void> {
    for (const socket of this.#sockets) socket.destroy();
    await new Promise<void>((resolve) => this.#server.close(() => resolve()));
  }
}

/** One connection: what was asked for, until it is answered. */
class Session {
  readonly #prepared = new Map<string, string>();
  #asked: string[] = [];
  #done: string[] = [];
  #hasChanged = false;

  asked(kind: string, message: Buffer): void {
    if (kind === 'Q') this.#asked.push(...statementsOf(textAt(message, 0)));
    else if (kind === 'P') {
      const name = textAt(message, 0);
      this.#prepared.set(name, plain(textAt(message, name.length + 1)));
    } else if (kind === 'B') {
      const portal = textAt(message, 0);
      this.#asked.push(this.#prepared.get(textAt(message, portal.length + 1)) ?? '');
    }
  }

  /** The trip that the message has ended, if it has. */
  answered(kind: string, message: Buffer): Trip | undefined {
    if (kind === 'C') {
      this.#done.push(this.#asked.shift() ?? '');
      if (/^(INSERT 0|UPDATE|DELETE) [1-9]/.test(textAt(message, 0))) this.#hasChanged = true;
    } else if (kind === 'E') {
      // The rest of it is not carried out, and the transaction changes nothing.
      this.#asked = [];
      this.#hasChanged = false;
    } else if (kind === 'Z') {
      const isOver = message.toString('latin1', 0, 1) === 'I';
      const trip = { statements: this.#done, isCommit: isOver && this.#hasChanged };
      if (isOver) this.#hasChanged = false;
      this.#done = [];
      return trip;
    }
    return undefined;
  }
}

/** Takes apart the bytes of one side: a message is a letter, a length that counts itself, and what it says. */
function messages(listen: Listen, firstLetterBytes: 0 | 1): (bytes: Buffer) => void {
  let held: Buffer = Buffer.alloc(0);
  let letterBytes: number = firstLetterBytes;
  return (bytes) => {
    held = held.length === 0 ? bytes : Buffer.concat([held, bytes]);
    let at = 0;
    while (held.length - at >= letterBytes + 4) {
      const end = at + letterBytes + held.readUInt32BE(at + letterBytes);
      if (end > held.length) break;
      listen(held.toString('latin1', at, at + letterBytes), held.subarray(at + letterBytes + 4, end));
      at = end;
      letterBytes = 1;
    }
    held = held.subarray(at);
  };
}

function textAt(message: Buffer, at: number): string {
  return message.toString('latin1', at, message.indexOf(0, at));
}

/** The statements of a text, without the values that are written out in it. */
function statementsOf(text: string): string[] {
  return plain(text)
    .split(';')
    .map((it) => it.trim())
    .filter((it) => it !== '');
}

function plain(text: string): string {
  return text
    .replaceAll(/'(?:[^']|'')*'/g, '?')
    .replaceAll(/\$\d+/g, '?')
    .replaceAll(/\s+/g, ' ')
    .trim();
}
