/**
 * Who is asked about a cache: a server somewhere by its URL and a token, the one that has the data folder by its socket, or,
 * where none runs, the cache itself. All are asked alike, by the doors of server/http/doors.ts.
 */
import { readFile } from 'node:fs/promises';
import { Readable } from 'node:stream';
import { text } from 'node:stream/consumers';
import { type Command, Option } from 'commander';
import { type BinaryCache, CacheError } from '../cache/index.ts';
import { askSocket, controlSocket, type DoorAnswer, doors, findDoor } from '../http/index.ts';
import { OptionError } from '../options.ts';
import { parseApiUrl } from '../wire/index.ts';
import { dataOption, fileOption, secretsOption, storagesOption } from './flags.ts';
import { withCaches } from './offline.ts';

export interface CallerFlags {
  readonly cache?: string;
  readonly server?: string;
  readonly tokenFile?: string;
  readonly data: string;
  readonly file?: string[];
  readonly secrets?: string;
  readonly storages?: string;
}

export interface Call {
  readonly method: 'GET' | 'POST' | 'DELETE';
  /** Inside the cache, decoded. */
  readonly path: string;
  readonly query?: Readonly<Record<string, string>>;
  readonly body?: object;
}

/** One cache that can be asked. */
export interface Caller {
  readonly cache: string;
  /** What is answered, as it comes out of JSON; undefined: nothing. @throws CacheError with what was refused */
  value(call: Call): Promise<unknown>;
  /** The lines of an answer as they come. @throws CacheError */
  lines(call: Call): AsyncIterable<unknown>;
}

/** Flags that say who is asked. */
export function askingFlags(command: Command, env: NodeJS.ProcessEnv): Command {
  return command
    .addOption(dataOption(env))
    .addOption(new Option('--server <url>', 'API URL of a server elsewhere').env('NARWHAL_SERVER'))
    .addOption(new Option('--token-file <file>', 'file with the token for --server'))
    .addOption(fileOption().makeOptionMandatory(false))
    .addOption(secretsOption())
    .addOption(storagesOption())
    .addHelpText('after', WHO);
}

const WHO = `
The server that has the data folder is asked by its socket, another one with --server and a token in the variable
NARWHAL_TOKEN or in a file. Where none runs, -f names the manifests and the database is opened.`;

/** Calls `work` with the cache that flags name, or with each of a server or of the manifests. @throws CacheError, OptionError */
export async function withCallers(
  flags: CallerFlags,
  env: NodeJS.ProcessEnv,
  work: (caller: Caller) => Promise<void>,
): Promise<void> {
  if (flags.server !== undefined) {
    const { cache } = flags;
    if (cache === undefined) throw new OptionError('--server needs --cache: the cache that is meant');
    return work(new RemoteCaller(cache, asks(flags.server, await tokenOf(flags, env))));
  }
  const names = await askOwnServer(flags.data, { method: 'GET', path: '/caches' });
  if (names !== undefined) {
    const all = (await valueIn(names)) as string[];
    const ask = (request: Request) => askOwnServer(flags.data, request);
    for (const cache of flags.cache === undefined ? all : [flags.cache]) await work(new RemoteCaller(cache, ask));
    return;
  }
  const { file: files, secrets, storages, cache } = flags;
  if (files === undefined)
    throw new OptionError(
      `no server runs on ${flags.data}: name its folder with --data, another server with --server, or the manifests with -f`,
    );
  const terminal = process.stderr.isTTY === true;
  await withCaches({ ...flags, files, secrets, storages, cache, terminal }, (it) => work(new OwnCaller(it)));
}

/** One call, of the one cache that flags name. */
export async function callCache(
  flags: CallerFlags & { readonly cache: string },
  call: Call,
  env: NodeJS.ProcessEnv,
): Promise<unknown> {
  let value: unknown;
  await withCallers(flags, env, async (caller) => {
    value = await caller.value(call);
  });
  return value;
}

interface Request {
  readonly method: string;
  readonly path: string;
  readonly body?: string | undefined;
}

interface Reply {
  readonly status: number;
  readonly body: AsyncIterable<Uint8Array>;
}

/** Undefined: no server has this folder. */
async function askOwnServer(data: string, request: Request): Promise<Reply | undefined> {
  const answer = await askSocket(controlSocket(data), request);
  return answer && { status: answer.statusCode ?? 0, body: answer };
}

/** A server that is asked by HTTP. */
class RemoteCaller implements Caller {
  readonly cache: string;
  readonly #ask: (request: Request) => Promise<Reply | undefined>;

  constructor(cache: string, ask: (request: Request) => Promise<Reply | undefined>) {
    this.cache = cache;
    this.#ask = ask;
  }

  async value(call: Call): Promise<unknown> {
    return valueIn(await this.#reply(call));
  }

  async *lines(call: Call): AsyncGenerator<unknown> {
    const reply = await this.#reply(call);
    if (!isFine(reply)) throw refusal(reply.status, await textIn(reply));
    for await (const line of linesIn(reply)) yield parse(line);
  }

  async #reply({ method, path, query, body }: Call): Promise<Reply> {
    const inside = path.split('/').map(encodeURIComponent).join('/');
    const search = query === undefined ? '' : `?${new URLSearchParams(query)}`;
    const reply = await this.#ask({
      ...{ method, path: `/api/v1/cache/${encodeURIComponent(this.cache)}${inside}${search}` },
      body: body && JSON.stringify(body),
    });
    if (reply === undefined) throw ended();
    return reply;
  }
}

/** Requests to a server by its URL. */
function asks(server: string, token: string): (request: Request) => Promise<Reply> {
  const { url } = parseApiUrl(server, '--server');
  return async ({ method, path, body }) => {
    const init: RequestInit = {
      method,
      headers: { authorization: `Bearer ${token}` },
      // A token goes where it was sent, and nowhere else.
      redirect: 'error',
      ...(body !== undefined && { body }),
    };
    const answer = await fetch(`${url.origin}${path}`, init).catch((error: unknown) => {
      const reason = error instanceof Error && error.cause instanceof Error ? error.cause.message : String(error);
      throw new CacheError('Unavailable', `${url.origin} does not answer: ${reason}`);
    });
    return { status: answer.status, body: answer.body ?? Readable.from([]) };
  };
}

/** Never an argument: those are visible to every user of the machine. */
async function tokenOf({ tokenFile }: CallerFlags, env: NodeJS.ProcessEnv): Promise<string> {
  const token = tokenFile === undefined ? env.NARWHAL_TOKEN : await readFile(tokenFile, 'utf8');
  if (token === undefined || !/^\s*[!-~]+\s*$/.test(token))
    throw new OptionError(
      tokenFile === undefined
        ? '--server needs a token: in the variable NARWHAL_TOKEN, or in a file that --token-file names'
        : `${tokenFile} holds no token`,
    );
  return token.trim();
}

/** A cache that this process has open. */
class OwnCaller implements Caller {
  readonly #cache: BinaryCache;

  constructor(cache: BinaryCache) {
    this.#cache = cache;
  }

  get cache(): string {
    return this.#cache.name;
  }

  async value(call: Call): Promise<unknown> {
    const answer = await this.#answer(call);
    if (answer === undefined) return undefined;
    if ('value' in answer) return answer.value;
    const all: unknown[] = [];
    for await (const page of 'list' in answer ? answer.list : answer.lines) all.push(...page);
    return all;
  }

  async *lines(call: Call): AsyncGenerator<unknown> {
    const answer = await this.#answer(call);
    if (answer !== undefined && 'lines' in answer) for await (const page of answer.lines) yield* page;
  }

  #answer({ method, path, query = {}, body }: Call): Promise<DoorAnswer> {
    const found = findDoor(doors, method, path);
    if (found === undefined) throw new CacheError('NotFound', 'not found');
    return found.door.answer(this.#cache, {
      ...{ name: found.name, query: new Map(Object.entries(query)), body: async () => body },
      ...{ token: null, isAdmin: true, isAnonymous: false, signal: new AbortController().signal },
    });
  }
}

const isFine = ({ status }: Reply) => status === 200 || status === 202;

function textIn({ body }: Reply): Promise<string> {
  return text(body).catch(() => {
    throw ended();
  });
}

/** Lines as they come; one that is cut off is none. */
async function* linesIn({ body }: Reply): AsyncGenerator<string> {
  const decoder = new TextDecoder();
  let rest = '';
  try {
    for await (const piece of body) {
      const lines = (rest + decoder.decode(piece, { stream: true })).split('\n');
      rest = lines.pop() ?? '';
      yield* lines;
    }
  } catch {
    throw ended();
  }
  if (rest !== '') throw ended();
}

async function valueIn(reply: Reply): Promise<unknown> {
  const answer = await textIn(reply);
  if (!isFine(reply)) throw refusal(reply.status, answer);
  return answer === '' ? undefined : parse(answer);
}

function parse(json: string): unknown {
  try {
    return JSON.parse(json);
  } catch {
    throw ended();
  }
}

function refusal(status: number, answer: string): CacheError {
  const [line = ''] = answer.split('\n', 1);
  return new CacheError('Invalid', line === '' ? `the server answers ${status}` : line);
}

function ended(): CacheError {
  return new CacheError('Incomplete', 'the server ended before its answer did, or is no narwhal-server');
}
