/**
 * The part of OpenAPI that Kubernetes accepts in a CRD, as a TypeScript type. A schema is written once as a const:
 * the type of the manifest, the validation on a laptop, the CRD and the reference page are all read off it.
 */
export interface Schema {
  readonly type?: 'object' | 'array' | 'string' | 'integer' | 'boolean';
  readonly description?: string;
  readonly default?: unknown;
  readonly format?: 'int32' | 'int64' | 'date-time';
  readonly enum?: readonly string[];
  readonly pattern?: string;
  readonly minLength?: number;
  readonly maxLength?: number;
  readonly minimum?: number;
  readonly maximum?: number;
  readonly minItems?: number;
  readonly maxItems?: number;
  readonly maxProperties?: number;
  readonly required?: readonly string[];
  readonly properties?: { readonly [name: string]: Schema };
  readonly additionalProperties?: Schema;
  readonly items?: Schema;
  readonly 'x-kubernetes-int-or-string'?: true;
  readonly 'x-kubernetes-preserve-unknown-fields'?: true;
  readonly 'x-kubernetes-list-type'?: 'map' | 'set' | 'atomic';
  readonly 'x-kubernetes-list-map-keys'?: readonly string[];
  /** Ours, not part of a CRD: the pattern in words, for error texts and the reference page. */
  readonly allowed?: string;
  /** Ours: a number of bytes, checked by `parseQuantity` beyond its pattern. */
  readonly bytes?: true;
}

/** Keys of `Schema` that only we read; the generated CRDs leave them out. */
export const ownKeys: readonly string[] = ['allowed', 'bytes'] satisfies readonly (keyof Schema)[];

type Flat<T> = { [K in keyof T]: T[K] } & {};
type Required<S, K> = S extends { required: readonly (infer R)[] } ? (K extends R ? true : false) : false;
/** A field with a default is filled in before anyone reads it, so it is always there. */
type Present<S, P, K extends keyof P> =
  Required<S, K> extends true ? true : P[K] extends { default: unknown } ? true : false;
type Fields<S, P> = Flat<
  { -readonly [K in keyof P as Present<S, P, K> extends true ? K : never]: Of<P[K]> } & {
    -readonly [K in keyof P as Present<S, P, K> extends true ? never : K]?: Of<P[K]>;
  }
>;

/** The type of a value that a schema accepts, after defaulting. */
export type Of<S> = S extends { 'x-kubernetes-int-or-string': true }
  ? string | number
  : S extends { enum: readonly (infer E)[] }
    ? E
    : S extends { type: 'string' }
      ? string
      : S extends { type: 'integer' }
        ? number
        : S extends { type: 'boolean' }
          ? boolean
          : S extends { type: 'array'; items: infer I }
            ? Of<I>[]
            : S extends { type: 'object'; properties: infer P }
              ? Fields<S, P>
              : S extends { type: 'object'; additionalProperties: infer A }
                ? { [name: string]: Of<A> }
                : S extends { type: 'object' }
                  ? { [name: string]: unknown }
                  : unknown;
