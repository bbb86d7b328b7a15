export { type Block, Blocks, block, IS_BLOCKED, MOST_BLOCKS, mustBeAllowed } from './blocks.ts';
