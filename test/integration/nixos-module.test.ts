// The NixOS module: evaluated by real nix, and what it makes tried with the built server. A whole machine with systemd is
// the flake's own check, hack/nix/test.nix, which needs nixpkgs.
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdir, mkdtemp, readFile, rm, symlink, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { generateToken } from '../../crds/index.ts';
import { nodeFlags } from '../../hack/lib/launch.mjs';
import { built } from '../support/built.ts';
import { evaluateModule, ROOT } from '../support/flake.ts';
import { describeEachNix, NixClient } from '../support/nix.ts';
import { logFile, onFreePort, ServerProcess } from '../support/server-process.ts';

const LAPTOP = path.join(ROOT, 'examples/laptop.yaml');
const hasSystemd = spawnSync('systemd-analyze', ['--version']).status === 0;
const SERVICE = 'machine.systemd.services.narwhal';
/** Two caches: one of a file, one written in Nix that names a Secret and a folder outside of the data folder. */
const settings = (folder: string, addresses: { listen: string; adminListen: string }) => `{
  enable = true;
  manifests = [
    ${LAPTOP}
    {
      apiVersion = "narwhal.dev/v1alpha1";
      kind = "BinaryCache";
      metadata.name = "team";
      spec = {
        access = "Private";
        storages = [
          { name = "raid"; local.path = "${folder}"; }
          { name = "disk"; local = { }; }
        ];
        tokens = [ { name = "ci"; permissions = [ "Write" ]; secretRef = { name = "ci"; key = "token"; }; } ];
      };
    }
  ];
  secrets.ci.token = "/run/secrets/ci";
  apiUrl = "https://cache.example.org";
  listen = [ "${addresses.listen}" ];
  adminListen = "${addresses.adminListen}";
  extraFlags = [ "--log-level" "debug" ];
}`;

/** A folder of links, as the stand-in for nixpkgs writes it down. */
type Links = { name: string; path: string }[];

await describeEachNix('the NixOS module', (nix) => {
  let dir: string;
  let client: NixClient;
  before(async () => {
    dir = await mkdtemp(path.join(os.tmpdir(), 'narwhal-nixos-'));
    client = new NixClient({ version: nix, dir: path.join(dir, 'nix') });
  });
  after(async () => {
    await client.remove();
    await rm(dir, { recursive: true, force: true });
  });

  const evaluate = (text: string, wanted: string) => evaluateModule(client, text, wanted);
  const service = async (text: string) => {
    const unit = (await evaluate(text, `{ inherit (${SERVICE}) serviceConfig unitConfig; }`)) as {
      serviceConfig: Record<string, unknown>;
      unitConfig: Record<string, unknown>;
    };
    return { ...unit.serviceConfig, ...unit.unitConfig } as Record<string, unknown>;
  };
  const simple = (more = '') => `{ enable = true; manifests = [ ${LAPTOP} ]; ${more} }`;
  const addresses = { listen: ':8080', adminListen: '127.0.0.1:9090' };

  it('does nothing until it is enabled', async () => {
    assert.deepEqual(await evaluate('{ }', 'machine'), {});
  });

  it('may write to its data and nothing else, as a user without rights', async () => {
    const unit = await service(simple());
    assert.equal(unit.User, 'narwhal');
    assert.equal(unit.ProtectSystem, 'strict');
    assert.equal(unit.NoNewPrivileges, true);
    assert.equal(unit.CapabilityBoundingSet, '');
    assert.equal(unit.StateDirectory, 'narwhal');
    assert.deepEqual(unit.ReadWritePaths, []);
    // V8 compiles while it runs.
    assert.ok(!('MemoryDenyWriteExecute' in unit));
  });

  const systemd = hasSystemd ? it : it.skip;
  systemd('is a unit that systemd understands', async () => {
    const { WantsMountsFor, ...unit } = await service(settings('/mnt/raid', addresses));
    // Programs that are there.
    const lines = Object.entries({ ...unit, ExecStart: '/bin/true', ExecReload: '/bin/true' }).flatMap(
      ([name, value]) => [value].flat().map((one) => `${name}=${one}`),
    );
    const file = path.join(dir, 'narwhal.service');
    await writeFile(file, ['[Service]', ...lines, ''].join('\n'));
    // It says what it does not know and goes on.
    assert.equal(spawnSync('systemd-analyze', ['verify', file], { encoding: 'utf8' }).stderr, '');
  });

  it('lets the server finish requests before it is killed', async () => {
    const serve = await readFile(path.join(ROOT, 'server/cli/serve.ts'), 'utf8');
    const grace = Number(/'NARWHAL_SHUTDOWN_GRACE',\s+(\d+)/.exec(serve)?.[1]);
    assert.ok(grace > 0 && Number((await service(simple())).TimeoutStopSec) > grace);
  });

  it('may write to storages elsewhere and waits for their disks, without needing them', async () => {
    const unit = await service(settings('/mnt/raid', addresses));
    assert.deepEqual(unit.ReadWritePaths, ['-/mnt/raid']);
    assert.deepEqual(unit.WantsMountsFor, ['/var/lib/narwhal', '/mnt/raid']);
    const moved = await service(simple('dataDir = "/srv/narwhal"; storageFolders = [ "/mnt/a" ];'));
    assert.deepEqual(moved.ReadWritePaths, ['-/mnt/a', '/srv/narwhal']);
    assert.ok(!('StateDirectory' in moved));
  });

  it('gets the capability for ports below 1024, and only then', async () => {
    const unit = await service(simple('listen = [ "[::]:80" ];'));
    assert.deepEqual([unit.AmbientCapabilities, unit.PrivateUsers], ['CAP_NET_BIND_SERVICE', false]);
    assert.equal((await service(simple())).AmbientCapabilities, '');
  });

  it('opens the ports of caches when asked, and never that of the admin', async () => {
    const ports = 'machine.networking.firewall.allowedTCPPorts';
    const listen = 'listen = [ ":8080" "main=:8081" ];';
    assert.deepEqual(await evaluate(simple(listen), ports), []);
    assert.deepEqual(await evaluate(simple(`${listen} openFirewall = true;`), ports), [8080, 8081]);
  });

  it('hands Secrets over as credentials of systemd', async () => {
    const unit = await service(settings('/mnt/raid', addresses));
    assert.deepEqual(unit.LoadCredential, ['ci_token:/run/secrets/ci']);
    const told = await service(simple('environmentFile = "/run/secrets/env";'));
    assert.equal(told.EnvironmentFile, '/run/secrets/env');
  });

  const REFUSED = [
    ['nothing to serve', '{ enable = true; }', /manifests is empty/],
    [
      'a Secret in the store',
      simple('').replace(LAPTOP, '{ kind = "Secret"; metadata.name = "a"; }'),
      /holds a Secret/,
    ],
    ['a manifest without a name', simple('').replace(LAPTOP, '{ kind = "BinaryCache"; }'), /without metadata\.name/],
    [
      'a file that is no manifest',
      simple('').replace(LAPTOP, '"/etc/cache.conf"'),
      /end in \.yaml.*: \/etc\/cache\.conf/,
    ],
    ['a package that is no manifest', simple('').replace(LAPTOP, 'pkgs.hello'), /end in \.yaml.*-hello/],
    ['an address without a port', simple('listen = [ "localhost" ];'), /take host:port: localhost/],
    ['no address', simple('listen = [ ];'), /listen is empty/],
    [
      'a URL with a path',
      simple('apiUrl = "https://a.example/cache";'),
      /apiUrl must be .*: https:\/\/a\.example\/cache/,
    ],
    ['a relative folder', simple('storageFolders = [ "mnt" ];'), /take absolute paths: mnt/],
    ['a folder that is hidden', simple('dataDir = "/home/narwhal";'), /sees nothing: \/home\/narwhal/],
    ['a secret in the store', simple('secrets.a.b = "/nix/store/x";'), /outside of the Nix store: \/nix\/store\/x/],
    ['a value of another type', simple('openFirewall = "yes";'), /openFirewall is not of its type/],
    ['an option that is none', simple('port = 80;'), /has no option port/],
  ] as const;
  for (const [what, text, message] of REFUSED) {
    it(`refuses ${what}, and says so`, async () => {
      await assert.rejects(evaluate(text, 'builtins.attrNames machine'), message);
    });
  }

  /** Makes a folder of links. What lies in the store of nix or among the credentials is elsewhere on this machine. */
  async function makeLinks(list: string, credentials: string): Promise<string> {
    const folder = await mkdtemp(path.join(dir, 'links-'));
    const links: Links = JSON.parse(await readFile(client.fileOf(list), 'utf8'));
    for (const { name, path: target } of links) {
      const file = target.startsWith('/nix/store/')
        ? client.fileOf(target)
        : target.replace('/run/credentials/narwhal.service', credentials);
      await mkdir(path.join(folder, path.dirname(name)), { recursive: true });
      await symlink(file, path.join(folder, name));
    }
    return folder;
  }

  it('starts the server with words that it understands and manifests that it accepts', async () => {
    const token = generateToken();
    const credentials = path.join(dir, 'credentials');
    await mkdir(credentials);
    await writeFile(path.join(credentials, 'ci_token'), token);
    const raid = path.join(dir, 'raid');
    await mkdir(raid);
    const main = built('dist/server/main.js');
    const start = async (port: number, adminPort: number) => {
      const text = settings(raid, { listen: `127.0.0.1:${port}`, adminListen: `127.0.0.1:${adminPort}` });
      const wanted = `{ inherit (${SERVICE}.serviceConfig) ExecStart; etc = machine.environment.etc."narwhal/manifests".source; }`;
      const { ExecStart, etc } = (await evaluate(text, wanted)) as { ExecStart: string; etc: string };
      const [program = '', ...words] = ExecStart.split(' ');
      assert.match(program, /^\/nix\/store\/[^/]+-narwhal-[^/]+\/bin\/narwhal-server$/);
      const secrets = words.find((word) => word.endsWith('-narwhal-secrets')) ?? '';
      const places = new Map([
        ['/etc/narwhal/manifests', await makeLinks(etc, credentials)],
        ['/var/lib/narwhal', path.join(dir, 'data')],
        [secrets, await makeLinks(secrets, credentials)],
      ]);
      const server = new ServerProcess({
        words: [process.execPath, ...nodeFlags, main, ...words.map((word) => places.get(word) ?? word)],
        env: { PATH: process.env.PATH },
        log: logFile(dir, 'server'),
      });
      const admin = `http://127.0.0.1:${adminPort}`;
      await server.untilReady(async () => assert.equal((await fetch(`${admin}/readyz`)).status, 200));
      return { server, admin, url: `http://127.0.0.1:${port}` };
    };
    const { server, admin, url } = await onFreePort((port) => onFreePort((adminPort) => start(port, adminPort)));
    try {
      const { caches } = (await (await fetch(`${admin}/status`)).json()) as { caches: { name: string }[] };
      assert.deepEqual(caches.map(({ name }) => name).sort(), ['main', 'team']);
      const ask = (headers: Record<string, string>) => fetch(`${url}/api/v1/cache/team`, { headers });
      assert.equal((await ask({})).status, 401);
      assert.equal((await ask({ authorization: `Bearer ${token}` })).status, 200);
    } finally {
      assert.equal(await server.stop('SIGTERM'), 0);
    }
  });
});
