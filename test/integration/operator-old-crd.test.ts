// An operator that was brought up to date before its CRDs were.
import assert from 'node:assert/strict';
import { toCrd } from '../../crds/crd.ts';
import { apiVersion, kinds, schemaHash } from '../../crds/index.ts';
import { BINARY_CACHE } from '../support/cache-conditions.ts';
import { CacheNamespace } from '../support/cache-namespace.ts';
import { installCrds, untilServed } from '../support/crds.ts';
import { Kubernetes } from '../support/kubernetes.ts';
import { describeWith } from '../support/needs.ts';
import { until } from '../support/server.ts';

interface Properties {
  [name: string]: { properties: Properties };
}

/** The CRD of BinaryCaches as a version had it that reported neither the image nor the URL. */
function olderCrd(): object {
  const kind = kinds.find((it) => it.kind === 'BinaryCache');
  assert.ok(kind);
  const crd = JSON.parse(JSON.stringify(toCrd(kind)));
  const { status } = crd.spec.versions[0].schema.openAPIV3Schema.properties as Properties;
  delete status?.properties.image;
  delete status?.properties.url;
  crd.metadata.annotations[schemaHash.annotation] = 'older';
  return crd;
}

describeWith('kubernetes', 'an operator that is newer than its CRDs', () => {
  let kubernetes: Kubernetes;
  let namespace: CacheNamespace;

  before(async () => {
    kubernetes = await Kubernetes.start();
    await kubernetes.kubectl(['apply', '-f', '-'], { input: JSON.stringify(olderCrd()) });
    await untilServed(kubernetes, apiVersion, 'binarycaches');
    namespace = await CacheNamespace.make(kubernetes, 'older');
  });
  after(async () => {
    await namespace?.remove();
    await kubernetes?.remove();
  });

  it('says so, reports what the CRD knows, and heals when the CRD is brought up to date', async () => {
    const operator = await namespace.operator({ args: ['--status-interval', '0.5'] });
    await until('it says so', async () =>
      (await operator.lines()).some(({ level, msg }) => level === 50 && /apply the CRDs of this version/.test(msg)),
    );
    await namespace.cache('main');
    await namespace.until('main', 'Ready', 'False', 'CrdOutdated');
    await until('both fields are named', async () =>
      /does not know status\.image, status\.url$/.test((await namespace.condition('main', 'Ready'))?.message ?? ''),
    );
    const { status } = await namespace.get(BINARY_CACHE, 'main');
    assert.match(String(status?.publicKeys), new RegExp(`^main\\.${namespace.name}-1:`));
    assert.ok((await namespace.objects('main')).has('StatefulSet/main'));

    // An attempt for each field when it looks again, and nothing is written.
    const refused = () => operator.metric('narwhal_operator_api_request_seconds_count', { code: '500' });
    const [before, then] = [await namespace.versions('main'), await refused()];
    await operator.untilReconciled(3);
    assert.ok((await refused()) - then <= 8);
    assert.deepEqual(await namespace.versions('main'), before);
    const complaints = (await operator.lines()).filter(({ msg }) => msg.startsWith('the installed CRD is too old'));
    assert.deepEqual(complaints.map(({ field }) => field).sort(), ['status.image', 'status.url']);

    await installCrds(kubernetes);
    await namespace.settled('main');
    const whole = await namespace.get(BINARY_CACHE, 'main');
    assert.equal(whole.status?.image, 'narwhal:test');
    assert.equal(whole.status?.url, `http://main.${namespace.name}.svc`);
  });
});
