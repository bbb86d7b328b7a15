/** The contract between the operator, which writes the gateway's routing table, and the gateway, which says what it runs. */
import { dnsLabel } from './fields.ts';
import { formatPath, isMapping } from './path.ts';
import type { Of, Schema } from './schema.ts';
import { validate } from './validate.ts';

/** Key of the ConfigMap, or name of the file, that holds the table. */
export const routesKey = 'routes.json';

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

/** A gateway takes what it does not know for a word of a newer operator: the two are upgraded one after the other. */
const routingTable = {
  type: 'object',
  required: ['apiUrl', 'caches'],
  'x-kubernetes-preserve-unknown-fields': true,
  properties: {
    /** As `--api-url` of the servers. */
    apiUrl: { type: 'string', minLength: 1, maxLength: 512 },
    /** As `--alias` of the servers: further API hosts, and with `cache=host` hosts of one cache. */
    aliases: { type: 'array', default: [], items: { type: 'string', minLength: 1, maxLength: 512 } },
    /** By the name of the cache. */
    caches: { type: 'object', additionalProperties: cacheRoute },
  },
} as const satisfies Schema;

export type CacheRoute = Of<typeof cacheRoute>;
export type RoutingTable = Of<typeof routingTable>;

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
  /** Of the bytes of `routes.json`, in hex. */
  readonly sha256: string;
  /** How many there are in it. */
  readonly caches: number;
}

/** A text that is no routing table; the message says what is wrong with it. */
export class RoutingTableError extends Error {
  override readonly name = 'RoutingTableError';
}

/** @throws RoutingTableError with all mistakes */
export function parseRoutingTable(text: string): RoutingTable {
  let value: unknown;
  try {
    value = JSON.parse(text);
  } catch {
    throw new RoutingTableError(`${routesKey} is not JSON`);
  }
  const { ok, value: table, issues } = validate<typeof routingTable>(routingTable, value);
  const wrong = issues.map(({ path, message }) => `${formatPath(path) || routesKey}: ${message}`);
  const caches = isMapping(value) && isMapping(value.caches) ? Object.keys(value.caches) : [];
  for (const name of caches)
    if (!new RegExp(dnsLabel.pattern, 'u').test(name))
      wrong.push(`caches: a cache is not called ${JSON.stringify(name)}`);
  if (!ok || wrong.length > 0) throw new RoutingTableError(wrong.join('\n'));
  return table;
}
