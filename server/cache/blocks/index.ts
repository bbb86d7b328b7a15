export {
  type Block,
  Blocks,
  block,
  findPath,
  IS_BLOCKED,
  MOST_BLOCKS,
  mustBeAllowed,
  NAR_IS_BLOCKED,
} from './blocks.ts';
