/** Lists of any length as one JSON array, written page by page: neither side of it is ever in memory as a whole. */
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { untilClosed } from '../wire/index.ts';

export type Pages = AsyncIterable<readonly unknown[]>;

/**
 * Sends pages as they come. What fails before the first one is there is thrown with nothing sent; after that, only cutting
 * the connection tells the client.
 * @param idleMs a client that takes no byte for so long is cut off
 */
export async function sendJsonList(
  request: IncomingMessage,
  response: ServerResponse,
  pages: Pages,
  idleMs: number,
): Promise<void> {
  const begin = () => {
    response.writeHead(200, { 'Content-Type': 'application/json; charset=utf-8', 'Cache-Control': 'no-store' });
    response.setTimeout(idleMs, () => response.destroy());
  };
  let isFirst = true;
  for await (const page of pages) {
    if (isFirst) begin();
    if (request.method === 'HEAD') break;
    for (const item of page) {
      if (!(await write(response, `${isFirst ? '[' : ','}\n${JSON.stringify(item)}`))) return;
      isFirst = false;
    }
  }
  if (!response.headersSent) begin();
  if (request.method === 'HEAD') response.end();
  else response.end(isFirst ? '[]\n' : '\n]\n');
}

/** Writes a piece, and waits while the client has not taken what was written before. False: the client has gone. */
async function write(response: ServerResponse, text: string): Promise<boolean> {
  if (response.destroyed) return false;
  if (response.write(text)) return true;
  return untilClosed(response, (signal) => once(response, 'drain', { signal })).then(
    () => true,
    () => false,
  );
}
