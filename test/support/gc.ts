/** Runs of the garbage collection, asked for as people ask. */
import assert from 'node:assert/strict';
import type { CollectionStatus } from '../../crds/index.ts';
import type { TakenView } from '../../server/http/index.ts';
import { makePath, type TestPath } from './nars.ts';
import { type Reply, send } from './raw-http.ts';
import { type TestServer, until } from './server.ts';

/** Everything goes that nothing protects, once somebody asks; nothing by schedule. */
export const GREEDY = 'retention: {maxSize: 1, minAgeSeconds: 0, everySeconds: 86400}\n';
export const ASKED_ONLY = ['--housekeeping-interval', '3600', '--roots-first', '0.1'];

export function refer(name: string, ...to: readonly TestPath[]): TestPath {
  return makePath({ name, references: to.map((it) => `${it.hashPart}-${it.name}`) });
}

/** Asks one cache as the holder of a token; without one, as a stranger. */
export class GcClient {
  readonly #base: string;
  readonly #headers: () => Promise<Record<string, string>>;

  constructor(base: string, headers: () => Promise<Record<string, string>> = async () => ({})) {
    this.#base = base;
    this.#headers = headers;
  }

  static of(server: TestServer, token?: string, cache = 'main'): GcClient {
    return new GcClient(server.api(cache), token === undefined ? undefined : () => server.auth(token, cache));
  }

  async send(method: string, path: string, body?: string): Promise<Reply> {
    const headers = await this.#headers();
    return send(this.#base, path, { method, headers, ...(body !== undefined && { body }) });
  }

  start(confirm: boolean): Promise<Reply> {
    return this.send('POST', '/gc', JSON.stringify({ confirm }));
  }

  async runs(): Promise<CollectionStatus[]> {
    const { status, text } = await this.send('GET', '/gc');
    assert.equal(status, 200, text);
    return JSON.parse(text) as CollectionStatus[];
  }

  /** The first line of a plan or run, and the paths behind it. */
  async lines(path: string): Promise<[first: Record<string, unknown>, taken: TakenView[]]> {
    const { status, text, headers } = await this.send('GET', path);
    assert.equal(status, 200, text);
    assert.equal(headers['content-type'], 'application/x-ndjson');
    const [first, ...rest] = text.trimEnd().split('\n');
    return [JSON.parse(first ?? ''), rest.map((line) => JSON.parse(line) as TakenView)];
  }

  /** Begins a run and waits for its end. */
  async run(confirm: boolean): Promise<CollectionStatus> {
    const { status, text } = await this.start(confirm);
    assert.equal(status, 202, text);
    const { run } = JSON.parse(text) as CollectionStatus;
    let over: CollectionStatus | undefined;
    await until(`run ${run} is over`, async () => {
      over = (await this.runs()).find((it) => it.run === run && it.endedAt !== null);
      return over !== undefined;
    });
    assert.ok(over);
    return over;
  }
}
