// A host in Node: log in, see who you are, log out.
//
//   curl -X POST 'http://127.0.0.1:3000/login?user=alice'       # prints a token
//   curl -H "Authorization: Bearer $TOKEN" http://127.0.0.1:3000/me

import { createServer } from "node:http";
import { Keyturn } from "./keyturn.mjs";

const keyturn = new Keyturn(process.env.KEYTURN_URL, process.env.KEYTURN_SECRET);

async function answer(request, url) {
  const token = (request.headers.authorization ?? "").replace(/^Bearer /i, "");
  switch (`${request.method} ${url.pathname}`) {
    case "POST /login": // your own way to know your users comes first
      return [200, { token: await keyturn.createToken(url.searchParams.get("user")) }];
    case "POST /logout":
      await keyturn.endSession(token);
      return [200, {}];
    case "POST /refresh": {
      const fresh = await keyturn.refreshToken(token);
      return fresh ? [200, { token: fresh }] : [401, { error: "log in" }];
    }
    case "GET /me": {
      const who = await keyturn.authenticate(token);
      return who ? [200, { user: who.sub }] : [401, { error: "log in" }];
    }
    default:
      return [404, { error: "there is nothing here" }];
  }
}

const server = createServer(async (request, response) => {
  const headers = { "Content-Type": "application/json", "Cache-Control": "no-store" };
  try {
    const [status, body] = await answer(request, new URL(request.url, "http://node"));
    response.writeHead(status, headers).end(JSON.stringify(body));
  } catch (error) {
    console.error(error.message);
    response.writeHead(503, { ...headers, "Retry-After": "5" }).end("{}");
  }
});
server.listen(process.env.PORT ?? 3000, "127.0.0.1", () => {
  console.log(`listening at http://127.0.0.1:${server.address().port}`);
});
