// Checks an export of Keyturn with nothing of Keyturn's: see docs/spec.
//
//     node verify.mjs LOG.jsonl --node NODE_ID [--against CHECKPOINT_FILE]
//
// Exit codes: 0, the log is good; 1, it is not; 2, the call is wrong.
import { createHash, createPublicKey, verify } from "node:crypto";
import { readFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const TEXT = (value) => typeof value === "string";
const WHOLE = (value) => Number.isSafeInteger(value);
const TIME = (value) => TEXT(value) && /^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{6})?Z$/.test(value) && !isNaN(Date.parse(value));
const NULL_OR = (check) => (value) => value === null || check(value);
const KEYS = (value) => Array.isArray(value) && value.every((key) => hasFields(key, RETIRING));
const RETIRING = { generation: WHOLE, good_until: TIME, key_id: TEXT, sealed_key: TEXT };
const GIVEN_UP = (value) => hasFields(value, { digest: TEXT, position: WHOLE });
const COMMON = { manager: TEXT, node_id: TEXT, previous_digest: TEXT, generation: WHOLE, key_id: TEXT,
  initiator: TEXT, reason: NULL_OR(TEXT), timestamp: TIME, signature: TEXT };
const SINCE_VERSION_2 = { class_version: WHOLE, since: WHOLE, recorded_by: NULL_OR(TEXT) };
const TOPICS = { // the fields of version 1, and those that came with version 2
  "keyturn.KeyGenerated": [{ sealed_key: TEXT, originator_topic: TEXT }, { abandoned: NULL_OR(GIVEN_UP) }],
  "keyturn.KeyReset": [{ sealed_key: TEXT }, { abandoned: NULL_OR(GIVEN_UP) }],
  "keyturn.KeyRotated": [{ sealed_key: TEXT, overlap: WHOLE, retiring: KEYS }, {}],
  "keyturn.KeysDestroyed": [{}, { purged: (value) => typeof value === "boolean" }],
  "keyturn.SessionEnded": [null, { sid: TEXT, subject: NULL_OR(TEXT) }],
  "keyturn.SubjectSessionsEnded": [null, { subject: TEXT, keep: NULL_OR(TEXT) }],
};

export class Bad extends Error {}

function demand(condition, message) {
  if (!condition) throw new Bad(message);
}

function hasFields(value, fields) {
  const names = Object.keys(value ?? {});
  return names.length === Object.keys(fields).length && names.every((name) => fields[name]?.(value[name]));
}

// RFC 8785, for what Keyturn writes: whole numbers and ASCII names.
function canonical(value) {
  if (Array.isArray(value)) return `[${value.map(canonical)}]`;
  if (value === null || typeof value !== "object") return JSON.stringify(value);
  return `{${Object.keys(value).sort().map((name) => `${JSON.stringify(name)}:${canonical(value[name])}`)}}`;
}

function parse(text) {
  try {
    return JSON.parse(text);
  } catch {
    throw new Bad("it is not JSON");
  }
}

const sha256 = (text) => createHash("sha256").update(text).digest("hex");

export function publicKey(nodeId) {
  demand(/^v[0-9a-v]{52}$/.test(nodeId), "this is no node id");
  const bits = [...nodeId.slice(1)].map((digit) => parseInt(digit, 32).toString(2).padStart(5, "0")).join("");
  demand(bits.endsWith("0000"), "this is not the one spelling of a node id");
  return Buffer.from(bits.match(/.{8}/g).map((byte) => parseInt(byte, 2)));
}

export function streamOf(manager) {
  const namespace = Buffer.from("6b1f8f3e5d0c5b0a9f6e4b65797475aa", "hex");
  const id = createHash("sha1").update(namespace).update(manager).digest().subarray(0, 16);
  id[6] = (id[6] & 0x0f) | 0x50; // version 5
  id[8] = (id[8] & 0x3f) | 0x80; // the variant of RFC 9562
  return id.toString("hex");
}

function isSigned(nodeId, stream, position, digest, signature) {
  const raw = Buffer.from(signature, "base64url");
  if (raw.toString("base64url") !== signature) return false; // it has one spelling
  const key = { kty: "OKP", crv: "Ed25519", x: publicKey(nodeId).toString("base64url") };
  const statement = `keyturn event at position v1\0${JSON.stringify([stream, position, digest])}`;
  return verify(null, Buffer.from(statement), createPublicKey({ key, format: "jwk" }), raw);
}

// Returns a genuine event of this node, with its digest; `row.state` is text.
export function checkEvent(row, nodeId) {
  const state = parse(row.state);
  demand(canonical(state) === row.state, "its state is not canonical JSON");
  const version = state.class_version ?? 1;
  demand(version === 1 || version === 2, "its version is none that this program knows");
  const [fields, newer] = TOPICS[row.topic] ?? [null, null];
  demand(newer !== null && (version === 2 || fields !== null), "its topic is unknown");
  const expected = { ...COMMON, ...fields, ...(version === 2 ? { ...SINCE_VERSION_2, ...newer } : {}) };
  demand(hasFields(state, expected), "its fields are not those of its topic");
  const { signature, ...unsigned } = state;
  const digest = sha256(`keyturn event digest v1\0${canonical({ ...row, state: unsigned })}`);
  demand(state.node_id === nodeId, "another node signed it");
  demand(row.originator_id === streamOf(state.manager), "its stream is not its manager's");
  demand(isSigned(nodeId, row.originator_id, row.originator_version, digest, signature), "its signature is wrong");
  return { ...row, state, digest };
}

// Checks that an event follows the end of its stream (undefined: there is none), and returns the new end.
function follow(end, { state, digest, topic, originator_version: position }) {
  if (topic === "keyturn.KeysDestroyed" && state.purged === true) {
    demand(end === undefined, "events stand before a purge");
  } else {
    const before = end ?? { position: 0, digest: "0".repeat(64), generation: 0 };
    const makesKey = "sealed_key" in state;
    demand(position === before.position + 1, "events before it are missing, or out of order");
    demand(state.previous_digest === before.digest, "it does not follow the event before it");
    demand(state.generation === before.generation + makesKey, "its generation does not follow");
  }
  return { position, digest, generation: state.generation };
}

// Checks the lines of an export, each with its line feed. Returns the events by "stream position".
export function checkExport(lines, nodeId) {
  const head = JSON.stringify({ format: "keyturn export", version: 1, node_id: nodeId });
  demand(lines[0] === `${head}\n`, "line 1 is not that of an export of this node");
  const [events, ends] = [new Map(), new Map()];
  for (const [index, line] of lines.slice(1, -1).entries()) {
    try {
      const found = /^(\{"originator_id":"[0-9a-f]{32}","originator_version":[1-9]\d*,"topic":"[\w.]+"),"state":(.*)\}\n$/s.exec(line);
      demand(found, "it is not the line of an event");
      const event = checkEvent({ ...JSON.parse(`${found[1]}}`), state: found[2] }, nodeId);
      ends.set(event.originator_id, follow(ends.get(event.originator_id), event));
      events.set(`${event.originator_id} ${event.originator_version}`, event);
    } catch (error) {
      throw error instanceof Bad ? new Bad(`line ${index + 2}: ${error.message}`) : error;
    }
  }
  const closing = JSON.stringify({ events: events.size, sha256: sha256(lines.slice(0, -1).join("")) });
  demand(lines.length > 1 && lines.at(-1) === `${closing}\n`, "the last line is not the right one");
  return events;
}

// Checks a checkpoint, and, if there are events, that the log has what it has seen.
export function checkCheckpoint(line, events) {
  const [tag, nodeId, name, position, digest, at, signature] = line.split(" ");
  demand(line.split(" ").length === 7 && tag === "keyturn-checkpoint-v1", "this is no checkpoint");
  demand(/^([\w.~-]|%[0-9A-F]{2})+$/.test(name), "its name is not percent-encoded");
  demand(/^[1-9]\d*$/.test(position) && TIME(at), "its position or its time is badly spelt");
  const stream = streamOf(decodeURIComponent(name));
  demand(isSigned(nodeId, stream, Number(position), digest, signature), "the checkpoint's signature is wrong");
  if (events === undefined) return;
  const seen = events.get(`${stream} ${position}`);
  const gaveUp = [...events.values()].some(({ originator_id: id, originator_version: place, state }) =>
    id === stream && ((state.purged && place > Number(position)) ||
      (state.abandoned?.digest === digest && state.abandoned.position === Number(position))));
  demand(seen?.digest === digest || gaveUp, "the log does not hold the event that the checkpoint has seen");
  demand(gaveUp || seen.state.timestamp === at, "the checkpoint's time is not that of the event");
}

function main([file, ...options]) {
  const node = options[options.indexOf("--node") + 1];
  if (file === undefined || !options.includes("--node") || node === undefined) {
    console.error("usage: node verify.mjs LOG.jsonl --node NODE_ID [--against CHECKPOINT_FILE]");
    return 2;
  }
  try {
    const events = checkExport(readFileSync(file, "utf8").split(/(?<=\n)/), node);
    const against = options.includes("--against") && options[options.indexOf("--against") + 1];
    if (against) checkCheckpoint(readFileSync(against, "utf8").trim(), events);
    console.log(`good: ${events.size} events of ${node}`);
    if (!against) console.log("nobody said where it should end (--against): its end may have been cut off");
    return 0;
  } catch (error) {
    if (!(error instanceof Bad)) throw error;
    console.log(`bad: ${error.message}`);
    return 1;
  }
}

if (import.meta.url === pathToFileURL(process.argv[1]).href) process.exitCode = main(process.argv.slice(2));
