export { hashOf, piecesOf } from './bytes.ts';
export { type Body, type Incoming, type Observer, type ReceiveInit, receive } from './incoming.ts';
export { dropStatement, endStatement, Intents } from './intents.ts';
export {
  giveUpLost,
  healNar,
  IS_LOST,
  isLostNow,
  LOST_COUNTS_QUERY,
  LOST_PATHS_QUERY,
  type Loss,
  type LostCount,
  markLost,
  replaceLost,
  restoreLost,
} from './lost-rows.ts';
export type { Examined, KnownObject, NarFacts, NewObject, StoredObject } from './object.ts';
export { Objects, STALE_ROW_MS } from './objects.ts';
export { openObjects } from './open.ts';
export { insertObject, type ObjectRow, objectStatements, objectsAfter } from './rows.ts';
export {
  adopt,
  insertTombstone,
  isPointedAt,
  keepNar,
  orphanStatements,
  tombstone,
  tombstoneOrphan,
} from './tombstones.ts';
export { Unproven } from './unproven.ts';
export { Unsynced } from './unsynced.ts';
