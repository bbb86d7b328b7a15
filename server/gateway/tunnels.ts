/** WebSockets that are open: two connections whose bytes are passed on as they are. */
import type { IncomingMessage } from 'node:http';
import type { Socket } from 'node:net';

export interface Opened {
  /** The server's answer, 101. */
  readonly answer: IncomingMessage;
  readonly far: Socket;
  /** What the server has sent behind its answer already. */
  readonly head: Buffer;
}

const KEEP_ALIVE_DELAY_MS = 30_000;

export class Tunnels {
  readonly #near = new Set<Socket>();

  get count(): number {
    return this.#near.size;
  }

  /** @param head what the client has sent behind its request already */
  open(near: Socket, head: Buffer, { answer, far, head: farHead }: Opened): void {
    if (near.destroyed) {
      far.destroy();
      return;
    }
    this.#near.add(near);
    for (const [one, other] of [
      [near, far],
      [far, near],
    ] as const) {
      // No time limit: the socket of a log may be silent for as long as a build. A peer that is gone is noticed by TCP.
      one.setTimeout(0);
      one.setNoDelay(true);
      one.setKeepAlive(true, KEEP_ALIVE_DELAY_MS);
      one.on('error', () => other.destroy());
      one.on('close', () => other.destroySoon());
    }
    near.once('close', () => this.#near.delete(near));
    near.write(headOf(answer), 'latin1');
    if (farHead.length > 0) near.write(farHead);
    if (head.length > 0) far.write(head);
    near.pipe(far).pipe(near);
  }

  /** Ends all: agents come back a second later, to another gateway. */
  close(): void {
    for (const near of this.#near) near.destroySoon();
  }
}

function headOf({ statusMessage, rawHeaders }: IncomingMessage): string {
  const lines = [`HTTP/1.1 101 ${statusMessage ?? ''}`];
  for (let at = 0; at + 1 < rawHeaders.length; at += 2) lines.push(`${rawHeaders[at]}: ${rawHeaders[at + 1]}`);
  return `${lines.join('\r\n')}\r\n\r\n`;
}
