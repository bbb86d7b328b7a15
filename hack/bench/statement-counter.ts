/**
 * A proxy in front of PostgreSQL that reads along: what the server says tells how often it was asked. Exact, without an
 * extension of the server and without a word in the server that is measured.
 */
import net from 'node:net';

/** What was seen since the last reset. */
export interface StatementCounts {
  /** Answers that end with ReadyForQuery: each is a trip that somebody waited for. */
  trips: number;
  /** Statements that were carried out, BEGIN and COMMIT too. */
  statements: number;
  /** Of them. */
  commits: number;
  /** Notifications that reached listeners. */
  notifications: number;
}

const NONE: StatementCounts = { trips: 0, statements: 0, commits: 0, notifications: 0 };
const HEAD_BYTES = 5;

export class StatementCounter {
  counts: StatementCounts = { ...NONE };
  readonly #server: net.Server;

  private constructor(host: string, port: number) {
    this.#server = net.createServer({ noDelay: true }, (near) => {
      const far = net.connect({ host, port, noDelay: true });
      const read = this.#reader();
      far.on('data', read);
      near.pipe(far).pipe(near);
      near.on('error', () => far.destroy());
      far.on('error', () => near.destroy());
    });
  }

  static async start(host: string, port: number): Promise<StatementCounter> {
    const counter = new StatementCounter(host, port);
    await new Promise<void>((resolve) => counter.#server.listen(0, '127.0.0.1', resolve));
    return counter;
  }

  /** A URL of the server, led through this proxy. */
  through(url: string): string {
    const address = this.#server.address();
    const proxied = new URL(url);
    if (typeof address === 'object' && address !== null) proxied.host = `127.0.0.1:${address.port}`;
    return proxied.href;
  }

  reset(): void {
    this.counts = { ...NONE };
  }

  close(): void {
    this.#server.close();
  }

  /** Takes the bytes of one connection; a message is a letter, a length that counts itself, and what it says. */
  #reader(): (bytes: Buffer) => void {
    let held: Buffer = Buffer.alloc(0);
    return (bytes) => {
      held = held.length === 0 ? bytes : Buffer.concat([held, bytes]);
      let at = 0;
      while (held.length - at >= HEAD_BYTES) {
        const end = at + 1 + held.readUInt32BE(at + 1);
        if (end > held.length) break;
        this.#count(String.fromCharCode(held[at] ?? 0), held.subarray(at + HEAD_BYTES, end));
        at = end;
      }
      held = held.subarray(at);
    };
  }

  #count(kind: string, message: Buffer): void {
    if (kind === 'Z') this.counts.trips++;
    else if (kind === 'A') this.counts.notifications++;
    else if (kind === 'C') {
      this.counts.statements++;
      if (message.toString('latin1', 0, 6) === 'COMMIT') this.counts.commits++;
    }
  }
}
