/** The form of Narwhal's tokens. Servers and the operator make them; both keep hashes only. */
import { createHash, randomBytes } from 'node:crypto';
import { crc32 } from 'node:zlib';

/** Hex SHA-256 of a token, the form that `tokens[].sha256` takes. */
export function hashToken(token: string): string {
  return createHash('sha256').update(token).digest('hex');
}

/** `nwl_`, 43 base62 digits of 256 random bits, 6 of their CRC-32: secret scanners can tell a token from noise. */
export function generateToken(): string {
  const body = base62(BigInt(`0x${randomBytes(32).toString('hex')}`), 43);
  return `nwl_${body}${base62(BigInt(crc32(body)), 6)}`;
}

/** Whether a text can be a token: one that looks like ours has all its digits and the right checksum. */
export function isWholeToken(text: string): boolean {
  if (!text.startsWith('nwl_')) return true;
  const [, body = '', check = ''] = /^nwl_([0-9A-Za-z]{43})([0-9A-Za-z]{6})$/.exec(text) ?? [];
  return body !== '' && base62(BigInt(crc32(body)), 6) === check;
}

function base62(value: bigint, digits: number): string {
  const alphabet = '0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz';
  let text = '';
  for (let rest = value; text.length < digits; rest /= 62n) text = alphabet.charAt(Number(rest % 62n)) + text;
  return text;
}
