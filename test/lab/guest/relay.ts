// Passes connections to one port of the machine on to another: `relay.ts FROM TO`. When it ends they break, and new
// ones are refused.

import { connect, createServer } from "node:net";

const [from, to] = Bun.argv.slice(2).map(Number);
if (from === undefined || to === undefined) throw new Error("relay.ts FROM TO");

createServer((client) => {
  const server = connect(to, "127.0.0.1");
  client.pipe(server);
  server.pipe(client);
  client.on("error", () => server.destroy());
  server.on("error", () => client.destroy());
}).listen(from, "127.0.0.1");
