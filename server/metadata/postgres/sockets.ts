/** The sockets below connections, kept at hand: one to a server that is gone would hold up the end of the process. */
import net from 'node:net';

export class Sockets {
  readonly #open = new Set<net.Socket>();

  /** For the driver's `stream`. */
  readonly make = (): net.Socket => {
    const socket = new net.Socket();
    this.#open.add(socket);
    socket.once('close', () => this.#open.delete(socket));
    return socket;
  };

  destroy(): void {
    for (const socket of this.#open) socket.destroy();
  }
}

/** Waits for `work`, but no longer than `ms`. It must not reject. */
export async function atMost(work: Promise<unknown>, ms: number): Promise<void> {
  let timer: NodeJS.Timeout | undefined;
  const over = new Promise<void>((resolve) => {
    timer = setTimeout(resolve, ms);
  });
  await Promise.race([work, over]);
  clearTimeout(timer);
}
