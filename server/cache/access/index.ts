export { type Access, ANYONE, authorize, type Guarded, NO_CACHE } from './access.ts';
export { createSecretFile, readSecretFile } from './secret-file.ts';
export { type ReadSecret, secretReader, signingKeyValue } from './secret-values.ts';
export { type Permission, type ResolvedToken, removeOldTokens, Tokens } from './tokens.ts';
