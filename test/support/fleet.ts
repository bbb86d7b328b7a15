/** Several servers of one cache on the same PostgreSQL and the same storages, behind a round-robin proxy. */
import { type CacheOnPostgres, cacheOnPostgres } from './postgres-cache.ts';
import { RoundRobin } from './round-robin.ts';
import { TestServer } from './server.ts';

export interface FleetInit {
  readonly url: string;
  readonly storages: readonly object[];
  /** Documents beside the cache's own, as text. */
  readonly more?: string;
  readonly servers?: number;
  readonly args?: readonly string[];
  readonly spec?: Readonly<Record<string, unknown>>;
}

export class Fleet {
  readonly cache: CacheOnPostgres;
  readonly proxy: RoundRobin;
  readonly servers: TestServer[] = [];

  private constructor(cache: CacheOnPostgres, proxy: RoundRobin) {
    this.cache = cache;
    this.proxy = proxy;
  }

  static async start(init: FleetInit): Promise<Fleet> {
    const { url, storages, more = '', spec } = init;
    const fleet = new Fleet(cacheOnPostgres({ url, spec: { storages, ...spec } }), await RoundRobin.start());
    try {
      for (let n = 0; n < (init.servers ?? 3); n++) {
        fleet.servers.push(
          await TestServer.start({
            manifest: `${fleet.cache.manifest}\n${more}`,
            tokens: fleet.cache.tokens,
            args: ['--api-url', fleet.proxy.url, ...(init.args ?? [])],
          }),
        );
      }
    } catch (error) {
      await fleet.remove();
      throw error;
    }
    fleet.follow();
    return fleet;
  }

  /** The server of this number. */
  at(index: number): TestServer {
    const server = this.servers[index % this.servers.length];
    if (server === undefined) throw new Error('a fleet without servers');
    return server;
  }

  /** Tells the proxy of the servers' addresses, which change when they are started again. */
  follow(): void {
    this.proxy.targets = this.servers.map((server) => server.url);
  }

  async remove(): Promise<void> {
    for (const server of this.servers) await server.remove();
    await this.proxy.close();
  }
}
