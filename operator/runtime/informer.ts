/** A copy of all objects of one kind, kept up to date: what reconciles read. */
import type { Logger } from 'pino';
import type { Api } from './api.ts';
import type { Kind } from './kinds.ts';
import type { Metrics } from './metrics.ts';
import { keyOf, type Metadata, type Obj, type Ref } from './objects.ts';
import { Reflector, type ReflectorTimes, type Sink } from './reflector.ts';

/** `before` is what the store held of the same object (the same uid), if anything. */
export type Change<T extends Obj> =
  | { readonly type: 'put'; readonly object: T; readonly before: T | undefined }
  | { readonly type: 'delete'; readonly object: T };

export interface InformerInit<T extends Obj> {
  readonly api: Api;
  readonly kind: Kind<T>;
  readonly logger: Logger;
  readonly metrics: Metrics;
  /** A list and a watch for each of them. Default: all namespaces, by one. */
  readonly namespaces?: readonly string[] | undefined;
  readonly labelSelector?: string;
  readonly fieldSelector?: string;
  /** What to keep of an object; default: all but `managedFields`, which are up to half of it. */
  readonly trim?: (object: T) => T;
  /** Values by which `by` finds objects. */
  readonly indexes?: Readonly<Record<string, (object: T) => Iterable<string>>>;
  /** For kinds whose CRD may be missing: then there are none, until it appears. */
  readonly optional?: boolean;
  readonly times?: ReflectorTimes;
}

export class Informer<T extends Obj> {
  readonly kind: Kind<T>;
  /** Fulfilled once everything was listed. */
  readonly synced: Promise<void>;
  readonly #init: InformerInit<T>;
  readonly #reflectors: readonly Reflector<T>[];
  readonly #objects = new Map<string, T>();
  /** index -> value -> key -> object. */
  readonly #indexed = new Map<string, Map<string, Map<string, T>>>();
  readonly #listeners = new Set<(change: Change<T>) => void>();
  readonly #setSynced: () => void;
  #unlisted: number;

  constructor(init: InformerInit<T>) {
    this.#init = init;
    this.kind = init.kind;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.synced = promise;
    this.#setSynced = resolve;
    for (const name of Object.keys(init.indexes ?? {})) this.#indexed.set(name, new Map());
    const namespaces = init.namespaces?.length ? [...new Set(init.namespaces)] : [undefined];
    this.#reflectors = namespaces.map((namespace) => this.#reflector(namespace));
    this.#unlisted = namespaces.length;
    init.metrics.measureInformer(init.kind.kind, this);
  }

  get hasSynced(): boolean {
    return this.#unlisted === 0;
  }

  get size(): number {
    return this.#objects.size;
  }

  /** How long nothing was heard or tried: minutes of it mean that it hangs, whatever state the API server is in. */
  get idleForMs(): number {
    return performance.now() - Math.min(...this.#reflectors.map(({ activeAt }) => activeAt));
  }

  /** Follows the API server until the signal is aborted. Fails never. */
  async run(signal: AbortSignal): Promise<void> {
    await Promise.all(this.#reflectors.map((reflector) => reflector.run(signal)));
  }

  /** Tells `listener` of every change from now on; returns how to stop that. */
  onChange(listener: (change: Change<T>) => void): () => void {
    this.#listeners.add(listener);
    return () => void this.#listeners.delete(listener);
  }

  /** The object of this name; of this uid too, if the reference has one. */
  get(ref: Ref): T | undefined {
    const object = this.#objects.get(keyOf(ref));
    return ref.uid === undefined || object?.metadata.uid === ref.uid ? object : undefined;
  }

  *all(namespace?: string): Iterable<T> {
    for (const object of this.#objects.values()) {
      if (namespace === undefined || object.metadata.namespace === namespace) yield object;
    }
  }

  /** The objects that have this value in the index. */
  by(index: string, value: string): readonly T[] {
    const values = this.#indexed.get(index);
    if (values === undefined) throw new TypeError(`the informer of ${this.kind.kind} has no index ${index}`);
    return [...(values.get(value)?.values() ?? [])];
  }

  #reflector(namespace: string | undefined): Reflector<T> {
    const { api, kind, labelSelector, fieldSelector, logger, metrics } = this.#init;
    let isListed = false;
    const sink: Sink<T> = {
      put: (object) => this.#put(object),
      delete: (object) => this.#delete(object),
      replace: (objects) => {
        this.#replace(namespace, objects);
        if (isListed) return;
        isListed = true;
        this.#unlisted -= 1;
        if (this.hasSynced) this.#setSynced();
      },
    };
    return new Reflector({
      api,
      kind,
      query: { namespace, labelSelector, fieldSelector },
      sink,
      trim: this.#init.trim ?? withoutManagedFields,
      optional: this.#init.optional ?? false,
      times: this.#init.times ?? {},
      logger,
      metrics,
    });
  }

  #replace(namespace: string | undefined, objects: readonly T[]): void {
    const present = new Set(objects.map(({ metadata }) => keyOf(metadata)));
    for (const object of [...this.all(namespace)]) if (!present.has(keyOf(object.metadata))) this.#delete(object);
    for (const object of objects) this.#put(object);
  }

  #put(object: T): void {
    const key = keyOf(object.metadata);
    let before = this.#objects.get(key);
    if (before?.metadata.resourceVersion === object.metadata.resourceVersion) return;
    if (before !== undefined && before.metadata.uid !== object.metadata.uid) {
      // Another object of the same name: what belonged to the old one must go.
      this.#delete(before);
      before = undefined;
    }
    if (before !== undefined) this.#unindex(key, before);
    this.#objects.set(key, object);
    this.#index(key, object);
    this.#tell({ type: 'put', object, before });
  }

  #delete(object: T): void {
    const key = keyOf(object.metadata);
    const before = this.#objects.get(key);
    if (before === undefined) return;
    this.#objects.delete(key);
    this.#unindex(key, before);
    this.#tell({ type: 'delete', object });
  }

  #index(key: string, object: T): void {
    for (const [values, value] of this.#valuesOf(object)) {
      const found = values.get(value);
      if (found === undefined) values.set(value, new Map([[key, object]]));
      else found.set(key, object);
    }
  }

  #unindex(key: string, object: T): void {
    for (const [values, value] of this.#valuesOf(object)) {
      const found = values.get(value);
      found?.delete(key);
      if (found?.size === 0) values.delete(value);
    }
  }

  /** Where the object stands in the indexes. */
  *#valuesOf(object: T): Iterable<[Map<string, Map<string, T>>, string]> {
    for (const [name, values] of this.#indexed) {
      try {
        for (const value of this.#init.indexes?.[name]?.(object) ?? []) yield [values, value];
      } catch (error) {
        this.#failed(error, object, 'an index failed');
      }
    }
  }

  #tell(change: Change<T>): void {
    for (const listener of this.#listeners) {
      try {
        listener(change);
      } catch (error) {
        this.#failed(error, change.object, 'a listener failed');
      }
    }
  }

  /** Others' exceptions end nothing here. */
  #failed(error: unknown, object: T, message: string): void {
    const { logger, metrics, kind } = this.#init;
    metrics.handlerFailed(kind.kind);
    logger.error({ err: error, kind: kind.kind, object: keyOf(object.metadata) }, message);
  }
}

/** The default of `trim`. */
export function withoutManagedFields<T extends Obj>(object: T): T {
  const { managedFields, ...metadata } = object.metadata as Metadata & { managedFields?: unknown };
  return managedFields === undefined ? object : { ...object, metadata };
}
