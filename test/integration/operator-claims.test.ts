// Whom the gateway leads a token to, and what one namespace may take of its table: against tenants who try.
import assert from 'node:assert/strict';
import { kinds } from '../../operator/runtime/index.ts';
import { CacheNamespace } from '../support/cache-namespace.ts';
import { installCrds } from '../support/crds.ts';
import type { Kubernetes } from '../support/kubernetes.ts';
import { describeWith } from '../support/needs.ts';
import type { Operator } from '../support/operator.ts';
import { until } from '../support/server.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';

/** A token by the hash that begins so. */
const token = (digit: string, name = 'ci') => ({ name, permissions: ['Read'], sha256: digit.repeat(64) });
const digits = (digit: string) => digit.repeat(16);

describeWith('kubernetes', 'the token of a tenant', () => {
  let kubernetes: Kubernetes;
  /** Where the operator is. */
  let home: CacheNamespace;
  let victim: CacheNamespace;
  /** Its name comes first, and so does that of its cache. */
  let attacker: CacheNamespace;
  let operator: Operator;

  before(async () => {
    kubernetes = await sharedKubernetes();
    await installCrds(kubernetes);
    home = await CacheNamespace.make(kubernetes, 'claims-home');
    attacker = await CacheNamespace.make(kubernetes, 'claims-a');
    victim = await CacheNamespace.make(kubernetes, 'claims-v');
    const names = `${home.name},${attacker.name},${victim.name}`;
    operator = await home.operator({
      args: ['--watch-namespaces', names, '--api-url', 'https://cache.example.org'],
      env: { NARWHAL_NAMES_PER_NAMESPACE: '4', NARWHAL_TOKENS_PER_NAMESPACE: '5' },
    });
  });
  after(() => home?.remove());

  /** Digits by which the gateway leads to a cache. */
  const routed = async (of: CacheNamespace, cache: string): Promise<string[]> => {
    const text = (await home.find(kinds.ConfigMap, `narwhal-routes.${of.name}`))?.data?.['routes.json'];
    return JSON.parse(text ?? '{"caches":{}}').caches[cache]?.tokens ?? [];
  };
  const untilRouted = (of: CacheNamespace, cache: string, ...wanted: string[]) =>
    until(`${cache} is led to by ${wanted.join()}`, async () => (await routed(of, cache)).join() === wanted.join());
  const claims = async (of: CacheNamespace) =>
    (await home.find(kinds.ConfigMap, `narwhal-names.${of.name}`))?.data?.['tokens.txt'] ?? '';

  it('stays with whoever listed it first, whatever an older cache lists later', async () => {
    await attacker.cache('aardvark', { tokens: [token('a')] });
    await untilRouted(attacker, 'aardvark', digits('a'));
    await victim.cache('zebra', { tokens: [token('c')] });
    await untilRouted(victim, 'zebra', digits('c'));
    await attacker.cache('aardvark', { tokens: [token('a'), token('c', 'stolen')] });
    const { message } = await attacker.until('aardvark', 'TokensRouted', 'False', 'TokenTaken');
    assert.match(message, /not led here by the token stolen, since another namespace had a token first/);
    assert.ok(!message.includes(victim.name) && !message.includes('zebra'), message);
    assert.deepEqual(await routed(attacker, 'aardvark'), [digits('a')]);
    assert.deepEqual(await routed(victim, 'zebra'), [digits('c')]);
    // At its own hosts it takes the token: teams may share one.
    const config = (await attacker.get(kinds.ConfigMap, 'aardvark-config')).data?.['cache.yaml'] ?? '';
    assert.ok(config.includes('c'.repeat(64)));
    assert.equal(await victim.condition('zebra', 'TokensRouted'), undefined);
  });

  it('stays there when the operator is started again, and while nobody lists it for a moment', async () => {
    await operator.restart();
    await victim.cache('zebra', { tokens: [] });
    await until('it is unused', async () => / unused /.test(await claims(victim)));
    await attacker.annotate('aardvark', { 'narwhal.dev/reconcile': 'now' });
    assert.deepEqual(await routed(attacker, 'aardvark'), [digits('a')]);
    await victim.cache('zebra', { tokens: [token('c')] });
    await untilRouted(victim, 'zebra', digits('c'));
    await until('it is used', async () => !/ unused /.test(await claims(victim)));
    assert.equal((await attacker.condition('aardvark', 'TokensRouted'))?.reason, 'TokenTaken');
  });

  it('is for others some time after nobody lists it any more', async () => {
    await victim.cache('zebra', { tokens: [token('d')] });
    await untilRouted(victim, 'zebra', digits('d'));
    await operator.restart({ args: ['--release-tokens-after', '0.00002'] });
    await untilRouted(attacker, 'aardvark', digits('a'), digits('c'));
    assert.equal(await attacker.condition('aardvark', 'TokensRouted'), undefined);
    await operator.restart();
  });

  it('is not led to two who list it in the same moment, until one of them lets go', async () => {
    await operator.stop();
    await attacker.cache('aardvark', { tokens: [token('a'), token('e', 'both')] });
    await victim.cache('zebra', { tokens: [token('d'), token('e', 'both')] });
    // Both are written down by the servers' manifests before the claims are looked at.
    for (const [of, cache] of [
      [attacker, 'aardvark'],
      [victim, 'zebra'],
    ] as const) {
      const text = [digits(cache === 'zebra' ? 'd' : 'a'), digits('e')].join(',');
      const annotations = { 'narwhal.dev/token-prefixes': text };
      await of.patch(kinds.ConfigMap, `${cache}-config`, { metadata: { annotations } });
    }
    await operator.restart();
    for (const [of, cache] of [
      [attacker, 'aardvark'],
      [victim, 'zebra'],
    ] as const) {
      const { message } = await of.until(cache, 'TokensRouted', 'False', 'TokenTaken');
      assert.match(message, /by the token both, since .* at the same moment/);
    }
    await attacker.cache('aardvark', { tokens: [token('a')] });
    await untilRouted(victim, 'zebra', digits('d'), digits('e'));
  });

  it('is routed as ever while a neighbour has too many, or writes nonsense into its ConfigMap', async () => {
    const many = ['1', '2', '3', '4', '5', '6'].map((digit) => token(digit, `t${digit}`));
    await attacker.cache('aardvark', { tokens: [token('a'), ...many] });
    const { message } = await attacker.until('aardvark', 'TokensRouted', 'False', 'TooManyTokens');
    assert.match(message, /as many tokens of this namespace as it may/);
    assert.equal((await routed(attacker, 'aardvark')).length, 5);
    await operator.stop();
    const annotations = { 'narwhal.dev/token-prefixes': `nonsense,",${'f'.repeat(17)},${digits('c')}` };
    await attacker.patch(kinds.ConfigMap, 'aardvark-config', { metadata: { annotations } });
    await operator.restart();
    await victim.cache('zebra', { tokens: [token('d'), token('e', 'both'), token('7', 'new')] });
    await untilRouted(victim, 'zebra', digits('7'), digits('d'), digits('e'));
  });

  it('is routed as ever while the ConfigMap of a neighbour cannot be written', async () => {
    const name = `narwhal-routes.${attacker.name}`;
    await home.delete(kinds.ConfigMap, name).catch(() => {});
    const { status } = await kubernetes.request(home.path(kinds.ConfigMap, name));
    assert.ok([200, 404].includes(status));
    // One that nobody can change any more.
    await until('it is immutable', async () => {
      const { metadata } = (await home.find(kinds.ConfigMap, name)) ?? {};
      if (!metadata) return false;
      await home.patch(kinds.ConfigMap, name, { immutable: true });
      return true;
    });
    await attacker.cache('more', {});
    await until('it is said', async () =>
      (await operator.lines()).some(({ configMap, level }) => configMap === name && level === 50),
    );
    await victim.cache('later', { tokens: [token('8', 'new')] });
    await untilRouted(victim, 'later', digits('8'));
    await home.delete(kinds.ConfigMap, name);
    await until('it is made anew', async () => (await home.find(kinds.ConfigMap, name))?.data !== undefined);
  });

  it('is routed as ever while a neighbour has more names than it may, which keeps those that it has', async () => {
    for (const name of ['one', 'two']) await attacker.cache(name);
    for (const name of ['one', 'two']) await attacker.untilNamed(name);
    await attacker.cache('three');
    const { message } = await attacker.until('three', 'Exposed', 'False', 'TooManyNames');
    assert.match(message, /as many public names as it may/);
    await victim.cache('three');
    await victim.untilNamed('three');
    await attacker.until('three', 'Exposed', 'False', 'NameTaken');
    assert.equal((await attacker.condition('one', 'Exposed'))?.reason, 'GatewayPending');
  });
});
