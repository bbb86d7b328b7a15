/** Bytes straight onto a connection: what no HTTP library would send. */
import net from 'node:net';

export interface Exchange {
  /** All that came back until the server closed the connection. */
  readonly text: string;
  /** Status of each answer in it. */
  readonly statuses: readonly number[];
}

/** Opens a connection, writes `bytes` and leaves it open until the server closes it. */
export function exchange(port: number, bytes: string | Uint8Array): Promise<Exchange> {
  return new Promise((resolve, reject) => {
    const socket = net.connect(port, '127.0.0.1', () => socket.write(bytes));
    let text = '';
    socket.setEncoding('latin1').on('data', (piece: string) => {
      text += piece;
    });
    socket.on('error', (error: NodeJS.ErrnoException) => {
      // A server that refuses may close while we still write.
      if (error.code !== 'ECONNRESET' && error.code !== 'EPIPE') reject(error);
    });
    socket.on('close', () => {
      const statuses = [...text.matchAll(/^HTTP\/1\.1 (\d{3}) /gm)].map((match) => Number(match[1]));
      resolve({ text, statuses });
    });
  });
}
