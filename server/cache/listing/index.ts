export type { ClosureSize } from './closure-size.ts';
export type { PathDetails } from './details.ts';
export { Listing, type ListingPage } from './listing.ts';
export { type ListedPath, MOST_LISTED, type Position, SORTS, type Sort } from './rows.ts';
