/** What all work with an upload in rows needs: where it lies, and whether it goes on. */
import type { RemoteUploads } from '../../storage/index.ts';
import { CacheError } from '../errors.ts';
import type { Storages } from '../storages/index.ts';
import { uploadOver } from './upload-errors.ts';
import type { UploadRow } from './upload-rows.ts';

/** How a storage takes uploads that any server may go on with. @throws CacheError Unavailable */
export function remoteOf(storages: Storages, storage: string): RemoteUploads {
  const place = storages.get(storage);
  const { remote } = place;
  if (place.health().state !== 'Ready') throw new CacheError('Unavailable', `storage ${storage} is not available`);
  if (remote === undefined) throw new CacheError('Unavailable', `storage ${storage} takes no uploads of this kind`);
  return remote;
}

/** The name of the object that it will be. */
export function nameOf(row: UploadRow): string {
  if (row.name === null) throw uploadOver();
  return row.name;
}

/** @throws CacheError NotFound */
export function mustBeOpen(row: UploadRow): void {
  if (row.state !== 'open' || row.expires_at <= Date.now()) throw uploadOver();
}
