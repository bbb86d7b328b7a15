export { examine, Lost, wordsOfLost } from './lost.ts';
export { openPaths } from './open.ts';
export { type Asker, type NarFacts, type Narinfo, type NewPath, Paths } from './paths.ts';
export { differs } from './publish.ts';
export { Realisations } from './realisations.ts';
