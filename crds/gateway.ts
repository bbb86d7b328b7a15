/** The contract between the operator, which writes the gateway's routing table, and the gateway, which says what it runs. */
import { createHash } from 'node:crypto';
import { dnsLabel } from './fields.ts';
import { formatPath, isMapping } from './path.ts';
import type { Of, Schema } from './schema.ts';
import { validate } from './validate.ts';

/** Key of the ConfigMap, or name of the file, that holds the table. */
export const routesKey = 'routes.json';

/**
 * Key of the ConfigMap that holds what all caches share, where those of each namespace lie in a ConfigMap of their own:
 * a shard. A table that lies in one ConfigMap ends at a megabyte, and with it everybody's changes.
 */
export const headKey = 'table.json';

/** Label of a shard: the name of the ConfigMap that all of them belong to. */
export const shardLabel = 'narwhal.dev/shard-of';

/** Name of the ConfigMap with what belongs to one namespace. No other name of ours has a dot. */
export const shardName = (whole: string, namespace: string): string => `${whole}.${namespace}`;

/** Requests without a cache in their address go by so many hex digits of the SHA-256 of their token. */
export const tokenDigits = 16;

const cacheRoute = {
  type: 'object',
  required: ['url'],
  'x-kubernetes-preserve-unknown-fields': true,
  properties: {
    /** Where the servers of the cache are reached: `http://host:port`. */
    url: {
      type: 'string',
      maxLength: 512,
      pattern: '^http://([^\\s/?#@:]+|\\[[0-9a-fA-F:.]+\\])(:[0-9]{1,5})?/?$',
      allowed: 'a URL of the form http://host:port',
    },
    /** The beginning of the SHA-256 of every token of the cache. For routing only: servers authenticate. */
    tokens: {
      type: 'array',
      default: [],
      items: { type: 'string', pattern: '^[0-9a-f]{16}$', allowed: '16 hex digits in lower case' },
    },
  },
} as const satisfies Schema;

const shared = {
  /** As `--api-url` of the servers. */
  apiUrl: { type: 'string', minLength: 1, maxLength: 512 },
  /** As `--alias` of the servers: further API hosts, and with `cache=host` hosts of one cache. */
  aliases: { type: 'array', default: [], items: { type: 'string', minLength: 1, maxLength: 512 } },
} as const satisfies Record<string, Schema>;

/** By the name of the cache. */
const caches = { type: 'object', additionalProperties: cacheRoute } as const satisfies Schema;

/** A gateway takes what it does not know for a word of a newer operator: the two are upgraded one after the other. */
const preserve = { 'x-kubernetes-preserve-unknown-fields': true } as const;

const routingTable = {
  type: 'object',
  required: ['apiUrl', 'caches'],
  ...preserve,
  properties: { ...shared, caches },
} as const satisfies Schema;

const routingHead = { type: 'object', required: ['apiUrl'], ...preserve, properties: shared } as const satisfies Schema;

const routingShard = {
  type: 'object',
  required: ['caches'],
  ...preserve,
  properties: { caches },
} as const satisfies Schema;

export type CacheRoute = Of<typeof cacheRoute>;
export type RoutingTable = Of<typeof routingTable>;
/** What all caches share. */
export type RoutingHead = Of<typeof routingHead>;
/** The caches of one namespace. */
export type RoutingShard = Of<typeof routingShard>;

/** What the gateway answers to `GET /status` on its admin port. */
export interface GatewayStatus {
  readonly version: string;
  /** False until the first table runs, and again once the gateway stops. */
  readonly ready: boolean;
  /** The table that runs; null: none yet. */
  readonly routes: RunningRoutes | null;
  /** Why the table that is there now does not run; null: it does. */
  readonly error: string | null;
}

export interface RunningRoutes {
  /** Of the bytes of `routes.json`, in hex; of a table in shards see `hashOfShards`. */
  readonly sha256: string;
  /** How many there are in it. */
  readonly caches: number;
  /** Of each shard that runs, the SHA-256 of its bytes by its namespace; absent: the table is in one piece. */
  readonly shards?: Readonly<Record<string, string>>;
}

/** One hash of a table in shards: of `namespace sha256` for each of them in order, a line each, below the head's hash. */
export function hashOfShards(head: string, shards: Iterable<readonly [namespace: string, sha256: string]>): string {
  const lines = [...shards].map(([namespace, sha256]) => `${namespace} ${sha256}\n`).sort();
  return hashOfText(`${hashOfText(head)}\n${lines.join('')}`);
}

export const hashOfText = (text: string): string => createHash('sha256').update(text).digest('hex');

/** A text that is no routing table; the message says what is wrong with it. */
export class RoutingTableError extends Error {
  override readonly name = 'RoutingTableError';
}

/** @throws RoutingTableError with all mistakes */
export const parseRoutingTable = (text: string): RoutingTable =>
  parse<typeof routingTable>(routingTable, routesKey, text);

/** @throws RoutingTableError with all mistakes */
export const parseRoutingHead = (text: string): RoutingHead => parse<typeof routingHead>(routingHead, headKey, text);

/** @throws RoutingTableError with all mistakes */
export const parseRoutingShard = (text: string): RoutingShard =>
  parse<typeof routingShard>(routingShard, routesKey, text);

function parse<S extends Schema>(schema: S, key: string, text: string): Of<S> {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new RoutingTableError(`${key} is not JSON`);
  }
  const { ok, value: table, issues } = validate<S>(schema, value);
  const wrong = issues.map(({ path, message }) => `${formatPath(path) || key}: ${message}`);
  const names = isMapping(value) && isMapping(value.caches) ? Object.keys(value.caches) : [];
  for (const name of names)
    if (!new RegExp(dnsLabel.pattern, 'u').test(name))
      wrong.push(`caches: a cache is not called ${JSON.stringify(name)}`);
  if (!ok || wrong.length > 0) throw new RoutingTableError(wrong.join('\n'));
  return table;
}
