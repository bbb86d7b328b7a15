/** What both ways to push, uploads and NARs, work with. */
import type { Logger } from 'pino';
import type { Database } from '../../metadata/index.ts';
import type { Blocks } from '../blocks/index.ts';
import type { Leases } from '../database/index.ts';
import type { Intents, Objects, Unsynced } from '../objects/index.ts';
import type { NewPath, Paths } from '../paths/index.ts';
import type { Settings } from '../settings.ts';
import type { Keys } from '../signing/index.ts';
import type { Storages } from '../storages/index.ts';
import type { Uses } from '../use/index.ts';
import type { Verifier } from '../verify/index.ts';

export interface IngestInit {
  readonly database: Database;
  readonly storages: Storages;
  readonly objects: Objects;
  readonly unsynced: Unsynced;
  readonly paths: Paths;
  readonly uses: Uses;
  readonly blocks: Blocks;
  readonly verifier: Verifier;
  readonly keys: () => Keys;
  readonly intents: Intents;
  readonly leases: Leases;
  readonly settings: Settings;
  readonly logger: Logger;
  /** Called once for each path that becomes visible. */
  readonly onPublished: (path: NewPath) => void;
}
