import { existsSync, readFileSync } from 'node:fs';

/** Version of the package: two folders up in `dist`, one in a clone. */
export const version = readVersion();

function readVersion(): string {
  for (const relative of ['../package.json', '../../package.json']) {
    const url = new URL(relative, import.meta.url);
    if (!existsSync(url)) continue;
    const parsed: unknown = JSON.parse(readFileSync(url, 'utf8'));
    if (typeof parsed === 'object' && parsed !== null && 'version' in parsed && typeof parsed.version === 'string')
      return parsed.version;
  }
  return 'unknown';
}
