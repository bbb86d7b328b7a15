// Looks for secrets in what servers have logged. The patterns are of forms that nothing else has.
import fs from 'node:fs';
import path from 'node:path';

const FORMS = [
  { name: 'a token', pattern: /nwl_[0-9A-Za-z]{49}/ },
  { name: 'a credential', pattern: /\b(?:Bearer|Basic)\s+[\w.~+/=-]{16,}/i },
  { name: 'a signing key or signature', pattern: /[A-Za-z0-9+/]{86}==/ },
  { name: 'the credential of a part URL', pattern: /signature=[\w-]{43}/ },
];

/** One line for each secret in a text: where it is and of what form, never what it is. */
export function secretsIn(name, text) {
  const found = [];
  for (const [index, line] of text.split('\n').entries()) {
    for (const form of FORMS) if (form.pattern.test(line)) found.push(`${name}:${index + 1}: ${form.name}`);
  }
  return found;
}

/** The same for all logs of a folder, and how many there were. */
export function secretsInFolder(folder) {
  const files = fs.readdirSync(folder).filter((file) => file.endsWith('.log'));
  const found = files.flatMap((file) => secretsIn(file, fs.readFileSync(path.join(folder, file), 'utf8')));
  return { files: files.length, found };
}
