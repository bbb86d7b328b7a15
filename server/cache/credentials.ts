/** The keys and tokens of a cache, as its manifest and its Secrets have them now. */
import path from 'node:path';
import type { Logger } from 'pino';
import type { Database } from '../metadata/index.ts';
import { removeOldTokens, Tokens } from './access/index.ts';
import type { ResolvedCache } from './resolve.ts';
import { Keys } from './signing/index.ts';

export interface CredentialsInit {
  /** `<data>/<cache>` */
  readonly folder: string;
  /** Host of the API URL, without a port. */
  readonly host: string | undefined;
  readonly renameHost: boolean;
  readonly database: Database;
  readonly logger: Logger;
}

export class Credentials {
  readonly #init: CredentialsInit;
  readonly #resolved: ResolvedCache;
  /** The last manifest that had all of its keys, or none to stand in for them. */
  readonly #keysOf: ResolvedCache;
  readonly keys: Keys;
  readonly tokens: Tokens;

  private constructor(
    init: CredentialsInit,
    resolved: ResolvedCache,
    { keys, tokens, keysOf = resolved }: { keys: Keys; tokens: Tokens; keysOf?: ResolvedCache },
  ) {
    this.#init = init;
    this.#resolved = resolved;
    this.#keysOf = keysOf;
    this.keys = keys;
    this.tokens = tokens;
  }

  /** Makes those that are new, where the database is not shared. @throws CacheError */
  static async load(init: CredentialsInit, resolved: ResolvedCache): Promise<Credentials> {
    const keys = await loadKeys(init, resolved);
    return new Credentials(init, resolved, { keys, tokens: await Tokens.load(resolved.tokens, tokensFolder(init)) });
  }

  /**
   * Those of a changed manifest. A Secret that no manifest named before is mounted into the pods that are about to replace
   * this one: until then the present keys sign, since nix would end at a refusal. @throws CacheError
   */
  async of(resolved: ResolvedCache): Promise<Credentials> {
    const next = await Credentials.load(this.#init, resolved);
    const { missingKeys } = resolved;
    const areAwaited = missingKeys.every(({ at }) => !this.#keysOf.namedKeys.includes(at));
    const missing = textOf(resolved);
    // A key that is gone in another way is not about to come.
    if (missing === undefined || !areAwaited || this.keys.lost !== undefined || next.keys.lost !== missing) return next;
    this.#init.logger.warn(`the present keys go on signing, until there are the new ones: ${missing}`);
    const keys = this.keys.standIn(next.keys, resolved.rootSecret !== 'missing');
    return new Credentials(this.#init, resolved, { keys, tokens: next.tokens, keysOf: this.#keysOf });
  }

  /** The same with the keys that were registered since. */
  async withNewKeys(): Promise<Credentials> {
    const next = await loadKeys(this.#init, this.#resolved);
    const isWhole = this.#keysOf === this.#resolved;
    const keys = isWhole ? next : this.keys.standIn(next, this.#resolved.rootSecret !== 'missing');
    return new Credentials(this.#init, this.#resolved, { keys, tokens: this.tokens, keysOf: this.#keysOf });
  }

  /** Removes texts of tokens that the manifest no longer asks for. The tokens themselves are refused already. */
  async forgetOthers(): Promise<void> {
    const folder = tokensFolder(this.#init);
    if (folder === undefined) return;
    await removeOldTokens(this.#resolved.tokens, folder).catch((error: unknown) => {
      this.#init.logger.warn({ err: error }, 'old tokens could not be removed: listed again, they would be valid');
    });
  }
}

function loadKeys({ folder, host, renameHost, database }: CredentialsInit, resolved: ResolvedCache): Promise<Keys> {
  const { name: cache, signing, rootSecret } = resolved;
  const own = database.isShared ? undefined : folder;
  return Keys.load({ folder: own, cache, host, renameHost, signing, rootSecret, missing: textOf(resolved), database });
}

/** What is to be said of keys that are not there. */
function textOf({ missingKeys }: ResolvedCache): string | undefined {
  return missingKeys.length === 0 ? undefined : missingKeys.map(({ text }) => text).join('; ');
}

/** Where generated tokens lie; undefined where none may be made. */
function tokensFolder({ database, folder }: CredentialsInit): string | undefined {
  return database.isShared ? undefined : path.join(folder, 'tokens');
}
