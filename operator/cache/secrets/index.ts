export { generateSecret, ownership } from './generate.ts';
export { Secrets, type SecretsView, viewOfNothing } from './secrets.ts';
