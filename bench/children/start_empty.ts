// A script that does nothing: what Bun itself takes to start.
export {};
