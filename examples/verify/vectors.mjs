// Runs the verifier over docs/spec/vectors: node vectors.mjs FOLDER
//
// What a verifier of logs does not need, tokens and sealed keys, is written out here.
import { createDecipheriv, createHash, createHmac, timingSafeEqual } from "node:crypto";
import { readFileSync } from "node:fs";
import { join } from "node:path";
import { Bad, checkCheckpoint, checkEvent, checkExport, publicKey, streamOf } from "./verify.mjs";

const keyId = (key) => createHash("sha256").update("keyturn key id v1\0").update(key)
  .digest().subarray(0, 12).toString("base64url");

function unseal({ sealing_key: sealingKey, manager, generation, key_id: id, sealed_key: text }) {
  const sealed = Buffer.from(text, "base64url");
  const cipher = createDecipheriv("aes-256-gcm", Buffer.from(sealingKey, "hex"), sealed.subarray(0, 12));
  cipher.setAAD(Buffer.from(JSON.stringify(["keyturn sealed key v1", manager, generation, id])));
  cipher.setAuthTag(sealed.subarray(-16));
  try {
    const key = Buffer.concat([cipher.update(sealed.subarray(12, -16)), cipher.final()]);
    return keyId(key) === id ? key.toString("hex") : null;
  } catch {
    throw new Bad("it does not open");
  }
}

// Returns why a token is refused, null if it is good: by one key, without overlaps and ended sessions.
function refusal({ key: hex, now, token }) {
  const key = Buffer.from(hex, "hex");
  const parts = token.split(".");
  if (token.length > 8192 || !/^[\0-\x7f]*$/.test(token) || parts.length !== 3) return "malformed";
  const [header, payload, signature] = parts;
  const own = `{"alg":"HS256","kid":"${keyId(key)}","typ":"JWT"}`;
  if (header !== Buffer.from(own).toString("base64url")) {
    const shape = /^\{"alg":"HS256","kid":"[^"]*","typ":"JWT"\}$/;
    return shape.test(Buffer.from(header, "base64url")) ? "unknown key" : "malformed";
  }
  const mac = Buffer.from(createHmac("sha256", key).update(`${header}.${payload}`).digest("base64url"));
  const found = Buffer.from(signature);
  if (mac.length !== found.length || !timingSafeEqual(mac, found)) return "bad signature";
  const text = Buffer.from(payload, "base64url").toString();
  const claims = JSON.parse(text);
  const isTyped = ["iss", "sub", "jti", "sid"].every((name) => typeof claims[name] === "string") &&
    [claims.iat, claims.auth_time, claims.exp ?? 0].every(Number.isInteger);
  if (JSON.stringify(claims) !== text || !isTyped) return "malformed";
  return claims.exp !== undefined && now >= claims.exp + 1 ? "expired" : null;
}

const CHECKS = {
  node_ids: (vector) => publicKey(vector.node_id).toString("hex") === vector.public_key,
  streams: (vector) => streamOf(vector.manager) === vector.stream,
  sealed_keys: (vector) => unseal(vector) === vector.key,
  events: (vector) => checkEvent(vector.row, vector.node_id).digest === vector.digest,
  exports: (vector) => checkExport(vector.lines, vector.node_id).size === vector.lines.length - 2,
  checkpoints: (vector) => checkCheckpoint(vector.line) === undefined,
  tokens: (vector) => refusal(vector) === null,
};

function outcome(check, vector) {
  try {
    return check(vector);
  } catch (error) {
    if (!(error instanceof Bad)) throw error;
    return false;
  }
}

let [right, wrong] = [0, 0];
for (const [name, check] of Object.entries(CHECKS)) {
  const { vectors } = JSON.parse(readFileSync(join(process.argv[2], `${name}.json`), "utf8"));
  for (const vector of vectors) {
    const isRight = outcome(check, vector) === vector.good &&
      (name !== "tokens" || refusal(vector) === (vector.reason ?? null));
    if (isRight) right += 1;
    else console.log(`${name}: ${vector.why}`), (wrong += 1);
  }
}
console.log(`${right} right, ${wrong} wrong`);
process.exitCode = wrong === 0 ? 0 : 1;
