// A client of `keyturn serve` for Node 18 or newer: no package is needed.
//
//   keyturn --path data serve --client-secret-file secret
//   KEYTURN_URL=http://127.0.0.1:8787 KEYTURN_SECRET=$(cat secret) node app.mjs

export class Keyturn {
  #headers;
  #url;

  constructor(url, secret) {
    this.#url = url;
    this.#headers = { Authorization: `Bearer ${secret}` };
  }

  /** Return a token of a new session; `expiry` is in seconds. */
  async createToken(subject, { expiry = null, claims = null } = {}) {
    return (await this.#json("/tokens", { subject, expiry, claims })).token;
  }

  /** Return a new token of the same session, or null if this one is not good. */
  async refreshToken(token) {
    const answer = await this.#json("/refresh", { token });
    return answer.error === "invalid_grant" ? null : answer.token;
  }

  /** Return what a good token claims (`sub`, `sid`, yours), or null. */
  async authenticate(token) {
    const claims = await this.#form("/introspect", { token });
    return claims.active ? claims : null;
  }

  /** End the session of a token, with all its tokens, everywhere. */
  async endSession(token) {
    await this.#form("/revoke", { token });
  }

  #json(path, value) {
    const headers = { ...this.#headers, "Content-Type": "application/json" };
    return this.#post(path, headers, JSON.stringify(value));
  }

  #form(path, fields) {
    return this.#post(path, this.#headers, new URLSearchParams(fields));
  }

  async #post(path, headers, body) {
    const signal = AbortSignal.timeout(15_000);
    const response = await fetch(this.#url + path, { method: "POST", headers, body, signal });
    const answer = await response.json();
    if (!response.ok && answer.error !== "invalid_grant") {
      throw new Error(`keyturn: ${response.status} ${answer.error_description}`);
    }
    return answer;
  }
}
