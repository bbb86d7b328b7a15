/** What doors for people answer: values, and lists of any length, of which neither side ever has the whole in memory. */
import { once } from 'node:events';
import type { IncomingMessage, ServerResponse } from 'node:http';
import { untilClosed } from '../wire/index.ts';

export type Pages = AsyncIterable<readonly unknown[]>;

export type DoorAnswer =
  /** It is done, and there is nothing to say. */
  | undefined
  | { readonly status: 200 | 202; readonly value: unknown }
  /** One JSON array. */
  | { readonly list: Pages }
  /** One JSON text a line. */
  | { readonly lines: Pages };

const JSON_TYPE = 'application/json; charset=utf-8';

const FORMS = {
  list: { type: JSON_TYPE, first: '[\n', next: ',\n', last: '\n]\n', empty: '[]\n' },
  lines: { type: 'application/x-ndjson', first: '', next: '\n', last: '\n', empty: '' },
} as const;

/** @param idleMs a client that takes no byte of a list for so long is cut off */
export async function sendAnswer(
  request: IncomingMessage,
  response: ServerResponse,
  answer: DoorAnswer,
  idleMs: number,
): Promise<void> {
  if (answer === undefined) response.writeHead(200, { 'Content-Length': 0 }).end();
  else if ('list' in answer) await sendPages(request, response, answer.list, FORMS.list, idleMs);
  else if ('lines' in answer) await sendPages(request, response, answer.lines, FORMS.lines, idleMs);
  else {
    const text = `${JSON.stringify(answer.value)}\n`;
    response.writeHead(answer.status, { ...headersOf(JSON_TYPE), 'Content-Length': Buffer.byteLength(text) });
    response.end(request.method === 'HEAD' ? undefined : text);
  }
}

const headersOf = (type: string) => ({ 'Content-Type': type, 'Cache-Control': 'no-store' });

/**
 * Sends pages as they come. What fails before the first one is there is thrown with nothing sent; after that, only cutting
 * the connection tells the client.
 */
async function sendPages(
  request: IncomingMessage,
  response: ServerResponse,
  pages: Pages,
  form: (typeof FORMS)[keyof typeof FORMS],
  idleMs: number,
): Promise<void> {
  const begin = () => {
    response.writeHead(200, headersOf(form.type));
    response.setTimeout(idleMs, () => response.destroy());
  };
  let isFirst = true;
  for await (const page of pages) {
    if (isFirst && !response.headersSent) begin();
    if (request.method === 'HEAD') break;
    for (const item of page) {
      if (!(await write(response, `${isFirst ? form.first : form.next}${JSON.stringify(item)}`))) return;
      isFirst = false;
    }
  }
  if (!response.headersSent) begin();
  if (request.method === 'HEAD') response.end();
  else response.end(isFirst ? form.empty : form.last);
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
