/** An object in the forms that rows have. */

/** An object as a row names it. */
export interface KnownObject {
  readonly id: number;
  readonly key: string;
  readonly storage: string;
  readonly name: string;
  readonly size: number;
}

/** An object beside its bytes. */
export interface Examined extends KnownObject {
  /** `sha256:<nix32>` of a NAR's file; null: nobody knows what the bytes should be. */
  readonly file_hash: string | null;
}

export interface StoredObject {
  readonly id: number;
  readonly key: string;
  readonly storage: string;
  readonly name: string;
  readonly size: number;
  /** Of a NAR. */
  readonly file_hash: string | null;
  /** When its use was noted last; absent: never, since it is in memory. */
  touchedAt?: number;
}

/** A row to be: bytes that are durable in a storage and not yet visible. */
export interface NewObject {
  readonly key: string;
  readonly storage: string;
  readonly name: string;
  readonly size: number;
  /** Whether a row of `intents` has the name. */
  readonly isIntended?: boolean;
}

/** What verified bytes are, in the forms that rows hold. */
export interface NarFacts {
  readonly compression: string;
  /** `sha256:<nix32>` of the file. */
  readonly fileHash: string;
  /** `sha256:<nix32>` of the NAR. */
  readonly narHash: string;
  readonly narSize: number;
}
