/**
 * Places where the crash tests end the process: the write path names them, `NARWHAL_CRASH_AT` arms one of them. Unarmed,
 * a point is one comparison.
 */
export const CRASH_POINTS = [
  /** A staged file is there, without a byte. */
  'staged-created',
  /** The first piece of a body or part is in its file, the rest is not. */
  'half-written',
  'before-rename',
  /** A body is complete and has its final name; neither the file nor its folder is synced. */
  'before-sync',
  /** Bytes are durable; no row knows them. */
  'before-nar-row',
  'after-nar-row',
  /** Of a NAR that came before: its row is there and its client answered, its bytes may not be on disk. */
  'before-publish',
  /** The NAR of a path is on disk; no path points at it. */
  'after-sync',
  /** A path is published and its client has not heard of it. */
  'after-publish',
  /** A part is in the upload's file; its row is not. */
  'before-part-row',
  /** A part that waited in a file of its own was moved; its row says that it still waits. */
  'after-part-move',
  /** A complete upload is verified and still in the staging folder. */
  'during-complete',
  /** A row is tombstoned; its bytes are there. */
  'before-delete',
  /** The bytes of a tombstoned row are gone. */
  'after-delete',
  /** An object was copied to another storage and verified there; its row names the old one. */
  'after-copy',
  /** Its row names the new one; the old bytes have a tombstone. */
  'after-switch',
  /** A collection has chosen what goes; nothing of it has gone. */
  'after-doom',
  /** A part of it is retired. */
  'after-sweep',
  /** The rows of some retired paths are gone; their NARs are orphans. */
  'after-expire',
  /** A new storage: its marker has a draft only. */
  'before-marker',
  /** A new storage has its marker and no row. */
  'after-marker',
] as const;

export type CrashPoint = (typeof CRASH_POINTS)[number];

let armed: string | undefined;

/** Arms the point called `name`. @throws Error for a name that no point has */
export function armCrashPoint(name: string | undefined): void {
  if (name !== undefined && !CRASH_POINTS.some((point) => point === name))
    throw new Error(`NARWHAL_CRASH_AT: there is no crash point ${name}`);
  armed = name;
}

/** Ends the process as a power cut would, if this point is armed. */
export function crashPoint(name: CrashPoint): void {
  if (armed === name) process.kill(process.pid, 'SIGKILL');
}
