/** What an encoded file must give for its bytes: without that, empty frames and streams could come for ever. */
import { VerifyError } from './errors.ts';

/** Bytes that a decoder may hold before it gives any: a block of bzip2 is 900 KB, one of lz4 4 MiB; and pipes. */
const AHEAD_BYTES = 8 * 1024 * 1024;
/** No form makes its content longer by more than a few percent. */
const MOST_RAW_RATIO = 2;

/** @param raw bytes that went into a decoder @param decoded bytes that came out. @throws VerifyError corrupt */
export function checkYield(raw: number, decoded: number): void {
  if (raw > MOST_RAW_RATIO * decoded + AHEAD_BYTES)
    throw new VerifyError('corrupt', `more than ${AHEAD_BYTES / 2 ** 20} MiB of it give nothing`);
}
