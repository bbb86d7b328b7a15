/** What clients hear of uploads that they can not go on with. */
import { CacheError } from '../errors.ts';

export function otherPath(): CacheError {
  return new CacheError('Conflict', 'this upload was completed for another store path');
}

export function otherBytes(number: number): CacheError {
  return new CacheError('Conflict', `part ${number} was received with other bytes; start a new upload`);
}

export function unknownUpload(): CacheError {
  return new CacheError('NotFound', 'no such upload');
}

export function uploadOver(): CacheError {
  return new CacheError('NotFound', 'this upload is over; start a new one');
}
