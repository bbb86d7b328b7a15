/**
 * Realisations, signed like paths: a managed cache vouches for those whose path it has published. That is decided when one
 * is read, so that it stays right when keys change and when the path is published later.
 */
import {
  FormatError,
  parseRealisation,
  type Realisation,
  type RealisationKey,
  realisationFingerprints,
  renderRealisation,
  STORE_DIR,
} from '../../nix/index.ts';
import { CacheError } from '../errors.ts';
import type { Objects } from '../objects/index.ts';
import type { Keys } from '../signing/index.ts';
import { keyNameOf } from '../signing/index.ts';
import type { Paths } from './paths.ts';

export interface RealisationsInit {
  readonly objects: Objects;
  readonly paths: Paths;
  readonly keys: () => Keys;
}

export class Realisations {
  readonly #init: RealisationsInit;

  constructor(init: RealisationsInit) {
    this.#init = init;
  }

  /**
   * Stores a realisation, written anew from what was understood of it. The same name again replaces it.
   * @throws FormatError, CacheError Invalid, NoSpace
   */
  async put(name: string, key: RealisationKey, file: Buffer): Promise<void> {
    const realisation = parseRealisation(key, file);
    const text = renderRealisation(realisation, this.#foreign(realisation));
    const body = Buffer.from(text);
    const limits = { maxBytes: body.length, declaredBytes: body.length };
    await this.#init.objects.put(name, once(body), limits);
  }

  /** Whether a file of that name is here. */
  async has(name: string): Promise<boolean> {
    const { objects } = this.#init;
    return (objects.cached(name) ?? (await objects.find(name))) !== undefined;
  }

  /** Whether a file says nothing but what is served under its name. @throws FormatError, StorageUnavailableError */
  async isServed(name: string, key: RealisationKey, file: Buffer): Promise<boolean> {
    const { outPath, signatures } = parseRealisation(key, file);
    const served = await this.read(name, key);
    if (served === undefined) return false;
    const own = parseRealisation(key, served);
    return own.outPath === outPath && signatures.every((signature) => own.signatures.includes(signature));
  }

  /** Signatures by keys that are not ours; ours are made when they are needed. @throws CacheError Invalid (a false one) */
  #foreign(realisation: Realisation): string[] {
    const keys = this.#init.keys();
    const texts = realisationFingerprints(realisation);
    const own = this.#own(realisation);
    const isFalse = (signature: string) => {
      if (keys.signers.some((key) => key.name === keyNameOf(signature))) return !own.includes(signature);
      const clients = keys.clients.filter((key) => key.name === keyNameOf(signature));
      return clients.length > 0 && !clients.some((key) => texts.some((text) => key.verify(text, signature)));
    };
    const wrong = realisation.signatures.find(isFalse);
    if (wrong !== undefined)
      throw new CacheError('Invalid', `the signature by ${keyNameOf(wrong)}, a key of this cache, is not valid`);
    return realisation.signatures.filter((signature) => !own.includes(signature));
  }

  /** A signature by each of our keys; a self-signed cache has none. */
  #own(realisation: Realisation): string[] {
    const texts = realisationFingerprints(realisation);
    return this.#init.keys().signers.flatMap((key) => texts.map((text) => key.sign(text)));
  }

  /**
   * The file of a realisation. Undefined where there is none, or one that no nix could read: it was stored by a server that
   * did not look, and would end a build. @throws StorageUnavailableError
   */
  async read(name: string, key: RealisationKey): Promise<Buffer | undefined> {
    const { objects, paths, keys } = this.#init;
    const object = objects.cached(name) ?? (await objects.find(name));
    if (object === undefined) return undefined;
    const pieces: Uint8Array[] = [];
    if (object.size > 0) {
      const stored = await objects.read(object, { start: 0, end: object.size - 1 });
      if (Buffer.isBuffer(stored)) pieces.push(stored);
      else for await (const piece of stored) pieces.push(piece);
    }
    const realisation = parsed(key, Buffer.concat(pieces));
    if (realisation === undefined) return undefined;
    const { outPath, signatures } = realisation;
    const path = await paths.find(outPath.slice(0, outPath.indexOf('-')));
    if (path?.storePath !== `${STORE_DIR}/${outPath}`) return Buffer.from(renderRealisation(realisation));
    const names = new Set(keys().signers.map((signer) => signer.name));
    const foreign = signatures.filter((signature) => !names.has(keyNameOf(signature)));
    return Buffer.from(renderRealisation(realisation, [...foreign, ...this.#own(realisation)]));
  }
}

async function* once(body: Buffer): AsyncGenerator<Buffer> {
  yield body;
}

function parsed(key: RealisationKey, file: Buffer): Realisation | undefined {
  try {
    return parseRealisation(key, file);
  } catch (error) {
    if (error instanceof FormatError) return undefined;
    throw error;
  }
}
