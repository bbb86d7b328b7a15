/** The Kubernetes API as JSON, over connections that all requests share. What comes is what the server sent, whole. */
import { Deadline } from './deadline.ts';
import { ApiError } from './errors.ts';
import { groupPath, type Kind, type Place } from './kinds.ts';
import { lines } from './lines.ts';
import type { Desired, Obj, Ref } from './objects.ts';
import { type Call, type CallOptions, describe, failureOf, Requests, type RequestsInit } from './requests.ts';

export interface ApiInit extends RequestsInit {
  /** Objects in one page of a list; default 500. */
  readonly pageSize?: number;
  /** How long `served` believes an answer; default 5 min. */
  readonly servedMs?: number;
}

export interface ListQuery {
  readonly namespace?: string | undefined;
  readonly labelSelector?: string | undefined;
  readonly fieldSelector?: string | undefined;
}

export interface WatchQuery extends ListQuery {
  /** Where to go on: from a list, an event or a bookmark. */
  readonly resourceVersion: string;
  /** After which the server ends the watch. */
  readonly timeoutSeconds: number;
  /** After so long a silence the connection is given up; bookmarks come about every minute. */
  readonly idleMs: number;
}

export interface List<T> {
  readonly items: T[];
  readonly resourceVersion: string;
}

export type WatchEvent<T extends Obj> =
  | { readonly type: 'ADDED' | 'MODIFIED' | 'DELETED'; readonly object: T }
  | { readonly type: 'BOOKMARK'; readonly object: { readonly metadata: { readonly resourceVersion: string } } };

const MOST_LIST_RESTARTS = 3;

export class Api {
  readonly #init: ApiInit;
  readonly #requests: Requests;
  readonly #served = new Map<string, { readonly atMs: number; readonly plurals: ReadonlySet<string> }>();

  constructor(init: ApiInit) {
    this.#init = init;
    this.#requests = new Requests(init);
  }

  /** The object, or undefined where there is none. */
  async get<T extends Obj>(kind: Kind<T>, ref: Ref, options?: CallOptions): Promise<T | undefined> {
    const accept = acceptOf(kind, 'PartialObjectMetadata');
    const call: Call = { verb: 'get', method: 'GET', kind, place: placeOf(ref), accept, idempotent: true };
    const found = await this.#requests.json(call, options).catch(ifNotFound);
    return found === undefined ? undefined : filledIn(kind, found);
  }

  /**
   * All objects, page by page; those of all namespaces if the query names none.
   *
   * @param trim what to keep of each, before the next page is asked for
   */
  async list<T extends Obj>(
    kind: Kind<T>,
    query: ListQuery = {},
    { trim = (object: T) => object, ...options }: CallOptions & { trim?: (object: T) => T } = {},
  ): Promise<List<T>> {
    for (let restarts = 0; ; restarts += 1) {
      try {
        return await this.#list(kind, query, trim, options);
      } catch (error) {
        // The mark between two pages is too old by now.
        if (!(error instanceof ApiError && error.expired) || restarts === MOST_LIST_RESTARTS) throw error;
      }
    }
  }

  /**
   * What happens from `resourceVersion` on, until the server ends it. Fails with an {@link ApiError} if anything else
   * does: `expired` if the version is too old, whether the server said so by its status or by an event.
   */
  async *watch<T extends Obj>(kind: Kind<T>, query: WatchQuery, signal?: AbortSignal): AsyncGenerator<WatchEvent<T>> {
    const { namespace, idleMs, timeoutSeconds, ...rest } = query;
    const call: Call = {
      verb: 'watch',
      method: 'GET',
      kind,
      place: { namespace },
      query: { ...rest, watch: 'true', allowWatchBookmarks: 'true', timeoutSeconds: String(timeoutSeconds) },
      accept: acceptOf(kind, 'PartialObjectMetadata'),
      idempotent: true,
    };
    const what = describe(call);
    const silence = new Deadline(signal, this.#requests.timeoutMs, () => new ApiError(0, 'Idle', `${what}: silence`));
    try {
      const { body } = await this.#requests.answer(call, silence.signal);
      silence.extend(idleMs);
      // Whoever stops reading destroys the body, which then says so to nobody else.
      body.on('error', () => {});
      for await (const line of lines(extending(body, silence))) yield eventOf(kind, what, line);
    } catch (error) {
      throw failureOf(what, error, silence.signal);
    } finally {
      silence.clear();
    }
  }

  /**
   * Server-side apply, by force: what we say of the object holds, what we said earlier and say no longer goes, and the
   * rest is left to others. With a `uid` in its metadata it fails on an object that was created anew.
   */
  async apply<T extends Obj>(
    kind: Kind<T>,
    object: Desired,
    { sub, dryRun = false, ...options }: CallOptions & { sub?: 'status'; dryRun?: boolean } = {},
  ): Promise<T> {
    const call: Call = {
      verb: 'apply',
      method: 'PATCH',
      kind,
      place: { ...placeOf(object.metadata), sub },
      query: { fieldManager: this.#init.manager, force: 'true', ...dryRunOf(dryRun) },
      // JSON is YAML.
      contentType: 'application/apply-patch+yaml',
      body: object,
      idempotent: true,
    };
    return filledIn(kind, await this.#requests.json(call, options));
  }

  /** Creates the object; `exists` if there is one of its name. A field that the schema lacks is an error. */
  async create<T extends Obj>(
    kind: Kind<T>,
    object: Desired,
    { dryRun = false, ...options }: CallOptions & { dryRun?: boolean } = {},
  ): Promise<T | 'exists'> {
    const call: Call = {
      verb: 'create',
      method: 'POST',
      kind,
      place: { namespace: object.metadata.namespace },
      query: { fieldManager: this.#init.manager, fieldValidation: 'Strict', ...dryRunOf(dryRun) },
      body: object,
      idempotent: false,
    };
    const made = await this.#requests.json(call, options).catch((error: unknown) => {
      if (error instanceof ApiError && error.reason === 'AlreadyExists') return 'exists' as const;
      throw error;
    });
    return made === 'exists' ? made : filledIn(kind, made);
  }

  /** Writes the whole object, if it still has the `resourceVersion` that is given: compare and swap. */
  async replace<T extends Obj>(
    kind: Kind<T>,
    object: Desired,
    { sub, ...options }: CallOptions & { sub?: string } = {},
  ): Promise<T> {
    const call: Call = {
      verb: 'replace',
      method: 'PUT',
      kind,
      place: { ...placeOf(object.metadata), sub },
      query: { fieldManager: this.#init.manager, fieldValidation: 'Strict' },
      body: object,
      // A repetition that follows a success is a conflict.
      idempotent: false,
    };
    return filledIn(kind, await this.#requests.json(call, options));
  }

  /** A JSON merge patch, for what is neither applied nor read first. */
  async patch<T extends Obj>(
    kind: Kind<T>,
    ref: Ref,
    patch: Readonly<Record<string, unknown>>,
    { sub, ...options }: CallOptions & { sub?: string } = {},
  ): Promise<T> {
    const call: Call = {
      verb: 'patch',
      method: 'PATCH',
      kind,
      place: { ...placeOf(ref), sub },
      query: { fieldManager: this.#init.manager },
      contentType: 'application/merge-patch+json',
      body: patch,
      idempotent: true,
    };
    return filledIn(kind, await this.#requests.json(call, options));
  }

  /** Deletes the object of this uid; it is well if that is gone, or another has its name. */
  async delete(
    kind: Kind<Obj>,
    ref: Ref & { readonly uid: string },
    {
      propagation = 'Background',
      ...options
    }: CallOptions & { propagation?: 'Background' | 'Foreground' | 'Orphan' } = {},
  ): Promise<void> {
    const call: Call = {
      verb: 'delete',
      method: 'DELETE',
      kind,
      place: placeOf(ref),
      body: { propagationPolicy: propagation, preconditions: { uid: ref.uid } },
      idempotent: true,
    };
    await this.#requests.json(call, options).catch((error: unknown) => {
      const isGone = error instanceof ApiError && (error.code === 404 || isOfAnother(error));
      if (!isGone) throw error;
    });
  }

  /** Whether the API server knows the kind: whether its CRD is installed. */
  async served(kind: Kind<Obj>, options?: CallOptions): Promise<boolean> {
    const known = this.#served.get(kind.apiVersion);
    const isFresh = known !== undefined && performance.now() - known.atMs < (this.#init.servedMs ?? 300_000);
    if (isFresh) return known.plurals.has(kind.plural);
    const call: Call = { verb: 'discover', method: 'GET', kind, path: groupPath(kind), idempotent: true };
    const found = (await this.#requests.json(call, options).catch(ifNotFound)) as
      | { resources?: { name: string }[] }
      | undefined;
    const plurals = new Set(found?.resources?.map(({ name }) => name));
    this.#served.set(kind.apiVersion, { atMs: performance.now(), plurals });
    return plurals.has(kind.plural);
  }

  /** Ends all requests and connections. */
  async close(): Promise<void> {
    await this.#requests.close();
  }

  async #list<T extends Obj>(
    kind: Kind<T>,
    { namespace, ...selectors }: ListQuery,
    trim: (object: T) => T,
    options: CallOptions,
  ): Promise<List<T>> {
    const items: T[] = [];
    let next: string | undefined;
    while (true) {
      const call: Call = {
        verb: 'list',
        method: 'GET',
        kind,
        place: { namespace },
        query: { ...selectors, limit: String(this.#init.pageSize ?? 500), continue: next },
        accept: acceptOf(kind, 'PartialObjectMetadataList'),
        idempotent: true,
      };
      const page = (await this.#requests.json(call, options)) as {
        items?: T[] | null;
        metadata: { resourceVersion: string; continue?: string };
      };
      for (const item of page.items ?? []) items.push(trim(filledIn(kind, item)));
      next = page.metadata.continue;
      if (!next) return { items, resourceVersion: page.metadata.resourceVersion };
    }
  }
}

function placeOf({ namespace, name }: Ref): Place {
  return { namespace, name };
}

function dryRunOf(dryRun: boolean): { dryRun?: string } {
  return dryRun ? { dryRun: 'All' } : {};
}

function acceptOf(kind: Kind<Obj>, as: string): string {
  return kind.metadataOnly ? `application/json;as=${as};g=meta.k8s.io;v=v1` : 'application/json';
}

/** Items of lists lack kind and version, and metadata alone bears the name of its own kind. */
function filledIn<T extends Obj>({ apiVersion, kind }: Kind<T>, object: unknown): T {
  return { ...(object as T), apiVersion, kind };
}

/** The server compares uids in two places, with a message for each. */
function isOfAnother(error: ApiError): boolean {
  return error.conflict && /UID in (the )?precondition/.test(error.message);
}

function ifNotFound(error: unknown): undefined {
  if (error instanceof ApiError && error.code === 404) return undefined;
  throw error;
}

async function* extending(body: AsyncIterable<Uint8Array>, silence: Deadline): AsyncGenerator<Uint8Array> {
  for await (const chunk of body) {
    silence.extend();
    yield chunk;
  }
}

function eventOf<T extends Obj>(kind: Kind<T>, what: string, line: string): WatchEvent<T> {
  const event = JSON.parse(line) as WatchEvent<T> | { type: 'ERROR'; object: { code?: number } };
  if (event.type === 'ERROR') throw ApiError.of(what, event.object.code ?? 500, event.object);
  if (event.type === 'BOOKMARK') return event;
  return { type: event.type, object: filledIn(kind, event.object) };
}
