/**
 * Reads the Secrets that a cache needs, and keeps of their content only what may be known: hashes and public keys. The
 * operator may get a Secret by name, never list them, so what it learnt is kept for a while.
 */
import { isDeepStrictEqual } from 'node:util';
import {
  certificatesValue,
  connectionKeys,
  hasConnection,
  hashToken,
  rootKeyValue,
  Secret,
  textValue,
  tokenValue,
  ValueError,
  wordValue,
} from '../../../crds/index.ts';
import { parseSecretKey } from '../../../server/nix/index.ts';
import { type AnyObj, type Api, kinds, type Obj, type Secret as SecretObject } from '../../runtime/index.ts';
import type { Leftover } from '../desired/index.ts';
import { leaving, leftoverOf, type SecretNeed, type SecretUse, secretNeeds, tokenSecretsOf } from '../desired/index.ts';
import { CACHE_LABEL, cachesOwning, isOurs, tokenSecretName } from '../names.ts';
import type { Cache } from '../types.ts';

/** What is kept of a value. */
interface ValueFacts {
  /** Hex SHA-256 of the text without white space around it. */
  readonly hash: string;
  /** Why it cannot be right for a use; undefined: it can. */
  readonly problems: Readonly<Record<SecretUse, string | undefined>>;
  /** `name:base64`, where the value is a signing key. */
  readonly publicKey: string | undefined;
}

/** What is kept of a Secret. */
export interface SecretFacts {
  readonly values: ReadonlyMap<string, ValueFacts>;
  readonly object: Obj;
}

export interface SecretProblem {
  readonly need: SecretNeed;
  readonly reason: 'SecretMissing' | 'SecretInvalid';
  readonly message: string;
}

export interface SecretsView {
  /** What is missing or cannot be used, in the order of the needs. */
  readonly problems: readonly SecretProblem[];
  /** Generated Secrets that are there and ours, with the uids of the caches that own them. */
  readonly owners: ReadonlyMap<SecretNeed, readonly string[]>;
  /** By name of the token. */
  readonly tokenHashes: ReadonlyMap<string, string>;
  /** Of the signing keys, in their order. */
  readonly publicKeys: readonly string[];
  /** Secrets of tokens that are no longer listed, or were not for a while. */
  readonly leftovers: readonly Leftover[];
}

export interface SecretsInit {
  readonly api: Api;
  /** How long what was read counts as true. */
  readonly ttlMs: number;
  /** Whether somebody looks at the Secrets of tokens again and again, by `look`: they need not be read anew then. */
  readonly areTokensWatched?: boolean;
}

export class Secrets {
  readonly #init: SecretsInit;
  readonly #known = new Map<string, { readonly facts: SecretFacts | undefined; readonly until: number }>();

  constructor(init: SecretsInit) {
    this.#init = init;
  }

  /**
   * @param config the ConfigMap of the cache, which tells for which tokens Secrets were made
   * @param isFresh asks again for what is known
   */
  async view(cache: Cache, config: AnyObj | undefined, isFresh: boolean, signal: AbortSignal): Promise<SecretsView> {
    const needs = secretNeeds(cache);
    const found = new Map<string, SecretFacts | undefined>();
    const leftovers: Leftover[] = [];
    const watched = new Set(this.#init.areTokensWatched ? tokenSecretsOf(cache) : []);
    for (const [token, uid] of leaving(cache, config)) {
      const facts = await this.#read(cache.metadata, tokenSecretName(cache, token), true, signal);
      leftovers.push(...leftoverOf(cache, token, uid, facts?.object));
    }
    for (const name of new Set(needs.map((need) => need.name)))
      found.set(name, await this.#read(cache.metadata, name, isFresh, signal, watched.has(name)));
    return viewOf(cache, needs, found, leftovers);
  }

  /**
   * Asks for a Secret again.
   * @returns whether it is another one than was known
   */
  async look(namespace: string, name: string, signal: AbortSignal): Promise<boolean> {
    const key = `${namespace}/${name}`;
    const before = this.#known.get(key);
    // Whoever needs it reads it soon.
    if (before === undefined) return false;
    const secret = await this.#init.api.get(kinds.Secret, { namespace, name }, { signal });
    // Read meanwhile by somebody else, perhaps later than this answer was given.
    if (this.#known.get(key) !== before) return true;
    const facts = secret && factsOf(secret);
    this.#known.set(key, { facts, until: Date.now() + this.#init.ttlMs });
    return !isSame(before.facts, facts);
  }

  /** Forgets what is known of a Secret, after it was made or changed. */
  forget(namespace: string, name: string): void {
    this.#known.delete(`${namespace}/${name}`);
  }

  async #read(
    { namespace, uid: owner }: Cache['metadata'],
    name: string,
    isFresh: boolean,
    signal: AbortSignal,
    isWatched = false,
  ): Promise<SecretFacts | undefined> {
    const key = `${namespace}/${name}`;
    const known = this.#known.get(key);
    // What is missing may come any moment, and what an earlier cache owns goes: only what stays is believed unseen.
    const isGoing = known?.facts && cachesOwning(known.facts.object).some((uid) => uid !== owner);
    const isNew = known !== undefined && (isWatched || Date.now() < known.until);
    if (!isFresh && !isGoing && isNew && known.facts !== undefined) return known.facts;
    const secret = await this.#init.api.get(kinds.Secret, { namespace, name }, { signal });
    const facts = secret && factsOf(secret);
    this.#known.set(key, { facts, until: Date.now() + this.#init.ttlMs });
    return facts;
  }
}

/** Pure. */
export function factsOf(secret: SecretObject): SecretFacts {
  const { data = {} } = secret;
  const { apiVersion, kind, metadata } = secret;
  return {
    object: { apiVersion, kind, metadata },
    values: new Map(Object.entries(data).map(([key, base64]) => [key, valueFacts(Buffer.from(base64, 'base64'))])),
  };
}

/** How a server reads a value for each use; the URL of a database it judges itself, and a signing key is one or is not. */
const READERS: Readonly<Record<SecretUse, (bytes: Buffer) => unknown>> = {
  root: rootKeyValue,
  signing: textValue,
  token: tokenValue,
  storage: wordValue,
  database: textValue,
  ca: certificatesValue,
};

function valueFacts(bytes: Buffer): ValueFacts {
  const text = bytes.toString('utf8').trim();
  const publicKey = publicKeyOf(text);
  const entries = Object.entries(READERS).map(([use, read]) => [use, problemWith(() => read(bytes))]);
  const problems: ValueFacts['problems'] = Object.fromEntries(entries);
  const noKey = publicKey === undefined ? 'is not a signing key in the form of Nix (name:base64)' : undefined;
  return { hash: hashToken(text), problems: { ...problems, signing: problems.signing ?? noKey }, publicKey };
}

function problemWith(read: () => unknown): string | undefined {
  try {
    read();
    return undefined;
  } catch (error) {
    if (error instanceof ValueError) return error.message;
    throw error;
  }
}

function publicKeyOf(text: string): string | undefined {
  try {
    return parseSecretKey(text).publicKey;
  } catch {
    return undefined;
  }
}

/** What became of the values, and whose it is: all that is decided by. */
function isSame(one: SecretFacts | undefined, other: SecretFacts | undefined): boolean {
  const of = (facts: SecretFacts | undefined) => {
    const { uid, labels, ownerReferences } = facts?.object.metadata ?? {};
    return { uid, labels, ownerReferences, values: facts?.values };
  };
  return isDeepStrictEqual(of(one), of(other));
}

/** Where there is no Secret at all. */
export function viewOfNothing(cache: Cache): SecretsView {
  return viewOf(cache, secretNeeds(cache), new Map(), []);
}

/** What the facts say about the needs. Pure. */
export function viewOf(
  cache: Cache,
  needs: readonly SecretNeed[],
  found: ReadonlyMap<string, SecretFacts | undefined>,
  leftovers: readonly Leftover[] = [],
): SecretsView {
  const problems: SecretProblem[] = [];
  const owners = new Map<SecretNeed, readonly string[]>();
  const tokenHashes = new Map<string, string>();
  const publicKeys: string[] = [];
  for (const need of needs) {
    // A token that was taken out and is listed again is another one.
    const isOld = leftovers.some(({ token, isNamed }) => !isNamed && token === need.token);
    const facts = isOld && need.isGenerated ? undefined : found.get(need.name);
    const problem = othersProblem(cache, need, facts) ?? problemOf(need, facts);
    if (problem || !facts) {
      if (problem) problems.push({ need, ...problem });
      continue;
    }
    const value = facts.values.get(need.keys[0] ?? '');
    if (need.token !== undefined && value) tokenHashes.set(need.token, value.hash);
    if (need.use === 'signing' && value?.publicKey) publicKeys.push(value.publicKey);
    if (need.isGenerated && isOurs(cache, facts.object)) owners.set(need, cachesOwning(facts.object));
  }
  return { problems, owners, tokenHashes, publicKeys, leftovers };
}

/** `a` with a token `b-token-c` and `a-token-b` with a token `c` would share one: a token that opens both. */
function othersProblem({ metadata }: Cache, need: SecretNeed, facts: SecretFacts | undefined) {
  const owner = facts?.object.metadata.labels?.[CACHE_LABEL];
  if (!need.isGenerated || owner === undefined || owner === metadata.name) return undefined;
  return { reason: 'SecretInvalid' as const, message: `Secret ${need.name} belongs to the cache ${owner}` };
}

function problemOf(need: SecretNeed, facts: SecretFacts | undefined): Omit<SecretProblem, 'need'> | undefined {
  const what = `Secret ${need.name} (${WORDS[need.use]}${need.token === undefined ? '' : ` ${need.token}`})`;
  if (!facts) return { reason: 'SecretMissing', message: `${what} is missing` };
  const has = new Secret({ name: need.name }, new Map([...facts.values.keys()].map((key) => [key, new Uint8Array()])));
  const [key = ''] = need.keys;
  const lacking = need.keys.filter((it) => !facts.values.has(it));
  const isComplete = need.use === 'database' ? hasConnection(has, key) : lacking.length === 0;
  if (!isComplete) return { reason: 'SecretMissing', message: `${what} has no key ${lacking.join(', ')}` };
  for (const it of readKeys(need, facts)) {
    const problem = facts.values.get(it)?.problems[need.use];
    if (problem !== undefined) return { reason: 'SecretInvalid', message: `${what}: ${it} ${problem}` };
  }
  return undefined;
}

/** Keys that a server reads of a Secret, those that may be missing too. */
function readKeys({ use, keys }: SecretNeed, { values }: SecretFacts): string[] {
  if (use === 'storage') return [...keys, 'sessionToken'];
  return use === 'database' && !values.has(keys[0] ?? '') ? [...connectionKeys] : [...keys];
}

const WORDS: Readonly<Record<SecretNeed['use'], string>> = {
  root: 'root key',
  signing: 'signing key',
  token: 'token',
  storage: 'credentials of a bucket',
  database: 'connection to PostgreSQL',
  ca: 'CA of PostgreSQL',
};
