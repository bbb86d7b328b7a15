/** The gateway: one address for many caches, which run elsewhere. */
export { type GatewayOptions, type RunningGateway, runGateway } from './gateway.ts';
export type { TableSource, TableTexts } from './table.ts';
export { fileTable } from './table-file.ts';
