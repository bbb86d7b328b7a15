// A lock between processes of one machine, so that two set-ups at once wait for each other.
import { createHash, randomBytes } from 'node:crypto';
import fs from 'node:fs';
import os from 'node:os';
import path from 'node:path';
import { cacheDir } from './places.mjs';

const POLL_MS = 250;

/**
 * Runs `work` while holding the lock called `name`; a holder that died is noticed and its lock taken over.
 *
 * The lock is a file made by link(2): it appears with its owner's process id inside or not at all.
 */
export async function withLock(name, work, { say = () => {} } = {}) {
  const folder = path.join(cacheDir(), 'locks');
  fs.mkdirSync(folder, { recursive: true });
  const file = path.join(folder, createHash('sha256').update(name).digest('hex').slice(0, 24));
  const owner = `${process.pid}@${os.hostname()} ${randomBytes(8).toString('hex')}`;
  const draft = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`;
  fs.writeFileSync(draft, owner);
  try {
    for (let waited = false; !tryLink(draft, file); ) {
      const holder = readOrNothing(file);
      if (holder !== undefined && isDead(holder)) {
        removeIfStill(file, holder);
        continue;
      }
      if (!waited && holder !== undefined) {
        say(`waiting for process ${holder.split('@')[0]}, which does the same (lock: ${file})`);
        waited = true;
      }
      await new Promise((resolve) => setTimeout(resolve, POLL_MS));
    }
  } finally {
    fs.rmSync(draft, { force: true });
  }
  const release = () => removeIfStill(file, owner);
  process.once('exit', release);
  try {
    return await work();
  } finally {
    process.removeListener('exit', release);
    release();
  }
}

function tryLink(from, to) {
  try {
    fs.linkSync(from, to);
    return true;
  } catch (error) {
    if (error.code === 'EEXIST') return false;
    throw error;
  }
}

function readOrNothing(file) {
  try {
    return fs.readFileSync(file, 'utf8');
  } catch {
    return undefined;
  }
}

/** True when the holder ran on this machine and is gone. A holder on another machine is believed to live. */
function isDead(holder) {
  const [id, host] = holder.split(' ')[0].split('@');
  if (host !== os.hostname()) return false;
  try {
    process.kill(Number(id), 0);
    return false;
  } catch (error) {
    return error.code === 'ESRCH';
  }
}

/** Removes the lock if it still holds `content`. Renamed first, so that of two takers only one removes. */
function removeIfStill(file, content) {
  const aside = `${file}.${process.pid}.${randomBytes(4).toString('hex')}`;
  try {
    if (fs.readFileSync(file, 'utf8') !== content) return;
    fs.renameSync(file, aside);
  } catch {
    return;
  }
  // Someone else took over between the read and the rename: give the lock back.
  if (readOrNothing(aside) !== content) tryLink(aside, file);
  fs.rmSync(aside, { force: true });
}
