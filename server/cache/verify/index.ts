export { type Decoder, decoderOf } from './decoder.ts';
export * from './errors.ts';
export type { Facts } from './facts.ts';
export type { Claim, VerifyRequest } from './messages.ts';
export type { StreamVerification } from './stream-verification.ts';
export { type Verification, Verifier, type VerifierInit, type VerifierStats } from './verifier.ts';
export { checkYield } from './yield.ts';
