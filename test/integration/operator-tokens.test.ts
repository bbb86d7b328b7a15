// Tokens that end: their Secret is deleted or changed, or they are taken out of the manifest. The operator may not watch
// Secrets, and nothing but its rounds tells it: all other looks are hours away here.
import assert from 'node:assert/strict';
import { generateToken, hashToken } from '../../crds/index.ts';
import { kinds } from '../../operator/runtime/index.ts';
import { BINARY_CACHE, type CacheCondition } from '../support/cache-conditions.ts';
import { CacheNamespace } from '../support/cache-namespace.ts';
import { installCrds } from '../support/crds.ts';
import { describeWith } from '../support/needs.ts';
import type { Operator } from '../support/operator.ts';
import { until } from '../support/server.ts';
import { sharedKubernetes } from '../support/shared-kubernetes.ts';

const PUSH = { name: 'push', permissions: ['Write'] };
const GIVEN = { name: 'given', permissions: ['Read'], secretRef: { name: 'given', key: 'token' } };
const QUIET = [
  ...['--poll', '3600', '--status-interval', '3600', '--secrets-interval', '3600', '--numbers-interval', '3600'],
];

describeWith('kubernetes', 'a token that ends', () => {
  let namespace: CacheNamespace;
  let operator: Operator;

  before(async () => {
    const kubernetes = await sharedKubernetes();
    await installCrds(kubernetes);
    namespace = await CacheNamespace.make(kubernetes, 'tokens');
    operator = await namespace.operator({ args: [...QUIET, '--tokens-interval', '0.5'] });
  });
  after(() => namespace?.remove());

  /** What the servers are told. */
  const config = async (cache: string) =>
    (await namespace.get(kinds.ConfigMap, `${cache}-config`)).data?.['cache.yaml'] ?? '';
  const untilTold = (cache: string, hash: string, isThere: boolean) =>
    until(
      `the servers are told ${isThere ? 'of' : 'no more of'} it`,
      async () => (await config(cache)).includes(hash) === isThere,
    );
  const secretOf = (cache: string, token = 'push') => namespace.find(kinds.Secret, `${cache}-token-${token}`);
  const hashIn = (secret: Awaited<ReturnType<typeof secretOf>>) =>
    secret && hashToken(Buffer.from(secret.data?.token ?? '', 'base64').toString());
  /** Of the Secret that is there, once there is one; another one than `old`. */
  const hashOf = async (cache: string, old?: string, token = 'push'): Promise<string> => {
    let hash: string | undefined;
    await until(`there is ${old === undefined ? 'a' : 'another'} Secret`, async () => {
      hash = hashIn(await secretOf(cache, token));
      return hash !== undefined && hash !== old;
    });
    return hash ?? '';
  };
  const made = async (name: string, tokens: readonly object[]) => {
    await namespace.cache(name, { tokens });
    await namespace.settled(name);
  };
  const statusOf = async (cache: string) => (await namespace.get(BINARY_CACHE, cache)).status ?? {};

  it('is noticed by the round where its Secret was deleted, and another one is made', async () => {
    await made('deleted', [PUSH]);
    const old = await hashOf('deleted');
    await untilTold('deleted', old, true);
    await namespace.delete(kinds.Secret, 'deleted-token-push');
    await untilTold('deleted', old, false);
    await untilTold('deleted', await hashOf('deleted', old), true);
  });

  it('is noticed where the Secret that the manifest names is deleted, changed, and there again', async () => {
    const [first, second] = [generateToken(), generateToken()];
    await namespace.secret('given', { token: first });
    await made('given', [GIVEN]);
    await untilTold('given', hashToken(first), true);
    await namespace.secret('given', { token: second });
    await untilTold('given', hashToken(second), true);
    await untilTold('given', hashToken(first), false);
    await namespace.delete(kinds.Secret, 'given');
    await untilTold('given', hashToken(second), false);
    await namespace.until('given', 'KeysReady', 'False', 'SecretMissing');
    await namespace.secret('given', { token: second });
    await untilTold('given', hashToken(second), true);
  });

  it('is asked for at a bounded rate, however many there are', async () => {
    const tokens = Array.from({ length: 100 }, (_, index) => ({ name: `t${index}`, permissions: ['Read'] }));
    await made('many', tokens);
    await operator.restart({ args: ['--tokens-rate', '50'] });
    const secrets = () => operator.metric('narwhal_operator_token_secrets');
    await until('a round has begun', async () => (await secrets()) >= 100);
    const round = await operator.metric('narwhal_operator_token_round_seconds');
    assert.equal(round, (await secrets()) / 50);
    // Noticed by a round that is as long as the rate makes it.
    const old = await hashOf('many', undefined, 't77');
    await namespace.delete(kinds.Secret, 'many-token-t77');
    await untilTold('many', old, false);
    await operator.restart();
    await namespace.delete(BINARY_CACHE, 'many');
  });

  it('is gone at once where the annotation asks for it, and the status says so', async () => {
    await made('asked', [PUSH]);
    // Nothing else would tell.
    await operator.restart({ args: ['--tokens-interval', '3600'] });
    const old = await hashOf('asked');
    await operator.untilReconciled(1).catch(() => {});
    await namespace.delete(kinds.Secret, 'asked-token-push');
    await namespace.annotate('asked', { 'narwhal.dev/reconcile': 'revoke-1' });
    await until('it is said', async () => (await statusOf('asked')).lastReconcile === 'revoke-1');
    const text = await config('asked');
    assert.ok(!text.includes(old));
    assert.ok(text.includes(await hashOf('asked')));
    assert.equal((await statusOf('asked')).configHash, hashToken(text));
    const current = ((await statusOf('asked')).conditions as CacheCondition[]).find(
      ({ type }) => type === 'ConfigCurrent',
    );
    // There are no pods here, so that none runs another.
    assert.equal(current?.status, 'True');
    await operator.restart();
  });

  it('is revoked though no other can be made in its place', async () => {
    await made('full', [PUSH]);
    const old = await hashOf('full');
    await namespace.kubernetes.expect(`/api/v1/namespaces/${namespace.name}/resourcequotas`, {
      method: 'POST',
      body: { metadata: { name: 'no-secrets' }, spec: { hard: { secrets: '0' } }, status: { hard: { secrets: '0' } } },
    });
    try {
      const quota = `/api/v1/namespaces/${namespace.name}/resourcequotas/no-secrets/status`;
      const status = { hard: { secrets: '0' }, used: { secrets: '0' } };
      await namespace.kubernetes.expect(quota, {
        method: 'PATCH',
        type: 'application/merge-patch+json',
        body: { status },
      });
      await namespace.delete(kinds.Secret, 'full-token-push');
      await untilTold('full', old, false);
      const { message } = await namespace.until('full', 'Ready', 'False', 'ApplyFailed');
      assert.match(message, /exceeded quota/);
    } finally {
      await namespace.kubernetes.request(`/api/v1/namespaces/${namespace.name}/resourcequotas/no-secrets`, {
        method: 'DELETE',
      });
    }
    await namespace.annotate('full', { 'narwhal.dev/reconcile': 'again' });
    await until('there is another', async () => (await secretOf('full')) !== undefined);
  });

  it('is another one when it is listed again', async () => {
    const hashed = { name: 'hashed', permissions: ['Read'], sha256: 'ab'.repeat(32) };
    await made('listed', [PUSH, hashed]);
    const old = await hashOf('listed');
    await made('listed', [hashed]);
    await until('its Secret is gone', async () => (await secretOf('listed')) === undefined);
    await untilTold('listed', old, false);
    await made('listed', [PUSH, hashed]);
    await untilTold('listed', await hashOf('listed', old), true);
  });

  it('is another one when it is listed again, though the operator ended when it was taken out', async () => {
    await made('away', [PUSH]);
    const old = await hashOf('away');
    await operator.restart({ env: { NARWHAL_OPERATOR_CRASH_AFTER: '1' } });
    // It tells the servers, and ends before it removes anything.
    await namespace.cache('away', { tokens: [] });
    await operator.process.ended;
    assert.ok(!(await config('away')).includes(old));
    assert.equal(await hashOf('away'), old);
    await namespace.cache('away', { tokens: [PUSH] });
    // It would wait for a while until the lease of one that was killed has ended.
    await operator.restart({ args: ['--lease', 'another'] });
    await untilTold('away', await hashOf('away', old), true);
    assert.ok(!(await config('away')).includes(old));
  });

  it('leaves alone what the operator has not made for this cache', async () => {
    await namespace.secret('foreign-token-push', { token: generateToken() });
    await namespace.secret('given', { token: generateToken() });
    await made('foreign', [PUSH, GIVEN]);
    await made('foreign', []);
    await operator.untilReconciled(0);
    const record = (await namespace.get(kinds.ConfigMap, 'foreign-config')).metadata.annotations;
    assert.equal(record?.['narwhal.dev/token-secrets'], '');
    assert.ok(await secretOf('foreign'));
    assert.ok(await namespace.find(kinds.Secret, 'given'));
  });
});
