/** The other end of the control socket: what a command asks of the server that has its data folder. */
import { type IncomingMessage, request } from 'node:http';
import { createInterface } from 'node:readline';
import type { CheckReport } from '../cache/index.ts';

export interface CheckRequest {
  /** Only this one; undefined: all. */
  readonly cache: string | undefined;
  readonly contents: boolean;
  readonly repair: boolean;
  readonly bytesPerSecond: number | undefined;
}

/** One line of the answer. */
export type CheckAnswer =
  | { readonly cache: string; readonly progress: { readonly done: number; readonly total: number } }
  | { readonly cache: string; readonly report: CheckReport }
  /** So many caches were checked. */
  | { readonly done: number }
  | { readonly error: string };

/** Nobody listens: there is no socket, or only that of a server that died, or its path is too long for any. */
const NOBODY: ReadonlySet<unknown> = new Set(['ENOENT', 'ECONNREFUSED', 'EINVAL']);

/** The answer of the server behind a socket; undefined: no server runs. @throws Error of the system */
export async function askSocket(
  socketPath: string,
  { method, path, body }: { readonly method: string; readonly path: string; readonly body?: string | undefined },
): Promise<IncomingMessage | undefined> {
  try {
    return await new Promise((resolve, reject) => {
      request({ socketPath, path, method }, resolve).once('error', reject).end(body);
    });
  } catch (error) {
    if (error instanceof Error && 'code' in error && NOBODY.has(error.code)) return undefined;
    throw error;
  }
}

/** The answers of the server behind a socket, as they come; undefined: no server runs. @throws Error of the system */
export async function askForCheck(
  file: string,
  { cache, contents, repair, bytesPerSecond }: CheckRequest,
): Promise<AsyncIterable<CheckAnswer> | undefined> {
  const query = new URLSearchParams({
    ...(cache !== undefined && { cache }),
    ...(contents && { contents: '' }),
    ...(repair && { repair: '' }),
    ...(bytesPerSecond !== undefined && { rate: String(bytesPerSecond) }),
  });
  const answer = await askSocket(file, { method: 'POST', path: `/check?${query}` });
  return answer && linesOf(answer);
}

/** The server is the one whose files these are: its lines are believed. */
async function* linesOf(answer: IncomingMessage): AsyncGenerator<CheckAnswer> {
  for await (const line of createInterface({ input: answer })) yield JSON.parse(line) as CheckAnswer;
}
