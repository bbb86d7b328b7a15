/**
 * The StatefulSet: at most one pod of each number, which SQLite on a volume of its own needs. Nothing in the template
 * that a running server can reload by itself: whatever changes it restarts the pods.
 */
import type { Desired } from '../../runtime/index.ts';
import {
  ADMIN_PORT,
  API_URL,
  HTTP_PORT,
  labelsOf,
  namesOf,
  ownedMetadata,
  selectorOf,
  TRUSTED_PROXIES,
  volumeName,
} from '../names.ts';
import type { Cache } from '../types.ts';
import { accountName } from './account.ts';
import { serverAddresses } from './addresses.ts';
import { type Inputs, SHUTDOWN_GRACE } from './inputs.ts';
import { mountedSecrets } from './secret-needs.ts';
import { DATABASE_VOLUME, volumesOf } from './volumes.ts';

/** A user of the image that owns nothing else. */
const USER = 65532;
const CONFIG = '/etc/narwhal/config';
const SECRETS = '/etc/narwhal/secrets';
const DATA = '/data';
const STORAGES = '/storages';
/** For which a pod that goes still takes connections. */
const LEAVE_SECONDS = 3;

type Json = { readonly [field: string]: unknown };

export function workload(cache: Cache, inputs: Inputs): Desired[] {
  const { replicas, podTemplate } = cache.spec;
  const { labels, annotations } = podTemplate?.metadata ?? {};
  return [
    {
      apiVersion: 'apps/v1',
      kind: 'StatefulSet',
      metadata: ownedMetadata(cache, namesOf(cache).workload),
      spec: {
        replicas,
        serviceName: namesOf(cache).peers,
        // A pod that cannot start must not keep its mended successor from being tried.
        podManagementPolicy: 'Parallel',
        updateStrategy: { type: 'RollingUpdate' },
        revisionHistoryLimit: 5,
        selector: { matchLabels: selectorOf(cache) },
        template: {
          metadata: { labels: { ...labels, ...labelsOf(cache) }, ...(annotations && { annotations }) },
          spec: podSpec(cache, inputs),
        },
      },
    },
  ];
}

function podSpec(cache: Cache, inputs: Inputs): Json {
  const { resources: _, env: __, serviceAccountName: ___, ...additions } = cache.spec.podTemplate?.spec ?? {};
  const { volumes, mounts } = volumesAndMounts(cache, inputs);
  return {
    serviceAccountName: accountName(cache),
    automountServiceAccountToken: false,
    enableServiceLinks: false,
    terminationGracePeriodSeconds: SHUTDOWN_GRACE + 20,
    securityContext: {
      runAsNonRoot: true,
      runAsUser: USER,
      runAsGroup: USER,
      fsGroup: USER,
      // A volume of millions of files is not walked at each start.
      fsGroupChangePolicy: 'OnRootMismatch',
      seccompProfile: { type: 'RuntimeDefault' },
    },
    topologySpreadConstraints: [
      {
        maxSkew: 1,
        topologyKey: 'kubernetes.io/hostname',
        whenUnsatisfiable: 'ScheduleAnyway',
        labelSelector: { matchLabels: selectorOf(cache) },
      },
    ],
    ...additions,
    containers: [container(cache, inputs, mounts)],
    volumes,
  };
}

function container(cache: Cache, inputs: Inputs, volumeMounts: readonly Json[]): Json {
  const { image = inputs.image, podTemplate } = cache.spec;
  const probe = (path: string) => ({ httpGet: { path, port: 'admin' }, timeoutSeconds: 5 });
  return {
    name: 'server',
    image,
    command: ['narwhal-server'],
    args: ['serve'],
    env: environment(cache, inputs),
    ports: [
      { name: 'http', containerPort: HTTP_PORT, protocol: 'TCP' },
      { name: 'admin', containerPort: ADMIN_PORT, protocol: 'TCP' },
    ],
    resources: podTemplate?.spec?.resources ?? {
      requests: { cpu: '100m', memory: '256Mi' },
      limits: { memory: '1Gi' },
    },
    // Ten minutes: opening a large database after a crash, or waiting for PostgreSQL. Not at once: that would fail, and
    // be an event of a warning for a start like every other.
    startupProbe: { ...probe('/livez'), initialDelaySeconds: 1, periodSeconds: 1, failureThreshold: 600 },
    readinessProbe: { ...probe('/readyz'), periodSeconds: 5, failureThreshold: 2 },
    livenessProbe: { ...probe('/livez'), periodSeconds: 20, failureThreshold: 3 },
    // Nodes learn within a second or two that a pod goes. Who still connects to one that is gone gets no answer at all, and
    // waits for as long as it is willing to.
    lifecycle: { preStop: { sleep: { seconds: LEAVE_SECONDS } } },
    securityContext: {
      allowPrivilegeEscalation: false,
      readOnlyRootFilesystem: true,
      capabilities: { drop: ['ALL'] },
    },
    volumeMounts,
  };
}

/** The server's settings. What the manifest adds comes last and wins. */
function environment(cache: Cache, inputs: Inputs): Json[] {
  const { apiUrl, aliases } = serverAddresses(cache, inputs);
  const own: Record<string, string> = {
    NARWHAL_FILE: CONFIG,
    NARWHAL_SECRETS: SECRETS,
    NARWHAL_DATA: DATA,
    NARWHAL_STORAGES: STORAGES,
    NARWHAL_LISTEN: `:${HTTP_PORT}`,
    NARWHAL_ADMIN_LISTEN: `:${ADMIN_PORT}`,
    [API_URL]: apiUrl,
    NARWHAL_ALIAS: aliases.join(','),
    ...(inputs.trustedProxies.length > 0 && { [TRUSTED_PROXIES]: inputs.trustedProxies.join(',') }),
    NARWHAL_LOG_FORMAT: 'json',
    NARWHAL_SHUTDOWN_GRACE: String(SHUTDOWN_GRACE),
  };
  const more = cache.spec.podTemplate?.spec?.env ?? [];
  const isReplaced = (name: string) => more.some((it) => it.name === name);
  return [
    ...Object.entries(own)
      .filter(([name]) => !isReplaced(name))
      .map(([name, value]) => ({ name, value })),
    ...more,
  ];
}

function volumesAndMounts(cache: Cache, { stillMounted }: Inputs): { volumes: Json[]; mounts: Json[] } {
  const volumes: Json[] = [
    { name: 'config', configMap: { name: namesOf(cache).config } },
    { name: 'tmp', emptyDir: {} },
  ];
  const mounts: Json[] = [
    // A folder: a file mounted by subPath would never change.
    { name: 'config', mountPath: CONFIG, readOnly: true },
    { name: 'tmp', mountPath: '/tmp' },
  ];
  // By name, as volumes are: in which order the manifest has them is no reason to restart.
  const secrets = [...mountedSecrets(cache), ...stillMounted.secrets].sort(byName);
  for (const [index, { name, optional }] of secrets.entries()) {
    volumes.push({ name: `secret-${index}`, secret: { secretName: name, ...(optional && { optional }) } });
    mounts.push({ name: `secret-${index}`, mountPath: `${SECRETS}/${name}`, readOnly: true });
  }
  // With PostgreSQL nothing in the data folder needs to outlive the pod.
  if (cache.spec.database.postgres) {
    volumes.push({ name: 'data', emptyDir: {} });
    mounts.push({ name: 'data', mountPath: DATA });
  }
  const claims = [
    ...volumesOf(cache),
    ...stillMounted.storages.map((storage) => ({ name: volumeName(cache, storage), storage })),
  ];
  for (const { name, storage } of claims.sort(byName)) {
    const isDatabase = storage === DATABASE_VOLUME;
    const [volume, mountPath] = isDatabase ? ['data', DATA] : [`storage-${storage}`, `${STORAGES}/${storage}`];
    volumes.push({ name: volume, persistentVolumeClaim: { claimName: name } });
    mounts.push({ name: volume, mountPath });
  }
  return { volumes, mounts };
}

const byName = (a: { readonly name: string }, b: { readonly name: string }): number => (a.name < b.name ? -1 : 1);
