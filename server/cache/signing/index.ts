export { Keys, type ResolvedSigning, type RootSecret } from './keys.ts';
export { registerKey } from './register.ts';
export { knownKeyOf, mustBeAbleToSign, namedSignatures, signaturesFor } from './sign.ts';
export { keyNameOf, roomForOthers, type Weighed, weighSignatures } from './signature-room.ts';
