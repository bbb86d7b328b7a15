/** Two real servers with a cache each behind a real gateway, as in a cluster: `main` is public, `private` is not. */
import { hashToken } from '../../crds/index.ts';
import { TestGateway, type TestGatewayInit, type TestTable } from './gateway.ts';
import { cacheManifest, standardSpec, TestServer } from './server.ts';

export interface GatewayPairInit extends Omit<TestGatewayInit, 'table' | 'routes'> {
  /** Further flags of both servers. */
  readonly serverArgs?: readonly string[];
}

export class GatewayPair {
  readonly gateway: TestGateway;
  readonly main: TestServer;
  readonly secret: TestServer;

  private constructor(gateway: TestGateway, main: TestServer, secret: TestServer) {
    this.gateway = gateway;
    this.main = main;
    this.secret = secret;
  }

  static async start({ serverArgs = [], ...init }: GatewayPairInit = {}): Promise<GatewayPair> {
    const gateway = await TestGateway.start({ ...init, table: { caches: {} } });
    const started: TestServer[] = [];
    try {
      const args = ['--api-url', apiUrlOf(gateway), '--trusted-proxies', '127.0.0.1', ...serverArgs];
      const main = await TestServer.start({ args, manifest: cacheManifest('main', standardSpec) });
      started.push(main);
      const secret = await TestServer.start({
        args,
        manifest: cacheManifest('private', `${standardSpec}access: Private\n`),
      });
      started.push(secret);
      const pair = new GatewayPair(gateway, main, secret);
      await gateway.useTable(await pair.table());
      return pair;
    } catch (error) {
      for (const server of started) await server.remove();
      await gateway.remove();
      throw error;
    }
  }

  /** `http://localhost:port`, which is also what the servers call themselves. */
  get apiUrl(): string {
    return apiUrlOf(this.gateway);
  }

  /** `http://127.0.0.1:port/api/v1/cache/<cache>` at the gateway. */
  api(cache = 'main'): string {
    return `${this.gateway.url}/api/v1/cache/${cache}`;
  }

  /** The routing table that an operator would write of the servers as they run now. */
  async table(): Promise<TestTable> {
    const route = async (server: TestServer, cache: string) => {
      const tokens = await Promise.all(['read', 'push', 'admin'].map((name) => server.token(name, cache)));
      return { url: server.url, tokens: tokens.map((token) => hashToken(token).slice(0, 16)) };
    };
    const caches = { main: await route(this.main, 'main'), private: await route(this.secret, 'private') };
    return { apiUrl: this.apiUrl, caches };
  }

  async remove(): Promise<void> {
    await this.gateway.remove();
    await this.main.remove();
    await this.secret.remove();
  }
}

function apiUrlOf(gateway: TestGateway): string {
  return `http://localhost:${gateway.port}`;
}
