/**
 * Who is asked about pins: a server somewhere by its URL and a token, the one that has the data folder by its socket, or,
 * where none runs, the cache itself. All are asked alike, by the doors of server/http/pins.ts.
 */
import { readFile } from 'node:fs/promises';
import { text } from 'node:stream/consumers';
import { CacheError } from '../cache/index.ts';
import { askSocket, controlSocket, pinDoors } from '../http/index.ts';
import { OptionError } from '../options.ts';
import { parseApiUrl } from '../wire/index.ts';
import { withCaches } from './offline.ts';

export interface PinCallerFlags {
  readonly cache: string;
  readonly server?: string;
  readonly tokenFile?: string;
  readonly data: string;
  readonly file?: string[];
  readonly secrets?: string;
  readonly storages?: string;
}

export interface PinCall {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Inside the cache, decoded. */
  readonly path: string;
  readonly body?: object;
}

/** What is answered, as it comes out of JSON; undefined: nothing. @throws CacheError with what was refused */
export async function callPins(flags: PinCallerFlags, call: PinCall, env: NodeJS.ProcessEnv): Promise<unknown> {
  if (flags.server !== undefined) return callServer(flags.server, flags, call, await tokenOf(flags, env));
  const { method, body } = call;
  const answer = await askSocket(controlSocket(flags.data), {
    ...{ method, path: urlPath(flags.cache, call) },
    body: body && JSON.stringify(body),
  });
  if (answer !== undefined) return valueIn(answer.statusCode ?? 0, await text(answer));
  if (flags.file === undefined)
    throw new OptionError(
      `no server runs on ${flags.data}: name its folder with --data, another server with --server, or the manifests with -f`,
    );
  return callCache(flags, flags.file, call);
}

async function callServer(server: string, { cache }: PinCallerFlags, call: PinCall, token: string): Promise<unknown> {
  const { url } = parseApiUrl(server, '--server');
  const { method, body } = call;
  const init: RequestInit = {
    method,
    headers: { authorization: `Bearer ${token}` },
    // A token goes where it was sent, and nowhere else.
    redirect: 'error',
    ...(body && { body: JSON.stringify(body) }),
  };
  const answer = await fetch(`${url.origin}${urlPath(cache, call)}`, init).catch((error: unknown) => {
    const reason = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
    throw new CacheError('Unavailable', `${url.origin} does not answer: ${reason}`);
  });
  return valueIn(answer.status, await answer.text());
}

/** Never an argument: those are visible to every user of the machine. */
async function tokenOf({ tokenFile }: PinCallerFlags, env: NodeJS.ProcessEnv): Promise<string> {
  const token = tokenFile === undefined ? env.NARWHAL_TOKEN : await readFile(tokenFile, 'utf8');
  if (token === undefined || !/^\s*[!-~]+\s*$/.test(token))
    throw new OptionError(
      tokenFile === undefined
        ? '--server needs a token: in the variable NARWHAL_TOKEN, or in a file that --token-file names'
        : `${tokenFile} holds no token`,
    );
  return token.trim();
}

async function callCache(flags: PinCallerFlags, files: string[], { method, path, body }: PinCall): Promise<unknown> {
  const { secrets, storages } = flags;
  const terminal = process.stderr.isTTY === true;
  let value: unknown;
  await withCaches({ ...flags, files, secrets, storages, terminal }, async (cache) => {
    for (const door of pinDoors) {
      const match = door.method === method ? door.pattern.exec(path) : null;
      if (match === null) continue;
      const asking = { name: match[1] ?? '', body: async () => body, token: null, isAdmin: true };
      const pages = await door.answer(cache, asking);
      if (pages === undefined) return;
      const all: unknown[] = [];
      for await (const page of pages) all.push(...page);
      value = all;
      return;
    }
    throw new CacheError('NotFound', 'no such pin');
  });
  return value;
}

function urlPath(cache: string, { path }: PinCall): string {
  const encoded = path.split('/').map(encodeURIComponent).join('/');
  return `/api/v1/cache/${encodeURIComponent(cache)}${encoded}`;
}

function valueIn(status: number, answer: string): unknown {
  const [line = ''] = answer.split('\n', 1);
  if (status !== 200) throw new CacheError('Invalid', line === '' ? `the server answers ${status}` : line);
  if (answer === '') return undefined;
  try {
    return JSON.parse(answer);
  } catch {
    throw new CacheError('Incomplete', 'the server ended before its answer did, or is no narwhal-server');
  }
}
