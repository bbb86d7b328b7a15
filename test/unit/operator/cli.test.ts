import assert from 'node:assert/strict';
import { readdirSync } from 'node:fs';
import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises';
import os from 'node:os';
import path from 'node:path';
import { PassThrough } from 'node:stream';
import { CommanderError } from 'commander';
import { parseAllDocuments } from 'yaml';
import { runCommand } from '../../../operator/cli.ts';
import type { OperatorOptions } from '../../../operator/options.ts';
import { type PlanInit, printPlan } from '../../../operator/plan.ts';
import { built } from '../../support/built.ts';
import { cacheText, secretText } from '../../support/manifests.ts';
import { type RunResult, runToEnd } from '../../support/run.ts';

const ROOT = path.join(import.meta.dirname, '../../..');
const OPERATOR = built('dist/operator/main.js');
const EXAMPLES = path.join(ROOT, 'examples');

/** Runs the program to its end, with no variables that could lead it to a cluster. */
function operator(...args: string[]): Promise<RunResult> {
  const env = { PATH: process.env.PATH, HOME: os.tmpdir(), KUBECONFIG: '/nowhere/kubeconfig' };
  return runToEnd([process.execPath, OPERATOR, ...args], { env });
}

/** What `run` makes of its flags, or why it refuses them. */
async function parse(...args: string[]): Promise<OperatorOptions> {
  let seen: OperatorOptions | undefined;
  const before = process.exitCode;
  const command = runCommand(async (options) => {
    seen = options;
    return 0;
  });
  try {
    await command
      .exitOverride()
      .configureOutput({ writeErr: () => {} })
      .parseAsync(args, { from: 'user' });
  } finally {
    process.exitCode = before;
  }
  assert.ok(seen);
  return seen;
}

describe('narwhal-operator plan', () => {
  let folder: string;
  before(async () => {
    folder = await mkdtemp(path.join(os.tmpdir(), 'narwhal-plan-'));
  });
  after(() => rm(folder, { recursive: true }));

  /** The program, offline, for a manifest. */
  async function planOf(texts: string[], ...args: string[]): Promise<RunResult> {
    const file = path.join(folder, 'm.yaml');
    await writeFile(file, texts.join('\n---\n'));
    return operator('plan', '--offline', '-f', file, ...args);
  }

  /** What the program would print, without starting it. */
  async function printed(text: string, more: Partial<PlanInit> = {}): Promise<string> {
    const out = new PassThrough();
    const init = { file: 'm.yaml', text, namespace: 'default', offline: true, trustedProxies: [], ...more };
    const { changes } = await printPlan(init, out);
    const all = String(out.read() ?? '');
    assert.equal(changes, titles(all).filter((line) => !line.startsWith('# BinaryCache')).length);
    return all;
  }

  const titles = (text: string) => text.split('\n').filter((line) => line.startsWith('# '));

  const objectsIn = (text: string) =>
    parseAllDocuments(text).flatMap((document) => {
      assert.deepEqual(document.errors, []);
      return document.toJS() ?? [];
    });

  it('prints what a new cache consists of, and ends with 2', async () => {
    const { code, stdout, stderr } = await planOf([cacheText()]);
    assert.deepEqual([code, stderr], [2, '']);
    assert.equal(stdout, await printed(cacheText()));
    assert.equal(titles(stdout)[0], '# BinaryCache default/main: 11 steps');
  });

  for (const example of readdirSync(EXAMPLES))
    it(`prints every object of examples/${example}`, async () => {
      const text = await readFile(path.join(EXAMPLES, example), 'utf8');
      const objects = objectsIn(await printed(text, { namespace: 'team' }));
      const kinds = objects.map(({ kind }) => kind);
      for (const kind of ['ConfigMap', 'Service', 'StatefulSet', 'NetworkPolicy'])
        assert.ok(kinds.includes(kind), kind);
      for (const { metadata } of objects) assert.equal(metadata.namespace, 'team');
    });

  it('says what is generated, in the order in which it is, and prints no key or token', async () => {
    const text = await printed(cacheText({ tokens: [{ name: 'ci', permissions: ['Write'] }] }));
    assert.deepEqual(titles(text).slice(0, 5), [
      '# BinaryCache default/main: 12 steps',
      '# generate Secret main-root-key: there is no Secret main-root-key yet',
      '# generate Secret main-signing-key: there is no Secret main-signing-key yet',
      '# generate Secret main-token-ci: there is no Secret main-token-ci yet',
      '# create ServiceAccount main-server: it does not exist',
    ]);
    assert.doesNotMatch(text, /nwl_|kind: Secret/);
  });

  it('keeps the namespaces that manifests name, and plans for every cache', async () => {
    const both = [cacheText({}, { name: 'a' }), cacheText({}, { name: 'b', namespace: 'own' })].join('\n---\n');
    const caches = titles(await printed(both, { namespace: 'team' })).filter((line) => line.includes('BinaryCache'));
    assert.deepEqual(caches, ['# BinaryCache team/a: 11 steps', '# BinaryCache own/b: 11 steps']);
  });

  it('takes image, gateway and proxies from its flags', async () => {
    const flags = ['--image', 'narwhal:7', '--api-url', 'https://cache.example.org', '--trusted-proxies', '10.0.0.0/8'];
    const { stdout } = await planOf([cacheText()], ...flags);
    const [server] = objectsIn(stdout).find(({ kind }) => kind === 'StatefulSet').spec.template.spec.containers;
    assert.equal(server.image, 'narwhal:7');
    const env = new Map(server.env.map(({ name, value }: { name: string; value: string }) => [name, value]));
    assert.equal(env.get('NARWHAL_API_URL'), 'https://cache.example.org');
    assert.equal(env.get('NARWHAL_TRUSTED_PROXIES'), '10.0.0.0/8');
  });

  it('says of a cache that asks for what is not supported that nothing is done, and ends with 0', async () => {
    const result = await planOf([cacheText({ peers: {} })]);
    const text = 'nothing is done for it, since spec.peers is not supported by this version yet';
    assert.deepEqual([result.stdout, result.code], [`# BinaryCache default/main: ${text}\n`, 0]);
  });

  for (const [title, texts, message] of [
    ['a manifest with a mistake', [cacheText({ acess: 'Private' })], /m\.yaml:1: spec\.acess: is not a known field/],
    ['a manifest without a cache', [secretText('a', {})], /m\.yaml: no BinaryCache in it/],
  ] as const)
    it(`refuses ${title} in one line, and ends with 1`, async () => {
      const { code, stdout, stderr } = await planOf([...texts]);
      assert.deepEqual([code, stdout], [1, '']);
      assert.match(stderr, message);
      assert.match(stderr, /^narwhal-operator: .*\n$/);
    });

  it('says in one line that there is no such file', async () => {
    const { code, stderr } = await operator('plan', '--offline', '-f', '/nowhere/m.yaml');
    assert.equal(code, 1);
    assert.match(stderr, /^narwhal-operator: ENOENT.*\/nowhere\/m\.yaml.*\n$/);
  });

  it('says in one line that it finds no cluster to compare with', async () => {
    const { code, stderr } = await operator('plan', '-f', path.join(ROOT, 'examples/laptop.yaml'));
    assert.equal(code, 1);
    assert.match(stderr, /^narwhal-operator: .*\/nowhere\/kubeconfig.*\n$/);
  });

  it('plans without a cluster where no kubeconfig says which, and says so', async () => {
    const file = path.join(ROOT, 'examples/laptop.yaml');
    const env = { PATH: process.env.PATH, HOME: folder };
    const words = [process.execPath, OPERATOR, 'plan', '-f', file];
    const found = await runToEnd(words, { env });
    const offline = await operator('plan', '--offline', '-f', file);
    assert.deepEqual([found.code, found.stdout], [2, offline.stdout]);
    assert.match(found.stderr, /^narwhal-operator: there is no kubeconfig, so this is a plan without a cluster.*\n$/);
    // Whoever names one means it.
    const named = await runToEnd([...words, '--kubeconfig', path.join(folder, 'none')], { env });
    assert.deepEqual([named.code, named.stdout], [1, '']);
    assert.match(named.stderr, /^narwhal-operator: .*none.*\n$/);
  });

  it('leaves out hosts that the operator would refuse, and says why', async () => {
    const text = cacheText({ ingress: { host: 'nix.example.org', annotations: { 'example.org/a': 'b' } } });
    const hosts = ['--cache-hosts', 'default=*.example.org', '--ingress-annotations', 'example.org/*'];
    for (const [flags, stderr, isThere] of [
      [
        [],
        /^narwhal-operator: BinaryCache default\/main: whether it may have its hosts .* only the operator knows/,
        true,
      ],
      [hosts, /^$/, true],
      [hosts.slice(0, 2), /the annotation example\.org\/a is not allowed/, false],
      [
        ['--cache-hosts', 'other=*'],
        /: host nix\.example\.org is not allowed to caches of the namespace default/,
        false,
      ],
    ] as const) {
      const planned = await planOf([text], ...flags);
      assert.match(planned.stderr, stderr);
      assert.equal(planned.stdout.includes('kind: Ingress'), isThere, flags.join(' '));
    }
  });

  it('needs a file', async () => {
    const { code, stderr } = await operator('plan', '--offline');
    assert.equal(code, 1);
    assert.match(stderr, /required option '-f, --file <path>' not specified/);
  });
});

describe('narwhal-operator', () => {
  it('says that it knows no such command, and where to read which there are', async () => {
    const { code, stderr } = await operator('plann');
    assert.equal(code, 1);
    assert.match(stderr, /^error: unknown command 'plann'\n.*--help lists what there is/s);
  });

  it('explains its commands', async () => {
    const { code, stdout } = await operator('--help');
    assert.equal(code, 0);
    for (const word of ['run', 'plan']) assert.match(stdout, new RegExp(`^ {2}${word} `, 'm'));
  });

  it('tells its exit codes', async () => {
    for (const words of [['--help'], ['run', '--help'], ['plan', '--help']])
      assert.match((await operator(...words)).stdout, /^Exit codes: 0 .*, 1 /m, words.join(' '));
  });
});

const DAY = 86_400_000;

describe('the flags of narwhal-operator run', () => {
  it('have defaults that work', async () => {
    const { identity, ...options } = await parse();
    assert.equal(identity, os.hostname());
    assert.deepEqual(options, {
      image: 'narwhal:latest',
      apiUrl: undefined,
      namespace: 'default',
      watchNamespaces: [],
      gatewayNamespaces: [],
      gatewaySelector: 'app.kubernetes.io/name=narwhal,app.kubernetes.io/component=gateway',
      namesConfigMap: 'narwhal-names',
      routesConfigMap: 'narwhal-routes',
      mostNames: 1000,
      mostTokens: 10_000,
      releaseNamesMs: undefined,
      releaseTokensMs: 86_400_000,
      trustedProxies: [],
      cacheHosts: [],
      ingressAnnotations: [],
      lease: { name: 'narwhal-operator', leaseMs: 15_000, renewMs: 10_000, retryMs: 2000 },
      listen: { host: undefined, port: 9090 },
      workers: 4,
      resyncMs: 600_000,
      reconcileTimeoutMs: 300_000,
      pollMs: 3000,
      steadyMs: 60_000,
      numbersMs: 15_000,
      secretsMs: 300_000,
      tokensMs: 20_000,
      tokensPerSecond: 20,
      serverTimeoutMs: 3000,
      logLevel: 'info',
    });
  });

  for (const [flags, expected] of [
    [['--image', 'narwhal:2'], { image: 'narwhal:2' }],
    [['--api-url', 'https://cache.example.org'], { apiUrl: 'https://cache.example.org' }],
    [['--api-url', 'HTTP://Cache.example.org:80/'], { apiUrl: 'http://cache.example.org' }],
    [['--watch-namespaces', 'a,b,'], { watchNamespaces: ['a', 'b'] }],
    [['--gateway-namespaces', ''], { gatewayNamespaces: [] }],
    [['--trusted-proxies', '10.0.0.0/8,::1'], { trustedProxies: ['10.0.0.0/8', '::1'] }],
    [
      ['--cache-hosts', 'a=nix.example.org,*=*.{namespace}.org,b=*'],
      {
        cacheHosts: [
          { namespace: 'a', host: 'nix.example.org' },
          { namespace: '*', host: '*.{namespace}.org' },
          { namespace: 'b', host: '*' },
        ],
      },
    ],
    [['--ingress-annotations', 'a/b,c/*,d/e=*'], { ingressAnnotations: ['a/b', 'c/*', 'd/e=*'] }],
    [['--listen', '127.0.0.1:8080'], { listen: { host: '127.0.0.1', port: 8080 } }],
    [['--listen', '[::1]:8080'], { listen: { host: '::1', port: 8080 } }],
    [['--listen', ':0'], { listen: { host: undefined, port: 0 } }],
    [['--poll', '0.2'], { pollMs: 200 }],
    [['--workers', '16'], { workers: 16 }],
    [['--names-per-namespace', '2000', '--tokens-per-namespace', '1'], { mostNames: 2000, mostTokens: 1 }],
    [
      ['--release-names-after', '30', '--release-tokens-after', '0.5'],
      { releaseNamesMs: 30 * DAY, releaseTokensMs: DAY / 2 },
    ],
    [['--tokens-interval', '5', '--tokens-rate', '50'], { tokensMs: 5000, tokensPerSecond: 50 }],
    [
      ['--lease-duration', '3', '--renew-deadline', '2', '--lease-retry', '0.5', '--lease', 'l'],
      { lease: { name: 'l', leaseMs: 3000, renewMs: 2000, retryMs: 500 } },
    ],
  ] as const)
    it(`are read: ${flags.join(' ')}`, async () => {
      const options = await parse(...flags);
      for (const [name, value] of Object.entries(expected))
        assert.deepEqual(options[name as keyof OperatorOptions], value, name);
    });

  for (const [flags, message] of [
    [['--workers', '0'], /'0' is invalid. expected a whole number above 0/],
    [['--workers', '1.5'], /expected a whole number above 0/],
    [['--poll', '0'], /expected a number of seconds above 0, at most 86400/],
    [['--poll', '-1'], /expected a number of seconds above 0/],
    [['--poll', 'soon'], /expected a number of seconds above 0/],
    // A timer of so long a time would not wait at all.
    [['--resync', 'Infinity'], /at most 86400/],
    [['--resync', '1e9'], /at most 86400/],
    [['--names-per-namespace', '2001'], /expected a whole number from 1 to 2000/],
    [['--tokens-per-namespace', '0'], /expected a whole number from 1 to 10000/],
    [['--release-names-after', '0'], /expected a number of days above 0/],
    [['--release-tokens-after', 'never'], /expected a number of days above 0/],
    [['--api-url', 'cache.example.org'], /expected http:\/\/host or https:\/\/host, without a path/],
    [['--api-url', 'https://cache.example.org/nix'], /without a path/],
    [['--api-url', 'https://cache.example.org?a=b'], /without a path/],
    [['--api-url', 'https://:secret@cache.example.org'], /expected http:\/\/host/],
    [['--api-url', 'ftp://cache.example.org'], /expected http:\/\/host/],
    [['--api-url', 'http://192.0.2.1:8080'], /expected a host by its name: each cache has a name below it/],
    [['--api-url', 'http://[::1]'], /expected a host by its name/],
    [['--cache-hosts', 'nix.example.org'], /expected namespace=host, such as .*: nix\.example\.org/],
    [['--cache-hosts', 'a=https://nix.example.org'], /expected namespace=host/],
    [['--cache-hosts', 'a=x*.example.org'], /expected namespace=host/],
    [['--listen', '9090:'], /expected host:port or :port/],
    [['--listen', ':65536'], /expected host:port or :port/],
    [['--listen', '::1:9090'], /expected host:port or :port/],
    [['--log-level', 'loud'], /Allowed choices are fatal, error, warn, info, debug, trace, silent/],
    [['--renew-deadline', '15'], /--renew-deadline must be less than --lease-duration/],
    [['--nothing'], /unknown option '--nothing'/],
    [['word'], /too many arguments/],
  ] as const)
    it(`are refused with a text: ${flags.join(' ')}`, async () => {
      await assert.rejects(parse(...flags), (error: unknown) => {
        assert.ok(error instanceof CommanderError);
        assert.match(error.message, message);
        assert.equal(error.exitCode, 1);
        return true;
      });
    });

  it('have a variable each, which the flag overrides', async () => {
    const variables = { NARWHAL_IMAGE: 'narwhal:env', NARWHAL_WATCH_NAMESPACES: 'a,b', NARWHAL_POLL: '7' };
    Object.assign(process.env, variables);
    try {
      const { image, watchNamespaces, pollMs } = await parse('--poll', '8');
      assert.deepEqual([image, watchNamespaces, pollMs], ['narwhal:env', ['a', 'b'], 8000]);
    } finally {
      for (const name of Object.keys(variables)) delete process.env[name];
    }
    const { options } = runCommand(async () => 0);
    const variablesOf = options.map(({ envVar }) => envVar);
    assert.ok(variablesOf.every((name) => name?.startsWith('NARWHAL_')));
    assert.equal(new Set(variablesOf).size, options.length);
  });
});
