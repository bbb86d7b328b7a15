/**
 * The values of Secrets and key files, read alike by servers and operator: as text, without the white space around it
 * that editors and `echo` leave; and refused where they cannot be right. No error repeats anything of a value.
 */
import { X509Certificate } from 'node:crypto';
import { isWholeToken } from './token.ts';

/** What is wrong with a value, in words that follow on its name: `is empty`. */
export class ValueError extends Error {
  override readonly name = 'ValueError';
}

const ROOT_KEY_BYTES = 32;

/** Any value that is text. @throws ValueError */
export function textValue(bytes: Uint8Array): string {
  let text: string;
  try {
    text = new TextDecoder('utf-8', { fatal: true, ignoreBOM: true }).decode(bytes).trim();
  } catch {
    throw new ValueError('is not text (UTF-8)');
  }
  if (text === '') throw new ValueError('is empty');
  if (text.includes('\0')) throw new ValueError('holds a NUL: it is not text');
  return text;
}

/** A value of one word, as tokens and access keys are: it travels in headers. @throws ValueError */
export function wordValue(bytes: Uint8Array): string {
  const text = textValue(bytes);
  if (!/^[!-~]+$/.test(text))
    throw new ValueError('has white space, control or other characters inside that are not plain ASCII');
  return text;
}

/** A token. One of ours tells by its checksum whether all of it is there. @throws ValueError */
export function tokenValue(bytes: Uint8Array): string {
  const text = wordValue(bytes);
  if (!isWholeToken(text))
    throw new ValueError('is a token of Narwhal (nwl_...) of which something is missing or changed');
  return text;
}

/** 32 bytes, as they are or in base64. @throws ValueError */
export function rootKeyValue(bytes: Uint8Array): Buffer {
  if (bytes.length === ROOT_KEY_BYTES) return Buffer.from(bytes);
  const text = Buffer.from(bytes).toString('latin1').trim();
  if (text === '') throw new ValueError('is empty');
  const key = Buffer.from(text, 'base64');
  // Node skips what is not base64.
  const isBase64 = key.toString('base64').replace(/=+$/, '') === text.replace(/=+$/, '');
  if (key.length !== ROOT_KEY_BYTES || !isBase64) throw new ValueError('is neither 32 bytes nor their base64');
  return key;
}

/** Certificates in PEM, and whatever stands around them. @throws ValueError */
export function certificatesValue(bytes: Uint8Array): string {
  const text = textValue(bytes);
  const blocks = text.match(/-----BEGIN CERTIFICATE-----[^-]*-----END CERTIFICATE-----/g) ?? [];
  if (blocks.length === 0 || blocks.length !== text.split('-----BEGIN CERTIFICATE-----').length - 1)
    throw new ValueError('holds no whole certificate in PEM');
  for (const block of blocks)
    try {
      new X509Certificate(block);
    } catch {
      throw new ValueError('holds something that is no certificate, in the PEM of one');
    }
  return text;
}
