import type { ManifestError, Origin } from './origin.ts';
import { formatPath, select } from './path.ts';

/** Fields of the schema that this version of the server cannot act on yet. Building a feature removes its line. */
export const notBuilt: readonly { at: string; values?: readonly string[] }[] = [
  { at: 'spec.upstreams' },
  { at: 'spec.peers' },
];

/** Kinds that this version of the server cannot act on yet. */
export const kindsNotBuilt: readonly string[] = ['Workspace', 'Agent'];

/** Fields that mean something in a cluster only; a process checks and then ignores them. */
export const clusterOnly: readonly string[] = [
  'spec.storages[].local.size',
  'spec.storages[].local.storageClassName',
  'spec.storages[].local.accessMode',
  'spec.database.sqlite',
  'spec.replicas',
  'spec.autoscaling',
  'spec.ingress.className',
  'spec.ingress.annotations',
  'spec.podTemplate',
  'spec.monitoring',
  'spec.networkPolicy',
  'spec.image',
  'spec.reclaimPolicy',
];

/** Fields that mean something in a process only; a cluster ignores them. */
export const processOnly: readonly string[] = ['spec.storages[].local.path'];

interface Supported {
  kind: string;
  metadata: { name: string };
}

/** What a server of this version makes of documents: errors for what it cannot do, notes for what it ignores. */
export function checkSupport(documents: {
  readonly binaryCaches: readonly Supported[];
  readonly workspaces: readonly Supported[];
  readonly agents: readonly Supported[];
  readonly origins: ReadonlyMap<object, Origin>;
}): { errors: ManifestError[]; notes: string[] } {
  const errors: ManifestError[] = [];
  const notes: string[] = [];
  for (const document of [...documents.binaryCaches, ...documents.workspaces, ...documents.agents]) {
    const origin = documents.origins.get(document);
    if (!origin) continue;
    if (kindsNotBuilt.includes(document.kind)) {
      errors.push({
        file: origin.file,
        line: origin.line,
        path: 'kind',
        message: `${document.kind} is not supported yet`,
      });
      continue;
    }
    errors.push(...unsupportedFields(origin));
    const ignored = clusterOnly.flatMap((at) => select(origin.written, at)).map(({ path }) => formatPath(path));
    if (ignored.length > 0) {
      const what = `${document.kind} ${document.metadata.name}`;
      notes.push(`${origin.file}:${origin.line}: ${what}: only a cluster acts on ${ignored.join(', ')}`);
    }
  }
  return { errors, notes };
}

/** What this version cannot do of an object that the API server has accepted, one sentence each. */
export function unsupported(object: unknown): string[] {
  return notBuilt.flatMap(({ at, values }) =>
    select(object, at)
      .filter(({ value }) => !values || values.includes(String(value)))
      .map(({ path }) => `${formatPath(path)} is not supported by this version yet`),
  );
}

function unsupportedFields(origin: Origin): ManifestError[] {
  return notBuilt.flatMap(({ at, values }) =>
    select(origin.written, at)
      .filter(({ value }) => !values || values.includes(String(value)))
      .map(({ path, value }) => ({
        file: origin.file,
        line: origin.lineOf(path),
        path: formatPath(path),
        message: values ? `${String(value)} is not supported yet` : 'not supported yet',
      })),
  );
}
