/**
 * A connection to a server. Node's parser reads it, up to where a long body begins whose length is known; the rest of such
 * a body passes by the parser, from the socket into buffers that are used again and out of them to the client.
 */
import net, { type Socket } from 'node:net';
import { Lent } from './lent.ts';

/** Notices peers that are gone without a word. */
const KEEP_ALIVE_DELAY_MS = 30_000;
/** Read into before anybody knows for whom. All share it, since each read is taken out of it before the next one. */
const COMMON = Buffer.allocUnsafeSlow(64 * 1024);
/** Pieces that are not written yet; then nothing more is read. */
const MOST_UNWRITTEN = 2;

const lent = new Lent();
const lines = new WeakMap<Socket, Line>();

/** Where a body goes. */
export interface Sink {
  readonly destroyed: boolean;
  write(piece: Buffer, onWritten: () => void): unknown;
  end(): unknown;
  once(event: 'close', listener: () => void): unknown;
}

/** Connects. */
export function openLine(host: string, port: number): Socket {
  return new Line(host, port).socket;
}

/**
 * Passes the next `bytes` bytes on and ends both: the sink, and the connection, of which the parser knows no longer where
 * it is. False where the connection is none of `openLine`.
 */
export function divert(socket: Socket, to: Sink, bytes: number, onBytes: (bytes: number) => void): boolean {
  const line = lines.get(socket);
  line?.divert(new Diverted(socket, to, bytes, onBytes));
  return line !== undefined;
}

class Line {
  readonly socket: Socket;
  #diverted: Diverted | undefined;

  constructor(host: string, port: number) {
    this.socket = net.connect({
      ...{ host, port, noDelay: true, keepAlive: true, keepAliveInitialDelay: KEEP_ALIVE_DELAY_MS },
      onread: {
        buffer: () => this.#diverted?.next() ?? COMMON,
        callback: (bytes, buffer) => this.#diverted?.pass(bytes, buffer) ?? this.#parse(bytes, buffer),
      },
    });
    lines.set(this.socket, this);
  }

  divert(body: Diverted): void {
    this.#diverted = body;
  }

  #parse(bytes: number, buffer: Uint8Array): boolean {
    return this.socket.push(Buffer.from(buffer.subarray(0, bytes)));
  }
}

class Diverted {
  readonly #socket: Socket;
  readonly #to: Sink;
  readonly #onBytes: (bytes: number) => void;
  #left: number;
  /** The one that the next read fills. */
  #next: Buffer | undefined;
  /** Those that are being written. */
  readonly #writing = new Set<Buffer>();
  #unwritten = 0;
  #isWaiting = false;

  constructor(socket: Socket, to: Sink, bytes: number, onBytes: (bytes: number) => void) {
    this.#socket = socket;
    this.#to = to;
    this.#left = bytes;
    this.#onBytes = onBytes;
    socket.once('close', () => {
      if (this.#next !== undefined) lent.giveBack(this.#next, true);
      this.#next = undefined;
    });
    to.once('close', () => {
      // Not written to its end, and the system may still read it.
      for (const buffer of this.#writing) lent.giveBack(buffer, false);
      this.#writing.clear();
    });
  }

  /** What the next read is to fill. */
  next(): Buffer | undefined {
    if (this.#socket.destroyed) return undefined;
    this.#next ??= lent.take();
    return this.#next;
  }

  /** Whether more may be read now. */
  pass(bytes: number, buffer: Uint8Array): boolean {
    const size = Math.min(bytes, this.#left);
    const taken = buffer === this.#next ? this.#next : undefined;
    const piece = taken?.subarray(0, size) ?? Buffer.from(buffer.subarray(0, size));
    if (this.#to.destroyed) return false;
    if (taken !== undefined) {
      this.#next = undefined;
      this.#writing.add(taken);
    }
    this.#left -= size;
    this.#unwritten++;
    this.#onBytes(size);
    this.#to.write(piece, () => this.#onWritten(taken));
    if (this.#left === 0) {
      this.#to.end();
      this.#socket.destroy();
      return false;
    }
    this.#isWaiting = this.#unwritten >= MOST_UNWRITTEN;
    return !this.#isWaiting;
  }

  #onWritten(buffer: Buffer | undefined): void {
    this.#unwritten--;
    if (buffer !== undefined && this.#writing.delete(buffer)) lent.giveBack(buffer, true);
    if (!this.#isWaiting || this.#socket.destroyed) return;
    this.#isWaiting = false;
    this.#socket.resume();
  }
}
