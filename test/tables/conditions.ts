/** What may be wrong with a cache, and what its conditions say then. */
import { StepError } from '../../operator/cache/act.ts';
import { ApiError, type Pod } from '../../operator/runtime/index.ts';
import type { Value } from '../support/manifests.ts';
import { cacheOf, podOf } from '../support/operator-fixtures.ts';
import {
  but,
  container,
  failed,
  fresh,
  hindered,
  holding,
  lacking,
  pod,
  rolling,
  SHARED,
  told,
  where,
} from '../support/operator-scenes.ts';
import { DONE, wellOf } from '../support/operator-world.ts';
import { EXPOSURE } from './conditions-exposure.ts';
import { GC_ROWS } from './conditions-gc.ts';
import { PIN_ROWS } from './conditions-pins.ts';
import { fine, type Row } from './conditions-row.ts';
import { STORAGE_ROWS } from './conditions-storages.ts';

const monitored: Value = { monitoring: { serviceMonitor: { enabled: true } } };

export const ROWS: readonly Row[] = [
  {
    title: 'nothing is wrong',
    scene: but(() => ({})),
    expected: {
      Ready: ['True', 'Ready', /everything that the manifest asks for/],
      Available: ['True', 'Ready', /at least one pod/],
      KeysReady: ['True', 'Ready', /every Secret/],
      StoragesReady: ['True', 'Ready', /every storage/],
      Exposed: ['True', 'Ready', /^pulls at https:\/\/main\.cache\.example\.org$/],
      Draining: undefined,
      ObjectsLost: undefined,
      ClosuresComplete: undefined,
      PinsPresent: undefined,
      CollectionHeld: undefined,
      WithinQuota: undefined,
      Monitored: undefined,
      Paused: undefined,
    },
  },
  {
    title: 'it is paused',
    scene: () => wellOf(cacheOf({}, { annotations: { 'narwhal.dev/paused': 'true' } })),
    expected: {
      Ready: ['Unknown', 'Paused', /does nothing/],
      Paused: ['True', 'Paused', /narwhal\.dev\/paused/],
      Available: fine,
    },
  },
  {
    title: 'its annotation says that it is not paused',
    scene: () => wellOf(cacheOf({}, { annotations: { 'narwhal.dev/paused': 'false' } })),
    expected: { Ready: fine, Paused: undefined },
  },
  {
    title: 'a field is not supported',
    scene: hindered({ reason: 'Unsupported', message: 'spec.quota is not supported by this version yet' }),
    expected: { Ready: ['False', 'Unsupported', /spec\.quota/] },
  },
  {
    title: 'the account may not be used',
    scene: hindered({ reason: 'ServiceAccountNotAllowed', message: 'ServiceAccount x does not exist' }),
    expected: { Ready: ['False', 'ServiceAccountNotAllowed', /ServiceAccount x/] },
  },
  {
    title: 'a Secret that was given is missing',
    scene: fresh(SHARED, ['pg', 'root']),
    expected: {
      Ready: ['False', 'SecretMissing', /^Secret key \(signing key\) is missing$/],
      KeysReady: ['False', 'SecretMissing', /Secret key/],
    },
  },
  {
    title: 'a Secret that was given lacks a key',
    scene: holding(
      'aws',
      { accessKeyId: 'x' },
      { storages: [{ name: 'b', s3: { bucket: 'nix', credentialsSecretRef: { name: 'aws' } } }] },
    ),
    expected: {
      KeysReady: ['False', 'SecretMissing', /^Secret aws \(credentials of a bucket\) has no key secretAccessKey$/],
    },
  },
  {
    title: 'redirects lead to a host of the cache',
    scene: but(() => ({}), {
      storages: [
        {
          name: 'own',
          s3: { bucket: 'nix', publicEndpoint: 'https://main.cache.example.org:9000', forcePathStyle: true },
        },
        { name: 'bucket', s3: { bucket: 'main', endpoint: 'https://cache.example.org' } },
        { name: 'proxied', s3: { bucket: 'main', endpoint: 'https://cache.example.org', reads: 'Proxy' } },
        { name: 'elsewhere', s3: { bucket: 'main', endpoint: 'https://s3.example.org' } },
        { name: 'aws', s3: { bucket: 'main' } },
      ],
    }),
    expected: {
      TokenFollowsRedirects: [
        'True',
        'SameHost',
        /^storage own: reads are redirected to main\.cache\.example\.org, .*; storage bucket: reads are redirected to main\.cache\.example\.org, which is a host of this cache: nix sends the cache's token there too[^;]*$/,
      ],
    },
  },
  {
    title: 'a Secret that was given holds no signing key',
    scene: holding('mine', { 'signing-key': 'x' }, { signing: { secretRefs: [{ name: 'mine' }] } }),
    expected: { Ready: ['False', 'SecretInvalid', /form of Nix/], KeysReady: ['False', 'SecretInvalid', /mine/] },
  },
  {
    title: 'a generated Secret was changed into something else',
    scene: holding('main-root-key', { 'root.key': 'short' }),
    expected: { KeysReady: ['False', 'SecretInvalid', /neither 32 bytes nor their base64/] },
  },
  {
    title: 'the keys of a new cache are being made',
    scene: fresh({}),
    expected: {
      Ready: ['False', 'Progressing', /^Secret main-root-key is being made$/],
      KeysReady: ['False', 'Progressing', /being made/],
    },
  },
  {
    title: 'a token is being made, of whatever age the cache is',
    scene: lacking('main-token-ci', { tokens: [{ name: 'ci', permissions: ['Write'] }] }),
    expected: { KeysReady: ['False', 'Progressing', /main-token-ci is being made/] },
  },
  {
    title: 'the signing key of a cache that has lived is gone',
    scene: lacking('main-signing-key'),
    expected: { Ready: ['False', 'SecretMissing', /not generated again.*restore it.*spec\.signing\.secretRefs/] },
  },
  {
    title: 'the root key of a cache that has lived is gone',
    scene: lacking('main-root-key'),
    expected: { KeysReady: ['False', 'SecretMissing', /not generated again.*spec\.rootSecretRef/] },
  },
  {
    title: 'a Secret that was given is missing, and others are being made',
    scene: fresh({ tokens: [{ name: 'ci', permissions: ['Write'], secretRef: { name: 'mine' } }] }),
    expected: { Ready: ['False', 'SecretMissing', /Secret mine \(token ci\)/] },
  },
  {
    title: 'somebody else has an object of a name that is needed',
    scene: failed(new StepError('NameConflict', 'Service main exists')),
    expected: { Ready: ['False', 'NameConflict', /Service main/] },
  },
  {
    title: 'the API server refuses an object',
    scene: failed(new ApiError(403, 'Forbidden', 'exceeded quota')),
    expected: { Ready: ['False', 'ApplyFailed', /exceeded quota/] },
  },
  {
    title: 'something else goes wrong',
    scene: failed('a word'),
    expected: { Ready: ['False', 'ApplyFailed', /a word/] },
  },
  {
    title: 'the CRD is older than the operator',
    scene: where({ lacking: ['storages[].objects', 'image'] }),
    expected: { Ready: ['False', 'CrdOutdated', /does not know status\.storages\[\]\.objects, status\.image$/] },
  },
  {
    title: 'somebody else undoes what is done',
    scene: where({ outcome: { ...DONE, contested: ['Service main has to be set right again and again'] } }),
    expected: { Ready: ['False', 'Contested', /^Service main has to be set right.*managed-fields/] },
  },
  {
    title: 'something must go first',
    scene: where({
      outcome: { ...DONE, steps: [{ do: 'wait', because: 'PersistentVolumeClaim x is still being deleted' }] },
    }),
    expected: { Ready: ['False', 'Progressing', /still being deleted/] },
  },
  {
    title: 'the servers refuse the manifest',
    scene: told({ error: 'cache.yaml:3: spec.acess: is not a known field' }),
    expected: { Ready: ['False', 'ConfigRejected', /^main-0: cache\.yaml:3/] },
  },
  {
    title: 'a server has lost its keys',
    scene: told({ keysLost: 'signing key main-1 is missing' }),
    expected: {
      Ready: ['False', 'SecretMissing', /^main-0: signing key main-1/],
      KeysReady: ['False', 'SecretMissing', /^main-0: signing key main-1/],
    },
  },
  {
    title: 'a server has no database',
    scene: told({ databaseError: 'the database does not answer' }),
    expected: { Ready: ['False', 'DatabaseUnavailable', /^main-0: the database does not/], StoragesReady: fine },
  },
  {
    title: 'it is scaled to nothing',
    scene: but(() => ({}), { replicas: 0 }),
    expected: {
      Ready: ['False', 'NoReplicas', /spec\.replicas is 0/],
      Available: ['False', 'NoReplicas', /spec\.replicas is 0/],
      StoragesReady: ['Unknown', 'Unknown', /no server/],
    },
  },
  {
    title: 'a server ends again and again',
    scene: pod(
      container(
        { waiting: { reason: 'CrashLoopBackOff', message: 'back-off 40s' } },
        { terminated: { exitCode: 1, reason: 'Error' } },
      ),
    ),
    expected: {
      Ready: [
        'False',
        'PodFailing',
        /^main-0: CrashLoopBackOff: back-off 40s \(it ended with exit code 1; kubectl logs/,
      ],
      Available: ['False', 'Progressing', /no pod is ready/],
    },
  },
  {
    title: 'a server runs for a moment between two ends',
    scene: pod(
      container(
        { running: { startedAt: '2030-02-03T04:05:00Z' } },
        { terminated: { exitCode: 1, reason: 'Error', finishedAt: '2030-02-03T04:04:40Z' } },
      ),
    ),
    expected: {
      Ready: ['False', 'PodFailing', /^main-0: it does not stay up: it ended with exit code 1; kubectl logs/],
    },
  },
  {
    title: 'a server that ended long ago is not ready for a moment',
    scene: pod(
      container(
        { running: { startedAt: '2030-02-03T03:55:00Z' } },
        { terminated: { exitCode: 1, reason: 'Error', finishedAt: '2030-02-03T03:54:00Z' } },
      ),
    ),
    expected: { Ready: ['Unknown', 'Progressing', /main-0 does not tell its state/] },
  },
  {
    title: 'an image cannot be pulled any more, for a server that once ended',
    scene: pod(
      container(
        { waiting: { reason: 'ImagePullBackOff', message: 'not found' } },
        { terminated: { exitCode: 137, reason: 'Error' } },
      ),
    ),
    expected: { Ready: ['False', 'PodFailing', /^main-0: ImagePullBackOff: not found$/] },
  },
  {
    title: 'an image cannot be pulled',
    scene: pod(container({ waiting: { reason: 'ImagePullBackOff', message: 'not found' } })),
    expected: { Ready: ['False', 'PodFailing', /^main-0: ImagePullBackOff: not found$/] },
  },
  {
    title: 'no node takes a pod',
    scene: pod({
      phase: 'Pending',
      conditions: [
        { type: 'PodScheduled', status: 'False', reason: 'Unschedulable', message: '0/3 nodes are available' },
      ],
    }),
    expected: { Ready: ['False', 'PodFailing', /^main-0: Unschedulable: 0\/3 nodes/] },
  },
  {
    title: 'a container is being made',
    scene: pod(container({ waiting: { reason: 'ContainerCreating' } })),
    expected: { Ready: ['Unknown', 'Progressing', /main-0 does not tell its state/] },
  },
  {
    title: 'a failing pod is on its way out',
    scene: but(({ cache, observed: { pods } }) => {
      const failing = podOf(cache, 1, {
        status: container({ waiting: { reason: 'CrashLoopBackOff' } }) as Pod['status'],
      });
      const gone = { ...failing, metadata: { ...failing.metadata, deletionTimestamp: '2030-01-02T00:00:00Z' } };
      return { pods: [...pods, gone] };
    }),
    expected: { Ready: fine },
  },
  {
    title: 'there is no StatefulSet yet',
    scene: but(() => ({ children: new Map() })),
    expected: { Ready: ['False', 'Progressing', /the pods are being made/] },
  },
  {
    title: 'the StatefulSet has not been looked at yet',
    scene: rolling({ observedGeneration: 0 }),
    expected: { Ready: ['False', 'Progressing', /the pods are being made/] },
  },
  {
    title: 'pods are being replaced',
    scene: rolling(
      { observedGeneration: 1, replicas: 3, readyReplicas: 3, updatedReplicas: 1 },
      { ...SHARED, replicas: 3 },
    ),
    expected: { Ready: ['False', 'Progressing', /^1 of 3 pods run the current template$/], Available: fine },
  },
  {
    title: 'there are too many pods',
    scene: rolling({ observedGeneration: 1, replicas: 4, readyReplicas: 4, updatedReplicas: 4 }),
    expected: { Ready: ['False', 'Progressing', /^3 pods too many/] },
  },
  {
    title: 'pods are not ready',
    scene: rolling(
      { observedGeneration: 1, replicas: 2, readyReplicas: 1, updatedReplicas: 2 },
      { ...SHARED, replicas: 2 },
    ),
    expected: { Ready: ['False', 'Progressing', /^1 of 2 pods are ready$/] },
  },
  {
    title: 'a server runs the manifest from before',
    scene: told({}, 'f'.repeat(64)),
    expected: { Ready: ['False', 'Progressing', /main-0 has not taken over the changed manifest/] },
  },
  {
    title: 'a server does not answer',
    scene: but(() => ({ reports: new Map() })),
    expected: {
      Ready: ['Unknown', 'Progressing', /main-0 does not tell its state/],
      StoragesReady: ['Unknown', 'Unknown', /no server has told/],
    },
  },
  {
    title: 'one of several servers does not answer',
    scene: but(({ observed: { reports } }) => ({ reports: new Map([...reports].slice(0, 1)) }), {
      ...SHARED,
      replicas: 2,
    }),
    expected: { Ready: ['Unknown', 'Progressing', /main-1 does not tell its state/], StoragesReady: fine },
  },
  ...STORAGE_ROWS,
  ...PIN_ROWS,
  ...GC_ROWS,
  ...EXPOSURE,
  {
    title: 'it is monitored',
    scene: () => wellOf(cacheOf(monitored)),
    expected: { Monitored: ['True', 'Ready', /ServiceMonitor is there/] },
  },
  {
    title: 'there is no Prometheus operator',
    scene: () => wellOf(cacheOf(monitored), { served: { httpRoute: true, serviceMonitor: false } }),
    expected: { Ready: fine, Monitored: ['False', 'NotServed', /Prometheus operator/] },
  },
];
