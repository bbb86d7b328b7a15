/** What every object of the API has, and how objects are named. */

/** Names an object. `uid` says which one of those that have had this name. */
export interface Ref {
  readonly namespace?: string | undefined;
  readonly name: string;
  readonly uid?: string | undefined;
}

export interface OwnerReference {
  readonly apiVersion: string;
  readonly kind: string;
  readonly name: string;
  readonly uid: string;
  readonly controller?: boolean;
  readonly blockOwnerDeletion?: boolean;
}

/** Metadata of an object that exists. */
export interface Metadata {
  readonly name: string;
  readonly namespace?: string;
  readonly uid: string;
  readonly resourceVersion: string;
  /** Absent for kinds that do not count the changes of their spec, such as Secrets. */
  readonly generation?: number;
  readonly creationTimestamp: string;
  readonly deletionTimestamp?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly OwnerReference[];
  readonly finalizers?: readonly string[];
}

/** An object as the API server gives it. */
export interface Obj {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: Metadata;
}

/** An object of which nothing more is known than that it has fields. */
export interface AnyObj extends Obj {
  readonly [field: string]: unknown;
}

/** Metadata that we ask for. A `uid` makes the request fail on an object that was created anew meanwhile. */
export interface DesiredMetadata {
  readonly name: string;
  readonly namespace?: string | undefined;
  readonly uid?: string;
  readonly resourceVersion?: string;
  readonly labels?: Readonly<Record<string, string>>;
  readonly annotations?: Readonly<Record<string, string>>;
  readonly ownerReferences?: readonly OwnerReference[];
  readonly finalizers?: readonly string[];
}

/** An object that we ask for. */
export type Desired = {
  readonly apiVersion: string;
  readonly kind: string;
  readonly metadata: DesiredMetadata;
} & { readonly [field: string]: unknown };

/** `namespace/name`, or `name` for what lies in no namespace: what queues and stores count by. */
export function keyOf({ namespace, name }: Ref): string {
  return namespace === undefined ? name : `${namespace}/${name}`;
}

/** The inverse of {@link keyOf}. */
export function refOf(key: string): Ref {
  const slash = key.indexOf('/');
  return slash < 0 ? { name: key } : { namespace: key.slice(0, slash), name: key.slice(slash + 1) };
}

/**
 * Makes `owner` the controller of what carries this reference: it goes when its owner goes. Owners own within their
 * namespace only; elsewhere the garbage collector removes the dependent at once.
 */
export function ownerReference(owner: Obj): OwnerReference {
  const { apiVersion, kind, metadata } = owner;
  // Without blockOwnerDeletion: setting it needs `update` on the owner's finalizers where that admission plugin runs.
  return { apiVersion, kind, name: metadata.name, uid: metadata.uid, controller: true };
}

/** Whether `object` has an owner reference to what has this uid. */
export function isOwnedBy(object: Obj, uid: string): boolean {
  return object.metadata.ownerReferences?.some((owner) => owner.uid === uid) ?? false;
}
