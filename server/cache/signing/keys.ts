/**
 * A cache's keys: the root key, from which part-URL keys are derived, and the Ed25519 keys that sign. A key is generated
 * once and never again: a cache that knows a public key whose secret is gone serves what is signed and takes no pushes.
 */
import { createSecretKey, hkdfSync, type KeyObject, randomBytes } from 'node:crypto';
import { mkdir } from 'node:fs/promises';
import path from 'node:path';
import { rootKeyValue } from '../../../crds/index.ts';
import type { Database } from '../../metadata/index.ts';
import { generateSecretKey, type PublicKey, parsePublicKey, parseSecretKey, type SecretKey } from '../../nix/index.ts';
import { createSecretFile, readSecretFile, signingKeyValue } from '../access/index.ts';
import { readMeta, writeMeta } from '../database/index.ts';
import { CacheError } from '../errors.ts';
import { checkRootKey, checkSigningKeys } from './key-fingerprints.ts';

export interface ResolvedSigning {
  readonly mode: 'Managed' | 'SelfSigned';
  /** Secret keys in Nix's form, out of Secrets, undefined for one that is missing; none: one is generated. */
  readonly secretKeys: readonly (string | undefined)[];
  /** Public keys that clients may sign with, `name:base64`. */
  readonly publicKeys: readonly string[];
  /** Those of caches that paths may come from: their signatures are kept before others. */
  readonly upstreamKeys?: readonly string[];
}

/** 32 bytes out of a Secret, or what is done without them. */
export type RootSecret = Buffer | 'generated' | 'missing';

export interface KeysInit {
  /** Where generated keys lie; undefined: none may be generated, since other servers share the database. */
  readonly folder: string | undefined;
  readonly cache: string;
  /**
   * Host of the API URL, without a port: the Cachix client demands key names `<cache>.<host>-1`. Undefined where
   * nothing will be signed: no key is made then.
   */
  readonly host: string | undefined;
  readonly renameHost: boolean;
  readonly signing: ResolvedSigning;
  readonly rootSecret: RootSecret;
  /** What is to be said of Secrets with keys that are not there: the cache goes on without them, and takes no pushes. */
  readonly missing: string | undefined;
  readonly database: Database;
}

export class Keys {
  readonly mode: ResolvedSigning['mode'];
  /** `<cache>.<host>-1` */
  readonly name: string;
  /** All of them sign; the first is the one that new clients are told of. */
  readonly signers: readonly SecretKey[];
  /** Keys of clients, for a self-signed cache. */
  readonly clients: readonly PublicKey[];
  /** Keys of other caches, whose signatures say something to our readers. */
  readonly upstreams: readonly PublicKey[];
  /** Why no pushes are taken: a key is gone. For whoever runs the server. */
  readonly lost: string | undefined;
  /** The same for clients, without a path of this machine. */
  readonly refusal: string | undefined;
  readonly #root: Buffer;
  readonly #derived = new Map<string, KeyObject>();

  private constructor(
    fields: Pick<Keys, 'mode' | 'name' | 'signers' | 'clients' | 'upstreams' | 'lost' | 'refusal'>,
    root: Buffer,
  ) {
    this.mode = fields.mode;
    this.name = fields.name;
    this.signers = fields.signers;
    this.clients = fields.clients;
    this.upstreams = fields.upstreams;
    this.lost = fields.lost;
    this.refusal = fields.refusal;
    this.#root = root;
  }

  static async load(init: KeysInit): Promise<Keys> {
    const { signing, database } = init;
    const name = `${init.cache}.${init.host ?? 'localhost'}-1`;
    const root = await rootKey(init);
    const registered = await database.query<{ public_key: string }>(
      'SELECT public_key FROM registered_keys ORDER BY registered_at',
    );
    const clients = [...signing.publicKeys, ...registered.map((row) => row.public_key)].map((text) =>
      parsePublicKey(text),
    );
    const { missing } = init;
    const refusal = missing && `this cache takes no pushes: ${missing}. Ask its operator to bring it back; pulls work`;
    const upstreams = (signing.upstreamKeys ?? []).map((text) => parsePublicKey(text));
    const fields = { mode: signing.mode, name, clients, upstreams, lost: missing, refusal };
    // One that was made for the time being is nobody else's.
    if (database.isShared && init.rootSecret !== 'missing') await checkRootKey(database, root);
    if (signing.mode === 'SelfSigned') return new Keys({ ...fields, signers: [] }, root);
    if (signing.secretKeys.length > 0) {
      const signers = signing.secretKeys.flatMap((text) => (text === undefined ? [] : parseSecretKey(text)));
      const isWhole = signers.length === signing.secretKeys.length;
      if (database.isShared) await checkSigningKeys(database, signers, isWhole);
      return new Keys({ ...fields, signers }, root);
    }
    const { signers, lost } = await managedKeys(init, folderOf(init, 'signing.secretRefs'), name);
    if (lost === undefined) return new Keys({ ...fields, signers }, root);
    return new Keys({ ...fields, signers, lost, refusal: KEY_FILE_GONE }, root);
  }

  /**
   * What goes on until the missing ones of `next` are there. What that has counts at once, and what it no longer names is
   * gone: a key may have been taken away for a reason. Only where nothing could be signed do ours sign.
   * @param hasRoot whether the root key of `next` is there
   */
  standIn(next: Keys, hasRoot: boolean): Keys {
    const canSign = next.mode === 'SelfSigned' || next.signers.length > 0;
    if (!canSign && this.mode !== next.mode) return this;
    const { mode, name, clients, upstreams } = next;
    const signers = canSign ? next.signers : this.signers;
    const fields = { mode, name, signers, clients, upstreams, lost: undefined, refusal: undefined };
    return new Keys(fields, hasRoot ? next.#root : this.#root);
  }

  /** `name:base64` of each key that readers should trust. */
  publicKeys(): string[] {
    return this.mode === 'SelfSigned' ? this.clients.map((key) => key.text) : this.signers.map((key) => key.publicKey);
  }

  /** A key for one purpose, never the same for two labels. Kept: making one costs seven HMACs with it. */
  derive(label: string): KeyObject {
    let key = this.#derived.get(label);
    if (key === undefined) {
      key = createSecretKey(Buffer.from(hkdfSync('sha256', this.#root, Buffer.alloc(0), `narwhal ${label}`, 32)));
      this.#derived.set(label, key);
    }
    return key;
  }
}

/** The name of the file is in the log and in `/readyz?verbose`; a client only hears that it is not its fault. */
const KEY_FILE_GONE =
  'this cache cannot sign: its signing key is missing. Ask its operator to restore it; pulls still work';

const ROOT_REMEDY =
  'put it back from a backup, or remove it, and another root key is made; uploads that are under way then begin anew';

async function rootKey(init: KeysInit): Promise<Buffer> {
  if (init.rootSecret === 'missing') return randomBytes(32);
  if (init.rootSecret !== 'generated') return init.rootSecret;
  const file = path.join(folderOf(init, 'rootSecretRef'), 'root.key');
  await createSecretFile(file, () => `${randomBytes(32).toString('base64')}\n`);
  const root = await readSecretFile(file, rootKeyValue, ROOT_REMEDY);
  if (root === undefined) throw new CacheError('Invalid', `${file} was removed while it was read; try again`);
  return root;
}

/** Where keys may be generated. @throws CacheError Invalid where none may be */
function folderOf({ folder }: KeysInit, field: string): string {
  if (folder === undefined)
    throw new CacheError('Invalid', `${field} must be given: with a shared database no server generates a key`);
  return folder;
}

/** The generated key, under the name of each host that this cache has had. */
async function managedKeys(init: KeysInit, data: string, name: string): Promise<Pick<Keys, 'signers' | 'lost'>> {
  const folder = path.join(data, 'signing');
  await mkdir(folder, { recursive: true, mode: 0o700 });
  const known = new Map<string, string>(
    Object.entries(JSON.parse((await readMeta(init.database, 'signing_keys')) ?? '{}')),
  );
  const texts = new Map<string, string>();
  for (const [old, publicKey] of known) {
    const text = await readKey(path.join(folder, old));
    if (text === undefined)
      return {
        signers: [],
        lost: `the secret of the signing key ${publicKey} is gone: put ${path.join(folder, old)} back from a backup`,
      };
    texts.set(old, text);
  }
  if (init.host !== undefined && !texts.has(name)) {
    const last = [...texts.values()].at(-1);
    if (last !== undefined && !init.renameHost) throw hostChanged([...texts.keys()], name);
    // A renamed host keeps the secret: readers who trust the old name go on, and both names sign.
    const text = last === undefined ? generateSecretKey(name) : `${name}:${last.slice(last.lastIndexOf(':') + 1)}`;
    await createSecretFile(path.join(folder, name), () => `${text}\n`);
    const kept = (await readKey(path.join(folder, name))) ?? text;
    texts.set(name, kept);
    known.set(name, parseSecretKey(kept).publicKey);
    await writeMeta(init.database, 'signing_keys', JSON.stringify(Object.fromEntries(known)));
  }
  const keys = [...texts].map(([keyName, text]) => ({ keyName, key: parseSecretKey(text) }));
  // The current host's name first: it is what `cachix use` hands out.
  keys.sort((a, b) => Number(b.keyName === name) - Number(a.keyName === name));
  for (const { keyName, key } of keys) {
    if (key.publicKey !== known.get(keyName))
      return {
        signers: [],
        lost: `${path.join(folder, keyName)} holds another key than ${known.get(keyName)}: put the old one back`,
      };
  }
  return { signers: keys.map((it) => it.key), lost: undefined };
}

function readKey(file: string): Promise<string | undefined> {
  const remedy = 'put it back from a backup; once it is moved away the cache serves what is signed and takes no pushes';
  return readSecretFile(file, signingKeyValue, remedy);
}

function hostChanged(names: readonly string[], name: string): CacheError {
  return new CacheError(
    'Invalid',
    `the API host has changed: this cache signs as ${names.join(', ')}, the new host would make it ${name}. ` +
      'Start with the old --api-url, or once with --rename-host; then both names sign',
  );
}
