/** Manifests on disk: read from files and folders, read again when they change. */
import { readdir, readFile, stat } from 'node:fs/promises';
import path from 'node:path';
import type { ManifestSource } from '../crds/index.ts';
import { OptionError } from './options.ts';

const ENDINGS = ['.yaml', '.yml', '.json'];

/** The manifests behind `-f`: files as they are, folders by their YAML and JSON files in the order of their names. */
export async function readManifests(files: readonly string[]): Promise<ManifestSource[]> {
  const sources: ManifestSource[] = [];
  for (const file of files) {
    const found = await stat(file).catch(() => undefined);
    if (found === undefined) throw new OptionError(`-f ${file}: no such file or folder`);
    const names = found.isDirectory()
      ? (await readdir(file))
          .filter((name) => ENDINGS.includes(path.extname(name)) && !name.startsWith('.'))
          .sort()
          .map((name) => path.join(file, name))
      : [file];
    for (const name of names) sources.push({ file: name, text: await readFile(name, 'utf8') });
  }
  return sources;
}

export interface WatchInit {
  readonly files: readonly string[];
  readonly intervalMs: number;
  /** Called with what is there now, each time it differs from the last time; one call at a time. */
  readonly onChange: (sources: ManifestSource[]) => Promise<void>;
  readonly onError: (error: unknown) => void;
}

/**
 * Compares the texts every now and then. Reading a few small files costs nothing, and works where change events do
 * not: on network disks, and for the swapped links of a mounted ConfigMap.
 */
export function watchManifests(
  init: WatchInit,
  first: readonly ManifestSource[],
): { stop(): Promise<void>; check(): Promise<void> } {
  let last = JSON.stringify(first);
  let running: Promise<void> | undefined;
  const check = async () => {
    try {
      const sources = await readManifests(init.files);
      const now = JSON.stringify(sources);
      if (now === last) return;
      last = now;
      await init.onChange(sources);
    } catch (error) {
      // The same text again, once it can be read again, is news then.
      last = '';
      init.onError(error);
    }
  };
  const once = () => {
    running ??= check().finally(() => {
      running = undefined;
    });
    return running;
  };
  const timer = setInterval(() => void once(), init.intervalMs);
  return {
    check: once,
    async stop() {
      clearInterval(timer);
      await running;
    },
  };
}
