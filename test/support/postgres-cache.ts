/** Caches whose database is PostgreSQL: manifests with all their Secrets, and schemas opened without a server. */
import { randomBytes } from 'node:crypto';
import { pino } from 'pino';
import { generateToken } from '../../crds/index.ts';
import { openPostgres, type PostgresDatabase } from '../../server/metadata/index.ts';
import type { PostgresDatabaseInit } from '../../server/metadata/postgres/open.ts';
import { parseTarget } from '../../server/metadata/postgres/target.ts';
import { generateSecretKey } from '../../server/nix/index.ts';

type Fields = Readonly<Record<string, unknown>>;

export interface CacheOnPostgres {
  /** Of the database. */
  readonly url: string;
  readonly manifest: string;
  /** Texts of the tokens that the manifest's Secrets hold. */
  readonly tokens: Readonly<Record<string, string>>;
  /** Everything that no log may show. */
  readonly secrets: readonly string[];
}

export interface CacheOnPostgresInit {
  readonly url: string;
  readonly name?: string;
  /** Fields of `database.postgres` beside `secretRef`. */
  readonly postgres?: Fields;
  /** Fields of `spec` that replace those that are made here. */
  readonly spec?: Fields;
  readonly rootKey?: string;
  readonly signingKeys?: readonly string[];
  readonly ca?: string;
  readonly token?: string;
}

/** A cache `main` with the token `push` and a storage `disk`. */
export function cacheOnPostgres(init: CacheOnPostgresInit): CacheOnPostgres {
  const { url, name = 'main', rootKey = randomBytes(32).toString('base64'), token = generateToken() } = init;
  const keys = init.signingKeys ?? [generateSecretKey(`${name}.localhost-1`)];
  const spec = {
    storages: [{ name: 'disk', local: {} }],
    database: { postgres: { secretRef: { name: 'database' }, ...init.postgres } },
    rootSecretRef: { name: 'root' },
    signing: { secretRefs: keys.map((_, index) => ({ name: 'signing', key: `key-${index}` })) },
    tokens: [{ name: 'push', permissions: ['Write'], secretRef: { name: 'tokens', key: 'push' } }],
    ...init.spec,
  };
  const documents = [
    { apiVersion: 'narwhal.dev/v1alpha1', kind: 'BinaryCache', metadata: { name }, spec },
    secret('database', { uri: url }),
    secret('root', { 'root.key': rootKey }),
    secret('signing', Object.fromEntries(keys.map((key, index) => [`key-${index}`, key]))),
    secret('tokens', { push: token }),
    ...(init.ca === undefined ? [] : [secret('ca', { 'ca.crt': init.ca })]),
  ];
  return {
    url,
    manifest: documents.map((document) => JSON.stringify(document)).join('\n---\n'),
    tokens: { push: token },
    secrets: [new URL(url).password, rootKey, ...keys.map((key) => key.slice(key.indexOf(':') + 1)), token],
  };
}

function secret(name: string, stringData: Readonly<Record<string, string>>): object {
  return { apiVersion: 'v1', kind: 'Secret', metadata: { name }, stringData };
}

/** Opens a schema as a server would. */
export function openSchema(url: string, init: Partial<PostgresDatabaseInit> = {}): Promise<PostgresDatabase> {
  return openPostgres({
    target: parseTarget(url, undefined),
    schema: 'main',
    version: '0.1.0',
    logger: pino({ level: 'silent' }),
    waitMs: 5_000,
    ...init,
  });
}
