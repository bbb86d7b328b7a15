import assert from 'node:assert/strict';
import { leaving, tokenSecretsText } from '../../../../../operator/cache/desired/token-secrets.ts';
import type { Cache } from '../../../../../operator/cache/types.ts';
import type { Secret } from '../../../../../operator/runtime/index.ts';
import { cacheOf } from '../../../../support/operator-fixtures.ts';
import { inShort, settledFor, type World } from '../../../../support/operator-world.ts';

const ANNOTATION = 'narwhal.dev/token-secrets';
const listing = (...names: string[]): Cache =>
  cacheOf({ tokens: names.map((name) => ({ name, permissions: ['Write'] })) });
const NONE = cacheOf();

const tokenIn = (world: World, name: string) => world.secrets.get(`main-token-${name}`)?.data?.token;
const recordIn = (world: World) => world.get('ConfigMap/main-config').metadata.annotations?.[ANNOTATION];
/** Somebody changes the Secret of a token. */
function edit(world: World, name: string, change: (secret: Secret) => Secret): void {
  const secret = world.secrets.get(`main-token-${name}`);
  assert.ok(secret);
  world.secrets.set(secret.metadata.name, change(secret));
}

describe('the Secret of a token', () => {
  it('goes with its token, after the servers are told, and is another one when that is listed again', () => {
    const world = settledFor(listing('ci', 'push'));
    const old = tokenIn(world, 'push');
    const steps = inShort(world.settle(listing('ci')));
    assert.deepEqual(steps, [
      'apply ConfigMap/main-config',
      'delete Secret/main-token-push',
      'apply ConfigMap/main-config',
    ]);
    assert.equal(tokenIn(world, 'push'), undefined);
    assert.equal(recordIn(world), 'ci');
    world.settle(listing('ci', 'push'));
    assert.ok(tokenIn(world, 'push'));
    assert.notEqual(tokenIn(world, 'push'), old);
  });

  it('goes though the operator ended between the two, and though its token is listed again by then', () => {
    const world = settledFor(listing('push'));
    const old = tokenIn(world, 'push');
    const [step] = world.plan(NONE);
    assert.ok(step?.do === 'apply');
    const annotations = step.object.metadata.annotations ?? {};
    world.edit('ConfigMap/main-config', (it) => ({ ...it, metadata: { ...it.metadata, annotations } }));
    assert.match(recordIn(world) ?? '', /^push=uid-of-Secret-main-token-push-\d+$/);
    const steps = inShort(world.settle(listing('push')));
    assert.ok(steps.indexOf('delete Secret/main-token-push') < steps.indexOf('generate Secret/main-token-push'));
    assert.notEqual(tokenIn(world, 'push'), old);
    assert.equal(recordIn(world), 'push');
  });

  it('opens nothing from the moment on that its token is taken out', () => {
    const world = settledFor(listing('push'));
    const { tokenHashes } = world.observe(listing('push')).secrets;
    world.plan(NONE);
    const record = `push=${world.secrets.get('main-token-push')?.metadata.uid}`;
    world.edit('ConfigMap/main-config', (it) => ({
      ...it,
      metadata: { ...it.metadata, annotations: { [ANNOTATION]: record } },
    }));
    assert.equal(tokenHashes.size, 1);
    assert.equal(world.observe(listing('push')).secrets.tokenHashes.size, 0);
  });

  for (const [whose, change] of [
    ['has no label of ours', ({ metadata, ...it }: Secret) => ({ ...it, metadata: { ...metadata, labels: {} } })],
    [
      'is of another cache',
      ({ metadata, ...it }: Secret) => ({
        ...it,
        metadata: { ...metadata, labels: { ...metadata.labels, 'narwhal.dev/cache': 'other' } },
      }),
    ],
    ['has no owner', ({ metadata, ...it }: Secret) => ({ ...it, metadata: { ...metadata, ownerReferences: [] } })],
  ] as const)
    it(`stays where it ${whose}`, () => {
      const world = settledFor(listing('push'));
      edit(world, 'push', change);
      assert.deepEqual(inShort(world.settle(NONE)), ['apply ConfigMap/main-config']);
      assert.ok(tokenIn(world, 'push'));
    });

  it('stays where the manifest named it: that is somebody else’s', () => {
    const secretRef = { name: 'main-token-other', key: 'token' };
    const given = cacheOf({ tokens: [{ name: 'other', permissions: ['Read'], secretRef }] });
    const world = settledFor(given);
    world.settle(NONE);
    assert.ok(world.secrets.has('main-token-other'));
  });

  it('stays while the manifest names it for another token, and goes after that', () => {
    const secretRef = { name: 'main-token-push', key: 'token' };
    const renamed = cacheOf({ tokens: [{ name: 'ci', permissions: ['Write'], secretRef }] });
    const world = settledFor(listing('push'));
    const old = tokenIn(world, 'push');
    world.settle(renamed);
    assert.equal(tokenIn(world, 'push'), old);
    // Also where the record was written by a version, or by somebody, who took it for left over.
    const { uid } = world.secrets.get('main-token-push')?.metadata ?? {};
    world.edit('ConfigMap/main-config', (it) => ({
      ...it,
      metadata: { ...it.metadata, annotations: { ...it.metadata.annotations, [ANNOTATION]: `ci,push=${uid}` } },
    }));
    world.settle(renamed);
    assert.equal(tokenIn(world, 'push'), old);
    world.settle(NONE);
    assert.equal(tokenIn(world, 'push'), undefined);
  });

  it('goes too where the token was given in another way in between', () => {
    const world = settledFor(listing('push'));
    world.settle(cacheOf({ tokens: [{ name: 'push', permissions: ['Write'], sha256: 'a'.repeat(64) }] }));
    assert.ok(tokenIn(world, 'push'));
    world.settle(NONE);
    assert.equal(tokenIn(world, 'push'), undefined);
  });

  it('goes too where an older version listed it, which kept no record', () => {
    const world = settledFor(listing('push'));
    world.edit('ConfigMap/main-config', (it) => ({ ...it, metadata: { ...it.metadata, annotations: {} } }));
    world.settle(NONE);
    assert.equal(tokenIn(world, 'push'), undefined);
  });

  it('that is missing is revoked before another is made, which may fail', () => {
    const world = settledFor(listing('push'));
    world.secrets.delete('main-token-push');
    assert.deepEqual(inShort(world.plan(listing('push'))), [
      'apply ConfigMap/main-config',
      'generate Secret/main-token-push',
    ]);
  });
});

describe('the record of listed tokens', () => {
  const recorded = (text: string) => ({ ...settledFor(NONE).get('ConfigMap/main-config'), data: {}, text });
  const leavingIn = (text: string, cache = NONE) => {
    const { text: record, ...config } = recorded(text);
    return Object.fromEntries(
      leaving(cache, { ...config, metadata: { ...config.metadata, annotations: { [ANNOTATION]: record } } }),
    );
  };

  it('may be edited by anybody there: what it cannot hold is passed over, and it ends somewhere', () => {
    assert.deepEqual(leavingIn('a,b=uid-1,,No,../x,c=,d=u=v'), { a: undefined, b: 'uid-1' });
    const many = Array.from({ length: 1000 }, (_, index) => `t${index}`).join(',');
    assert.equal(Object.keys(leavingIn(many)).length, 256);
  });

  it('names each token once', () => {
    assert.equal(tokenSecretsText(listing('b', 'a'), []), 'a,b');
    assert.deepEqual(leavingIn('a,b', listing('a')), { b: undefined });
  });
});
